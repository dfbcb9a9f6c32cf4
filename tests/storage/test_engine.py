from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from app.storage.engine import Database, open_database
from app.storage.errors import StorageUnavailable
from tests.storage.counting import ADD_ONE, COUNT, add_one, count


async def test_what_a_write_leaves_behind_is_there_for_the_next_read(db: Database) -> None:
    await add_one(db)
    assert await count(db) == 1


async def test_a_write_that_raises_leaves_nothing_behind_and_the_error_comes_through(db: Database) -> None:
    async def stumble() -> None:
        async with db.write() as connection:
            await connection.execute(ADD_ONE)
            raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        await stumble()
    assert await count(db) == 0


async def test_a_read_cannot_write(db: Database) -> None:
    with pytest.raises(StorageUnavailable):
        async with db.read() as connection:
            await connection.execute(ADD_ONE)
    assert await count(db) == 0


async def test_a_read_is_one_snapshot(db: Database) -> None:
    async with db.read() as connection:
        before = (await connection.execute(COUNT)).scalar_one()
        await add_one(db)
        assert (await connection.execute(COUNT)).scalar_one() == before
    assert await count(db) == before + 1


async def test_writers_queue_and_none_is_lost(db: Database) -> None:
    await asyncio.gather(*(add_one(db) for _ in range(40)))
    assert await count(db) == 40


async def test_two_processes_that_read_before_they_write_do_not_fail_each_other(sqlite_url: str) -> None:
    """A transaction that only becomes a writer half-way would be refused as soon as another one has committed."""

    async def count_up(db: Database) -> None:
        for _ in range(5):
            async with db.write() as connection:
                number = (await connection.execute(COUNT)).scalar_one()
                await connection.execute(text("UPDATE intake SET backfilled = :next"), {"next": number + 1})

    both = [open_database(sqlite_url), open_database(sqlite_url)]
    await asyncio.gather(*(count_up(db) for db in both))
    assert await count(both[0]) == 10
    for db in both:
        await db.close()


async def test_a_write_that_is_cancelled_is_not_there_and_harms_nobody(db: Database) -> None:
    entered = asyncio.Event()

    async def hang() -> None:
        async with db.write() as connection:
            await connection.execute(ADD_ONE)
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await add_one(db)
    assert await count(db) == 1


async def test_a_commit_is_on_the_disk_when_it_returns(db: Database) -> None:
    """Nothing on our side, nor in the server's defaults, may weaken durability."""
    async with db.write() as connection:
        if db.dialect == "sqlite":
            pragmas = ("journal_mode", "synchronous", "foreign_keys")
            found = [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in pragmas]
            assert found == ["wal", 2, 1]
        else:
            settings = ("fsync", "synchronous_commit", "full_page_writes")
            found = [(await connection.exec_driver_sql(f"SHOW {name}")).scalar() for name in settings]
            assert found == ["on", "on", "on"]
