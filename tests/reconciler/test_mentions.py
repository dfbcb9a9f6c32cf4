"""Every managed code that Seam mentions is read once and watched, if that is wanted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.domain.news import NewsKind
from app.reconciler import mentions as module
from app.reconciler.mentions import Mentions
from app.seam.errors import SeamRateLimited, SeamUnanswered
from app.storage.binding import bind
from app.storage.codes import CodeRow
from app.storage.engine import Database
from app.storage.errors import StorageUnavailable
from app.storage.inbox import store_batch
from app.storage.tables import access_codes, mentions
from tests.api.worlds import NOON
from tests.reconciler.worlds import PIN, World


@pytest.fixture
def world(db: Database) -> World:
    return World(db)


def worker(world: World, *, track_all: bool = True, has_key: bool = True) -> Mentions:
    return Mentions(
        db=world.db,
        gateway=world.seam.gateway() if has_key else None,
        clock=world.clock,
        track_all=track_all,
        on_tracked=world.reconciler.wake,
    )


async def tell(world: World, *access_code_ids: str) -> None:
    told = [world.news(NewsKind.SET, ident) for ident in access_code_ids]
    await store_batch(world.db, told, track_all=True)


async def work(world: World, worker: Mentions, **later: float) -> None:
    world.clock.advance(**later)
    while await worker.run_once():
        pass


async def codes(world: World) -> dict[str, str]:
    """``{access_code_id: origin}``."""
    async with world.db.read() as conn:
        rows = await conn.execute(select(access_codes.c.access_code_id, access_codes.c.origin))
        return {row.access_code_id: row.origin for row in rows}


async def waiting(world: World) -> list[str]:
    async with world.db.read() as conn:
        return list((await conn.execute(select(mentions.c.access_code_id))).scalars())


async def test_a_managed_code_is_read_once_watched_and_judged(world: World) -> None:
    world.seam.add_code("x-1", status="set", name="Ada")
    await tell(world, "x-1")
    await work(world, worker(world), seconds=6)
    await world.run()
    case = await world.case("x-1")
    assert (case.row.origin, case.row.name, case.row.verdict) == ("mentioned", "Ada", "verified")
    assert (await waiting(world), world.seam.calls.count("list_codes")) == ([], 1)
    await tell(world, "x-1")
    assert await waiting(world) == []


async def test_many_are_read_in_one_call(world: World) -> None:
    idents = [f"x-{number}" for number in range(30)]
    for number, ident in enumerate(idents):
        world.seam.add_code(ident, pin=f"{5000 + number}")
    await tell(world, *idents)
    await work(world, worker(world), seconds=6)
    assert set(await codes(world)) == set(idents)
    assert world.seam.calls == ["list_codes"]


async def test_what_is_absent_or_not_managed_is_forgotten(world: World) -> None:
    world.seam.add_code("foreign", is_managed=False)
    await tell(world, "foreign", "gone")
    await work(world, worker(world), seconds=6)
    assert (await codes(world), await waiting(world)) == ({}, [])


@pytest.mark.parametrize(
    ("silence", "wait"),
    [
        (SeamUnanswered("timed out"), 5),
        (SeamRateLimited("slow", status_code=429, retry_after=timedelta(seconds=40)), 40),
    ],
    ids=["silent", "busy"],
)
async def test_while_seam_cannot_be_read_they_wait_longer_and_longer(world: World, silence: Any, wait: int) -> None:
    world.seam.add_code("x-1")
    await tell(world, "x-1")
    world.seam.silence = silence
    spare = worker(world)
    await work(world, spare, seconds=6)
    calls = len(world.seam.calls)
    world.seam.silence = None
    await work(world, spare, seconds=wait - 1)
    assert (len(world.seam.calls), await codes(world)) == (calls, {})
    await work(world, spare, seconds=1)
    assert await codes(world) == {"x-1": "mentioned"}


async def test_a_code_of_our_own_that_is_being_made_stays_one_row(world: World) -> None:
    """Its news may be here before Seam's answer: whichever is first, binding and watching meet in one row."""
    row = await world.request()
    snapshot = world.seam.add_code("x-1", pin="4821")
    await tell(world, "x-1")
    await work(world, worker(world), seconds=6)
    async with world.db.write() as conn:
        await bind(conn, row.id, snapshot, world.clock(), world.clock())
    assert await codes(world) == {"x-1": "created"}
    assert (await world.case("x-1")).row.id == row.id


async def test_a_code_whose_pin_seam_chose_is_merged_into_its_request(world: World) -> None:
    """Nothing tells it from a foreign one until Seam answers the create call."""
    row = await world.request(pin=None)
    snapshot = world.seam.add_code("x-1", pin="9999")
    await tell(world, "x-1")
    await work(world, worker(world), seconds=6)
    assert "mentioned" in (await codes(world)).values()
    async with world.db.write() as conn:
        await bind(conn, row.id, snapshot, world.clock(), world.clock())
    assert await codes(world) == {"x-1": "created"}


async def test_two_workers_and_a_binding_at_once_make_one_row(world: World) -> None:
    row = await world.request(pin=PIN)
    snapshot = world.seam.add_code("x-1", pin="4821")
    await tell(world, "x-1")
    world.clock.advance(seconds=6)

    async def bound() -> CodeRow:
        async with world.db.write() as conn:
            return await bind(conn, row.id, snapshot, world.clock(), world.clock())

    await asyncio.gather(worker(world).run_once(), worker(world).run_once(), bound())
    assert await codes(world) == {"x-1": "created"}


async def test_at_the_start_what_was_told_before_is_read_too(world: World) -> None:
    world.seam.add_code("x-1")
    await world.tell(NewsKind.SET, "x-1")
    assert await waiting(world) == []
    await work(world, worker(world, track_all=False))
    assert await codes(world) == {}
    await work(world, worker(world))
    assert await codes(world) == {"x-1": "mentioned"}


async def test_without_a_key_nothing_is_claimed(world: World) -> None:
    await tell(world, "x-1")
    await work(world, worker(world, has_key=False), seconds=6)
    assert await waiting(world) == ["x-1"]


async def test_one_that_provokes_storage_stops_no_other(world: World) -> None:
    naive = NOON.replace(tzinfo=None)  # no database keeps a time without a zone, and the gateway lets none through
    world.seam.add_code("bad", created_at=None, starts_at=naive, ends_at=naive + timedelta(days=1))
    world.seam.add_code("good", pin="5555")
    await tell(world, "bad", "good")
    await work(world, worker(world), seconds=6)
    assert (await codes(world), await waiting(world)) == ({"good": "mentioned"}, ["bad"])


async def test_the_loop_survives_storage_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.seam.add_code("x-1")
    await tell(world, "x-1")
    world.clock.advance(seconds=6)
    spare, stop = worker(world), asyncio.Event()
    run_once, failures = spare.run_once, [StorageUnavailable("away")]

    async def fails_first() -> bool:
        if failures:
            raise failures.pop()
        found = await run_once()
        stop.set()
        return found

    monkeypatch.setattr(spare, "run_once", fails_first)
    monkeypatch.setattr(module, "POLL_EVERY", timedelta(milliseconds=1))
    await spare.run(stop)
    assert await codes(world) == {"x-1": "mentioned"}
