"""The codes that the events are about: tracked, bound, on their locks, and waiting for news."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text

from app.storage.counts import fold
from app.storage.engine import open_database
from app.storage.migrate import migrate
from app.storage.tables import access_codes
from benchmarks.deliveries import CODES, WORKSPACE, account_id, code_id, lock_id

_AT_ONCE = 2_000


def make_database(url: str) -> None:
    """Bring an empty database up to date, and track the codes of the benchmark in it."""
    asyncio.run(_make(url))


def migrate_only(url: str) -> None:
    """Bring an empty database up to date."""
    asyncio.run(_migrate(url))


async def _migrate(url: str) -> None:
    db = open_database(url)
    try:
        await migrate(db)
    finally:
        await db.close()


async def _make(url: str) -> None:
    db = open_database(url)
    now = datetime.now(UTC)
    try:
        await migrate(db)
        for start in range(0, CODES, _AT_ONCE):
            async with db.write() as connection:
                rows = [_row(number, now) for number in range(start, start + _AT_ONCE)]
                await connection.execute(insert(access_codes), rows)
        while await fold(db):
            pass
        async with db.maintain() as connection:
            await connection.execute(text("ANALYZE"))
    finally:
        await db.close()


def _row(number: int, now: datetime) -> dict[str, Any]:
    return {
        "id": f"ac_{number:024x}",
        "origin": "tracked",
        "binding": "bound",
        "access_code_id": code_id(number),
        "device_id": lock_id(number),
        "connected_account_id": account_id(number),
        "workspace_id": WORKSPACE,
        "name": f"Guest {number}",
        "type": "time_bound",
        "starts_at": now - timedelta(hours=1),
        "ends_at": now + timedelta(days=2),
        "reference": f"reservation-{number}",
        "requested_at": now - timedelta(days=1),
        "asked_at": now - timedelta(days=1),
        "verdict": "pending",
        "reason": "It is being programmed.",
        "since": now - timedelta(hours=1),
        "created_at": now - timedelta(days=1),
        "updated_at": now - timedelta(days=1),
    }
