"""What is known of a code, drawn from news and reads together, before any rule is applied to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from app.domain.codes import Code, Reads, Snapshot
from app.domain.fingerprints import same_pin
from app.domain.health import AccountFacet, DeviceFacet, Health
from app.domain.news import Issue, IssueSource, News, NewsKind, Signals
from app.domain.problems import ACCOUNT_LOST, DEVICE_GONE, SETTING_DELAYED, SETTING_FAILED, blocks, is_permanent
from app.domain.reads import UPDATING_PIN, UPDATING_WINDOW, shows_on, shows_scheduled


class Step(IntEnum):
    """How far the lock got, by the newest news. At equal times the higher one counts (contract, section 3)."""

    DELAYED = 1
    SCHEDULED = 2
    SET = 3
    FAILED = 4
    OFF = 5


@dataclass(frozen=True, slots=True)
class Mark:
    """One statement about the code: ``at`` orders it (Seam's clock), ``since`` is when its cause began."""

    at: datetime
    step: Step
    what: str
    since: datetime
    issues: tuple[Issue, ...] = ()

    @property
    def order(self) -> tuple[datetime, Step]:
        return self.at, self.step


_NEWS_STEPS = {
    NewsKind.DELAYED: Step.DELAYED,
    NewsKind.SCHEDULED: Step.SCHEDULED,
    NewsKind.SET: Step.SET,
    NewsKind.FAILED: Step.FAILED,
    NewsKind.REMOVED: Step.OFF,
    NewsKind.DELETED: Step.OFF,
    NewsKind.DELETED_EXTERNALLY: Step.OFF,
}
_PIN_NEWS = (NewsKind.SET, NewsKind.SCHEDULED, NewsKind.CODE_CHANGED)


@dataclass(frozen=True, slots=True)
class Facts:
    """``on`` and ``off`` are the newest of each; ``newest`` is the newest mark of all five steps. ``gone_at`` is when
    Seam's object itself was deleted or found absent under the present intent, if nothing put the code on the lock
    after that.

    ``tied_at`` is the moment at which two different steps were reported at once. ``wrong_pin_since`` is when the
    newest word on the PIN told of another one than asked.
    """

    on: Mark | None
    off: Mark | None
    gone_at: datetime | None
    newest: Mark | None
    tied_at: datetime | None
    blind: Mark | None
    wrong_pin_since: datetime | None

    @property
    def is_on(self) -> bool:
        return self.on is not None and (self.off is None or self.on.at > self.off.at)

    @property
    def was_on(self) -> bool:
        return self.on is not None

    @property
    def is_off(self) -> bool:
        return self.off is not None and not self.is_on

    @property
    def is_blind(self) -> bool:
        return self.blind is not None and (self.on is None or self.blind.at > self.on.at)


def gather(code: Code, signals: Signals, reads: Reads, health: Health) -> Facts:
    from_news = list(_news_marks(signals))
    marks = [*from_news, *_read_marks(code, reads)]
    on = _newest(mark for mark in marks if mark.step is Step.SET)
    return Facts(
        on=on,
        off=_newest(mark for mark in marks if mark.step is Step.OFF),
        gone_at=_gone_at(code, signals, reads, on),
        newest=_newest(iter(marks)),
        tied_at=_tie(from_news),
        blind=_newest(_blinding_marks(reads, health)),
        wrong_pin_since=_wrong_pin_since(code, signals, reads),
    )


def last_snapshot(reads: Reads) -> Snapshot | None:
    return reads.last.snapshot if reads.last else None


def read_since(reads: Reads, moment: datetime) -> bool:
    """Whether Seam answered at or after ``moment``."""
    return reads.last is not None and reads.last.at >= moment


def unreadable_since(reads: Reads, moment: datetime) -> bool:
    """Whether Seam was asked at or after ``moment`` and gave no answer."""
    return not read_since(reads, moment) and reads.failed_at is not None and reads.failed_at >= moment


def _news_marks(signals: Signals) -> Iterator[Mark]:
    for kind, step in _NEWS_STEPS.items():
        news = signals.latest.get(kind)
        if news is not None:
            yield Mark(news.occurred_at, step, kind.value, news.occurred_at, news.issues)


def _read_marks(code: Code, reads: Reads) -> Iterator[Mark]:
    if reads.seen_on_at is not None:
        yield Mark(reads.seen_on_at, Step.SET, "read", reads.seen_on_at)
    if reads.seen_absent_at is not None:
        yield Mark(reads.seen_absent_at, Step.OFF, "absent", reads.seen_absent_at)
    if reads.last is None or reads.last.snapshot is None:
        return
    at, snapshot = reads.last.at, reads.last.snapshot
    if shows_scheduled(snapshot, at):
        yield Mark(at, Step.SCHEDULED, "read", at)
    if (failure := _failure(code, snapshot, at)) is not None:
        yield Mark(at, Step.FAILED, "read", _began(failure, at), (*snapshot.errors, *snapshot.warnings))
    delay = next((issue for issue in snapshot.warnings if issue.code in SETTING_DELAYED), None)
    if delay is not None and not shows_on(snapshot, at):
        yield Mark(at, Step.DELAYED, "read", _began(delay, at), snapshot.warnings)


def _failure(code: Code, snapshot: Snapshot, at: datetime) -> Issue | None:
    """The error with which the lock refuses the code. Before a start a permanent error is only a risk."""
    blocking = [issue for issue in snapshot.errors if blocks(issue)]
    failed = [issue for issue in blocking if issue.code in SETTING_FAILED]
    has_started = code.starts_at is None or code.starts_at <= at
    lasting = [issue for issue in blocking if is_permanent(issue)] if has_started else []
    return next(iter((*failed, *lasting)), None)


def _began(issue: Issue, at: datetime) -> datetime:
    return min(issue.created_at, at) if issue.created_at else at


def _blinding_marks(reads: Reads, health: Health) -> Iterator[Mark]:
    account = health.account.get(AccountFacet.CONNECTION)
    if account is not None and account.value in {"disconnected", "deleted"}:
        yield _blind(account.occurred_at, f"the account was {account.value}")
    presence = health.device.get(DeviceFacet.PRESENCE)
    if presence is not None and presence.value in {"removed", "deleted", "unmanaged"}:
        yield _blind(presence.occurred_at, f"the lock was {_PRESENCE_WORDS[presence.value]}")
    if reads.last is None or reads.last.snapshot is None:
        return
    at, snapshot = reads.last.at, reads.last.snapshot
    if not snapshot.is_managed:
        yield _blind(at, "Seam no longer manages this code")
    if snapshot.status == "unknown":
        yield _blind(at, "Seam gives its status as unknown")
    for issue in snapshot.errors:
        if issue.code in ACCOUNT_LOST or (issue.code in DEVICE_GONE and issue.source is not IssueSource.ACCESS_CODE):
            yield _blind(at, f"Seam reports {issue.code}")


_PRESENCE_WORDS = {"removed": "removed", "deleted": "deleted", "unmanaged": "made unmanaged"}


def _blind(at: datetime, what: str) -> Mark:
    return Mark(at, Step.OFF, what, at)


def _gone_at(code: Code, signals: Signals, reads: Reads, on: Mark | None) -> datetime | None:
    moments = [at for at in (signals.at(NewsKind.DELETED), reads.seen_absent_at) if at is not None]
    # Seam has accepted the present intent: what was gone before that has come back.
    gone_at = max((at for at in moments if code.asked_at is None or at >= code.asked_at), default=None)
    return gone_at if gone_at is None or on is None or gone_at >= on.at else None


def _newest(marks: Iterator[Mark]) -> Mark | None:
    return max(marks, key=lambda mark: (*mark.order, mark.what), default=None)


def _tie(marks: list[Mark]) -> datetime | None:
    top = max((mark.at for mark in marks), default=None)
    return top if len({mark.step for mark in marks if mark.at == top}) > 1 else None


def _wrong_pin_since(code: Code, signals: Signals, reads: Reads) -> datetime | None:
    """News outweighs reads here: Seam's object repeats the PIN asked for, the event tells what the lock got."""
    if UPDATING_PIN in _pending(reads):
        return None
    told = max(_current(code, _pins_in_news(signals)), default=None)
    if told is not None and same_pin(code.pin, told[1]) is False:
        return told[0]
    read = max(_current(code, _pins_in_reads(reads)), default=None)
    if read is not None and (told is None or read > told) and same_pin(code.pin, read[1]) is False:
        return read[0]
    return None


def _current(code: Code, said: Iterator[tuple[datetime, str]]) -> list[tuple[datetime, str]]:
    return [(at, pin) for at, pin in said if code.asked_at is None or at >= code.asked_at]


def _pins_in_news(signals: Signals) -> Iterator[tuple[datetime, str]]:
    for kind in _PIN_NEWS:
        news: News | None = signals.latest.get(kind)
        if news is not None and news.pin is not None:
            yield news.occurred_at, news.pin


def _pins_in_reads(reads: Reads) -> Iterator[tuple[datetime, str]]:
    snapshot = last_snapshot(reads)
    if reads.last is None or snapshot is None or snapshot.pin is None:
        return
    if shows_on(snapshot, reads.last.at) or shows_scheduled(snapshot, reads.last.at):
        yield reads.last.at, snapshot.pin


def _pending(reads: Reads) -> tuple[str, ...]:
    snapshot = last_snapshot(reads)
    return (snapshot.pending or ()) if snapshot else ()


def pending_update(reads: Reads) -> bool:
    """Whether the last answer says that the old PIN or window is still on the lock."""
    return UPDATING_PIN in _pending(reads) or UPDATING_WINDOW in _pending(reads)
