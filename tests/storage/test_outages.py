from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import text

from app.storage.engine import Database, open_database
from app.storage.errors import StorageUnavailable
from app.storage.limits import Limits
from tests.postgres import start_postgres
from tests.storage.counting import ADD_ONE, add_one, count
from tests.storage.silence import way_to

SHORT = Limits(connect=2, queue=0.2, lock=0.2, statement=0.3, silence=0.6)


@pytest.fixture
async def impatient(database_url: str) -> AsyncIterator[Database]:
    """A database whose limits are over in a moment."""
    database = open_database(database_url, SHORT)
    yield database
    await database.close()


@pytest.fixture
async def impatient_postgresql(postgres_url: str) -> AsyncIterator[Database]:
    database = open_database(postgres_url, SHORT)
    yield database
    await database.close()


async def test_nobody_waits_for_ever_for_a_free_connection(impatient: Database) -> None:
    async def hold(release: asyncio.Event, held: asyncio.Barrier) -> None:
        async with impatient.write():
            await held.wait()
            await release.wait()

    most = 1 if impatient.dialect == "sqlite" else 10
    release, held = asyncio.Event(), asyncio.Barrier(most + 1)
    holders = [asyncio.create_task(hold(release, held)) for _ in range(most)]
    await held.wait()
    with pytest.raises(StorageUnavailable, match="busy"):
        await add_one(impatient)
    release.set()
    await asyncio.gather(*holders)
    await add_one(impatient)


async def test_nobody_waits_for_ever_for_a_lock(impatient: Database, database_url: str) -> None:
    other = open_database(database_url)
    async with other.write() as connection:
        await connection.execute(ADD_ONE)
        with pytest.raises(StorageUnavailable):
            await add_one(impatient)
    await other.close()
    await add_one(impatient)
    assert await count(impatient) == 2


async def test_a_full_disk_makes_storage_unavailable_until_there_is_room(sqlite_url: str) -> None:
    db = open_database(sqlite_url)
    fill = text("INSERT INTO audit_log (at, actor, action) VALUES (0, 'actor', :much)")

    async def fill_disk(pages: int) -> None:
        async with db.write() as connection:
            await connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
            await connection.execute(ADD_ONE)
            await connection.execute(fill, {"much": "x" * 1_000_000})

    with pytest.raises(StorageUnavailable, match="SQLITE_FULL"):
        await fill_disk(100)
    assert await count(db) == 0
    await fill_disk(100_000)
    assert await count(db) == 1
    await db.close()


@pytest.mark.parametrize("go_on", [True, False], ids=["before a statement", "before the commit"])
async def test_a_backend_that_dies_makes_storage_unavailable_only_once(postgres_url: str, go_on: bool) -> None:
    db = open_database(postgres_url)

    async def lose_the_backend() -> None:
        async with db.write() as connection:
            await connection.execute(ADD_ONE)
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            async with db.read() as other:
                await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            if go_on:
                await connection.execute(ADD_ONE)

    with pytest.raises(StorageUnavailable):
        await lose_the_backend()
    await add_one(db)
    assert await count(db) == 1
    await db.close()


async def test_a_server_that_restarts_needs_no_restart_of_ours(postgres_server: str) -> None:
    """Every connection of the pool died meanwhile. While the server is away, storage is unavailable."""
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        ask = text("SELECT 1")
        server = start_postgres(Path(folder))
        db = open_database(server.get_uri(database="postgres"))
        async with db.write() as first, db.write() as second:
            await first.execute(ask)
            await second.execute(ask)
        server.cleanup()
        with pytest.raises(StorageUnavailable):
            async with db.write() as connection:
                await connection.execute(ask)
        server = start_postgres(Path(folder))
        async with db.write() as first, db.write() as second:
            await first.execute(ask)
            await second.execute(ask)
        await db.close()
        server.cleanup()


async def test_connections_that_died_while_nobody_used_them_are_not_noticed(postgres_url: str) -> None:
    db = open_database(postgres_url)
    async with db.write() as connection:
        idle = (await connection.get_raw_connection()).driver_connection
    assert idle is not None
    closed = asyncio.Event()
    idle.add_termination_listener(lambda _: closed.set())
    async with db.read() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": idle.get_server_pid()})
    async with asyncio.timeout(10):
        await closed.wait()
    await add_one(db)
    assert await count(db) == 1
    await db.close()


async def test_a_statement_that_takes_too_long_is_given_up(impatient_postgresql: Database) -> None:
    with pytest.raises(StorageUnavailable, match="statement timeout"):
        async with impatient_postgresql.write() as connection:
            await connection.execute(text("SELECT pg_sleep(30)"))
    await add_one(impatient_postgresql)


async def test_a_server_that_falls_silent_is_given_up_and_used_again_when_it_speaks(postgres_url: str) -> None:
    real = Path(parse_qs(urlsplit(postgres_url).query)["host"][0])
    with tempfile.TemporaryDirectory(prefix="way") as folder:
        async with way_to(real, Path(folder)) as way:
            db = open_database(postgres_url.replace(str(real), folder), SHORT)

            async def meet_silence() -> None:
                async with db.write() as connection:
                    await connection.execute(ADD_ONE)
                    way.silent = True
                    await connection.execute(ADD_ONE)

            with pytest.raises(StorageUnavailable, match="no answer in time"):
                await meet_silence()
            way.silent = False
            await add_one(db)
            assert await count(db) == 1
            await db.close()


async def test_an_answer_that_takes_too_long_is_given_up(impatient_postgresql: Database) -> None:
    async def meet_silence() -> None:
        async with impatient_postgresql.write() as connection:
            await connection.execute(text("SET LOCAL statement_timeout = 0"))
            await connection.execute(text("SELECT pg_sleep(30)"))

    with pytest.raises(StorageUnavailable, match="no answer in time"):
        await meet_silence()
    await add_one(impatient_postgresql)
