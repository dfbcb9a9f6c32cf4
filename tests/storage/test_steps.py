"""One step changes verdict, transition, flags and alerts together, or nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from app.domain.assessment import Assessment, FlagKind, Problem, Verdict
from app.storage.codes import Case, mark_due, untrack
from app.storage.engine import Connection, Database, open_database
from app.storage.flags import acknowledge, load_flag
from app.storage.steps import CodeStep, Queueing, save_steps
from app.storage.tables import access_codes, alerts, flags, transitions
from app.storage.timeline import load_timeline
from tests.storage.arrivals import NOW, after
from tests.storage.made import bound, case_of, rows_of
from tests.storage.waiting import until_waiting

LATER = Queueing(after(60))
PROBLEM = Problem("device", "device_offline", "The lock is offline.", temporary=True, remedy="Look after it.")


def judged(verdict: Verdict, flag: FlagKind | None = None, **fields: Any) -> Assessment:
    known = {"reason": "So.", "since": NOW, "deadline": None, "next_check_at": after(60)}
    return Assessment(verdict=verdict, flag=flag, flag_since=after(-1) if flag else None, **{**known, **fields})


STUCK = judged(Verdict.STUCK, FlagKind.STUCK)
MISSED = judged(Verdict.MISSED, FlagKind.MISSED, is_terminal=True, next_check_at=None)


async def save(db: Database, case: Case, assessment: Assessment, at: float = 0) -> bool:
    async with db.write() as conn:
        return await _save(conn, case, assessment, at)


async def _save(conn: Connection, case: Case, assessment: Assessment, at: float = 0) -> bool:
    step = CodeStep(case, assessment, case.row.reads(), LATER)
    return set(await save_steps(conn, [step], after(at))) == {case.row.id}


async def step(db: Database, ident: str, assessment: Assessment, at: float = 0) -> None:
    assert await save(db, await case_of(db, ident), assessment, at)


async def _counts(db: Database) -> list[int]:
    return [len(await rows_of(db, table)) for table in (transitions, flags, alerts)]


async def test_a_step_is_written_whole(db: Database) -> None:
    row = await bound(db)
    await step(db, row.id, judged(Verdict.STUCK, FlagKind.STUCK, problem=PROBLEM, deadline=after(-1)), 5)
    case = await case_of(db, row.id)
    assert (case.row.verdict, case.row.is_settled, case.row.safe_to_share) == ("stuck", True, False)
    assert (case.row.due_at, case.row.revision, case.row.updated_at) == (after(60), row.revision + 1, after(5))
    (flag,) = case.flags
    assert (flag.kind, flag.severity, flag.opened_at, flag.created_at) == ("stuck", "critical", after(-1), after(5))
    assert flag.problem == case.row.problem
    (change,) = await rows_of(db, transitions)
    assert (change["from_verdict"], change["to_verdict"], change["at"]) == (None, "stuck", after(5))
    (alert,) = await rows_of(db, alerts)
    assert (alert["id"], alert["state"], alert["next_attempt_at"]) == (f"{flag.id}:opened", "pending", after(5))


async def _by_news(db: Database, code_id: str) -> None:
    async with db.write() as conn:
        await mark_due(conn, [code_id], NOW)


async def _by_a_step(db: Database, code_id: str) -> None:
    await step(db, code_id, judged(Verdict.PENDING))


async def _by_untracking(db: Database, code_id: str) -> None:
    async with db.write() as conn:
        await untrack(conn, code_id, NOW)


@pytest.mark.parametrize("overtake", [_by_news, _by_a_step, _by_untracking])
async def test_a_decision_on_an_older_revision_writes_nothing(db: Database, overtake: Any) -> None:
    row = await bound(db)
    stale = await case_of(db, row.id)
    await overtake(db, row.id)
    before, counts = await rows_of(db, access_codes), await _counts(db)
    assert not await save(db, stale, STUCK)
    assert (await rows_of(db, access_codes), await _counts(db)) == (before, counts)


async def test_a_batch_saves_exactly_those_that_nobody_overtook(db: Database) -> None:
    """Flags that close, stay and open among them: of those that were overtaken, nothing at all is written."""
    ids = [(await bound(db, f"ac{number}")).id for number in range(9)]
    for number, ident in enumerate(ids):
        await step(db, ident, judged(Verdict.PENDING) if number % 3 == 2 else STUCK)
    cases = [await case_of(db, ident) for ident in ids]
    for overtake, number in ((_by_news, 0), (_by_a_step, 4), (_by_untracking, 8)):
        await overtake(db, ids[number])
    changes = [replace(STUCK, reason="Again."), judged(Verdict.VERIFIED), judged(Verdict.FAILED, FlagKind.FAILED)]
    steps = [CodeStep(case, change, case.row.reads(), LATER) for case, change in zip(cases, 3 * changes, strict=True)]
    before = {ident: await case_of(db, ident) for ident in ids}
    counts = await _counts(db)
    async with db.write() as conn:
        saved = set(await save_steps(conn, steps, after(5)))
    assert saved == {ident for number, ident in enumerate(ids) if number not in {0, 4, 8}}
    for case, change in zip(cases, 3 * changes, strict=True):
        now = await case_of(db, case.row.id)
        if case.row.id not in saved:
            assert now == before[case.row.id]
            continue
        assert (now.row.verdict, now.row.reason, now.row.revision) == (
            *(change.verdict, change.reason, case.row.revision + 1),
        )
        assert [(flag.kind, flag.reason) for flag in now.flags] == (
            [(change.flag, change.reason)] if change.flag else []
        )
    assert await _counts(db) == [counts[0] + 4, counts[1] + 2, counts[2] + 4]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_code_that_another_transaction_holds_is_left_out_or_waited_for(
    postgres_url: str, *, waits: bool
) -> None:
    db = open_database(postgres_url)
    row = await bound(db)
    case = await case_of(db, row.id)

    async def taken() -> bool:
        async with db.write() as conn:
            return bool(await save_steps(conn, [CodeStep(case, STUCK, case.row.reads(), LATER)], NOW, waits=waits))

    async with db.write() as holder:
        await holder.execute(select(access_codes).with_for_update())
        taking = asyncio.create_task(taken())
        if waits:
            await until_waiting(db)
        else:
            assert not await taking
    assert await taking is waits
    await db.close()


async def test_an_untracked_code_takes_no_step_even_at_its_own_revision(db: Database) -> None:
    row = await bound(db)
    await _by_untracking(db, row.id)
    assert not await save(db, await case_of(db, row.id), STUCK)
    assert await _counts(db) == [0, 0, 0]


async def test_what_was_saved_later_is_told_later_even_by_a_clock_that_is_behind(db: Database) -> None:
    """Of another replica, or one that was set back."""
    row = await bound(db)
    for verdict, at in ((Verdict.PENDING, 5), (Verdict.VERIFIED, 2), (Verdict.FAILED, 4), (Verdict.VERIFIED, 6)):
        await step(db, row.id, judged(verdict), at)
    async with db.read() as conn:
        told = await load_timeline(conn, (await case_of(db, row.id)).row, after=None, limit=50)
    changes = [(entry.facts["from_verdict"], entry.facts["to_verdict"], entry.at) for entry in told.items]
    assert changes == [
        (None, "pending", after(5)),
        ("pending", "verified", after(5)),
        ("verified", "failed", after(5)),
        ("failed", "verified", after(6)),
    ]


async def test_a_step_that_rolls_back_leaves_neither_flag_nor_alert(db: Database) -> None:
    row = await bound(db)
    case = await case_of(db, row.id)

    async def fail() -> None:
        async with db.write() as conn:
            assert await _save(conn, case, STUCK)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await _counts(db) == [0, 0, 0]
    assert (await case_of(db, row.id)).row == case.row


async def test_the_same_verdict_again_is_no_transition_and_no_second_flag(db: Database) -> None:
    row = await bound(db)
    await step(db, row.id, STUCK)
    await step(db, row.id, replace(STUCK, since=after(5)), 5)
    assert await _counts(db) == [1, 1, 1]
    assert (await case_of(db, row.id)).row.since == NOW


async def test_an_open_flag_tells_what_is_wrong_now_without_another_alert(db: Database) -> None:
    row = await bound(db)
    await step(db, row.id, STUCK)
    await step(db, row.id, replace(STUCK, reason="The lock is offline.", problem=PROBLEM))
    (flag,) = (await case_of(db, row.id)).flags
    assert (flag.reason, (flag.problem or {})["code"]) == ("The lock is offline.", "device_offline")
    assert len(await rows_of(db, alerts)) == 1


async def test_a_flag_closes_with_its_cause_and_another_opens(db: Database) -> None:
    row = await bound(db)
    await step(db, row.id, STUCK)
    (first,) = (await case_of(db, row.id)).flags
    await step(db, row.id, judged(Verdict.FAILED, FlagKind.FAILED), 5)
    (second,) = (await case_of(db, row.id)).flags
    assert second.kind == "failed"
    async with db.read() as conn:
        closed = await load_flag(conn, first.id)
    assert closed is not None
    assert closed.closed_at == after(5)
    told = {f"{first.id}:opened", f"{first.id}:closed", f"{second.id}:opened"}
    assert {alert["id"] for alert in await rows_of(db, alerts)} == told


async def test_a_flag_that_comes_back_is_a_new_one(db: Database) -> None:
    row = await bound(db)
    for assessment in (STUCK, judged(Verdict.VERIFIED), STUCK):
        await step(db, row.id, assessment)
    assert await _counts(db) == [3, 2, 3]
    assert len((await case_of(db, row.id)).flags) == 1


async def test_a_missed_flag_stays_until_it_is_acknowledged_and_then_for_good(db: Database) -> None:
    row = await bound(db)
    await step(db, row.id, MISSED)
    await step(db, row.id, MISSED)
    (flag,) = (await case_of(db, row.id)).flags
    async with db.write() as conn:
        acknowledged = await acknowledge(conn, flag.id, "ada", None, after(9))
    assert acknowledged is not None
    assert (acknowledged.closed_at, acknowledged.acknowledged_by) == (after(9), "ada")
    await step(db, row.id, MISSED)
    assert (await case_of(db, row.id)).flags == ()
    assert [alert["id"] for alert in await rows_of(db, alerts)] == [f"{flag.id}:closed", f"{flag.id}:opened"]


async def test_acknowledging_another_flag_leaves_it_open_and_keeps_the_first_name(db: Database) -> None:
    row = await bound(db)
    await step(db, row.id, STUCK)
    stale = await case_of(db, row.id)
    (flag,) = stale.flags
    async with db.write() as conn:
        await acknowledge(conn, flag.id, "ada", None, NOW)
        acknowledged = await acknowledge(conn, flag.id, "bob", after(99), NOW)
    assert acknowledged is not None
    assert (acknowledged.closed_at, acknowledged.acknowledged_by, acknowledged.snoozed_until) == (
        None,
        "ada",
        after(99),
    )
    assert not await save(db, stale, judged(Verdict.VERIFIED))  # it was decided on without knowing of this


async def test_acknowledging_no_flag_says_so(db: Database) -> None:
    async with db.write() as conn:
        assert await acknowledge(conn, "flag_none", "ada", None, NOW) is None
