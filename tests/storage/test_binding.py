"""Binding meets ingest (contract, section 2.7): whichever commits second sees the other, so no news is ever missed."""

from __future__ import annotations

import asyncio

import pytest

from app.domain.codes import Snapshot
from app.domain.news import NewsKind
from app.storage.binding import adopt, bind
from app.storage.codes import CodeRow, load_case
from app.storage.engine import Database
from app.storage.inbox import store_batch
from app.storage.signals import lock_signals
from tests.api.worlds import DEVICE
from tests.reconciler.worlds import PIN, World

IDENT = "ac-raced"


@pytest.fixture
def world(db: Database) -> World:
    return World(db)


def snapshot(world: World, ident: str = IDENT) -> Snapshot:
    return Snapshot(ident, DEVICE, status="setting", pending=("creating",), pin=PIN, created_at=world.clock.now)


async def record(world: World, row: CodeRow | None, ident: str = IDENT) -> str:
    """What the API does with Seam's answer: bind a created code (``row``), or adopt one. Our id comes back."""
    now = world.clock.now
    async with world.db.write() as conn:
        if row is not None:
            return (await bind(conn, row.id, snapshot(world, ident), now, now)).id
        return (await adopt(conn, snapshot(world, ident), now, None, "tracked", now))[0].id


@pytest.mark.parametrize("is_created", [True, False], ids=["create", "track"])
class TestRace:
    async def test_a_webhook_before_seams_answer_is_matched(self, world: World, is_created: bool) -> None:
        row = await world.request() if is_created else None
        await world.tell(NewsKind.SET, IDENT, pin=PIN)
        assert await world.seen(await record(world, row)) == "verified"

    async def test_a_webhook_after_seams_answer_is_matched(self, world: World, is_created: bool) -> None:
        row = await world.request() if is_created else None
        code_id = await record(world, row)
        await world.tell(NewsKind.SET, IDENT, pin=PIN)
        assert await world.seen(code_id) == "verified"

    async def test_a_webhook_that_arrives_while_the_answer_is_being_recorded_is_matched(
        self, world: World, is_created: bool
    ) -> None:
        """The binding has written and not committed when the webhook comes in: the webhook waits, or was first."""
        row = await world.request() if is_created else None
        now, news = world.clock.now, world.news(NewsKind.SET, IDENT, pin=PIN)
        async with world.db.write() as conn:
            if row is not None:
                code_id = (await bind(conn, row.id, snapshot(world), now, now)).id
            else:
                code_id = (await adopt(conn, snapshot(world), now, None, "tracked", now))[0].id
            ingest = asyncio.create_task(store_batch(world.db, [news]))
            done, _ = await asyncio.wait([ingest], timeout=0.2)
            assert done == set()
        await ingest
        assert await world.seen(code_id) == "verified"

    async def test_in_the_same_instant_both_find_each_other(self, world: World, is_created: bool) -> None:
        """Many at once, so that both orders of commit occur."""
        rows = [await world.request(pin=f"k:{number}") if is_created else None for number in range(40)]
        idents = [f"ac-{number}" for number in range(40)]
        tellings = [store_batch(world.db, [world.news(NewsKind.SET, ident)]) for ident in idents]
        recordings = [record(world, row, ident) for row, ident in zip(rows, idents, strict=True)]
        results = await asyncio.gather(*(one for pair in zip(tellings, recordings, strict=True) for one in pair))
        verdicts = {await world.seen(str(code_id)) for code_id in results[1::2]}
        assert verdicts == {"verified"}


async def test_ingest_that_holds_the_signals_makes_the_binding_wait_and_see_it(world: World) -> None:
    """The other order on PostgreSQL: the merge is written, not committed, when the answer is recorded."""
    row = await world.request()
    now = world.clock.now
    async with world.db.write() as conn:
        await lock_signals(conn, IDENT)
        binding = asyncio.create_task(record(world, row))
        done, _ = await asyncio.wait([binding], timeout=0.2)
        assert done == set()
    await binding
    async with world.db.read() as conn:
        case = await load_case(conn, IDENT)
    assert case is not None
    assert case.row.due_at == now


async def test_a_code_tracked_before_its_create_was_answered_becomes_one_row(world: World) -> None:
    created = await world.request(pin=None, name="Ada", reference="booking 7")
    tracked = await record(world, None)
    await world.tell(NewsKind.SET, IDENT, pin=PIN)
    await world.seen(tracked)
    bound = await record(world, created)
    assert bound == created.id
    assert await world.seen(IDENT) == "verified"
    assert (await world.case(IDENT)).row.reference == "booking 7"
    async with world.db.read() as conn:
        assert await load_case(conn, tracked) is None


async def test_tracking_finds_the_request_that_waits_for_this_very_code(world: World) -> None:
    waiting = await world.request()
    assert await record(world, None) == waiting.id


async def test_tracking_twice_gives_one_row(world: World) -> None:
    assert await record(world, None) == await record(world, None)
