"""Waiting until a transaction waits for another one: races are provoked, not hoped for."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from app.storage.engine import Database

_WAITING = text(
    "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"
)


async def until_waiting(db: Database, number: int = 1) -> None:
    """On PostgreSQL, until so many transactions wait for a lock. On SQLite writers queue anyway."""
    if db.dialect == "sqlite":
        return
    async with asyncio.timeout(30):
        while True:
            async with db.read() as conn:
                if (await conn.execute(_WAITING)).scalar_one() == number:
                    return
