"""What others want to know at once: which codes changed, and that something became due.

In this process it is told after the commit, on PostgreSQL to every other process as well (``NOTIFY``, inside the
transaction). A notice is a hint: whoever gets one looks at the database itself, so one too many does no harm, and after
a connection was lost everybody looks once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.engine import CHANGED, Database

_CODES, _DUE = "latchwatch_codes", "latchwatch_due"
_TELL_CODES = text(f"SELECT pg_notify('{_CODES}', :payload)")
_TELL_DUE = f"SELECT pg_notify('{_DUE}', '')"
_MANY = "*"
_LONGEST_PAYLOAD = 7900  # bytes; PostgreSQL refuses 8000
# What became due within so long is told as one: a receiver commits hundreds of batches in a second.
_DUE_APART_SECONDS = 0.05
# A connection that died without a word is noticed after so long at most.
_PROBE_EVERY_SECONDS = 15.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0
_LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

_log = structlog.get_logger(__name__)


async def announce(conn: AsyncConnection, ids: Collection[str]) -> None:
    """Say that these codes (our ids) changed, once this transaction has committed. Call it once in a transaction."""
    if not ids:
        return
    conn.info.setdefault(CHANGED, set()).update(ids)
    if conn.dialect.name == "postgresql":
        await conn.execute(_TELL_CODES, {"payload": _payload(ids)})


def _payload(ids: Collection[str]) -> str:
    joined = "\n".join(sorted(ids))
    return joined if len(joined.encode()) <= _LONGEST_PAYLOAD else _MANY


class Listener:
    """One process's ear for the others, on a PostgreSQL connection of its own. Comes back by itself after the server
    was away. What is heard about codes goes to ``Database.subscribe``; ``on_due`` is called when something became due.
    """

    def __init__(self, db: Database, clock: Callable[[], datetime], *, on_due: Callable[[], None]) -> None:
        self._db = db
        self._clock = clock
        self._on_due = on_due
        self._woken = asyncio.Event()
        self._tells_due = False
        self.last_pass_at: datetime | None = None
        self.failures = 0  # in a row

    def tell_due(self) -> None:
        """Have the reconcilers of other processes look now. Call it after the commit; it costs the caller nothing."""
        self._tells_due = True
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until ``stop``."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._woken.set())
        try:
            while not stop.is_set():
                self.last_pass_at = self._clock()
                try:
                    async with self._listening() as connection:
                        self.failures = 0
                        await self._attend(connection, stopping)
                except _LOST as error:
                    self.failures += 1
                    _log.warning("notices_lost", error=type(error).__name__, failures=self.failures)
                    await asyncio.wait([stopping], timeout=_pause(self.failures))
        finally:
            stopping.cancel()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[Any]:
        connection = await self._db.connect_aside()
        try:
            connection.add_termination_listener(lambda _: self._woken.set())
            await connection.add_listener(_CODES, self._hear_codes)
            await connection.add_listener(_DUE, self._hear_due)
            # What was said while nobody listened is lost.
            self._db.tell_changed(None)
            self._on_due()
            yield connection
        finally:
            connection.terminate()  # a good-bye could hang on a server that has fallen silent

    async def _attend(self, connection: Any, stopping: asyncio.Task[bool]) -> None:
        while not stopping.done():
            self._woken.clear()
            self.last_pass_at = self._clock()
            if connection.is_closed():
                raise ConnectionResetError("the server closed the connection")
            if self._tells_due:
                self._tells_due = False
                await connection.execute(_TELL_DUE)
                await asyncio.wait([stopping], timeout=_DUE_APART_SECONDS)
            else:
                await self._wait_or_probe(connection)

    async def _wait_or_probe(self, connection: Any) -> None:
        try:
            async with asyncio.timeout(_PROBE_EVERY_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            await connection.execute("SELECT 1")

    def _hear_codes(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        self._db.tell_changed(None if payload == _MANY else payload.split("\n"))

    def _hear_due(self, _connection: Any, _pid: int, _channel: str, _payload: str) -> None:
        self._on_due()


def _pause(failures: int) -> float:
    return min(_FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10), _LONGEST_PAUSE_SECONDS)
