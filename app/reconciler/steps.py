"""Deciding on stored codes and saving that, one code or many, without talking to Seam.

A decision that somebody overtook (the revision moved) is dropped and taken again on what is there then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from app.domain.assessment import Policy
from app.domain.codes import Read
from app.reconciler.decisions import NOTHING_SEEN, Decision, Seen, decide
from app.reconciler.waits import Spread, no_spread
from app.storage.audit import Act, record_all
from app.storage.claims import look_up
from app.storage.codes import Case, load_case, load_cases
from app.storage.engine import Database
from app.storage.errors import StorageConflict, StorageUnavailable
from app.storage.mentions import mention
from app.storage.notices import announce
from app.storage.steps import CodeStep, closed_by, opened_by, save_steps
from app.storage.timeline import READ_ACTION

ACTOR = "latchwatch"
_ATTEMPTS = 20

Clock = Callable[[], datetime]

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Saved:
    """What became of a batch: the decisions that were saved, and the ids of codes that somebody else was changing."""

    decisions: list[Decision] = field(default_factory=list)
    overtaken: list[str] = field(default_factory=list)


async def assess_and_save(
    db: Database, code_id: str, policy: Policy, clock: Clock, seen: Seen, spread: Spread = no_spread
) -> Decision | None:
    """Take one step of one code, with what was seen of it at Seam. ``None``: it is not watched (any more).

    Raises ``StorageUnavailable``.
    """
    for _ in range(_ATTEMPTS):
        saved = await save_batch(db, {code_id: seen}, policy, clock, spread, waits=True, keep_lease=not seen.asked)
        if not saved.overtaken:
            return next(iter(saved.decisions), None)
    raise StorageUnavailable(f"the code {code_id} changed faster than it could be assessed; ask again")


async def refresh(db: Database, ident: str, policy: Policy, clock: Clock) -> Case | None:
    """One code as it is now. If it is due, its step is taken first, without calling Seam. ``ident`` is ours or Seam's.

    A lease that a process works under stays: what it is asking Seam is still wanted.
    """
    case = await _load(db, ident)
    if case is None or not _is_due(case, clock()):
        return case
    await assess_and_save(db, case.row.id, policy, clock, NOTHING_SEEN)
    return await _load(db, case.row.id)


async def refresh_all(db: Database, idents: Sequence[str], policy: Policy, clock: Clock) -> dict[str, Case]:
    """``refresh`` for many codes at once: ``{ident: case}``. What is not known is left out."""
    async with db.read() as conn:
        known = await look_up(conn, idents, clock())
    due = dict.fromkeys((code.id for code in known.values() if code.is_due), NOTHING_SEEN)
    if due:
        saved = await save_batch(db, due, policy, clock, no_spread, keep_lease=True)
        for code_id in saved.overtaken:
            await assess_and_save(db, code_id, policy, clock, NOTHING_SEEN)
    async with db.read() as conn:
        cases = {case.row.id: case for case in await load_cases(conn, sorted({code.id for code in known.values()}))}
    found = {ident: cases[code.id] for ident, code in known.items() if code.id in cases}
    # Merged into another row in between, which Seam's id leads to.
    gone = [ident for ident in known if ident not in found]
    return found | await refresh_all(db, gone, policy, clock) if gone else found


async def save_batch(
    db: Database,
    seen: Mapping[str, Seen],
    policy: Policy,
    clock: Clock,
    spread: Spread,
    *,
    waits: bool = False,
    keep_lease: bool = False,
) -> Saved:
    """Decide on these codes (``{our id: what was seen}``), and save that.

    Codes that another transaction holds are left out, unless it ``waits``, which is for one code alone. Raises
    ``StorageUnavailable``, or whatever a code made a rule raise: then nothing of the batch was saved.
    """
    async with db.read() as conn:
        cases = await load_cases(conn, sorted(seen))
    # Not before: whoever saved one of them until here had read the clock earlier, and time must not run back.
    now = clock()
    decisions = [decide(case, seen[case.row.id], policy, now, spread) for case in cases if case.is_watched]
    return await save_decisions(db, decisions, now, waits=waits, keep_lease=keep_lease)


async def save_decisions(
    db: Database, decisions: Sequence[Decision], now: datetime, *, waits: bool = False, keep_lease: bool = False
) -> Saved:
    """Save these decisions, on one code each, in one transaction. What another one overtook is left out, see
    ``save_batch``. Raises ``StorageUnavailable``."""
    if not decisions:
        return Saved()
    try:
        async with db.write() as conn:
            ids = await save_steps(conn, [_step(each, keep_lease) for each in decisions], now, waits=waits)
            saved = [each for each in decisions if each.case.row.id in ids]
            await record_all(conn, [act for each in saved for act in _acts(each)], at=now, actor=ACTOR)
            # Whoever pulled them: their guests need those codes now, so they are watched too.
            await mention(conn, [each.backup for each in saved if each.backup is not None], now)
            await announce(conn, [each.case.row.id for each in saved if _is_news(each)])
    except StorageConflict:
        return Saved(overtaken=[each.case.row.id for each in decisions])
    for decision in saved:
        _tell(decision)
    return Saved(saved, [each.case.row.id for each in decisions if each.case.row.id not in ids])


def _step(decision: Decision, keep_lease: bool) -> CodeStep:
    queueing = decision.queueing
    if keep_lease:
        queueing = replace(queueing, leased_until=decision.case.row.leased_until)
    return CodeStep(decision.case, decision.assessment, decision.reads, queueing)


def _acts(decision: Decision) -> Iterator[Act]:
    code_id = decision.case.row.id
    if decision.read is not None:
        yield Act(READ_ACTION, code_id, _details(decision.read))
    if decision.outcome is not None:
        yield Act(f"change_{decision.outcome.value}", code_id)


async def _load(db: Database, ident: str) -> Case | None:
    async with db.read() as conn:
        return await load_case(conn, ident)


def _is_due(case: Case, now: datetime) -> bool:
    row = case.row
    return case.is_watched and (case.has_news or (row.due_at is not None and row.due_at <= now))


def _is_news(decision: Decision) -> bool:
    """Whether anybody who waits for this code wants to look."""
    row, assessment = decision.case.row, decision.assessment
    return (row.verdict, row.is_settled) != (assessment.verdict, assessment.is_settled) or not row.was_assessed


def _details(read: Read) -> dict[str, Any]:
    """What an answer of Seam said, for the timeline."""
    snapshot = read.snapshot
    if snapshot is None:
        return {"at": _text(read.at), "absent": True}
    return {
        "at": _text(read.at),
        "status": snapshot.status,
        "pending_mutations": list(snapshot.pending) if snapshot.pending is not None else None,
        "errors": [issue.code for issue in snapshot.errors],
        "warnings": [issue.code for issue in snapshot.warnings],
    }


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _tell(decision: Decision) -> None:
    case, assessment = decision.case, decision.assessment
    ids = {"code_id": case.row.id, "access_code_id": case.row.access_code_id}
    if not case.row.was_assessed or case.row.verdict != assessment.verdict:
        _log.info("verdict_changed", **ids, verdict=assessment.verdict.value, since=_text(assessment.since))
    if (kind := opened_by(case, assessment)) is not None:
        _log.info("code_flagged", **ids, kind=kind.value)
    for flag in closed_by(case, assessment):
        _log.info("flag_closed", **ids, kind=flag.kind)
