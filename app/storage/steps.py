"""Saving one step of a code: verdict, transition, flags and alerts change together or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import Assessment, FlagKind, Problem, Verdict
from app.domain.codes import Reads
from app.storage.codes import Case, CodeRow, read_columns
from app.storage.dialects import dialect_of
from app.storage.driver import Step, run, statement_of
from app.storage.durations import note_durations
from app.storage.engine import Dialect
from app.storage.flags import FlagRow, NewFlag, closing, correcting, opening
from app.storage.inbox_sql import rows_of
from app.storage.sets import Bulk, as_json, steps_of
from app.storage.signals import HAS_VERSION, unmark
from app.storage.tables import access_codes, transitions
from app.storage.values import encode_problem

# A decision is one on a revision of the code and a version of its signals.
_AS_IT_WAS = f"""access_codes.revision = given.revision AND access_codes.untracked_at IS NULL
        AND {HAS_VERSION.format(version="CAST(given.version AS integer)")}"""
_UPDATE_ONE_WRITER = """
    UPDATE access_codes SET revision = access_codes.revision + 1, {values} FROM {rows}
    WHERE access_codes.id = given.id AND {as_it_was}
    RETURNING id"""
# Rows are locked in the order of their ids before any is changed, as ingest does when it marks many codes due: two that
# concern the same codes never wait for each other in a circle.
_UPDATE_SHARED = """
    WITH held AS (
        SELECT given.* FROM {rows} JOIN access_codes ON access_codes.id = given.id
        WHERE {as_it_was}
        ORDER BY access_codes.id FOR UPDATE OF access_codes {held}
    )
    UPDATE access_codes SET revision = access_codes.revision + 1, {values}
    FROM held AS given WHERE access_codes.id = given.id
    RETURNING access_codes.id"""
# The clocks of replicas differ, and one may be set back: a code's story is told in the order in which it was saved.
_NOTE = """
    INSERT INTO transitions (code_id, at, from_verdict, to_verdict, since, reason)
    SELECT code_id, {at}, from_verdict, to_verdict, since, reason FROM {rows}"""
_LAST = "(SELECT max(known.at) FROM transitions AS known WHERE known.code_id = given.code_id)"
_TRANSITION = ("code_id", "at", "from_verdict", "to_verdict", "since", "reason")


@dataclass(frozen=True, slots=True)
class Queueing:
    """Where the code stands in the queue after a step. ``leased_until`` keeps a lease that somebody else works under;
    ``failures`` counts how often in a row Seam did not do its part or the step raised, ``error`` says why.
    """

    due_at: datetime | None
    leased_until: datetime | None = None
    failures: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CodeStep:
    """What is to be saved of one code that was decided on as it was at ``case.row.revision``.

    ``case.row`` may carry an intent that a read has renewed (``CodeRow.with_intent``); it is written as well.
    """

    case: Case
    assessment: Assessment
    reads: Reads
    queueing: Queueing

    @property
    def is_transition(self) -> bool:
        row = self.case.row
        return not row.was_assessed or row.verdict != self.assessment.verdict


async def save_steps(
    conn: AsyncConnection, steps: Sequence[CodeStep], now: datetime, *, waits: bool = False
) -> Collection[str]:
    """Write these steps, of one code each, in the caller's transaction. The ids of the codes that were still at their
    revision, and had no further news, come back.

    Of the others nothing was written: somebody changed them since, untracked them, or is holding them right now, unless
    it ``waits`` for that, which is for one code alone. Decide again on what is there then.
    """
    dialect = dialect_of(conn)
    given = [_columns(step, now) for step in steps]
    update = update_statement(dialect, tuple(given[0]), waits=waits)
    saved = set(await run(conn, *steps_of(update, [tuple(values.values()) for values in given])))
    done = [step for step in steps if step.case.row.id in saved]
    await unmark(conn, [_news_of(step.case) for step in done if _is_all_taken(step.case)])
    changed = [(step.case.row, step.assessment) for step in done if step.is_transition]
    await run(
        conn,
        *_note_transitions(dialect, changed, now),
        *note_durations(dialect, changed),
        *closing(dialect, [flag for step in done for flag in closed_by(step.case, step.assessment)], now),
        *correcting(dialect, [told for step in done for told in _still_true(step)]),
        *opening(dialect, [flag for step in done for flag in _opened(step)], now),
    )
    return saved


@cache
def update_statement(dialect: Dialect, columns: tuple[str, ...], *, waits: bool) -> Bulk:
    """``columns``: id, revision and version of the signals, then those that are written."""
    values = ", ".join(f'"{name}" = given."{name}"' for name in columns[3:])
    template = _UPDATE_ONE_WRITER if dialect == "sqlite" else _UPDATE_SHARED
    rows = rows_of(dialect, access_codes, columns)
    text = template.format(rows=rows, values=values, as_it_was=_AS_IT_WAS, held="" if waits else "SKIP LOCKED")
    return Bulk(dialect, statement_of(dialect, text), len(columns))


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


def _columns(step: CodeStep, now: datetime) -> dict[str, Any]:
    row, assessment, problem, queueing = step.case.row, step.assessment, step.assessment.problem, step.queueing
    reads = read_columns(step.reads)
    return {
        "id": row.id,
        "revision": row.revision,
        "version": str(step.case.signals.version),
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
        "unanswered_change": as_json(row.unanswered_change),
        "replaced_by": row.replaced_by,
        **reads,
        "read": as_json(reads["read"]),
        "verdict": assessment.verdict.value,
        "reason": assessment.reason,
        "since": since_of(row, assessment),
        "deadline": assessment.deadline,
        "next_check_at": assessment.next_check_at,
        "problem": as_json(encode_problem(problem)) if problem is not None else None,
        "safe_to_share": assessment.safe_to_share,
        "is_settled": assessment.is_settled,
        "is_terminal": assessment.is_terminal,
        "was_verified": row.was_verified or assessment.verdict == Verdict.VERIFIED,
        "is_flagged": _is_flagged(step.case, assessment),
        "due_at": queueing.due_at,
        "leased_until": queueing.leased_until,
        "failures": queueing.failures,
        "postponed_error": queueing.error,
        "updated_at": now,
    }


def _is_all_taken(case: Case) -> bool:
    """A claim alone looks for the account in the events, so the mark of a code without one is left to it."""
    return case.has_news and case.row.connected_account_id is not None


def _news_of(case: Case) -> tuple[str, int]:
    return case.row.access_code_id or "", case.signals.version


def _opened(step: CodeStep) -> Iterator[NewFlag]:
    row, assessment = step.case.row, step.assessment
    kind = opened_by(step.case, assessment)
    if kind is not None:
        since = assessment.flag_since or assessment.since
        place = (row.id, row.access_code_id, row.device_id)
        yield NewFlag(kind, *place, since, assessment.reason, assessment.problem)


def _still_true(step: CodeStep) -> Iterator[tuple[FlagRow, str, Problem | None]]:
    """An open flag tells what is wrong now, as the code itself does."""
    assessment = step.assessment
    for flag in step.case.flags:
        if flag.kind == assessment.flag:
            yield flag, assessment.reason, assessment.problem


def _note_transitions(dialect: Dialect, changed: Sequence[tuple[CodeRow, Assessment]], now: datetime) -> list[Step]:
    rows = [
        (
            *(row.id, now, row.verdict if row.was_assessed else None),
            *(assessment.verdict.value, assessment.since, assessment.reason),
        )
        for row, assessment in changed
    ]
    return steps_of(_transitions(dialect), rows)


@cache
def _transitions(dialect: Dialect) -> Bulk:
    latest = "max(given.at, coalesce({last}, given.at))" if dialect == "sqlite" else "greatest(given.at, {last})"
    text = _NOTE.format(rows=rows_of(dialect, transitions, _TRANSITION), at=latest.format(last=_LAST))
    return Bulk(dialect, statement_of(dialect, text), len(_TRANSITION))
