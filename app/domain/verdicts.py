"""The verdict on one access code: a pure function of what was asked, what is known, and what time it is.

The rules stand in the order of the contract's table (section 3), and the first that holds decides. A verdict that only
the clock has opened needs an answer of Seam from after its deadline; without one the rule does not hold yet, the
assessment asks for a read, and the verdict that held before goes on holding. So no answer hangs on what was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from app.domain import endings, standing
from app.domain.assessment import Assessment, Policy, Verdict
from app.domain.case import Case, Finding, turns
from app.domain.codes import Binding, Code, Reads
from app.domain.deadlines import heartbeat, removal_deadline, reread_at
from app.domain.facts import gather
from app.domain.fingerprints import same_pin
from app.domain.health import Health
from app.domain.news import NewsKind, Signals

_TICK = timedelta(microseconds=1)


def assess(code: Code, signals: Signals, reads: Reads, health: Health, now: datetime, policy: Policy) -> Assessment:
    """Answer for one code at ``now``. Total: every combination of arguments gets an answer, and none raises.

    Every answer that is not terminal names ``next_check_at``, which lies after ``now``.
    """
    case = Case(code, signals, reads, health, now, policy, gather(code, signals, reads, health))
    for rule in _RULES:
        finding = rule(case)
        if finding is not None:
            return _conclude(case, finding)
    raise AssertionError("the last rule always holds")


_RULES: tuple[Callable[[Case], Finding | None], ...] = (
    endings.requested,
    endings.refused,
    endings.removed,
    endings.unverifiable,
    endings.missed,
    endings.lingering,
    endings.removal_unknown,
    endings.removing,
    standing.replaced,
    standing.lost,
    standing.unknown,
    standing.mismatched,
    standing.outdated,
    standing.failed,
    standing.verified,
    standing.stuck,
    standing.scheduled,
    standing.delayed,
    standing.at_risk,
    standing.pending,
    standing.upcoming,
)


def _conclude(case: Case, finding: Finding) -> Assessment:
    moments = [] if finding.is_terminal else [moment for moment in _moments(case, finding) if moment > case.now]
    next_check_at = None if finding.is_terminal else min(moments, default=heartbeat(finding.since, case.now))
    return Assessment(
        verdict=finding.verdict,
        reason=finding.reason,
        since=finding.since,
        deadline=finding.deadline,
        next_check_at=next_check_at,
        problem=finding.problem,
        flag=finding.flag,
        flag_since=finding.flag_since,
        needs_read=not finding.is_terminal and _needs_read(case, finding),
        is_terminal=finding.is_terminal,
    )


def _needs_read(case: Case, finding: Finding) -> bool:
    return any(case.lacks_read(moment) for moment in _reading_moments(case, finding)) or _read_is_old(case, finding)


def _read_is_old(case: Case, finding: Finding) -> bool:
    return finding.flag is not None and case.now >= reread_at(finding.since, case.reads, case.policy)


def _reading_moments(case: Case, finding: Finding) -> Iterator[datetime]:
    """When this code needs an answer of Seam: past ones call for it now, coming ones name the next check."""
    code, policy = case.code, case.policy
    if code.binding is Binding.REQUESTED:
        yield code.requested_at + policy.request_within
        return
    if code.is_offline:
        return
    if case.leaves and case.end is not None:
        deadline = removal_deadline(case.end, case.reads, policy)
        # News of the removal may get lost: one early look tells so long before the deadline.
        yield min(case.end + policy.recheck_after, deadline)
        yield deadline
        return
    if finding.verdict is Verdict.REPLACED:
        return
    yield from turns(case)
    if case.facts.tied_at is not None:
        yield case.facts.tied_at + _TICK
    if finding.verdict is Verdict.OUTDATED and finding.deadline is not None:
        # News of the confirmation may get lost, or be older than the answer that accepted the change.
        yield min(finding.since + policy.recheck_after, finding.deadline)
        yield finding.deadline
    yield from _changes_elsewhere(case)


def _changes_elsewhere(case: Case) -> Iterator[datetime]:
    """News of a change through Seam that is newer than the intent: a read brings the new intent in. News that carries
    the very PIN that was asked for is the answer to our own change."""
    for kind in _CHANGES:
        change = case.signals.latest.get(kind)
        if change is None or change.occurred_at <= case.asked_at:
            continue
        if not same_pin(change.pin, case.code.pin):
            yield change.occurred_at


_CHANGES = (
    NewsKind.CHANGED,
    NewsKind.CHANGE_REQUESTED,
    NewsKind.CODE_CHANGED,
    NewsKind.NAME_CHANGED,
    NewsKind.TIME_FRAME_CHANGED,
)


def _moments(case: Case, finding: Finding) -> Iterator[datetime]:
    """Every moment at which the clock alone could change this answer, or at which Seam has to be asked."""
    code, policy = case.code, case.policy
    yield from _reading_moments(case, finding)
    if code.binding is Binding.REQUESTED:
        if finding.flag is not None:
            yield reread_at(finding.since, case.reads, policy)
        return
    if code.starts_at is not None:
        yield code.starts_at - policy.at_risk_before
        yield code.starts_at
    if code.ends_at is not None:
        yield code.ends_at
    if finding.flag is not None:
        yield reread_at(finding.since, case.reads, policy)
