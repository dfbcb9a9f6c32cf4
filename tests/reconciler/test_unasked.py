"""Without a Seam key nobody asks again and again; with one, what waited for it is asked about soon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from app.clock import utc_now
from app.config import Purpose, load_settings
from app.domain.changes import Change
from app.domain.news import NewsKind
from app.domain.verdicts import assess
from app.main import Service, open_storage
from app.reconciler.reading import NO_KEY
from app.reconciler.unasked import LOOK_EVERY, UnaskedCodes
from app.seam.errors import SeamUnauthorized
from app.storage import unasked as storage
from app.storage.changes import before_change
from app.storage.codes import CodeRow, mark_due, untrack
from app.storage.engine import Database
from app.storage.steps import since_of
from tests.e2e.services import SETTINGS
from tests.reconciler.test_troubles import Storage
from tests.reconciler.worlds import PIN, POLICY, World, seconds

DAY = timedelta(days=1)


@pytest.fixture
def world(db: Database) -> World:
    return World(db, has_key=False)


def with_key(world: World) -> World:
    """The same service, started again with a key; Seam knows what it knew."""
    again = World(world.db, world.clock)
    again.seam.codes, again.seam.pins = world.seam.codes, world.seam.pins
    return again


def finder(world: World, db: Database | None = None) -> UnaskedCodes:
    return UnaskedCodes(db=db or world.db, clock=world.clock, on_due=world.reconciler.wake)


async def parts_of(unasked: UnaskedCodes) -> int:
    """In how many parts it looked through all codes."""
    parts = 1
    while await unasked.run_once():
        parts += 1
    return parts


async def row_of(world: World, code: CodeRow) -> CodeRow:
    return (await world.case(code.id)).row


async def is_due(world: World, code: CodeRow) -> bool:
    due_at = (await row_of(world, code)).due_at
    return due_at is not None and due_at <= world.clock.now


async def a_deadline(world: World) -> CodeRow:
    code = await world.create()
    world.seam.change(f"ac-{code.id}", status="set", pending=())
    return code


async def an_end(world: World) -> CodeRow:
    code = await world.create()
    await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
    await world.run()
    await world.end(code.id)
    del world.seam.codes[f"ac-{code.id}"]
    return code


async def a_window(world: World) -> CodeRow:
    now = world.clock.now
    return await world.create(starts_at=now + seconds(60), ends_at=now + seconds(900))


async def a_lost_answer(world: World) -> CodeRow:
    code = await world.request()
    world.seam.add_code("ac-found", status="set", pending=())
    return code


async def a_lost_answer_about_a_terminal_code(world: World) -> CodeRow:
    """Nothing else has it looked at again."""
    code = await world.create()
    async with world.db.write() as conn:
        await before_change(conn, await world.case(code.id), Change(name="Ada"), world.clock.now)
    await world.tell(NewsKind.DELETED, code.access_code_id)
    del world.seam.codes[f"ac-{code.id}"]
    return code


Make = Callable[[World], Awaitable[CodeRow]]
# What Seam is needed for, the verdict without it, and the one once it was asked.
NEEDS: dict[str, tuple[Make, str, str]] = {
    "a read at its deadline": (a_deadline, "unknown", "verified"),
    "the delete call": (an_end, "removing", "removed"),
    "a read at the end of its window": (a_window, "unknown", "missed"),
    "finding what a create call made": (a_lost_answer, "requested", "verified"),
    "what became of a change": (a_lost_answer_about_a_terminal_code, "removed", "removed"),
}
every_need = pytest.mark.parametrize(("make", "verdict", "then"), NEEDS.values(), ids=NEEDS)


@every_need
async def test_without_a_key_a_code_is_looked_at_only_when_the_clock_may_change_it(
    world: World, make: Make, verdict: str, then: str
) -> None:
    """The last looks are a day apart, and one in between, as there were before, would tell nothing else."""
    code = await make(world)
    end, looks = world.clock.now + 4 * DAY, 0
    await world.run(seconds=5)
    while (due_at := (await row_of(world, code)).due_at) is not None and due_at < end:
        await _nothing_else_is_told_before(world, code, due_at)
        world.clock.now = due_at
        await world.run()
        looks += 1
    row = await row_of(world, code)
    assert (row.verdict, row.due_at, row.failures, row.postponed_error) == (verdict, row.next_check_at, 0, NO_KEY)
    assert looks <= 10


async def _nothing_else_is_told_before(world: World, code: CodeRow, due_at: datetime) -> None:
    case = await world.case(code.id)
    row, wait = case.row, due_at - world.clock.now
    for moment in (world.clock.now + wait / 3, due_at - timedelta(microseconds=1)):
        reads = row.reads().failing(moment, NO_KEY) if row.read_failure is not None else row.reads()
        found = assess(row.intent(), case.signals, reads, case.health, moment, POLICY)
        assert (row.verdict, row.reason, row.since) == (found.verdict, found.reason, since_of(row, found))


@every_need
async def test_with_a_key_it_is_asked_about_at_once(world: World, make: Make, verdict: str, then: str) -> None:
    code = await make(world)
    await world.run(hours=1)
    world = with_key(world)
    await world.run(seconds=1)
    assert (world.seam.calls, (await row_of(world, code)).verdict) == ([], verdict)
    assert await parts_of(finder(world)) == 1
    await world.run()
    row = await row_of(world, code)
    assert (row.verdict, row.postponed_error, row.unanswered_change) == (then, None, None)
    assert world.seam.calls != []


async def test_news_is_looked_at_without_a_key_and_ends_the_waiting(world: World) -> None:
    code = await world.create()
    await world.run(seconds=601)
    assert (await row_of(world, code)).postponed_error == NO_KEY
    await world.tell(NewsKind.SET, code.access_code_id, pin=PIN)
    await world.run()
    row = await row_of(world, code)
    assert (row.verdict, row.postponed_error) == ("verified", None)
    await parts_of(finder(world))
    assert not await is_due(world, code)


async def test_a_key_that_seam_refuses_goes_on_being_tried(world: World) -> None:
    """It may be mended at Seam's side, without a restart."""
    code = await a_deadline(world)
    world = with_key(world)
    world.seam.silence = SeamUnauthorized("Who?")
    await world.run(hours=1)
    row = await row_of(world, code)
    assert (row.verdict, row.failures) == ("unknown", 1)
    world.seam.silence = None
    await world.run(seconds=120)
    assert await world.verdict(code.id) == "verified"


async def test_all_codes_are_looked_through_in_parts_and_none_is_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LOOKED_AT", 3)
    waiting = [await world.create(pin=f"k:{number}") for number in range(7)]
    await world.run(seconds=601)
    with capture_logs() as logs:
        assert await parts_of(finder(world)) == 3
    assert [(log["event"], log["codes"]) for log in logs] == [("codes_marked_due", 7)]
    assert [await is_due(world, code) for code in waiting] == [True] * 7


async def test_codes_that_are_due_or_untracked_or_wait_for_something_else_stay_alone(world: World) -> None:
    due, left = await world.create(pin="k:1"), await world.create(pin="k:2")
    await world.run(seconds=601)
    well = await world.create(pin="k:3")
    await world.run()
    async with world.db.write() as conn:
        await mark_due(conn, [due.id], world.clock.now)
        await untrack(conn, left.id, world.clock.now)
    before = [await row_of(world, code) for code in (due, left, well)]
    await parts_of(finder(world))
    assert [await row_of(world, code) for code in (due, left, well)] == before


async def test_what_a_process_without_a_key_put_off_later_is_found_within_the_hour(world: World) -> None:
    """An old process may outlive the start of the one that takes its place."""
    unasked = finder(world)
    await parts_of(unasked)
    code = await world.create()
    await world.run(seconds=601)
    assert await unasked.run_once() is False
    assert not await is_due(world, code)
    world.clock.advance(seconds=LOOK_EVERY.total_seconds() - 601)
    await unasked.run_once()
    assert await is_due(world, code)


async def test_the_loop_survives_storage_that_is_away_and_wakes_the_reconciler(world: World) -> None:
    code = await world.create()
    await world.run(seconds=601)
    woken, stop = asyncio.Event(), asyncio.Event()
    faulty = Storage(world.db, lambda: faulty.refused < 2)
    unasked = UnaskedCodes(db=faulty.database(), clock=world.clock, on_due=woken.set)
    running = asyncio.create_task(unasked.run(stop))
    await asyncio.wait_for(woken.wait(), 10)
    stop.set()
    await asyncio.wait_for(running, 10)
    assert (await is_due(world, code), faulty.refused) == (True, 2)
    assert unasked.last_pass_at == world.clock.now


@pytest.mark.parametrize("has_key", [True, False])
async def test_only_a_service_with_a_key_looks_for_them(database_url: str, has_key: bool) -> None:
    key = {"SEAM_API_KEY": "seam_test_key"} if has_key else {}
    settings = load_settings({**SETTINGS, **key, "DATABASE_URL": database_url}, Purpose.SERVE)
    db = open_storage(settings)
    service = Service(settings, db, utc_now, CollectorRegistry())
    checks = [check.name for check in await service.ready()]
    await service.stop()
    await db.close()
    assert ("unasked codes" in checks) is has_key
