"""The events of one code or one lock, newest first: the indexes that find them, and the order that these give.

PostgreSQL keeps a key once for all entries of an index that are equal. With the id of each event in it no two are, and
the two indexes together are larger than the unique key. So there the key is the block of ids instead, and the events of
one block are put in order when they are asked for (an incremental sort, which stops with the page). That is a sixth of
the size: fewer pages to write, and they stay in memory. SQLite keeps each entry by itself, with the number of its row.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Index, text

from app.storage.engine import Dialect

BLOCK_BITS = 20  # a million events
_BLOCK = f"id >> {BLOCK_BITS}"


def newest_of(*columns: str) -> Iterator[Index]:
    """The indexes of ``events`` by these columns, as each database has them."""
    for column in columns:
        yield Index(f"ix_events_{column}", column, "id").ddl_if(dialect="sqlite")
        yield Index(f"ix_events_{column}_block", column, text(f"({_BLOCK})")).ddl_if(dialect="postgresql")


def newest_first(dialect: Dialect) -> str:
    """SQL for the order of such events. By the id alone PostgreSQL might walk through all that are stored."""
    return "events.id DESC" if dialect == "sqlite" else f"events.{_BLOCK} DESC, events.id DESC"
