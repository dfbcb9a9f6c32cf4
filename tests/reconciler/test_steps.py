"""Steps saved in batches and one by one: what is overtaken is decided again, and a lease is nobody else's to end."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from sqlalchemy import select, update

from app.domain.codes import Read
from app.domain.events import Event
from app.domain.news import NewsKind
from app.reconciler import steps
from app.reconciler.decisions import NOTHING_SEEN, asked_about
from app.reconciler.steps import assess_and_save, refresh, refresh_all, save_batch
from app.reconciler.waits import no_spread
from app.storage.claims import claim
from app.storage.codes import CodeRow, change_code, load_cases, mark_due, untrack
from app.storage.engine import Database, open_database
from app.storage.errors import StorageUnavailable
from app.storage.inbox import store_batch
from app.storage.tables import access_codes, audit_log
from tests.reconciler.worlds import POLICY, World, seconds


@pytest.fixture
def world(db: Database) -> World:
    return World(db)


async def test_a_code_that_is_not_due_is_answered_as_it_is_stored(world: World) -> None:
    code = await world.create()
    await world.run()
    before = (await world.case(code.id)).row
    case = await refresh(world.db, code.id, POLICY, world.clock)
    assert case is not None
    assert case.row == before


@pytest.mark.parametrize("by_seams_id", [False, True])
async def test_a_code_is_refreshed_by_either_id(world: World, *, by_seams_id: bool) -> None:
    code = await world.create()
    ident = code.access_code_id if by_seams_id else code.id
    assert ident is not None
    assert await world.seen(ident) == "pending"
    assert (await world.case(code.id)).row.was_assessed


async def test_nobody_and_the_untracked_are_not_refreshed(world: World) -> None:
    assert await refresh(world.db, "code_none", POLICY, world.clock) is None
    code = await world.create()
    async with world.db.write() as conn:
        await untrack(conn, code.id, world.clock.now)
    assert await world.seen(code.id) == "requested"
    assert await assess_and_save(world.db, code.id, POLICY, world.clock, NOTHING_SEEN) is None


async def test_a_refresh_leaves_the_lease_of_a_process_that_is_asking_seam(world: World) -> None:
    code = await world.create()
    await world.run()
    world.clock.advance(seconds=601)
    async with world.db.write() as conn:
        await claim(conn, world.clock.now, seconds(60), 1)
    assert await world.seen(code.id) == "pending"
    row = (await world.case(code.id)).row
    assert row.leased_until == world.clock.now + seconds(60)
    assert row.due_at is not None
    assert row.due_at <= world.clock.now


async def test_what_was_seen_at_seam_while_somebody_refreshed_still_counts(world: World) -> None:
    code = await world.create()
    seen = asked_about(await world.case(code.id))
    await world.seen(code.id)
    world.clock.advance(seconds=601)
    read = Read(world.clock.now, world.seam.codes[f"ac-{code.id}"])
    decision = await assess_and_save(
        world.db, code.id, POLICY, world.clock, type(seen)(True, seen.access_code_id, seen.version, read)
    )
    assert decision is not None
    assert decision.read == read
    assert await world.verdict(code.id) == "stuck"


async def test_an_answer_is_noted_for_the_timeline_once(world: World) -> None:
    code = await world.create()
    await world.run(seconds=601)
    async with world.db.read() as conn:
        query = select(audit_log.c.actor, audit_log.c.details).where(audit_log.c.code_id == code.id)
        ((actor, details),) = (await conn.execute(query)).all()
    assert (actor, details["status"], details["pending_mutations"]) == ("latchwatch", "setting", ["creating"])


async def test_many_refreshes_at_once_make_one_transition(world: World, database_url: str) -> None:
    code = await world.create()
    await world.tell(NewsKind.SET, code.access_code_id)
    other = open_database(database_url)
    refreshes = [refresh(each, code.id, POLICY, world.clock) for each in 5 * [world.db, other]]
    for case in await asyncio.gather(*refreshes):
        assert case is not None
        assert case.row.verdict == "verified"
    assert await world.verdicts_of(code.id) == ["verified"]
    await other.close()


async def test_a_step_that_had_to_wait_is_taken_at_the_time_after_the_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else found meanwhile at a deadline would be taken back by whoever still has the time before it."""
    code = await world.create()
    began = world.clock.now

    async def slowly(conn: Any, ids: Any) -> Any:
        world.clock.advance(seconds=5)
        cases = await load_cases(conn, ids)
        if world.clock.now == began + seconds(5):
            async with world.db.write() as other:
                await change_code(other, code.id, {"reference": "moved"}, world.clock.now)
        return cases

    monkeypatch.setattr(steps, "load_cases", slowly)
    await refresh(world.db, code.id, POLICY, world.clock)
    assert (await world.case(code.id)).row.updated_at == began + seconds(10)


async def test_a_code_that_changes_faster_than_it_is_judged_is_left_for_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await world.create()

    async def overtaken(conn: Any, ids: Any) -> Any:
        cases = await load_cases(conn, ids)
        async with world.db.write() as other:
            await change_code(other, code.id, {"reference": "moved"}, world.clock.now)
        return cases

    monkeypatch.setattr(steps, "load_cases", overtaken)
    with pytest.raises(StorageUnavailable):
        await assess_and_save(world.db, code.id, POLICY, world.clock, NOTHING_SEEN)
    assert await world.verdicts_of(code.id) == []


async def test_a_batch_leaves_out_what_another_transaction_holds(postgres_url: str) -> None:
    world = World(open_database(postgres_url))
    held, free = await world.create(), await world.create(pin="k:other")
    async with world.db.write() as conn:
        await mark_due(conn, [held.id], world.clock.now)
        seen = {held.id: NOTHING_SEEN, free.id: NOTHING_SEEN}
        saved = await save_batch(world.db, seen, POLICY, world.clock, no_spread)
    assert saved.overtaken == [held.id]
    assert [decision.case.row.id for decision in saved.decisions] == [free.id]
    await world.db.close()


async def test_a_batch_with_a_row_that_raises_saves_nothing(world: World) -> None:
    poisoned, well = await world.create(), await world.create(pin="k:other")
    async with world.db.write() as conn:
        broken = update(access_codes).where(access_codes.c.id == poisoned.id)
        await conn.execute(broken.values(read={"at": "never", "snapshot": None}))
    with pytest.raises(ValueError, match="never"):
        await save_batch(world.db, {poisoned.id: NOTHING_SEEN, well.id: NOTHING_SEEN}, POLICY, world.clock, no_spread)
    assert await world.verdicts_of(well.id) == []


async def _verified_until_removed(world: World) -> CodeRow:
    """A code that was verified, waits for a moment that is far away, and was just said to be off its lock."""
    code = await world.create()
    async with world.db.write() as conn:
        await change_code(conn, code.id, {"connected_account_id": "account"}, world.clock.now)
    await world.tell(NewsKind.SET, code.access_code_id)
    world.seam.change(code.access_code_id or "", pending=(), status="set")
    await world.run(seconds=1)
    row = (await world.case(code.id)).row
    assert row.verdict == "verified"
    assert row.due_at is not None
    assert row.due_at > world.clock.now + seconds(600)
    await world.tell(NewsKind.REMOVED, code.access_code_id)
    return code


@pytest.mark.parametrize("at_once", [False, True], ids=["one", "many"])
async def test_who_looks_before_the_reconciler_does_not_take_its_question_to_seam_away(
    world: World, *, at_once: bool
) -> None:
    code = await _verified_until_removed(world)
    if at_once:
        await refresh_all(world.db, [code.id], POLICY, world.clock)
    else:
        await world.seen(code.id)
    assert not (await world.case(code.id)).has_news, "its step was taken"
    before = len(world.seam.calls)
    await world.run()
    assert len(world.seam.calls) == before + 1
    assert (await world.case(code.id)).row.read is not None


async def test_news_during_a_question_to_seam_is_asked_about_again(world: World) -> None:
    code = await _verified_until_removed(world)
    seen = asked_about(await world.case(code.id))
    read = Read(world.clock.now, world.seam.codes[f"ac-{code.id}"])
    await world.tell(NewsKind.FAILED, code.access_code_id)
    late = type(seen)(True, seen.access_code_id, seen.version, read)
    decision = await assess_and_save(world.db, code.id, POLICY, world.clock, late)
    assert decision is not None
    assert decision.is_dropped
    row = (await world.case(code.id)).row
    assert row.due_at is not None
    assert row.due_at <= world.clock.now


async def test_a_code_learns_its_account_although_somebody_looked_first(world: World) -> None:
    code = await world.create()
    news = world.news(NewsKind.SET, code.access_code_id)
    event = cast(Event, news.reading)._replace(connected_account_id="told")
    await store_batch(world.db, [news._replace(reading=event)])
    assert await world.seen(code.id) == "verified"
    await world.run()
    assert (await world.case(code.id)).row.connected_account_id == "told"
