"""A small language for stories about one code: minutes before and after noon, news, reads, and what time it is.

A story is folded exactly as the service folds it: news by ``merge``, each read by ``after_read`` with the news that had
happened by then, and ``renewed_by`` for what somebody changed elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from app.domain.assessment import Assessment, Policy
from app.domain.codes import Binding, Code, CodeType, Read, Reads, Snapshot
from app.domain.health import AccountFacet, DeviceFacet, DeviceRead, Health, State
from app.domain.news import Issue, IssueSource, News, NewsKind, Signals, merge
from app.domain.reads import after_read, renewed_by
from app.domain.verdicts import assess

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PIN = "k1:right"
OTHER_PIN = "k1:other"
POLICY = Policy()


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def ongoing(**changes: Any) -> Code:
    """Asked for and accepted at noon, no window."""
    code = Code(Binding.BOUND, CodeType.ONGOING, at(0), at(0), "ac_1", "lock_1", pin=PIN)
    return replace(code, **changes)


def stay(start: float, end: float, **changes: Any) -> Code:
    """Asked for and accepted at noon, with a window in minutes after noon."""
    return ongoing(type=CodeType.TIME_BOUND, starts_at=at(start), ends_at=at(end), **changes)


@dataclass(frozen=True)
class Told:
    """News at a minute."""

    minute: float
    kind: NewsKind
    news: News


def news(minute: float, kind: NewsKind, *, pin: str | None = None, issues: Sequence[Issue] = ()) -> Told:
    return Told(minute, kind, News(at(minute), f"ev_{kind}_{minute}_{pin}", pin, issues=tuple(issues)))


def set_on(minute: float, pin: str = PIN) -> Told:
    return news(minute, NewsKind.SET, pin=pin)


def scheduled(minute: float, pin: str = PIN) -> Told:
    return news(minute, NewsKind.SCHEDULED, pin=pin)


def failed(minute: float, *issues: Issue) -> Told:
    return news(minute, NewsKind.FAILED, issues=issues)


def delayed(minute: float) -> Told:
    return news(minute, NewsKind.DELAYED, issues=(warning("delay_in_setting_on_device"),))


def removed(minute: float) -> Told:
    return news(minute, NewsKind.REMOVED)


def error(code: str, source: IssueSource = IssueSource.ACCESS_CODE) -> Issue:
    return Issue(code, f"{code} happened", source, is_error=True)


def warning(code: str, source: IssueSource = IssueSource.ACCESS_CODE) -> Issue:
    return Issue(code, f"{code} happened", source, is_error=False)


@dataclass(frozen=True)
class Asked:
    """Seam was asked at a minute. ``snapshot`` overrides fields of an object that has the code's own window and PIN."""

    minute: float
    fields: dict[str, Any] | None
    fails: bool = False


def shows(minute: float, **fields: Any) -> Asked:
    return Asked(minute, fields)


def shows_on(minute: float, **fields: Any) -> Asked:
    return shows(minute, status="set", pending=(), **fields)


def shows_setting(minute: float, **fields: Any) -> Asked:
    return shows(minute, status="setting", pending=("creating",), **fields)


def shows_unset(minute: float, **fields: Any) -> Asked:
    return shows(minute, status="unset", pending=(), **fields)


def absent(minute: float) -> Asked:
    return Asked(minute, None)


def unreadable(minute: float) -> Asked:
    return Asked(minute, None, fails=True)


def health(*states: tuple[float, DeviceFacet | AccountFacet, str], read: DeviceRead | None = None) -> Health:
    device: dict[DeviceFacet, State] = {}
    account: dict[AccountFacet, State] = {}
    for minute, facet, value in states:
        state = State(value, at(minute), f"ev_{facet}_{minute}")
        if isinstance(facet, DeviceFacet):
            device[facet] = state
        else:
            account[facet] = state
    return Health(device, account, read)


@dataclass(frozen=True)
class Known:
    code: Code
    signals: Signals
    reads: Reads


def fold(code: Code, happenings: Sequence[Told | Asked]) -> Known:
    """All that is known after these happenings, in the order of their minutes."""
    told: list[Told] = []
    reads = Reads()
    for happening in sorted(happenings, key=lambda one: one.minute):
        if isinstance(happening, Told):
            told.append(happening)
            continue
        if happening.fails:
            reads = reads.failing(at(happening.minute), "time-out")
            continue
        signals = Signals(merge((one.kind, one.news) for one in told))
        read = Read(at(happening.minute), _snapshot(code, happening.fields))
        code = renewed_by(code, read, signals)
        reads = after_read(reads, read, code, signals)
    return Known(code, Signals(merge((one.kind, one.news) for one in told)), reads)


def _snapshot(code: Code, fields: dict[str, Any] | None) -> Snapshot | None:
    if fields is None:
        return None
    own = Snapshot(
        "ac_1", "lock_1", type=code.type, starts_at=code.starts_at, ends_at=code.ends_at, pin=code.pin, status="setting"
    )
    return replace(own, **fields)


@dataclass(frozen=True)
class Story:
    title: str
    code: Code
    happenings: tuple[Told | Asked, ...]
    now: float
    verdict: str
    flag: str | None = None
    asks: bool = False
    health: Health = field(default_factory=Health)

    def assess(self, *, policy: Policy = POLICY) -> Assessment:
        known = fold(self.code, self.happenings)
        return assess(known.code, known.signals, known.reads, self.health, at(self.now), policy)
