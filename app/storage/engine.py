"""The database: SQLite in a file, or PostgreSQL, behind the same two context managers.

``read()`` is one snapshot that cannot write. ``write()`` is one transaction: it commits on leaving and rolls back on an
error. Every error of a driver leaves them as a ``StorageError`` (see ``app.storage.errors``).
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Literal, NoReturn

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.storage.driver import write_batch
from app.storage.errors import DatabaseUrlInvalid, RefusedByDatabase, StorageError
from app.storage.failures import TRANSLATED, storage_error
from app.storage.limits import Limits
from app.storage.postgresql import is_dead, postgresql_engines, way_aside
from app.storage.sqlite import sqlite_engines, sqlite_writer
from app.storage.sqlite_batch import SqliteBatch
from app.storage.writer import WriterProcess

Dialect = Literal["sqlite", "postgresql"]
Connection = AsyncConnection  # for those who pass one on: they need not know whose it is
_POSTGRESQL = ("postgresql", "postgres", "postgresql+asyncpg")
_SQLITE = ("sqlite", "sqlite+aiosqlite")
_FORMS = "must look like sqlite:///data/latchwatch.db or postgresql://user:password@host/database"
_LIMITS = Limits()
_MOST_KEPT = 2  # as many as batches of the inbox are written at a time; the others of the pool are for everybody

CHANGED = "changed_codes"
"""Where a connection notes the codes that its transaction changed, see ``app.storage.notices``."""

OnChanged = Callable[[Collection[str] | None], None]


class Database:
    """Engines for one database. ``place`` names it for people, without the password."""

    def __init__(
        self,
        dialect: Dialect,
        place: str,
        *,
        writers: AsyncEngine,
        readers: AsyncEngine,
        maintenance: AsyncEngine,
        aside: Callable[[], Awaitable[Any]] | None = None,
        writer_process: WriterProcess | None = None,
    ) -> None:
        self.dialect: Dialect = dialect
        self.place = place
        self._writers = writers
        self._each = writers.execution_options(isolation_level="AUTOCOMMIT")
        self._kept: list[AsyncConnection] = []
        self._readers = readers
        self._maintenance = maintenance
        self._aside = aside
        self._writer_process = writer_process
        self._subscribers: list[OnChanged] = []

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One snapshot, read-only. Raises ``StorageError``."""
        return _transaction(self._readers)

    def write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One transaction. On SQLite writers queue; it begins IMMEDIATE. Raises ``StorageError``.

        After ``StorageUnavailable`` it may even have been committed: only repeat what is idempotent.
        """
        return _transaction(self._writers, self.tell_changed)

    def write_each(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Each statement is a transaction of its own on PostgreSQL, which saves the round trips around it. On SQLite,
        where nothing is far away, this is ``write()``. For statements through ``app.storage.driver`` that may each stay
        although the next one fails. Raises ``StorageError``."""
        return self.write() if self.dialect == "sqlite" else self._write_each()

    async def start_writer(self) -> None:
        """SQLite: have batches written by a process of its own from now on. For a service that takes deliveries; for a
        command that writes a few it is not worth it. Raises ``StorageError``."""
        if self._writer_process is not None:
            try:
                await self._writer_process.start()
            except TRANSLATED as error:
                _raise_translated(error)

    async def write_batch(self, batch: SqliteBatch) -> list[str]:
        """SQLite: one ``write()``, see ``app.storage.sqlite_batch.write``. Raises ``StorageError``."""
        async with _connection(self._writers) as connection:  # held meanwhile: there is one writer at a time
            if self._writer_process is not None and self._writer_process.is_wanted:
                return await self._writer_process.write(batch)
            return await write_batch(connection, batch)

    def maintain(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A ``write()`` without the time limits of a request and without foreign keys on SQLite: for migrations."""
        return _transaction(self._maintenance)

    def subscribe(self, on_changed: OnChanged) -> None:
        """Have this called with the ids of codes that changed, after the commit. ``None``: it could be any of them."""
        self._subscribers.append(on_changed)

    def tell_changed(self, ids: Collection[str] | None) -> None:
        for on_changed in self._subscribers:
            on_changed(ids)

    async def connect_aside(self) -> Any:
        """A connection of the driver's own, outside of the pools: PostgreSQL alone, for ``app.storage.notices``."""
        if self._aside is None:
            raise NotImplementedError("SQLite has nothing to listen to")
        return await self._aside()

    async def probe(self) -> None:
        """Raise ``DatabaseUrlInvalid`` if the database cannot be used now: for the start and for ``doctor``."""
        try:
            async with self.write():
                pass
        except StorageError as error:
            raise DatabaseUrlInvalid(
                f"{self.place} cannot be used ({error}); start the database there, or correct the setting"
            ) from error

    @asynccontextmanager
    async def _write_each(self) -> AsyncIterator[AsyncConnection]:
        """Who comes next takes the connection over: the way out of the pool and back costs as much as storing a few
        events. After an error it goes back there, and what is wrong with it is seen."""
        try:
            async with AsyncExitStack() as closing:
                connection = await self._take_kept()
                closing.push_async_exit(connection)
                async with _invalidating(connection):
                    yield connection
                if len(self._kept) < _MOST_KEPT:
                    self._kept.append(connection)
                    closing.pop_all()
        except TRANSLATED as error:
            _raise_translated(error)

    async def _take_kept(self) -> AsyncConnection:
        while self._kept:
            connection = self._kept.pop()
            if not is_dead(connection):
                return connection
            await connection.close()
        return await self._each.connect()

    async def close(self) -> None:
        while self._kept:
            await self._kept.pop().close()
        if self._writer_process is not None:
            await self._writer_process.close()
        for engine in (self._writers, self._readers, self._maintenance):
            await engine.dispose()


def open_database(url: str, limits: Limits = _LIMITS) -> Database:
    """Engines for ``sqlite:///path`` or ``postgresql://…`` (libpq's parameters, such as ``sslmode``, are understood).

    Nothing is connected yet, see ``Database.probe``. Raises ``DatabaseUrlInvalid``.
    """
    parsed = _parse(url)
    if parsed.drivername in _SQLITE:
        path, engines = sqlite_engines(parsed, limits)
        return Database("sqlite", f"SQLite at {path}", **engines, writer_process=sqlite_writer(path, limits))
    return Database(
        "postgresql",
        f"PostgreSQL at {parsed.host or parsed.query.get('host') or 'the local socket'}",
        **postgresql_engines(url, parsed, limits),
        aside=way_aside(url, parsed, limits),
    )


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url.strip())
    except (ArgumentError, ValueError) as error:
        raise DatabaseUrlInvalid(_FORMS) from error
    if parsed.drivername not in (*_SQLITE, *_POSTGRESQL):
        raise DatabaseUrlInvalid(_FORMS)
    return parsed


@asynccontextmanager
async def _transaction(engine: AsyncEngine, tell_changed: OnChanged | None = None) -> AsyncIterator[AsyncConnection]:
    async with _connection(engine) as connection:
        transaction = await connection.begin()
        yield connection
        try:
            await transaction.commit()
        except BaseException as error:
            # On SQLite it may still be open, and SQLAlchemy takes it for ended.
            await connection.invalidate(error)
            raise
        if tell_changed is not None and (changed := connection.info.pop(CHANGED, None)):
            tell_changed(changed)


@asynccontextmanager
async def _connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One of the pool, with no transaction begun."""
    try:
        async with engine.connect() as connection, _invalidating(connection):
            yield connection
    except TRANSLATED as error:
        _raise_translated(error)


@asynccontextmanager
async def _invalidating(connection: AsyncConnection) -> AsyncIterator[None]:
    try:
        yield
    except (TimeoutError, CancelledError) as error:
        # The server may be gone: it would not answer a ROLLBACK either.
        await connection.invalidate(error)
        raise


def _raise_translated(error: Exception) -> NoReturn:
    translated = storage_error(error)
    # The driver's text may quote the data that was refused.
    raise translated from None if isinstance(translated, RefusedByDatabase) else error
