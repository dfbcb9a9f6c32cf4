"""What is asked of a connection about its database."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.engine import Dialect


def dialect_of(conn: AsyncConnection) -> Dialect:
    return "sqlite" if conn.dialect.name == "sqlite" else "postgresql"


def insert_into(conn: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that has ``on_conflict_do_nothing`` and ``on_conflict_do_update`` (the same on both databases)."""
    if dialect_of(conn) == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)
