"""Saving one step of a code: verdict, transition, flags and alerts change together or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ScalarSelect, func, insert, literal, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import Assessment, FlagKind, Verdict
from app.domain.codes import Reads
from app.storage.codes import Case, CodeRow, read_columns
from app.storage.durations import note_duration
from app.storage.flags import FlagRow, close_flags, open_flag
from app.storage.tables import access_codes, flags, transitions
from app.storage.types import UtcDateTime
from app.storage.values import encode_problem


@dataclass(frozen=True, slots=True)
class Queueing:
    """Where the code stands in the queue after a step. ``leased_until`` keeps a lease that somebody else works under;
    ``failures`` counts how often in a row Seam did not do its part or the step raised, ``error`` says why.
    """

    due_at: datetime | None
    leased_until: datetime | None = None
    failures: int = 0
    error: str | None = None


async def save_step(
    conn: AsyncConnection,
    case: Case,
    assessment: Assessment,
    reads: Reads,
    now: datetime,
    queueing: Queueing,
) -> bool:
    """Write the step in the caller's transaction, if the code is still at ``case.row.revision``.

    False: somebody changed it since (or untracked it), and nothing was written: decide again on what is there now.
    ``case.row`` may carry an intent that a read has renewed (``CodeRow.with_intent``); it is written as well.
    """
    row = case.row
    changed = await conn.execute(
        update(access_codes)
        .where(
            access_codes.c.id == row.id,
            access_codes.c.revision == row.revision,
            access_codes.c.untracked_at.is_(None),
        )
        .values(**_columns(case, assessment, reads, now, queueing), revision=row.revision + 1)
    )
    if changed.rowcount == 0:
        return False
    if not row.was_assessed or row.verdict != assessment.verdict:
        await _note_transition(conn, row, assessment, now)
        await note_duration(conn, row, assessment)
    await close_flags(conn, closed_by(case, assessment), now)
    await _keep_true(conn, case, assessment)
    if (kind := opened_by(case, assessment)) is not None:
        await open_flag(
            conn,
            kind=kind,
            code_id=row.id,
            access_code_id=row.access_code_id,
            device_id=row.device_id,
            opened_at=assessment.flag_since or assessment.since,
            reason=assessment.reason,
            problem=assessment.problem,
            now=now,
        )
    return True


def closed_by(case: Case, assessment: Assessment) -> list[FlagRow]:
    """The open flags whose cause is gone."""
    return [flag for flag in case.flags if flag.kind != assessment.flag]


def opened_by(case: Case, assessment: Assessment) -> FlagKind | None:
    """The kind of flag that this assessment opens, if any.

    A ``missed`` flag is closed by acknowledging it, although its cause cannot go away: while the verdict stays, later
    news about the code must not open it again.
    """
    kind = assessment.flag
    if kind is None or any(flag.kind == kind for flag in case.flags):
        return None
    was_missed = case.row.was_assessed and case.row.verdict == Verdict.MISSED
    return None if kind is FlagKind.MISSED and was_missed else kind


def _is_flagged(case: Case, assessment: Assessment) -> bool:
    stays_open = len(closed_by(case, assessment)) < len(case.flags)
    return stays_open or opened_by(case, assessment) is not None


def since_of(row: CodeRow, assessment: Assessment) -> datetime:
    """An unchanged verdict keeps its beginning, if that was earlier."""
    if row.was_assessed and row.verdict == assessment.verdict:
        return min(row.since, assessment.since)
    return assessment.since


def _columns(case: Case, assessment: Assessment, reads: Reads, now: datetime, queueing: Queueing) -> dict[str, Any]:
    row, problem = case.row, assessment.problem
    return {
        "connected_account_id": row.connected_account_id,
        "name": row.name,
        "type": row.type,
        "starts_at": row.starts_at,
        "ends_at": row.ends_at,
        "pin": row.pin,
        "pin_changed": row.pin_changed,
        "window_changed": row.window_changed,
        "asked_at": row.asked_at,
        "end_sent_at": row.end_sent_at,
        "unanswered_change": row.unanswered_change,
        "replaced_by": row.replaced_by,
        **read_columns(reads),
        "verdict": assessment.verdict.value,
        "reason": assessment.reason,
        "since": since_of(row, assessment),
        "deadline": assessment.deadline,
        "next_check_at": assessment.next_check_at,
        "problem": encode_problem(problem) if problem is not None else None,
        "safe_to_share": assessment.safe_to_share,
        "is_settled": assessment.is_settled,
        "is_terminal": assessment.is_terminal,
        "was_verified": row.was_verified or assessment.verdict == Verdict.VERIFIED,
        "is_flagged": _is_flagged(case, assessment),
        "due_at": queueing.due_at,
        "leased_until": queueing.leased_until,
        "failures": queueing.failures,
        "postponed_error": queueing.error,
        "updated_at": now,
    }


async def _keep_true(conn: AsyncConnection, case: Case, assessment: Assessment) -> None:
    """An open flag tells what is wrong now, as the code itself does. That is no news: nobody is told again."""
    problem = encode_problem(assessment.problem) if assessment.problem is not None else None
    for flag in case.flags:
        if flag.kind == assessment.flag and (flag.reason, flag.problem) != (assessment.reason, problem):
            changed = {"reason": assessment.reason, "problem": problem}
            await conn.execute(update(flags).where(flags.c.id == flag.id).values(**changed))


async def _note_transition(conn: AsyncConnection, row: CodeRow, assessment: Assessment, now: datetime) -> None:
    await conn.execute(
        insert(transitions).values(
            code_id=row.id,
            at=_not_before_the_last(row.id, now),
            from_verdict=row.verdict if row.was_assessed else None,
            to_verdict=assessment.verdict.value,
            since=assessment.since,
            reason=assessment.reason,
        )
    )


def _not_before_the_last(code_id: str, now: datetime) -> ScalarSelect[datetime]:
    """``now``, or the time of the code's last transition if that is later.

    The clocks of replicas differ, and one may be set back; a code's story is told in the order in which it was saved.
    """
    moments = union_all(
        select(literal(now, UtcDateTime()).label("at")),
        select(transitions.c.at).where(transitions.c.code_id == code_id),
    ).subquery()
    return select(func.max(moments.c.at)).scalar_subquery()
