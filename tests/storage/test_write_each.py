"""Statements that each stand alone, on PostgreSQL: who comes next takes the connection over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.storage.driver import run, statement_of
from app.storage.engine import Connection, Database, open_database
from app.storage.errors import RefusedByDatabase, StorageUnavailable
from tests.storage.counting import count

ADD_ONE = (statement_of("postgresql", "UPDATE intake SET backfilled = backfilled + 1"), dict[str, int]())
BACKEND = (statement_of("postgresql", "SELECT pg_backend_pid()"), dict[str, int]())
DIVIDE = (statement_of("postgresql", "SELECT 1 / 0"), dict[str, int]())
NONSENSE = (statement_of("postgresql", "SELECT nonsense"), dict[str, int]())
END = statement_of("postgresql", "SELECT pg_terminate_backend(:pid)")
LIVING = statement_of("postgresql", "SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[Database]:
    database = open_database(postgres_url)
    yield database
    await database.close()


async def backend(connection: Connection) -> int:
    return int((await run(connection, BACKEND))[0])


async def next_backend(db: Database) -> int:
    async with db.write_each() as connection:
        return await backend(connection)


async def test_each_statement_stays_although_the_next_one_fails(db: Database) -> None:
    async def stumble() -> None:
        async with db.write_each() as connection:
            await run(connection, ADD_ONE)
            await run(connection, DIVIDE)

    with pytest.raises(RefusedByDatabase):
        await stumble()
    assert await count(db) == 1


async def test_who_comes_next_takes_the_connection_over(db: Database) -> None:
    assert await next_backend(db) == await next_backend(db)


async def test_after_an_error_the_next_one_is_served_all_the_same(db: Database) -> None:
    with pytest.raises(StorageUnavailable, match="nonsense"):
        async with db.write_each() as connection:
            await run(connection, NONSENSE)
    assert await next_backend(db)


async def test_a_connection_that_somebody_gave_up_on_is_not_taken_over(db: Database) -> None:
    first = await next_backend(db)
    entered = asyncio.Event()

    async def hang() -> None:
        async with db.write_each() as connection:
            assert await backend(connection) == first
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await next_backend(db) != first


async def test_a_connection_that_died_meanwhile_is_not_noticed(db: Database) -> None:
    async with db.write_each() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    closed = asyncio.Event()
    driver.add_termination_listener(lambda _: closed.set())
    async with db.read() as connection:
        await run(connection, (END, {"pid": driver.get_server_pid()}))
    async with asyncio.timeout(10):
        await closed.wait()
    assert await next_backend(db) != driver.get_server_pid()


async def test_of_many_connections_two_are_kept_and_the_others_are_there_for_everybody(db: Database) -> None:
    met = asyncio.Barrier(10)

    async def meet() -> None:
        async with db.write_each() as connection:
            await run(connection, ADD_ONE)
            await met.wait()

    await asyncio.gather(*(meet() for _ in range(10)))
    assert await count(db) == 10

    met = asyncio.Barrier(8)

    async def meet_in_a_transaction() -> None:
        async with db.write() as connection:
            await run(connection, BACKEND)
            await met.wait()

    async with asyncio.timeout(10):
        await asyncio.gather(*(meet_in_a_transaction() for _ in range(8)))


async def test_a_closed_database_leaves_no_connection_behind(db: Database, postgres_url: str) -> None:
    pid = await next_backend(db)
    await db.close()
    other = open_database(postgres_url)
    async with asyncio.timeout(10):
        while (await _living(other, pid))[0]:
            pass
    await other.close()


async def _living(db: Database, pid: int) -> list[int]:
    async with db.read() as connection:
        return await run(connection, (LIVING, {"pid": pid}))
