"""The rules for a code that Seam has not accepted yet, and for one that has to go (contract, section 3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from app.domain import remedies
from app.domain.assessment import FlagKind, Verdict
from app.domain.case import Case, Finding, blinded, stamp
from app.domain.codes import Binding
from app.domain.deadlines import removal_deadline
from app.domain.facts import last_snapshot, read_since, unreadable_since
from app.domain.news import Issue, NewsKind
from app.domain.problems import problem_of
from app.domain.reads import shows_gone


def requested(case: Case) -> Finding | None:
    code = case.code
    if code.binding is not Binding.REQUESTED:
        return None
    deadline = code.requested_at + case.policy.request_within
    waiting = Finding(Verdict.REQUESTED, "Seam has not answered the create call yet.", code.requested_at, deadline)
    if case.now < deadline or not read_since(case.reads, deadline):
        return waiting
    return replace(
        waiting,
        reason="Seam never answered the create call, and does not have the code.",
        problem=remedies.REQUEST_LOST,
        flag=FlagKind.REQUEST_LOST,
        flag_since=deadline,
    )


def refused(case: Case) -> Finding | None:
    code = case.code
    if code.binding is not Binding.REFUSED:
        return None
    return Finding(
        Verdict.REFUSED, code.refusal or "Seam refused the create call.", code.requested_at, is_terminal=True
    )


def removed(case: Case) -> Finding | None:
    found = _used_up(case) or _ended_and_gone(case) or _deleted_elsewhere(case)
    if found is None:
        return None
    reason, since = found
    return Finding(Verdict.REMOVED, reason, since, is_terminal=True)


def _used_up(case: Case) -> tuple[str, datetime] | None:
    used = case.signals.at(NewsKind.USED)
    if not case.code.is_one_time_use or used is None:
        return None
    return "It was a one-time code, and it was used.", used


def _ended_and_gone(case: Case) -> tuple[str, datetime] | None:
    facts, last = case.facts, case.reads.last
    if not case.leaves or case.end is None:
        return None
    if facts.is_off and facts.off is not None and _holds_for_the_end(case):
        return "It is off the lock.", facts.off.since
    if case.code.end_asked_at is not None or last is None or last.snapshot is None or last.at < case.end:
        return None
    failed = case.signals.at(NewsKind.FAILED_TO_REMOVE)
    if not shows_gone(last.snapshot) or (failed is not None and failed >= last.at):
        return None
    return "Its window ended, and Seam has nothing left to remove.", last.at


def _holds_for_the_end(case: Case) -> bool:
    """An end that was asked for is confirmed by news from after the asking, or by the object being gone for good.
    What somebody did in the vendor's app before, Seam may have undone since."""
    off, asked = case.facts.off, case.code.end_asked_at
    return asked is None or case.facts.gone_at is not None or (off is not None and off.at >= asked)


def _deleted_elsewhere(case: Case) -> tuple[str, datetime] | None:
    """Deleted at Seam inside its time. After the end of the window a deletion is only Seam tidying up."""
    deleted, ends_at = case.signals.at(NewsKind.DELETED), case.code.ends_at
    if deleted is None or case.facts.gone_at is None or case.facts.gone_at < deleted:
        return None
    if ends_at is not None and deleted >= ends_at:
        return None
    return "It was deleted at Seam by somebody else.", deleted


def unverifiable(case: Case) -> Finding | None:
    if not case.code.is_offline:
        return None
    return Finding(
        Verdict.UNVERIFIABLE,
        "An offline code: valid since it was made, never confirmed by the lock, and not revocable.",
        case.asked_at,
        deadline=None,
        is_terminal=case.has_ended,
    )


def missed(case: Case) -> Finding | None:
    ends_at = case.code.ends_at
    if ends_at is None or not case.has_ended or case.leaves or not read_since(case.reads, ends_at):
        return None
    return Finding(
        Verdict.MISSED,
        "Its window ended, and it never was on the lock.",
        ends_at,
        problem=problem_of(case.issues()) or remedies.MISSED,
        flag=FlagKind.MISSED,
        flag_since=ends_at,
        is_terminal=True,
    )


def lingering(case: Case) -> Finding | None:
    end = case.end
    if not case.leaves or end is None:
        return None
    deadline = removal_deadline(end, case.reads, case.policy)
    failed = case.signals.at(NewsKind.FAILED_TO_REMOVE)
    has_failed = failed is not None and failed >= end
    if not has_failed and not (case.now >= deadline and read_since(case.reads, deadline)):
        return None
    since = failed if has_failed and failed is not None else deadline
    used = case.signals.at(NewsKind.USED)
    after_end = f" It was used after its end, at {stamp(used)}." if used is not None and used > end else ""
    return Finding(
        Verdict.LINGERING,
        f"It should be off the lock since {stamp(end)} and may still open the door.{after_end}",
        since,
        deadline,
        problem=problem_of(_removal_issues(case)) or remedies.LINGERING,
        flag=FlagKind.LINGERING,
        flag_since=since,
    )


def _removal_issues(case: Case) -> tuple[Issue, ...]:
    news = case.signals.latest.get(NewsKind.FAILED_TO_REMOVE)
    snapshot = last_snapshot(case.reads)
    return (*(news.issues if news else ()), *(snapshot.errors if snapshot else ()))


def removal_unknown(case: Case) -> Finding | None:
    end = case.end
    if not case.leaves or end is None:
        return None
    deadline = removal_deadline(end, case.reads, case.policy)
    if case.now < deadline or not unreadable_since(case.reads, deadline):
        return None
    reason = f"It should be off the lock since {stamp(end)}, and Seam cannot be read: it may still open the door."
    return blinded(reason, deadline, deadline, remedies.UNREADABLE)


def removing(case: Case) -> Finding | None:
    end = case.end
    if not case.leaves or end is None:
        return None
    deadline = removal_deadline(end, case.reads, case.policy)
    return Finding(Verdict.REMOVING, "Its end has come; Seam is taking it off the lock.", end, deadline)
