"""While deliveries press, the reconciler works little by little, and catches up afterwards."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from app.reconciler import loop
from app.storage.engine import Database
from app.storage.tables import access_codes
from tests.reconciler.worlds import World
from tests.storage.tracked import row, track

CODES = 60


async def due_codes(world: World) -> World:
    await track(world.db, *(row(f"{number:03}", due_at=world.clock.now) for number in range(CODES)))
    return world


async def test_a_piece_of_work_is_small_while_deliveries_press(db: Database) -> None:
    world = await due_codes(World(db, is_pressed=True, has_key=False))
    await world.reconciler.run_once()
    assert 0 < await _assessed(db) < CODES
    world.is_pressed = False
    await world.reconciler.run_once()
    assert await _assessed(db) == CODES


async def test_after_a_piece_it_rests_while_they_press_and_no_longer(db: Database) -> None:
    world = await due_codes(World(db, is_pressed=True, has_key=False))
    stop = asyncio.Event()
    running = asyncio.create_task(world.reconciler.run(stop))
    async with asyncio.timeout(30):
        while await _assessed(db) == 0:  # noqa: ASYNC110 - another task does it
            await asyncio.sleep(0.01)
        assert world.reconciler._rest() > 0
        world.is_pressed = False
        assert world.reconciler._rest() == 0
        while await _assessed(db) < CODES:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    stop.set()
    await running


@pytest.mark.parametrize(("is_pressed", "rests"), [(True, 3), (False, 0)], ids=["pressed", "not pressed"])
async def test_it_rests_between_the_parts_of_a_piece_as_long_as_they_press(
    db: Database, monkeypatch: pytest.MonkeyPatch, *, is_pressed: bool, rests: int
) -> None:
    """Also in one that was claimed before they did."""
    world = await due_codes(World(db, has_key=False))
    claimed, leased_until = await world.reconciler._claim()
    rested: list[float] = []

    def rest_after(seconds: float) -> float:
        rested.append(seconds)
        return 0

    monkeypatch.setattr(loop, "_rest_after", rest_after)
    world.is_pressed = is_pressed
    await world.reconciler._work(claimed.ids, leased_until)
    assert await _assessed(db) == CODES
    assert len(rested) == rests
    assert all(seconds > 0 for seconds in rested)


@pytest.mark.parametrize(("worked", "rests"), [(0.01, 0.09), (0.2, 1.8), (5, 2)])
def test_a_rest_is_nine_times_as_long_as_the_work_and_two_seconds_at_most(worked: float, rests: float) -> None:
    assert loop._rest_after(worked) == pytest.approx(rests)


async def _assessed(db: Database) -> int:
    async with db.read() as conn:
        query = select(func.count()).select_from(access_codes).where(access_codes.c.reason != "It is being programmed.")
        return (await conn.execute(query)).scalar_one()
