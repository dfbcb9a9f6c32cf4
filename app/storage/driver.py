"""Statements of the busiest path, handed to the driver itself, inside a transaction that SQLAlchemy keeps.

SQLAlchemy's own execution costs as much as the rest of a batch together: on PostgreSQL for each statement four times
what the driver takes, on SQLite a trip to the connection's thread and back. Here the driver prepares each once, and on
SQLite several make one trip.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from sqlalchemy import PoolProxiedConnection
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.sqlite_batch import SqliteBatch, write, write_inside

_NAMED = re.compile(r"(?<!:):([a-z]\w*)")


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL in the spelling of the driver: ``$1`` on PostgreSQL, ``:name`` on SQLite. ``names`` in that order."""

    sql: str
    names: tuple[str, ...]


Result = TypeVar("Result")
Row = tuple[Any, ...]
Step = tuple[Statement, Mapping[str, Any] | list[Row]]
"""A statement and its parameters. With a list it runs once for each row, whose values stand in the order of its own."""


def statement_of(dialect: Literal["sqlite", "postgresql"], text: str) -> Statement:
    """``text`` names its parameters ``:name``."""
    names = tuple(dict.fromkeys(_NAMED.findall(text)))
    if dialect == "sqlite":
        return Statement(text, names)
    return Statement(_NAMED.sub(lambda found: f"${names.index(found[1]) + 1}", text), names)


async def run(connection: AsyncConnection, *steps: Step) -> list[Any]:
    """Like ``fetch``, but the first column alone comes back."""
    return [row[0] for row in await fetch(connection, *steps)]


async def fetch(connection: AsyncConnection, *steps: Step) -> list[Sequence[Any]]:
    """Run them in order in the transaction of ``connection``; the last one's rows come back, as the driver has them.

    Raises the driver's own errors: ``Database`` translates those as well.
    """
    if not steps:
        return []
    if connection.dialect.name == "sqlite":
        return await _in_thread(connection, lambda sqlite: _fetch_here(sqlite, steps))
    proxied = await _raw(connection)
    driver: Any = proxied.driver_connection
    adapted: Any = proxied.dbapi_connection
    if adapted._transaction is None:  # noqa: SLF001
        # SQLAlchemy would begin with its own first statement only.
        await adapted._start_transaction()  # noqa: SLF001
    rows: list[Sequence[Any]] = []
    for statement, values in steps:
        if isinstance(values, list):
            await driver.executemany(statement.sql, values)
        else:
            rows = await driver.fetch(statement.sql, *[values[name] for name in statement.names])
    return rows


async def _in_thread(connection: AsyncConnection, work: Callable[[sqlite3.Connection], Result]) -> Result:
    """SQLite: one trip to the thread of this connection, with all of the work."""
    driver: Any = (await _raw(connection)).driver_connection
    # Its one way into its own thread with more than a statement.
    answer: Result = await driver._execute(work, driver._conn)  # noqa: SLF001
    return answer


async def _raw(connection: AsyncConnection) -> PoolProxiedConnection:
    """As SQLAlchemy's own way, but without the detour over a greenlet, which only a new connection needs."""
    known = connection.sync_connection
    if known is None or known.closed or known.invalidated:
        return await connection.get_raw_connection()
    return known.connection


async def write_batch(connection: AsyncConnection, batch: SqliteBatch) -> list[str]:
    """``app.storage.sqlite_batch.write`` in the thread of this connection, which has begun no transaction."""
    return await _in_thread(connection, partial(write, batch))


async def write_batch_inside(connection: AsyncConnection, batch: SqliteBatch) -> list[str]:
    """The same in the transaction of this connection."""
    return await _in_thread(connection, partial(write_inside, batch))


def _fetch_here(connection: sqlite3.Connection, steps: Sequence[Step]) -> list[Sequence[Any]]:
    rows: list[Sequence[Any]] = []
    for statement, values in steps:
        if isinstance(values, list):
            connection.executemany(statement.sql, values)
        else:
            rows = connection.execute(statement.sql, values).fetchall()
    return rows
