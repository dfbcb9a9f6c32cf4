"""The rules for a code that is to be on the lock, now or from its start on (contract, section 3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from app.domain import remedies
from app.domain.assessment import FlagKind, Problem, Verdict
from app.domain.case import Case, Finding, blinded, stamp, turns
from app.domain.deadlines import preload_deadline
from app.domain.facts import Step, last_snapshot, pending_update, read_since, unreadable_since
from app.domain.news import NewsKind
from app.domain.problems import problem_of
from app.domain.risks import dead_before_start, permanent_trouble, risks


def replaced(case: Case) -> Finding | None:
    pulled = case.signals.latest.get(NewsKind.BACKUP_PULLED)
    snapshot = last_snapshot(case.reads)
    in_read = snapshot.pulled_backup_access_code_id if snapshot else None
    if pulled is None and in_read is None and case.code.replaced_by is None:
        return None
    read_at = case.reads.last.at if in_read is not None and case.reads.last is not None else case.now
    since = pulled.occurred_at if pulled else read_at
    return Finding(
        Verdict.REPLACED,
        "A backup code is in use instead: the guest needs the other PIN.",
        since,
        problem=remedies.REPLACED,
    )


def lost(case: Case) -> Finding | None:
    off, last, first = case.facts.off, case.reads.last, case.first_read_off
    if off is None or last is None or first is None or not case.has_started:
        return None
    if last.at - first < case.policy.recheck_after:
        return None
    return Finding(
        Verdict.LOST,
        "It was on the lock and is not any more; Seam, asked twice, does not have it on.",
        off.since,
        case.deadline,
        problem=problem_of(case.issues()) or remedies.LOST,
        flag=FlagKind.LOST,
        flag_since=off.since,
    )


def unknown(case: Case) -> Finding | None:
    blind = case.facts.blind
    if case.has_started and case.facts.is_blind and blind is not None:
        problem = problem_of(case.issues()) or remedies.BLIND
        return blinded(f"Nothing can be known of it: {blind.what}.", blind.since, case.deadline, problem)
    turned = _unreadable_turn(case)
    if turned is None:
        return None
    return blinded("Seam could not be read when the code was due.", turned, case.deadline, remedies.UNREADABLE)


def _unreadable_turn(case: Case) -> datetime | None:
    """The moment by which Seam had to be read, and could not be."""
    return next((turn for turn in turns(case) if case.now >= turn and unreadable_since(case.reads, turn)), None)


def mismatched(case: Case) -> Finding | None:
    since = case.facts.wrong_pin_since
    if since is None:
        return None
    return Finding(
        Verdict.MISMATCHED,
        "The lock holds another PIN than the one that was asked for.",
        since,
        problem=remedies.MISMATCHED,
        flag=FlagKind.MISMATCHED,
        flag_since=since,
    )


def outdated(case: Case) -> Finding | None:
    if not case.facts.is_on:
        return None
    found = _changed_in_vendor_app(case) or _unconfirmed_change(case)
    if found is None:
        return None
    reason, since = found
    deadline = since + (case.code.set_within or case.policy.set_within)
    is_due = case.now >= deadline and read_since(case.reads, deadline)
    return Finding(
        Verdict.OUTDATED,
        reason,
        since,
        deadline,
        problem=problem_of(case.issues()) or remedies.OUTDATED,
        flag=FlagKind.OUTDATED if is_due else None,
        flag_since=deadline if is_due else None,
    )


def _changed_in_vendor_app(case: Case) -> tuple[str, datetime] | None:
    modified = case.signals.at(NewsKind.MODIFIED_EXTERNALLY)
    if modified is None or case.facts.on is None or modified <= case.facts.on.at:
        return None
    return "It was changed outside Seam, and not confirmed since: PIN or window may differ.", modified


def _unconfirmed_change(case: Case) -> tuple[str, datetime] | None:
    if case.awaits_pin:
        return "The new PIN is not confirmed: the old one is still on the lock.", case.asked_at
    if case.awaits_window:
        return "The new window is not confirmed: the old one is still on the lock.", case.asked_at
    if pending_update(case.reads) and case.reads.last is not None:
        kinds = (NewsKind.CODE_CHANGED, NewsKind.TIME_FRAME_CHANGED, NewsKind.SET)
        moments = [at for kind in kinds if (at := case.signals.at(kind)) is not None]
        if max(moments, default=case.asked_at) <= case.reads.last.at:
            return "A change is pending at Seam: the old PIN or window is still on the lock.", case.reads.last.at
    return None


def failed(case: Case) -> Finding | None:
    newest = case.facts.newest
    if newest is None or newest.step is not Step.FAILED:
        return None
    return Finding(
        Verdict.FAILED,
        "The lock did not take the code; Seam keeps trying.",
        newest.since,
        case.deadline,
        problem=problem_of(case.issues()) or remedies.FAILED,
        flag=FlagKind.FAILED,
        flag_since=newest.since,
    )


def verified(case: Case) -> Finding | None:
    if not case.facts.is_on or case.facts.on is None:
        return None
    return Finding(Verdict.VERIFIED, "It is on the lock, as asked.", case.facts.on.since)


def stuck(case: Case) -> Finding | None:
    deadline = case.deadline
    if not case.has_started or case.now < deadline or not read_since(case.reads, deadline) or case.was_taken_off:
        return None
    return Finding(
        Verdict.STUCK,
        f"It should be on the lock since {stamp(deadline)}, and Seam does not confirm it.",
        deadline,
        deadline,
        problem=problem_of(case.issues()) or remedies.STUCK,
        flag=FlagKind.STUCK,
        flag_since=deadline,
    )


def scheduled(case: Case) -> Finding | None:
    newest = case.facts.newest
    if newest is None or not case.is_scheduled:
        return None
    finding = Finding(
        Verdict.SCHEDULED,
        "It is in the lock's memory and becomes active by itself at its start.",
        newest.since,
        case.deadline,
    )
    risk = dead_before_start(case.health)
    if risk is None:
        return finding
    return replace(finding, problem=risk.problem, flag=FlagKind.AT_RISK, flag_since=max(risk.since, newest.since))


def delayed(case: Case) -> Finding | None:
    newest = case.facts.newest
    if newest is None or newest.step is not Step.DELAYED:
        return None
    return Finding(
        Verdict.DELAYED,
        "Programming takes unusually long; Seam is still trying.",
        newest.since,
        case.deadline,
        problem=problem_of(case.issues()) or remedies.DELAYED,
        flag=FlagKind.DELAYED,
        flag_since=newest.since,
    )


def at_risk(case: Case) -> Finding | None:
    code = case.code
    if code.starts_at is None or case.has_started:
        return None
    found = _trouble(case) or _missing_preload(case)
    if found is None:
        return None
    reason, since, problem = found
    return Finding(Verdict.AT_RISK, reason, since, case.deadline, problem, flag=FlagKind.AT_RISK, flag_since=since)


def _trouble(case: Case) -> tuple[str, datetime, Problem] | None:
    starts_at = case.code.starts_at
    lasting = permanent_trouble(case.issues(), case.health, case.reads, case.asked_at)
    if lasting is not None:
        return f"It cannot be programmed as things are: {lasting.what}.", lasting.since, lasting.problem
    if starts_at is None or case.now < starts_at - case.policy.at_risk_before:
        return None
    risk = next(iter(risks(case.issues(), case.health, case.reads, case.asked_at)), None)
    if risk is None:
        return None
    since = max(risk.since, starts_at - case.policy.at_risk_before)
    return f"Its start is near, and {risk.what}.", since, risk.problem


def _missing_preload(case: Case) -> tuple[str, datetime, Problem] | None:
    preload = preload_deadline(case.code, case.health, case.policy)
    if preload is None or case.now < preload or not read_since(case.reads, preload):
        return None
    return f"The lock should hold it in its memory since {stamp(preload)}, and does not.", preload, remedies.PRELOAD


def pending(case: Case) -> Finding | None:
    if not case.has_started and not _being_programmed(case) and not case.holds_the_old:
        return None
    if case.holds_the_old:
        reason = "The change is not confirmed: the lock's memory still holds it as it was before."
        return Finding(Verdict.PENDING, reason, case.asked_at, case.deadline)
    if case.was_taken_off and case.facts.off is not None:
        reason = "It was taken off the lock; Seam is asked whether it comes back."
        return Finding(Verdict.PENDING, reason, case.facts.off.since, case.deadline)
    return Finding(Verdict.PENDING, "Seam is programming it.", case.asked_at, case.deadline)


def _being_programmed(case: Case) -> bool:
    snapshot = last_snapshot(case.reads)
    if snapshot is None:
        return False
    return "creating" in snapshot.pending if snapshot.pending is not None else snapshot.status == "setting"


def upcoming(case: Case) -> Finding:
    return Finding(Verdict.UPCOMING, "Its start is still to come, and nothing is wrong.", case.asked_at, case.deadline)
