"""The commands that look after what is stored, as an operator runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import delete

from app.storage.engine import Database, open_database
from app.storage.inbox import store_batch
from app.storage.tables import signals
from tests.processes import latchwatch
from tests.storage.arrivals import code_news, deliveries
from tests.storage.made import rows_of


async def test_rebuild_signals_tells_how_many_rows_it_mended(tmp_path: Path, database_url: str) -> None:
    db = open_database(database_url)
    await store_batch(db, deliveries(*[code_news(f"e{number}", access_code_id=f"c{number}") for number in range(3)]))
    before = await _told(db)
    async with db.write() as conn:
        await conn.execute(delete(signals).where(signals.c.access_code_id != "c1"))
    for mended in (2, 0):
        done = latchwatch("rebuild-signals", folder=tmp_path, DATABASE_URL=database_url)
        assert done.returncode == 0, done.stderr
        assert f"access codes: 3 compared, {mended} differed and were mended" in done.stdout
        assert "accounts: 0 compared, 0 differed" in done.stdout
    assert await _told(db) == before
    await db.close()


async def _told(db: Database) -> list[dict[str, Any]]:
    """What was mended is marked anew."""
    rows = await rows_of(db, signals)
    assert all(row.pop("marked_at") is not None for row in rows)
    return rows


def test_rebuild_signals_needs_a_database(tmp_path: Path) -> None:
    done = latchwatch("rebuild-signals", folder=tmp_path, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 2
    assert done.stderr.startswith("DATABASE_URL: ")
