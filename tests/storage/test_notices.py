"""Who is told of changed codes and of what became due: in this process after the commit, on PostgreSQL everybody."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from app.clock import utc_now
from app.storage.engine import Database, open_database
from app.storage.limits import Limits
from app.storage.notices import Listener, announce
from tests.postgres import start_postgres
from tests.storage.counting import ADD_ONE

MOMENT = Limits(connect=2, queue=1, lock=1, statement=1, silence=1)


class Heard:
    """What one process heard: the ids of each notice in turn (``None``: any code), and how often something was due."""

    def __init__(self, db: Database) -> None:
        self.codes: list[list[str] | None] = []
        self.due = 0
        db.subscribe(self._codes)

    def _codes(self, ids: Collection[str] | None) -> None:
        self.codes.append(None if ids is None else sorted(ids))

    def on_due(self) -> None:
        self.due += 1


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[tuple[Database, Listener, Heard]]:
    """A process that listens, once it does."""
    db = open_database(url, MOMENT)
    heard = Heard(db)
    listener = Listener(db, utc_now, on_due=heard.on_due)
    stop = asyncio.Event()
    task = asyncio.create_task(listener.run(stop))
    await soon(lambda: heard.codes == [None])
    assert heard.due == 1
    yield db, listener, heard
    stop.set()
    async with asyncio.timeout(10):
        await task
    await db.close()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Another process's database."""
    db = open_database(url, MOMENT)
    yield db
    await db.close()


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it happens in another process's time
            await asyncio.sleep(0.01)


async def test_a_change_is_told_in_its_own_process_after_the_commit(db: Database) -> None:
    heard = Heard(db)
    async with db.write() as conn:
        await announce(conn, ["b", "a"])
        await announce(conn, [])
        assert heard.codes == []
    assert heard.codes == [["a", "b"]]
    async with db.write() as conn:
        await conn.execute(ADD_ONE)
    assert heard.codes == [["a", "b"]]


async def test_what_is_rolled_back_is_not_told(db: Database) -> None:
    heard = Heard(db)

    async def fail() -> None:
        async with db.write() as conn:
            await announce(conn, ["a"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert heard.codes == []


async def test_a_change_is_told_to_other_processes_with_the_commit(postgres_url: str) -> None:
    async with listening(postgres_url) as (_, _, heard), opened(postgres_url) as db:
        async with db.write() as conn:
            await announce(conn, ["b", "a"])
        await soon(lambda: len(heard.codes) == 2)
        assert heard.codes == [None, ["a", "b"]]


async def test_more_codes_than_a_notice_holds_are_told_as_any(postgres_url: str) -> None:
    many = [f"code_{number:032}" for number in range(1000)]
    async with listening(postgres_url) as (_, _, heard), opened(postgres_url) as db:
        async with db.write() as conn:
            await announce(conn, many)
        await soon(lambda: len(heard.codes) == 2)
        assert heard.codes == [None, None]


async def test_what_became_due_is_told_at_once_and_then_together(postgres_url: str) -> None:
    """However many batches are committed: the first is told, and those that follow it soon share the next one."""
    async with listening(postgres_url) as (_, _, worker), listening(postgres_url) as (_, receiver, _):
        before = worker.due
        receiver.tell_due()
        await soon(lambda: worker.due == before + 1)
        for _ in range(1000):
            receiver.tell_due()
            await asyncio.sleep(0)
        await soon(lambda: worker.due >= before + 2)
        receiver.tell_due()
        await soon(lambda: worker.due >= before + 3)
        assert worker.due < before + 30


async def test_a_connection_that_was_cut_is_made_again_and_everybody_looks(postgres_url: str) -> None:
    async with listening(postgres_url) as (_, _, heard), opened(postgres_url) as db:
        async with db.write() as conn:
            await conn.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid != pg_backend_pid()"
                )
            )
        await soon(lambda: heard.codes == [None, None])
        async with db.write() as conn:
            await announce(conn, ["a"])
        await soon(lambda: heard.codes == [None, None, ["a"]])


async def test_a_server_that_was_away_is_listened_to_again(postgres_server: str) -> None:
    """While it is away the listener tries again and again, and says so to whoever asks whether it is alive."""
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = start_postgres(Path(folder))
        url = server.get_uri(database="postgres")
        async with listening(url) as (_, listener, heard):
            server.cleanup()
            await soon(lambda: listener.failures > 2)
            seen = listener.last_pass_at
            await soon(lambda: listener.last_pass_at != seen)
            listener.tell_due()
            server = start_postgres(Path(folder))
            await soon(lambda: heard.codes == [None, None])
            await soon(lambda: heard.due >= 3)
            async with opened(url) as db, db.write() as conn:
                await announce(conn, ["a"])
            await soon(lambda: heard.codes[-1] == ["a"])
        server.cleanup()


async def test_a_listener_ends_while_the_server_is_away(postgres_url: str) -> None:
    db = open_database(postgres_url.replace("/test_", "/no_such_"), MOMENT)
    stop = asyncio.Event()
    listener = Listener(db, utc_now, on_due=lambda: None)
    task = asyncio.create_task(listener.run(stop))
    await soon(lambda: listener.failures > 0)
    stop.set()
    async with asyncio.timeout(10):
        await task
    await db.close()
