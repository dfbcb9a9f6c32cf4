"""A counter in the database, for tests that write and read."""

from __future__ import annotations

from sqlalchemy import text

from app.storage.engine import Database

COUNT = text("SELECT backfilled FROM intake")
ADD_ONE = text("UPDATE intake SET backfilled = backfilled + 1")


async def count(db: Database) -> int:
    async with db.read() as connection:
        return int((await connection.execute(COUNT)).scalar_one())


async def add_one(db: Database) -> None:
    async with db.write() as connection:
        await connection.execute(ADD_ONE)
