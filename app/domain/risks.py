"""What may keep a code from working at its start: evidence about the lock, its account, and the code itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain import remedies
from app.domain.assessment import Problem
from app.domain.codes import Reads
from app.domain.health import AccountFacet, DeviceFacet, Health
from app.domain.news import Issue
from app.domain.problems import OFFLINE, RISK_WARNINGS, SLOTS_FULL, is_permanent, problem_of


@dataclass(frozen=True, slots=True)
class Risk:
    """``what`` finishes a sentence: "its start is near, and …"."""

    what: str
    since: datetime
    problem: Problem


_LASTING_STATES = {
    (DeviceFacet.PRESENCE, "removed"): ("the lock was removed from Seam", remedies.DEVICE_GONE),
    (DeviceFacet.PRESENCE, "deleted"): ("the lock was deleted at Seam", remedies.DEVICE_GONE),
    (DeviceFacet.PRESENCE, "unmanaged"): ("Seam does not manage the lock any more", remedies.DEVICE_GONE),
    (DeviceFacet.SUBSCRIPTION, "required"): ("the lock needs a subscription", remedies.SUBSCRIPTION),
}
_DEAD_STATES = {
    (DeviceFacet.KEYPAD, "disconnected"): ("the keypad is gone", remedies.NO_KEYPAD),
    (DeviceFacet.BATTERY, "critical"): ("the battery is nearly empty", remedies.BATTERY),
}
_PASSING_STATES = {
    (DeviceFacet.CONNECTION, "disconnected"): ("the lock is offline", remedies.OFFLINE),
    (DeviceFacet.STABILITY, "flaky"): ("the lock's connection comes and goes", remedies.UNSTEADY),
    (DeviceFacet.PRIVACY, "on"): ("the lock is in privacy mode", remedies.PRIVACY),
}
_ACCOUNT_STATES = {
    "disconnected": "the account is disconnected",
    "deleted": "the account was deleted at Seam",
    "reauthorization_requested": "the account asks for a new log-in",
}


def permanent_trouble(issues: Sequence[Issue], health: Health, reads: Reads, asked_at: datetime) -> Risk | None:
    """What will not go away by itself, however long before the start; ``None`` when there is no such thing."""
    if reads.last is not None and reads.last.snapshot is None and reads.last.at >= asked_at:
        return Risk("Seam does not have the code any more", reads.last.at, remedies.ABSENT)
    state = next(_in_states(health, _LASTING_STATES), None)
    if state is not None:
        return state
    lasting = [issue for issue in (*issues, *_device_errors(health)) if issue.is_error and is_permanent(issue)]
    return _from_issues(lasting, asked_at)


def risks(issues: Sequence[Issue], health: Health, reads: Reads, asked_at: datetime) -> Iterator[Risk]:
    """Everything that endangers a start that is near, the gravest first."""
    lasting = permanent_trouble(issues, health, reads, asked_at)
    if lasting is not None:
        yield lasting
    account = health.account.get(AccountFacet.CONNECTION)
    if account is not None and account.value in _ACCOUNT_STATES:
        yield Risk(_ACCOUNT_STATES[account.value], account.occurred_at, remedies.ACCOUNT_OFFLINE)
    dead = dead_before_start(health)
    if dead is not None:
        yield dead
    if (offline := _offline_by_read(health)) is not None:
        yield offline
    yield from _in_states(health, _PASSING_STATES)
    warnings = health.device_read.warnings if health.device_read else ()
    told = [issue for issue in (*issues, *_device_errors(health), *warnings) if _endangers(issue)]
    if (risk := _from_issues(told, asked_at)) is not None:
        yield risk


def dead_before_start(health: Health) -> Risk | None:
    """What keeps even a code in the lock's memory from working: a dead keypad, or a battery that will not last."""
    state = next(_in_states(health, _DEAD_STATES), None)
    if state is not None:
        return state
    read = health.device_read
    battery = health.device.get(DeviceFacet.BATTERY)
    if read is None or read.battery_status != "critical" or (battery is not None and battery.occurred_at >= read.at):
        return None
    return Risk("the battery is nearly empty", read.at, remedies.BATTERY)


def _endangers(issue: Issue) -> bool:
    return issue.code in OFFLINE or issue.code in SLOTS_FULL or issue.code in RISK_WARNINGS


def _in_states(health: Health, table: dict[tuple[DeviceFacet, str], tuple[str, Problem]]) -> Iterator[Risk]:
    for (facet, value), (what, problem) in table.items():
        state = health.device.get(facet)
        if state is not None and state.value == value and not _denied_by_read(facet, health, state.occurred_at):
            yield Risk(what, state.occurred_at, problem)


def _denied_by_read(facet: DeviceFacet, health: Health, since: datetime) -> bool:
    """Whether a newer read of the lock says that it is well again. Only some facets show in a read."""
    read = health.device_read
    if read is None or read.at <= since:
        return False
    if facet is DeviceFacet.CONNECTION:
        return read.online is True
    return facet is DeviceFacet.BATTERY and read.battery_status in {"low", "good", "full"}


def _offline_by_read(health: Health) -> Risk | None:
    read, connection = health.device_read, health.device.get(DeviceFacet.CONNECTION)
    if read is None or read.online is not False or (connection is not None and connection.occurred_at >= read.at):
        return None
    return Risk("the lock is offline", read.at, remedies.OFFLINE)


def _device_errors(health: Health) -> tuple[Issue, ...]:
    """Errors of the last read of the lock, unless it reported its return since."""
    read, connection = health.device_read, health.device.get(DeviceFacet.CONNECTION)
    if read is None:
        return ()
    has_returned = connection is not None and connection.value == "connected" and connection.occurred_at > read.at
    return tuple(issue for issue in read.errors if not (has_returned and issue.code in OFFLINE))


def _from_issues(issues: Sequence[Issue], asked_at: datetime) -> Risk | None:
    problem = problem_of(issues)
    if problem is None:
        return None
    since = min((issue.created_at for issue in issues if issue.code == problem.code and issue.created_at), default=None)
    return Risk(f"Seam reports {problem.code}", since or asked_at, problem)
