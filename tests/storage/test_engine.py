from __future__ import annotations

from sqlalchemy import text

from app.storage.engine import Database


async def test_what_a_write_leaves_behind_is_there_for_the_next_read(db: Database) -> None:
    async with db.write() as connection:
        await connection.execute(text("UPDATE intake SET backfilled = 7"))
    async with db.read() as connection:
        assert (await connection.execute(text("SELECT backfilled FROM intake"))).scalar_one() == 7
