"""A batch for SQLite as plain statements and rows, and how it is written: in one go, by whoever has the connection.

Nothing but the standard library is imported here, so that ``app.storage.writer_process`` starts fast and stays small.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, NamedTuple

Ask = tuple[str, Mapping[str, Any] | list[tuple[Any, ...]]]
"""SQL and its parameters. With a list it runs once for each row."""


class SqliteBatch(NamedTuple):
    """``find_known`` asks which of the batch's events are there already, ``asks`` writes it if none is."""

    find_known: Ask | None
    asks: list[Ask]


def write(batch: SqliteBatch, connection: sqlite3.Connection) -> list[str]:
    """As one transaction. If events are there already, their ids come back and nothing was written: what follows from
    a batch depends on which of its events are new. Raises SQLite's own errors."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        known = write_inside(batch, connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()  # a commit that failed may have left the transaction open
        raise
    return known


def write_inside(batch: SqliteBatch, connection: sqlite3.Connection) -> list[str]:
    """``write`` for those who have begun the transaction."""
    known = connection.execute(*batch.find_known).fetchall() if batch.find_known is not None else []
    if not known:
        for sql, values in batch.asks:
            (connection.executemany if isinstance(values, list) else connection.execute)(sql, values)
    return [row[0] for row in known]
