"""Whether storage takes writes, asked by anybody as often as he likes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.storage.engine import Database, open_database
from app.storage.errors import StorageUnavailable
from app.storage.limits import Limits
from app.storage.probing import WriteProbe


async def test_many_who_ask_at_once_make_one_write(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite by the way that deliveries go."""
    name = "write_batch" if db.dialect == "sqlite" else "write"
    write, written = getattr(db, name), []

    def noting(*given: Any) -> Any:
        written.append(given)
        return write(*given)

    monkeypatch.setattr(db, name, noting)
    probe = WriteProbe(db)
    await asyncio.gather(*(probe.check() for _ in range(50)))
    assert len(written) == 1


async def test_a_failure_holds_for_nobody_and_ends_with_its_cause(database_url: str) -> None:
    db, other = open_database(database_url, Limits(lock=0.2, statement=0.3, silence=0.6)), open_database(database_url)
    probe = WriteProbe(db)
    async with other.write() as conn:
        await conn.exec_driver_sql("UPDATE intake SET id = id")
        with pytest.raises(StorageUnavailable):
            await probe.check()
    await probe.check()
    await db.close()
    await other.close()
