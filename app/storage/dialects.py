"""The one thing that SQLAlchemy spells differently for each database: INSERT … ON CONFLICT."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def insert_into(conn: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that has ``on_conflict_do_nothing`` and ``on_conflict_do_update`` (the same on both databases)."""
    if conn.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)
