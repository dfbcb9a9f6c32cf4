"""SQLite: one writer, a few readers, and what makes it durable and safe under concurrency."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from sqlite3 import OperationalError
from typing import Any, TypedDict

from sqlalchemy import Connection, NullPool, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from app.storage.errors import DatabaseUrlInvalid
from app.storage.limits import Limits
from app.storage.writer import WriterProcess

_READERS = 4
_SWITCH_AGAIN_SECONDS = 0.05
_PATIENT = Limits(lock=60)  # who migrates waits for those who migrate

_COMMON = (
    "PRAGMA synchronous=FULL",  # a commit is on the disk when it returns: acked means kept
    "PRAGMA temp_store=MEMORY",
    # Pages, 240 MiB. The writer process of a service (``app.storage.writer_process``) is earlier, and not in a commit.
    "PRAGMA wal_autocheckpoint=60000",
)
_WRITER = (*_COMMON, "PRAGMA foreign_keys=ON", "PRAGMA cache_size=-16384")
_READER = (*_COMMON, "PRAGMA query_only=ON", "PRAGMA cache_size=-8192")
# A migration rebuilds tables; with foreign keys on, dropping the old one would delete the rows that point to it.
_MAINTENANCE = (*_COMMON, "PRAGMA foreign_keys=OFF")


class Engines(TypedDict):
    writers: AsyncEngine
    readers: AsyncEngine
    maintenance: AsyncEngine


def sqlite_engines(url: URL, limits: Limits) -> tuple[Path, Engines]:
    """The file and its engines. Raises ``DatabaseUrlInvalid`` if the file cannot be written."""
    path = _writable_file(url)
    # Everybody ends the transaction that they began: a rollback to be sure would be one more trip to the thread.
    options = {"max_overflow": 0, "pool_timeout": limits.queue, "pool_reset_on_return": None}
    return path, Engines(
        # Deferred transactions that turn into writers fail at once under concurrency, whatever the busy time-out.
        writers=_engine(path, limits, "BEGIN IMMEDIATE", _WRITER, pool_size=1, **options),
        readers=_engine(path, limits, "BEGIN", _READER, pool_size=_READERS, **options),
        maintenance=_engine(path, _PATIENT, "BEGIN IMMEDIATE", _MAINTENANCE, poolclass=NullPool),
    )


def sqlite_writer(path: Path, limits: Limits) -> WriterProcess:
    """The process that may write batches to the same file, which is in WAL mode by then."""
    return WriterProcess(path, lock_seconds=limits.lock, pragmas=_WRITER)


def _writable_file(url: URL) -> Path:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise DatabaseUrlInvalid("names no file; it must look like sqlite:///data/latchwatch.db")
    path = Path(url.database)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise DatabaseUrlInvalid(f"the folder {folder} does not exist; create it, or name another")
    if path.is_dir():
        raise DatabaseUrlInvalid(f"{path} is a folder; name a file in it")
    for place in (folder, path) if path.exists() else (folder,):
        if not os.access(place, os.W_OK):
            raise DatabaseUrlInvalid(f"{place} cannot be written; let the service's user write there, or name another")
    return path


def _engine(path: Path, limits: Limits, begin: str, pragmas: tuple[str, ...], **options: Any) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        # The driver must not begin transactions by itself: "begin" below does.
        connect_args={"timeout": limits.lock, "isolation_level": None},
        hide_parameters=True,
        **options,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        _switch_to_wal(cursor, limits)
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _switch_to_wal(cursor: Any, limits: Limits) -> None:
    """Two that open a new file at once would both switch it. SQLite then refuses one without waiting, whatever its busy
    time-out: so the waiting is done here."""
    for _ in range(int(limits.lock / _SWITCH_AGAIN_SECONDS)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except OperationalError:
            await_only(asyncio.sleep(_SWITCH_AGAIN_SECONDS))
        else:
            return
    cursor.execute("PRAGMA journal_mode=WAL")
