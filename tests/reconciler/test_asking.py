"""A batch asks Seam as little as possible, and never while a transaction is open."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import event

from app.domain.news import NewsKind
from app.reconciler.asking import ask_seam
from app.reconciler.decisions import Seen
from app.reconciler.reading import Unread
from app.seam.errors import SeamUnanswered
from app.storage.binding import adopt
from app.storage.engine import Database
from tests.reconciler.worlds import POLICY, World, seconds


@pytest.fixture
def world(db: Database) -> World:
    return World(db)


async def ask(world: World, ids: Sequence[str]) -> dict[str, Seen]:
    cases = [await world.case(code_id) for code_id in ids]
    return await ask_seam(world.db, world.seam.gateway(), cases, POLICY, world.clock.now, limit=asyncio.Semaphore(8))


async def test_no_transaction_is_open_on_any_connection_while_seam_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads, ends, lists of a lock, and answers that news overtakes, in one batch."""
    taken: set[int] = set()
    begun: list[int] = []

    def begin(conn: object) -> None:
        taken.add(id(conn))
        begun.append(id(conn))

    for engine in (world.db._writers, world.db._readers):
        event.listen(engine.sync_engine, "begin", begin)
        for ending in ("commit", "rollback"):
            event.listen(engine.sync_engine, ending, lambda conn: taken.discard(id(conn)))
    calls: list[str] = []

    def watch(name: str) -> None:
        original = getattr(world.seam, name)

        async def watched(*args: Any, **values: Any) -> Any:
            assert not taken, f"{name} was called inside a transaction"
            calls.append(name)
            return await original(*args, **values)

        monkeypatch.setattr(world.seam, name, watched)

    for name in ("list_codes", "get_code", "list_device_codes", "delete_code"):
        watch(name)
    gone, ended = await world.create(), await world.create(pin="k:2")
    del world.seam.codes[f"ac-{gone.id}"]
    await world.request(pin="k:3")
    await world.end(ended.id)
    for _ in range(3):
        await world.run(seconds=601)
    assert begun
    assert set(calls) == {"list_codes", "get_code", "list_device_codes", "delete_code"}


async def test_each_code_is_asked_about_in_the_way_it_needs(world: World) -> None:
    read, ending = await world.create(), await world.create(pin="k:2")
    lost, found = await world.request(pin="k:3"), await world.request(pin="k:4")
    world.seam.add_code("ac-found", pin="4")
    world.seam.change("ac-found", pin="k:4")
    await world.end(ending.id)
    world.clock.advance(seconds=60)
    seen = await ask(world, [read.id, ending.id, lost.id, found.id])
    assert sorted(world.seam.calls) == ["delete_code", "list_codes", "list_device_codes"]
    assert seen[ending.id].end_sent_at == world.clock.now
    assert seen[lost.id].reading is not None
    assert found.id not in seen  # bound: what it is now has to be loaded again
    assert (await world.case(found.id)).row.access_code_id == "ac-found"


async def test_many_requests_on_one_lock_cost_one_call(world: World) -> None:
    ids = [(await world.request(pin=f"k:{number}")).id for number in range(20)]
    await ask(world, ids)
    assert world.seam.calls == ["list_device_codes"]


async def test_not_found_too_early_means_nothing(world: World) -> None:
    code = await world.request()
    world.clock.advance(seconds=59)
    assert (await ask(world, [code.id]))[code.id].reading is None
    world.clock.advance(seconds=1)
    assert (await ask(world, [code.id]))[code.id].reading is not None


async def test_a_lock_that_cannot_be_listed_leaves_its_requests_unread(world: World) -> None:
    code = await world.request()
    world.seam.refuse("list_device_codes", SeamUnanswered("Late."))
    seen = (await ask(world, [code.id]))[code.id]
    assert seen.reading == Unread("Seam did not answer: Late.")


async def test_a_tracked_code_that_is_ours_by_its_pin_is_merged(world: World) -> None:
    code = await world.request(pin=None)
    snapshot = world.seam.add_code("ac-1")
    async with world.db.write() as conn:
        tracked, _ = await adopt(conn, snapshot, world.clock.now, "booking", "tracked", world.clock.now)
    await world.run(seconds=6)
    assert (await world.case(code.id)).row.access_code_id is None  # by looks alone, what is held is not taken
    mine = await world.request()
    await world.run(seconds=6)
    row = (await world.case("ac-1")).row
    assert (row.id, row.reference) == (mine.id, "booking")
    assert row.id != tracked.id


async def test_news_that_came_before_the_code_was_found_counts_once_it_is(world: World) -> None:
    code = await world.request()
    world.seam.add_code("ac-1", pending=("creating",))
    await world.tell(NewsKind.SET, "ac-1")
    await world.run(seconds=6)
    assert await world.verdict(code.id) == "verified"
    assert world.clock.now - (await world.case(code.id)).row.since == seconds(6)
