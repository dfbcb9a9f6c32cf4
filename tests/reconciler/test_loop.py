"""The reconciler at work: what is due is judged, Seam is asked first, and nothing is done twice or lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from app.domain.news import NewsKind
from app.reconciler.loop import Reconciler
from app.seam.errors import SeamUnanswered
from app.storage.engine import Database, open_database
from app.storage.errors import StorageUnavailable
from app.storage.tables import access_codes, flags, transitions
from tests.reconciler.worlds import PIN, World, seconds


@pytest.fixture
def world(db: Database) -> World:
    return World(db)


async def test_a_code_that_seam_still_sets_at_its_deadline_is_stuck(world: World) -> None:
    code = await world.create()
    await world.run()
    assert await world.verdict(code.id) == "pending"
    await world.run(seconds=601)
    assert await world.verdict(code.id) == "stuck"
    assert await world.flags_of(code.id) == [("stuck", True)]
    case = await world.case(code.id)
    assert case.flags[0].opened_at == world.clock.now - seconds(1)


async def test_seam_is_asked_only_when_the_deadline_has_come(world: World) -> None:
    code = await world.create()
    await world.run()
    await world.run(seconds=599)
    assert world.seam.calls == []
    await world.run(seconds=2)
    assert world.seam.calls == ["list_codes"]
    assert await world.verdicts_of(code.id) == ["pending", "stuck"]


async def test_a_lost_webhook_is_made_good_by_the_read_at_the_deadline(world: World) -> None:
    code = await world.create()
    world.seam.change(f"ac-{code.id}", status="set", pending=())
    await world.run(seconds=601)
    assert await world.verdict(code.id) == "verified"
    assert await world.flags_of(code.id) == []


async def test_news_closes_the_flag_in_the_same_step_as_the_verdict(world: World) -> None:
    code = await world.create()
    await world.run(seconds=601)
    await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
    await world.run()
    assert await world.verdict(code.id) == "verified"
    assert await world.flags_of(code.id) == [("stuck", False)]


async def test_each_opening_and_closing_is_in_the_outbox_once_under_a_stable_key(world: World) -> None:
    code = await world.create()
    await world.run(seconds=601)
    flag = (await world.case(code.id)).flags[0]
    await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
    await world.run()
    assert await world.alert_ids() == [f"{flag.id}:closed", f"{flag.id}:opened"]


async def test_an_acked_webhook_shows_in_the_very_next_answer_without_asking_seam(world: World) -> None:
    code = await world.create()
    await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
    assert await world.seen(code.id) == "verified"
    assert world.seam.calls == []


async def test_what_is_not_due_is_not_touched(world: World) -> None:
    code = await world.create()
    await world.run()
    before = (await world.case(code.id)).row
    statements: list[str] = []
    event.listen(_engine(world.db), "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert await world.reconciler.run_once() is False
    assert (await world.case(code.id)).row == before
    assert sum(statement.lstrip().upper().startswith("UPDATE") for statement in statements) <= 1


def _engine(db: Database) -> Any:
    return db._writers.sync_engine


async def test_seam_that_cannot_be_read_gives_unknown_and_then_the_truth(world: World) -> None:
    code = await world.create()
    world.seam.silence = SeamUnanswered("Seam did not answer in time.")
    await world.run(seconds=601)
    assert await world.verdict(code.id) == "unknown"
    assert await world.flags_of(code.id) == [("unknown", True)]
    world.seam.silence = None
    world.seam.change(f"ac-{code.id}", status="set", pending=())
    await world.run(seconds=300)
    assert await world.verdict(code.id) == "verified"
    assert await world.flags_of(code.id) == [("unknown", False)]


async def test_seam_is_left_alone_for_longer_and_longer_while_it_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.create()
    world.seam.silence = SeamUnanswered("Seam did not answer in time.")
    calls = 0
    original = world.seam.list_codes

    async def counted(ids: Any) -> Any:
        nonlocal calls
        calls += 1
        return await original(ids)

    monkeypatch.setattr(world.seam, "list_codes", counted)
    await world.run(seconds=601)
    for _ in range(600):
        await world.run(seconds=1)
    assert 5 <= calls <= 12


async def test_without_a_key_nothing_is_called_good_or_stuck(db: Database) -> None:
    world = World(db, has_key=False)
    code = await world.create()
    await world.run(seconds=601)
    row = (await world.case(code.id)).row
    assert row.verdict == "unknown"
    assert row.read_failure is not None
    assert "SEAM_API_KEY" in row.read_failure


async def test_a_read_that_news_overtook_is_dropped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    code = await world.create()
    await world.run()
    original = world.seam.list_codes

    async def overtaken(ids: Any) -> Any:
        answer = await original(ids)
        monkeypatch.setattr(world.seam, "list_codes", original)
        await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
        return answer

    monkeypatch.setattr(world.seam, "list_codes", overtaken)
    await world.run(seconds=601)
    row = (await world.case(code.id)).row
    assert row.verdict == "verified"
    assert row.read is not None
    assert row.read["at"] == row.requested_at.isoformat()  # that of the create answer; the overtaken one is not kept
    assert await world.verdicts_of(code.id) == ["pending", "verified"]


async def test_a_row_that_raises_is_postponed_and_the_others_go_on(world: World) -> None:
    poisoned, well = await world.create(), await world.create(pin="k:other")
    async with world.db.write() as conn:
        broken = update(access_codes).where(access_codes.c.id == poisoned.id)
        await conn.execute(broken.values(read={"at": "never", "snapshot": None}))
    await world.tell(NewsKind.SET, well.access_code_id)
    await world.run()
    assert await world.verdict(well.id) == "verified"
    async with world.db.read() as conn:
        query = select(access_codes.c.postponed_error, access_codes.c.failures, access_codes.c.due_at)
        error, failures, due_at = (await conn.execute(query.where(access_codes.c.id == poisoned.id))).one()
    assert (error, failures) == ("ValueError", 1)
    assert due_at > world.clock.now


async def test_an_end_is_told_to_seam_once_and_confirmed_by_news(world: World) -> None:
    code = await world.create()
    await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
    await world.run()
    await world.end(code.id)
    await world.run(seconds=1)
    assert await world.verdict(code.id) == "removing"
    await world.run(seconds=60)
    assert world.seam.calls.count("delete_code") == 1
    await world.tell(NewsKind.REMOVED, code.access_code_id)
    await world.run()
    assert await world.verdict(code.id) == "removed"


async def test_an_end_of_what_seam_does_not_have_any_more_is_confirmed_by_its_word(world: World) -> None:
    code = await world.create()
    await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
    await world.run()
    del world.seam.codes[f"ac-{code.id}"]
    await world.end(code.id)
    await world.run(seconds=1)
    assert await world.verdict(code.id) == "removed"


async def test_an_end_that_seam_did_not_hear_is_told_again(world: World) -> None:
    code = await world.create()
    await world.run()
    world.seam.silence = SeamUnanswered("Seam did not answer in time.")
    await world.end(code.id)
    await world.run(seconds=1)
    assert (await world.case(code.id)).row.end_sent_at is None
    world.seam.silence = None
    await world.run(seconds=300)
    assert (await world.case(code.id)).row.end_sent_at is not None


async def test_a_lock_that_keeps_the_code_is_lingering(world: World) -> None:
    code = await world.create()
    await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
    await world.run()
    await world.end(code.id)
    await world.run(seconds=1)
    await world.run(seconds=1801)
    assert await world.verdict(code.id) == "lingering"
    assert await world.flags_of(code.id) == [("lingering", True)]


async def test_a_code_taken_off_is_lost_only_after_two_looks(world: World) -> None:
    code = await world.create()
    await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
    await world.run(seconds=1)
    world.seam.change(f"ac-{code.id}", status="unset", pending=())
    await world.tell(NewsKind.DELETED_EXTERNALLY, code.access_code_id)
    await world.run(seconds=1)
    assert await world.verdict(code.id) == "pending"
    await world.run(seconds=121)
    assert await world.verdict(code.id) == "lost"


async def test_a_window_moved_elsewhere_through_seam_becomes_the_intent(world: World) -> None:
    start, end = world.clock.now + seconds(60), world.clock.now + seconds(3600)
    code = await world.create(starts_at=start, ends_at=end)
    await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
    await world.run(seconds=90)
    later = end + seconds(7200)
    world.seam.change(f"ac-{code.id}", status="set", pending=(), ends_at=later)
    await world.tell(NewsKind.TIME_FRAME_CHANGED, code.access_code_id)
    await world.run(seconds=1)
    row = (await world.case(code.id)).row
    assert (row.ends_at, row.verdict) == (later, "verified")


class TestLostAnswers:
    async def test_the_code_is_found_again_by_its_pin(self, world: World) -> None:
        code = await world.request()
        world.seam.add_code("ac-found", pending=("creating",))
        await world.run(seconds=6)
        row = (await world.case(code.id)).row
        assert (row.access_code_id, row.verdict) == ("ac-found", "pending")
        assert "create" not in world.seam.calls

    async def test_without_its_pin_it_is_found_only_if_nothing_else_fits(self, world: World) -> None:
        code = await world.request(pin=None, name="Ada")
        world.seam.add_code("ac-1", pin="1111", name="Ada")
        world.seam.add_code("ac-2", pin="2222", name="Ada")
        await world.run(seconds=6)
        assert (await world.case(code.id)).row.access_code_id is None
        del world.seam.codes["ac-2"]
        await world.run(seconds=10)
        assert (await world.case(code.id)).row.access_code_id == "ac-1"

    async def test_what_seam_does_not_have_is_flagged_when_its_time_is_over(self, world: World) -> None:
        code = await world.request()
        await world.run(seconds=6)
        assert await world.flags_of(code.id) == []
        await world.run(seconds=55)
        assert await world.verdict(code.id) == "requested"
        assert await world.flags_of(code.id) == [("request_lost", True)]

    async def test_a_call_that_seam_carried_out_late_is_found_after_the_flag(self, world: World) -> None:
        code = await world.request()
        await world.run(seconds=61)
        world.seam.add_code("ac-late", status="set", pending=())
        await world.run(seconds=120)
        assert await world.verdict(code.id) == "verified"
        assert await world.flags_of(code.id) == [("request_lost", False)]

    async def test_an_end_asked_for_meanwhile_is_carried_out_once_it_is_found(self, world: World) -> None:
        code = await world.request()
        await world.end(code.id)
        await world.run()
        assert "delete_code" not in world.seam.calls
        world.seam.add_code("ac-found")
        await world.run(seconds=6)
        await world.run(seconds=1)
        assert world.seam.calls.count("delete_code") == 1
        assert await world.verdict(code.id) == "removing"


class TestManyProcesses:
    @pytest.fixture
    async def other_db(self, database_url: str) -> AsyncIterator[Database]:
        database = open_database(database_url)
        yield database
        await database.close()

    async def test_two_reconcilers_do_nothing_twice(self, world: World, other_db: Database) -> None:
        codes = [await world.create(pin=f"k:{number}") for number in range(150)]
        await world.run()
        world.clock.advance(seconds=601)
        both = (world.reconciler, world.new_reconciler(other_db))
        await asyncio.gather(*(_drain(reconciler) for reconciler in both))
        async with world.db.read() as conn:
            opened = (await conn.execute(select(func.count()).select_from(flags))).scalar_one()
            changed = select(func.count()).select_from(transitions).where(transitions.c.to_verdict == "stuck")
            assert (opened, (await conn.execute(changed)).scalar_one()) == (150, 150)
        assert {await world.verdict(code.id) for code in codes} == {"stuck"}

    async def test_the_work_of_a_process_that_died_is_done_when_its_lease_ends(self, world: World) -> None:
        code = await world.create()
        await world.reconciler._claim()
        await world.run(seconds=30)
        assert await world.verdicts_of(code.id) == []
        await world.run(seconds=31)
        assert await world.verdicts_of(code.id) == ["pending"]


async def _drain(reconciler: Reconciler) -> None:
    while await reconciler.run_once():
        pass


class TestRunning:
    async def test_it_wakes_up_for_news_and_stops_when_told(self, world: World) -> None:
        code = await world.create()
        stop = asyncio.Event()
        running = asyncio.create_task(world.reconciler.run(stop))
        await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
        world.reconciler.wake()
        await _until_verdict(world, code.id, "verified")
        stop.set()
        await asyncio.wait_for(running, 10)
        assert world.reconciler.last_pass_at == world.clock.now

    async def test_it_survives_storage_that_is_away(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        code = await world.create()
        attempts = 0
        claim = world.reconciler._claim

        async def failing() -> Any:
            nonlocal attempts
            attempts += 1
            if attempts <= 2:
                raise StorageUnavailable("the database is away")
            return await claim()

        monkeypatch.setattr(world.reconciler, "_claim", failing)
        stop = asyncio.Event()
        running = asyncio.create_task(world.reconciler.run(stop))
        await _until_verdict(world, code.id, "pending", assessed=True)
        assert attempts >= 3
        stop.set()
        await asyncio.wait_for(running, 10)

    async def test_a_slow_answer_of_seam_delays_no_other_code(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow = await world.create()
        await world.run()
        answered, original = asyncio.Event(), world.seam.list_codes

        async def waits(ids: Any) -> Any:
            await answered.wait()
            return await original(ids)

        monkeypatch.setattr(world.seam, "list_codes", waits)
        world.clock.advance(seconds=601)
        stop = asyncio.Event()
        running = asyncio.create_task(world.reconciler.run(stop))
        other = await world.create(pin="k:other")
        await world.tell(NewsKind.SET, other.access_code_id)
        world.reconciler.wake()
        await _until_verdict(world, other.id, "verified")
        assert await world.verdict(slow.id) == "pending"
        answered.set()
        await _until_verdict(world, slow.id, "stuck")
        stop.set()
        await asyncio.wait_for(running, 10)


async def _until_verdict(world: World, code_id: str, verdict: str, *, assessed: bool = False) -> None:
    async with asyncio.timeout(20):
        while True:
            row = (await world.case(code_id)).row
            if row.verdict == verdict and (row.was_assessed or not assessed):
                return
            await asyncio.sleep(0.01)
