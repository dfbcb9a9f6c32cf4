"""Leases: one holder at a time, given back or run out, never broken while they hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from app.storage.engine import Database, open_database
from app.storage.leases import keep_lease, release_lease, take_lease
from tests.storage.arrivals import after

LEASE = timedelta(seconds=60)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """Another process on the same database."""
    database = open_database(database_url)
    yield database
    await database.close()


async def take(db: Database, holder: str, at: float = 0, name: str = "work") -> bool:
    async with db.write() as conn:
        return await take_lease(conn, name, holder, after(at), LEASE)


async def keep(db: Database, holder: str, at: float) -> bool:
    async with db.write() as conn:
        return await keep_lease(conn, "work", holder, after(at), LEASE)


async def release(db: Database, holder: str) -> None:
    async with db.write() as conn:
        await release_lease(conn, "work", holder)


@pytest.mark.parametrize(("at", "taken"), [(0, False), (59, False), (60, True), (3600, True)])
async def test_another_takes_it_only_once_it_ran_out(db: Database, at: float, *, taken: bool) -> None:
    assert await take(db, "a")
    assert await take(db, "b", at) is taken


async def test_its_holder_may_take_it_again_and_has_it_for_longer(db: Database) -> None:
    assert await take(db, "a")
    assert await take(db, "a", 30)
    assert not await take(db, "b", 89)
    assert await take(db, "b", 90)


async def test_leases_of_other_names_are_free(db: Database) -> None:
    assert await take(db, "a")
    assert await take(db, "b", name="other work")


async def test_whoever_keeps_it_in_time_has_it_for_longer(db: Database) -> None:
    assert await take(db, "a")
    assert await keep(db, "a", 50)
    assert not await take(db, "b", 109)


async def test_one_that_ran_out_is_kept_unless_another_took_it(db: Database) -> None:
    assert await take(db, "a")
    assert await keep(db, "a", 100)
    assert await take(db, "b", 160)
    assert not await keep(db, "a", 161)


async def test_nobody_keeps_what_he_never_had(db: Database) -> None:
    assert not await keep(db, "a", 0)


async def test_one_that_was_given_back_is_free_at_once(db: Database) -> None:
    assert await take(db, "a")
    await release(db, "a")
    assert await take(db, "b")


async def test_only_its_holder_gives_it_back(db: Database) -> None:
    assert await take(db, "a")
    await release(db, "b")
    assert not await take(db, "b", 1)


async def test_of_many_that_reach_for_it_at_once_one_gets_it(db: Database, other: Database) -> None:
    reaches = [take((db, other)[number % 2], f"holder {number}") for number in range(20)]
    assert sum(await asyncio.gather(*reaches)) == 1
