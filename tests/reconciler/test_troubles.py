"""The loop among other processes, poison, outages of Seam and of storage, and a stop in the middle of its work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.news import NewsKind
from app.reconciler.loop import Reconciler
from app.seam.errors import SeamError, SeamInvalidInput, SeamRateLimited, SeamUnanswered
from app.storage.engine import Database, open_database
from app.storage.errors import StorageUnavailable
from app.storage.inbox import store_batch
from app.storage.tables import access_codes, alerts, flags, signals, transitions
from tests.api.worlds import NOON, Clock
from tests.reconciler.worlds import POLICY, World, seconds

CODES = 200


@pytest.fixture
def world(db: Database) -> World:
    return World(db)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """Another process on the same database."""
    database = open_database(database_url)
    yield database
    await database.close()


class Storage:
    """A database that is away while ``is_away`` says so, asked before each transaction; counts the writing ones."""

    def __init__(self, db: Database, is_away: Callable[[], bool] = lambda: False) -> None:
        self._db, self._is_away = db, is_away
        self.writes = self.refused = self.reads = 0

    def database(self) -> Database:
        return cast(Database, self)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        self.reads += 1
        self._refuse()
        async with self._db.read() as conn:
            yield conn

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        self.writes += 1
        self._refuse()
        async with self._db.write() as conn:
            yield conn

    def _refuse(self) -> None:
        if self._is_away():
            self.refused += 1
            raise StorageUnavailable("the database is away")


async def drain(reconciler: Reconciler) -> None:
    while await reconciler.run_once():
        pass


async def until(is_true: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    async with asyncio.timeout(45):
        while True:
            if await is_true():
                return
            await asyncio.sleep(0)


@asynccontextmanager
async def running(reconciler: Reconciler) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(reconciler.run(stop))
    yield stop
    stop.set()
    await asyncio.wait_for(task, 10)


async def test_processes_news_and_questions_all_at_once_change_nothing_twice(world: World, other: Database) -> None:
    """Half of the codes is on, which only Seam knows; a quarter is told of while the others are judged."""
    codes = [await world.create(pin=f"k:{number}") for number in range(CODES)]
    for code in codes[::2]:
        world.seam.change(f"ac-{code.id}", status="set", pending=())
    await world.run(seconds=1)
    world.clock.advance(seconds=600)
    told = [world.news(NewsKind.SET, code.access_code_id) for code in codes[1::4]]

    async def tell() -> None:
        for news in told:
            await store_batch(other, [news])

    async def look() -> None:
        for code in codes[::10]:
            await world.seen(code.id)

    reconcilers = (world.reconciler, world.new_reconciler(other))
    await asyncio.gather(*(drain(reconciler) for reconciler in reconcilers), tell(), look())
    await drain(world.reconciler)
    verdicts = [await world.verdict(code.id) for code in codes]
    assert verdicts == ["verified", "verified", "verified", "stuck"] * (CODES // 4)
    async with world.db.read() as conn:
        query = select(transitions.c.code_id, transitions.c.from_verdict, transitions.c.to_verdict)
        changes = [tuple(change) for change in await conn.execute(query)]
        open_flags = select(flags.c.code_id).where(flags.c.closed_at.is_(None))
        flagged = list((await conn.execute(open_flags)).scalars())
        closed = (await conn.execute(select(func.count()).where(flags.c.closed_at.is_not(None)))).scalar_one()
        alerted = (await conn.execute(select(func.count()).select_from(alerts))).scalar_one()
    assert len(changes) == len(set(changes))
    assert sorted(flagged) == sorted(code.id for code in codes[3::4])
    assert alerted == len(flagged) + 2 * closed


async def test_a_process_that_outlived_its_lease_does_nothing_twice(world: World, other: Database) -> None:
    code = await world.create()
    await world.run()
    world.clock.advance(seconds=601)
    answered, original = asyncio.Event(), world.seam.list_codes

    async def slow(ids: Any) -> Any:
        world.seam.list_codes = original  # type: ignore[method-assign]  # only the first process has to wait
        answer = await original(ids)
        answered.set()
        await resumed.wait()
        return answer

    resumed = asyncio.Event()
    world.seam.list_codes = slow  # type: ignore[method-assign,assignment]  # Seam's answer is held up
    late = asyncio.create_task(world.reconciler.run_once())
    await answered.wait()
    assert await world.new_reconciler(other).run_once() is False
    world.clock.advance(seconds=60)
    await drain(world.new_reconciler(other))
    row = (await world.case(code.id)).row
    resumed.set()
    await late
    assert await world.verdicts_of(code.id) == ["pending", "stuck"]
    assert len(await world.alert_ids()) == 1
    assert (await world.case(code.id)).row.read == row.read  # the later answer is the one that is kept


async def test_what_makes_seams_answer_unusable_for_one_code_stops_no_other(world: World) -> None:
    poisoned, well = await world.create(), await world.create(pin="k:2")
    await world.run()
    original = world.seam.list_codes

    async def poison(ids: Any) -> Any:
        if f"ac-{poisoned.id}" in ids:
            raise ValueError("this must not be quoted: 4821")
        return await original(ids)

    world.seam.list_codes = poison  # type: ignore[method-assign,assignment]  # a bug that one code provokes
    await world.run(seconds=601)
    assert await world.verdict(well.id) == "stuck"
    waits = []
    for _ in range(9):
        row = (await world.case(poisoned.id)).row
        assert (row.verdict, row.postponed_error, row.leased_until) == ("pending", "ValueError", None)
        assert row.due_at is not None
        waits.append((row.due_at - world.clock.now).total_seconds())
        world.clock.now = row.due_at
        await world.run()
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    world.seam.list_codes = original  # type: ignore[method-assign]  # the bug is mended
    await world.run(seconds=600)
    row = (await world.case(poisoned.id)).row
    assert (row.verdict, row.postponed_error, row.failures) == ("stuck", None, 0)
    assert await world.verdicts_of(poisoned.id) == ["pending", "stuck"]


async def test_an_answer_of_seam_that_the_database_refuses_stops_no_other(world: World) -> None:
    poisoned, well = await world.create(), await world.create(pin="k:2")
    await world.run()
    world.seam.show(f"ac-{poisoned.id}", name="half a pair: \ud83d")
    await world.run(seconds=601)
    row = (await world.case(poisoned.id)).row
    assert (row.verdict, row.postponed_error, row.leased_until) == ("pending", "RefusedByDatabase", None)
    assert await world.verdict(well.id) == "stuck"


async def test_news_that_cannot_be_read_back_stops_no_other(world: World) -> None:
    poisoned, well = await world.create(), await world.create(pin="k:2")
    for code in (poisoned, well):
        await world.tell(NewsKind.SET, code.access_code_id)
    async with world.db.write() as conn:
        broken = update(signals).where(signals.c.access_code_id == poisoned.access_code_id)
        await conn.execute(broken.values({NewsKind.SET.value: "never"}))
    await world.run()
    async with world.db.read() as conn:
        query = select(access_codes.c.postponed_error, access_codes.c.failures)
        postponed = tuple((await conn.execute(query.where(access_codes.c.id == poisoned.id))).one())
    assert postponed == ("ValueError", 1)
    assert await world.verdict(well.id) == "verified"


async def test_the_loop_goes_on_looking_while_all_its_units_wait_for_seam(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise Seam that answers late makes the process look dead, and its receiver is taken away."""
    monkeypatch.setattr("app.reconciler.loop._UNITS_AT_ONCE", 1)
    entered, answered, original = asyncio.Event(), asyncio.Event(), world.seam.list_codes

    async def slow(ids: Any) -> Any:
        entered.set()
        await answered.wait()
        return await original(ids)

    asked, told = await world.create(), await world.create(pin="k:2")
    await world.run()
    await world.tell(NewsKind.SET, told.access_code_id)
    await world.run()
    world.seam.list_codes = slow  # type: ignore[method-assign,assignment]  # Seam takes its time
    world.clock.advance(seconds=601)
    reconciler = world.new_reconciler()

    async def has_looked_again() -> bool:
        reconciler.wake()
        return reconciler.last_pass_at == world.clock.now

    async with running(reconciler):
        async with asyncio.timeout(20):
            await entered.wait()
        await world.tell(NewsKind.REMOVED, told.access_code_id)
        world.clock.advance(seconds=40)
        await until(has_looked_again)
        assert await world.verdicts_of(asked.id) == ["pending"]
        answered.set()
    assert await world.verdict(asked.id) == "stuck"


async def test_waiting_for_nothing_writes_nothing(world: World) -> None:
    code = await world.create()
    await world.run()
    before = (await world.case(code.id)).row
    storage = Storage(world.db)
    reconciler = world.new_reconciler(storage.database())

    async def has_looked() -> bool:
        reconciler.wake()
        return storage.reads >= 5

    async with running(reconciler):
        await until(has_looked)
    assert storage.writes == 0
    assert (await world.case(code.id)).row == before


@pytest.mark.parametrize("number", range(1, 7))
async def test_storage_that_goes_away_anywhere_in_a_step_loses_and_doubles_nothing(world: World, number: int) -> None:
    """The transaction of that number and the next one fail; then the lease has to run out."""
    code = await world.create()
    await world.run()
    world.clock.advance(seconds=601)
    begun = 0

    def is_away() -> bool:
        nonlocal begun
        begun += 1
        return number <= begun <= number + 1

    storage = Storage(world.db, is_away)
    reconciler = world.new_reconciler(storage.database())
    with suppress(StorageUnavailable):
        await drain(reconciler)
    world.clock.advance(seconds=60)
    for _ in range(3):
        with suppress(StorageUnavailable):
            await drain(reconciler)
    assert storage.refused == 2
    assert await world.verdicts_of(code.id) == ["pending", "stuck"]
    assert len(await world.alert_ids()) == 1


async def test_the_loop_goes_on_when_storage_that_failed_in_the_middle_is_back(world: World) -> None:
    code = await world.create()

    def is_away() -> bool:
        """For the work that follows the first claim, not for the loop itself."""
        task = asyncio.current_task()
        return task is not None and task.get_name() == "reconciler-unit" and storage.refused == 0

    storage = Storage(world.db, is_away)
    reconciler = world.new_reconciler(storage.database())

    async def has_failed() -> bool:
        reconciler.wake()
        return storage.refused == 1 and not reconciler._units

    async def is_judged() -> bool:
        reconciler.wake()
        return await world.verdicts_of(code.id) == ["pending"]

    async with running(reconciler):
        await until(has_failed)
        assert await world.verdicts_of(code.id) == []
        world.clock.advance(seconds=60)
        await until(is_judged)


async def test_what_was_decided_under_a_clock_that_was_ahead_is_decided_again_once_it_is_right(world: World) -> None:
    """Ahead, the deadline seems to have passed; Seam's own clock knows better, and is asked again and again."""
    world.seam.clock = Clock()
    code = await world.create()
    await world.run()
    world.clock.advance(hours=2)
    stop = asyncio.Event()
    running = asyncio.create_task(world.reconciler.run(stop))

    async def waits_for(moment: timedelta) -> bool:
        due_at = (await world.case(code.id)).row.due_at
        return due_at is not None and due_at - NOON > moment

    async def waits_for_its_deadline() -> bool:
        return not await waits_for(POLICY.set_within)

    await until(lambda: waits_for(timedelta(hours=2)))
    world.clock.advance(hours=-2)
    await until(waits_for_its_deadline)
    stop.set()
    await running
    assert await world.verdicts_of(code.id) == ["pending"]
    world.seam.clock.advance(minutes=11)
    await world.run(minutes=11)
    assert await world.verdicts_of(code.id) == ["pending", "stuck"]


async def test_a_stop_waits_for_what_was_begun_and_begins_nothing(world: World) -> None:
    code = await world.create()
    await world.run()
    world.clock.advance(seconds=601)
    entered, answered, original = asyncio.Event(), asyncio.Event(), world.seam.list_codes

    async def slow(ids: Any) -> Any:
        entered.set()
        await answered.wait()
        return await original(ids)

    world.seam.list_codes = slow  # type: ignore[method-assign,assignment]  # Seam takes its time
    stop = asyncio.Event()
    task = asyncio.create_task(world.reconciler.run(stop))
    async with asyncio.timeout(10):
        await entered.wait()
        stop.set()
        later = await world.create(pin="k:2")
        assert not task.done()
        answered.set()
        await task
    assert await world.verdict(code.id) == "stuck"
    assert await world.verdicts_of(later.id) == []


@pytest.mark.parametrize(
    "error",
    [
        SeamUnanswered("Late."),
        SeamInvalidInput("It cannot be deleted now.", status_code=400),
        SeamRateLimited("Slow down.", retry_after=seconds(3)),
    ],
)
async def test_an_end_that_seam_does_not_take_is_told_again_at_growing_distances(
    world: World, error: SeamError
) -> None:
    code = await world.create()
    await world.tell(NewsKind.SET, code.access_code_id)
    await world.run()
    world.seam.refuse("delete_code", *[error] * 4)
    await world.end(code.id)
    waits = []
    for _ in range(4):
        await world.run()
        row = (await world.case(code.id)).row
        assert row.postponed_error == f"{error.title}: {error}"
        assert row.due_at is not None
        waits.append((row.due_at - world.clock.now).total_seconds())
        world.clock.now = row.due_at
    await world.run()
    row = (await world.case(code.id)).row
    assert waits == [5, 10, 20, 40]
    assert (row.postponed_error, row.end_sent_at, row.verdict) == (None, world.clock.now, "removing")
    assert world.seam.calls.count("delete_code") == 5


async def test_a_missed_code_stays_flagged_whatever_comes_later(world: World) -> None:
    now = world.clock.now
    code = await world.create(starts_at=now + seconds(60), ends_at=now + seconds(3600))
    await world.run(seconds=3601)
    assert await world.verdict(code.id) == "missed"
    assert await world.flags_of(code.id) == [("missed", True)]
    await world.run(seconds=86_400)
    await world.tell(NewsKind.FAILED, code.access_code_id)
    await world.run()
    assert await world.flags_of(code.id) == [("missed", True)]
    async with world.db.read() as conn:
        due = (await conn.execute(select(access_codes.c.due_at).where(access_codes.c.id == code.id))).scalar_one()
    assert due is None
