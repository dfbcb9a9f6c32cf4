"""SQLite: a whole transaction in one trip to the thread of its connection."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import select, text

from app.storage.engine import Database, open_database
from app.storage.errors import RefusedByDatabase, StorageError, StorageUnavailable
from app.storage.inbox import Outcome, store_batch
from app.storage.limits import Limits
from app.storage.tables import events, signals
from tests.storage.arrivals import code_news, deliveries, device_news
from tests.storage.counting import add_one, count


@pytest.fixture
async def db(sqlite_url: str) -> AsyncIterator[Database]:
    database = open_database(sqlite_url)
    yield database
    await database.close()


def _add_one(connection: sqlite3.Connection) -> int:
    return connection.execute("UPDATE intake SET backfilled = backfilled + 1").rowcount


async def test_the_work_is_committed_and_its_result_comes_back(db: Database) -> None:
    assert await db.write_here(_add_one) == 1
    assert await count(db) == 1


async def test_work_that_raises_leaves_nothing_behind_and_the_error_comes_through(db: Database) -> None:
    def stumble(connection: sqlite3.Connection) -> None:
        _add_one(connection)
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        await db.write_here(stumble)
    assert await count(db) == 0
    await add_one(db)


async def test_data_that_is_refused_leaves_nothing_behind_and_is_not_quoted(db: Database) -> None:
    def break_a_rule(connection: sqlite3.Connection) -> None:
        _add_one(connection)
        connection.execute("INSERT INTO signals (access_code_id, version) VALUES ('private', NULL)")

    with pytest.raises(RefusedByDatabase) as refused:
        await db.write_here(break_a_rule)
    assert "private" not in str(refused.value)
    assert await count(db) == 0


async def test_a_commit_that_fails_leaves_nothing_behind_and_the_next_one_begins(db: Database) -> None:
    """SQLite would leave the transaction open, so that nobody could begin another one."""

    def point_nowhere(connection: sqlite3.Connection) -> None:
        _add_one(connection)
        connection.execute("PRAGMA defer_foreign_keys=ON")
        connection.execute("""
            INSERT INTO transitions (code_id, at, to_verdict, since, reason) VALUES ('nobody', 0, 'pending', 0, '')""")

    with pytest.raises(RefusedByDatabase):
        await db.write_here(point_nowhere)
    await db.write_here(_add_one)
    assert await count(db) == 1


async def test_who_finds_another_writer_waits_for_it_but_not_for_ever(db: Database, sqlite_url: str) -> None:
    impatient = open_database(sqlite_url, Limits(lock=0.2))
    async with db.write():
        with pytest.raises(StorageUnavailable):
            await impatient.write_here(_add_one)
    await impatient.write_here(_add_one)
    assert await count(db) == 1
    await impatient.close()


async def test_one_that_is_cancelled_half_way_harms_nobody(db: Database) -> None:
    """Whether it is committed nobody knows: the thread may have come that far."""
    entered, go_on = threading.Event(), threading.Event()

    def hang(connection: sqlite3.Connection) -> None:
        _add_one(connection)
        entered.set()
        go_on.wait(10)

    task = asyncio.create_task(db.write_here(hang))
    assert await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await add_one(db)
    assert await count(db) in (1, 2)


@pytest.mark.parametrize("size", [1, 3, 63, 64, 65, 127, 300])
async def test_a_batch_of_any_size_is_stored_whole(db: Database, size: int) -> None:
    names = [f"e{number}" for number in range(size)]
    batch = deliveries(*(code_news(name, access_code_id=f"of_{name}") for name in names))
    assert await store_batch(db, batch) == [Outcome.STORED] * size
    assert await store_batch(db, batch) == [Outcome.DUPLICATE] * size
    async with db.read() as connection:
        assert set((await connection.execute(select(events.c.event_id))).scalars()) == set(names)
        assert set((await connection.execute(select(signals.c.access_code_id))).scalars()) == {f"of_{n}" for n in names}


async def test_a_batch_takes_one_trip_to_the_thread(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trip costs as much as storing an event, and under load the thread waits for its turn again."""
    await store_batch(db, deliveries(code_news("e0")))
    trips = []
    execute: Any = aiosqlite.Connection._execute

    async def counted(self: aiosqlite.Connection, work: Any, *arguments: Any) -> Any:
        trips.append(work)
        return await execute(self, work, *arguments)

    monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
    await store_batch(db, deliveries(code_news("e0"), *(code_news(f"e{each}") for each in range(20)), device_news("d")))
    assert len(trips) == 1


async def test_a_commit_that_fails_in_a_longer_transaction_leaves_none_open(db: Database) -> None:
    with pytest.raises(StorageError):
        await _break_a_rule_at_the_end(db)

    await add_one(db)
    assert await count(db) == 1


async def _break_a_rule_at_the_end(db: Database) -> None:
    of_nobody = (
        "INSERT INTO transitions (code_id, at, to_verdict, since, reason) VALUES ('nobody', 0, 'pending', 0, '')"
    )
    async with db.write() as conn:
        await conn.execute(text("PRAGMA defer_foreign_keys=ON"))
        await conn.execute(text(of_nobody))
