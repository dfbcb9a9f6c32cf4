"""The events of one code, newest first: the index that finds them, and the order that it gives.

PostgreSQL keeps a key once for all entries of an index that are equal. With the id of each event in it no two are, and
the index is as large as the unique key. So there the key is the block of ids instead, and the events of one block are
put in order when they are asked for (an incremental sort, which stops with the page). That is a sixth of the size:
fewer pages to write, and they stay in memory. A code has few events. A lock may have very many in one block, so its
index holds the ids. SQLite keeps each entry by itself, with the number of its row.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Index, text

from app.storage.engine import Dialect

BLOCK_BITS = 20  # a million events
_BLOCK = f"id >> {BLOCK_BITS}"


def newest_of_code() -> Iterator[Index]:
    """The index of ``events`` by code, as each database has it."""
    yield Index("ix_events_access_code_id", "access_code_id", "id").ddl_if(dialect="sqlite")
    yield Index("ix_events_access_code_id_block", "access_code_id", text(f"({_BLOCK})")).ddl_if(dialect="postgresql")


def newest_first(dialect: Dialect) -> str:
    """SQL for the order of a code's events. By the id alone PostgreSQL might walk through all that are stored."""
    return "events.id DESC" if dialect == "sqlite" else f"events.{_BLOCK} DESC, events.id DESC"
