"""When people are told of flags, of which together, and how often that is tried: pure, to be tested as tables.

A flag that opens, closes, or stays open unacknowledged is an alert (one flag, one change). Alerts with one cause on one
lock or account are told as one message, and each message goes out on every channel by itself.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

MOST_TOLD_TOGETHER = 200  # so that a message stays below what receivers take
TRIED_FOR = timedelta(days=1)
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(hours=1)

Spread = Callable[[], float]
"""Answers between 0 and 1: where in its last fifth a pause ends."""


class Change(StrEnum):
    OPENED = "opened"
    CLOSED = "closed"
    REMINDER = "reminder"


class AlertState(StrEnum):
    PENDING = "pending"  # not composed yet
    SENDING = "sending"  # in a message on its way
    SENT = "sent"  # on every channel
    DEAD = "dead"  # given up on one channel
    SKIPPED = "skipped"  # there was no channel, or nobody needs to know any more


class DeliveryState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """``after``: a flag that closes within so long is not told. ``group_within``: what comes within so long may be told
    as one. ``repeat``: an unacknowledged flag is told again so often; zero: never."""

    after: timedelta = timedelta(0)
    group_within: timedelta = timedelta(seconds=5)
    repeat: timedelta = timedelta(hours=4)

    def wait(self, change: Change) -> timedelta:
        """How long after its change an alert is composed: then everything that belongs to it is there as well, and of
        what is told to open nothing has closed within ``after``."""
        return self.group_within + (self.after if change is Change.OPENED else timedelta(0))

    def is_short_lived(self, opened_at: datetime, closed_at: datetime | None) -> bool:
        return closed_at is not None and closed_at - opened_at < self.after


@dataclass(frozen=True, slots=True)
class Alert:
    """A pending alert with what is known of its flag. ``flagged_at`` is when the flag was written; ``opening`` is the
    state of the alert of its opening; ``problem`` has the members of ``Problem``. Texts may still hold PINs."""

    id: str
    change: Change
    created_at: datetime
    flag_id: str
    kind: str
    severity: str
    reason: str
    opened_at: datetime
    flagged_at: datetime
    closed_at: datetime | None = None
    acknowledged_at: datetime | None = None
    problem: Mapping[str, Any] | None = None
    opening: AlertState = AlertState.PENDING
    code_id: str | None = None
    access_code_id: str | None = None
    name: str | None = None
    reference: str | None = None
    device_id: str | None = None
    device_name: str | None = None
    account_id: str | None = None


_Cause = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """``messages``: the alerts that each of them tells, the earliest first. ``skipped``: ids of alerts that nobody is
    told of."""

    messages: Sequence[Sequence[Alert]]
    skipped: Sequence[str]


def alert_id(flag_id: str, change: Change, number: int = 0) -> str:
    """The stable key of one change of one flag. Reminders are counted from 1."""
    return f"{flag_id}:{change}:{number}" if change is Change.REMINDER else f"{flag_id}:{change}"


def message_id(alert_ids: Iterable[str]) -> str:
    """The stable key of the message that tells these alerts."""
    return f"msg_{hashlib.sha256(chr(10).join(sorted(alert_ids)).encode()).hexdigest()[:32]}"


def plan(pending: Sequence[Alert], now: datetime, policy: AlertPolicy) -> Plan:
    """What to compose of ``pending`` now. What is not in the plan waits, for its time or for what belongs to it."""
    skipped = {ident for alert in pending for ident in _skipped(alert, policy)}
    rest = sorted((alert for alert in pending if alert.id not in skipped), key=_age)
    related: dict[_Cause, list[Alert]] = defaultdict(list)
    for alert in rest:
        for cause in _causes(alert):
            related[cause].append(alert)
    messages: list[Sequence[Alert]] = []
    taken: set[str] = set()
    for first in rest:
        # What belongs to an alert whose time has not come is younger, so its time has not come either.
        if first.id not in taken and now - first.created_at >= policy.wait(first.change):
            together = _told_with(first, related, taken, policy.group_within)
            taken.update(alert.id for alert in together)
            messages.append(together)
    return Plan(messages, sorted(skipped))


def _skipped(alert: Alert, policy: AlertPolicy) -> Iterable[str]:
    opened = alert_id(alert.flag_id, Change.OPENED)
    match alert.change:
        case Change.OPENED | Change.CLOSED if alert.opening is AlertState.PENDING:
            if policy.is_short_lived(alert.flagged_at, alert.closed_at):
                yield from (opened, alert.id)
        case Change.CLOSED if alert.opening is AlertState.SKIPPED:
            yield alert.id
        case Change.REMINDER if _is_known(alert):
            yield alert.id
        case _:
            pass


def _is_known(alert: Alert) -> bool:
    """Between a reminder and its message the flag was closed, or somebody took it on."""
    is_acknowledged = alert.acknowledged_at is not None and alert.acknowledged_at >= alert.created_at
    return alert.closed_at is not None or is_acknowledged


def _told_with(
    first: Alert, related: Mapping[_Cause, Sequence[Alert]], taken: Collection[str], within: timedelta
) -> list[Alert]:
    """``first`` and what one cause binds to it, directly or through each other, if nobody has taken it.
    Each flag is in it once: what happened to it later is told later."""
    together, flags, followed = [first], {first.flag_id}, set[_Cause]()
    for alert in together:  # it grows meanwhile
        for cause in set(_causes(alert)) - followed:
            followed.add(cause)
            for other in related[cause]:
                is_near = timedelta(0) <= other.created_at - first.created_at <= within
                if is_near and other.flag_id not in flags and other.id not in taken:
                    flags.add(other.flag_id)
                    together.append(other)
    return sorted(together, key=_age)[:MOST_TOLD_TOGETHER]


def _age(alert: Alert) -> tuple[datetime, str]:
    return alert.created_at, alert.id


def _causes(alert: Alert) -> Iterable[_Cause]:
    """What binds alerts: the same change of the same kind, or of the same problem, at the same place."""
    place = _place(alert)
    yield alert.change, place, "kind", alert.kind
    if alert.problem is not None:
        yield alert.change, place, "problem", str(alert.problem.get("code"))


def _place(alert: Alert) -> str:
    is_of_account = alert.problem is not None and alert.problem.get("kind") == "connected_account"
    if is_of_account and alert.account_id is not None:
        return f"account {alert.account_id}"
    return f"device {alert.device_id}" if alert.device_id is not None else f"code {alert.code_id}"


def state_of(deliveries: Iterable[str]) -> AlertState:
    """The state of the alerts of a message with these deliveries. What was given up on one channel needs a person, also
    while others are still tried."""
    states = set(deliveries)
    if DeliveryState.DEAD in states:
        return AlertState.DEAD
    return AlertState.SENDING if DeliveryState.PENDING in states else AlertState.SENT


def next_attempt(
    attempts: int, tried_since: datetime, now: datetime, retry_after: timedelta | None, spread: Spread
) -> datetime | None:
    """When to try again after ``attempts`` failed ones, ``None``: it is given up.

    The pauses double from five seconds to an hour. A receiver may ask for a longer one. The last attempt is made when
    the day is over.
    """
    deadline = tried_since + TRIED_FOR
    if now >= deadline:
        return None
    doubled: timedelta = FIRST_PAUSE * (1 << min(max(attempts - 1, 0), 20))
    wait = min(doubled, LONGEST_PAUSE) * (0.8 + 0.2 * spread())
    return min(now + max(wait, retry_after or timedelta(0)), deadline)


def is_permanent(status: int) -> bool:
    """Whether an HTTP status says that repeating cannot help (a redirect is not followed, and counts as such)."""
    return 300 <= status < 500 and status not in {408, 425, 429}


def read_retry_after(text: str | None, now: datetime) -> timedelta | None:
    """The pause that a ``Retry-After`` header asks for, in seconds or until a date; ``None`` if it says nothing."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return min(timedelta(seconds=int(text[:9])), TRIED_FOR)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return min(max(until - now, timedelta(0)), TRIED_FOR)
