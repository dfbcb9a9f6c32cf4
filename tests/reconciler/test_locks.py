"""A lock is read when a start on it is near: going offline without a word is noticed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.domain.codes import CodeType
from app.seam.errors import SeamUnanswered
from app.storage.binding import bind
from app.storage.engine import Database
from tests.api.worlds import DEVICE, NOON
from tests.reconciler.worlds import World


@pytest.fixture
def world(db: Database) -> World:
    return World(db)


async def stay(world: World, hours: float) -> str:
    """A code that starts so many hours after noon, and that the lock is not programmed with yet."""
    window = {"starts_at": NOON + timedelta(hours=hours), "ends_at": NOON + timedelta(hours=hours + 20)}
    row = await world.request(pin=None, **window)
    snapshot = world.seam.add_code(
        f"ac-{row.id}", pin=None, type=CodeType.TIME_BOUND, status="unset", pending=("deferring_creation",), **window
    )
    async with world.db.write() as conn:
        await bind(conn, row.id, snapshot, world.clock(), world.clock())
    return row.id


def lock_reads(world: World) -> int:
    return world.seam.calls.count("get_device")


async def test_an_offline_lock_is_noticed_before_the_start(world: World) -> None:
    code_id = await stay(world, 5)
    await world.run()
    assert (lock_reads(world), await world.verdict(code_id)) == (0, "upcoming")
    world.seam.add_device(DEVICE, online=False)
    await world.run(hours=4)
    assert (lock_reads(world), await world.verdict(code_id)) == (1, "at_risk")
    assert await world.flags_of(code_id) == [("at_risk", True)]


async def test_the_flag_closes_when_the_lock_is_back(world: World) -> None:
    code_id = await stay(world, 5)
    world.seam.add_device(DEVICE, online=False)
    await world.run(hours=4)
    world.seam.add_device(DEVICE, online=True)
    await world.run(minutes=10)
    assert (await world.verdict(code_id), await world.flags_of(code_id)) == ("upcoming", [("at_risk", False)])


async def test_many_codes_on_a_lock_cost_one_read(world: World) -> None:
    for _ in range(5):
        await stay(world, 5)
    await world.run(hours=4)
    await world.run(minutes=1)
    assert lock_reads(world) == 1


async def test_what_one_code_learnt_of_its_lock_counts_for_the_others(world: World) -> None:
    first = await stay(world, 5)
    await stay(world, 5.5)
    world.seam.add_device(DEVICE, online=True)
    await world.run(hours=4)
    assert await world.verdict(first) == "upcoming"
    world.seam.add_device(DEVICE, online=False)
    await world.run(minutes=30)
    assert await world.verdict(first) == "at_risk"


async def test_a_lock_that_cannot_be_read_is_no_risk(world: World) -> None:
    code_id = await stay(world, 5)
    world.seam.refuse("get_device", SeamUnanswered("timed out"))
    await world.run(hours=4)
    assert (lock_reads(world), await world.verdict(code_id)) == (1, "upcoming")


async def test_ongoing_codes_need_no_reading_of_locks(world: World) -> None:
    await world.create()
    await world.run(hours=4)
    assert lock_reads(world) == 0
