"""Rows of tracked codes for the tests of the inbox."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from app.storage.claims import claim
from app.storage.engine import Database
from app.storage.tables import access_codes
from tests.storage.arrivals import NOW


def row(ident: str, **columns: Any) -> dict[str, Any]:
    """A code that is bound as ``seam_<ident>`` on the lock "device" and waits for nothing."""
    values: dict[str, Any] = {
        "id": ident,
        "origin": "created",
        "binding": "bound",
        "access_code_id": f"seam_{ident}",
        "device_id": "device",
        "connected_account_id": "account",
        "type": "ongoing",
        "requested_at": NOW,
        "verdict": "pending",
        "reason": "It is being programmed.",
        "since": NOW,
        "is_terminal": False,
        "untracked_at": None,
        "due_at": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return {**values, **columns}


async def track(db: Database, *rows: dict[str, Any]) -> None:
    async with db.write() as connection:
        await connection.execute(insert(access_codes), list(rows))


async def claimed(db: Database, now: datetime = NOW) -> list[str]:
    """The codes that are due: leased for a minute, with their news taken up."""
    async with db.write() as connection:
        return (await claim(connection, now, timedelta(seconds=60), 100)).ids


async def load(db: Database, ident: str) -> dict[str, Any]:
    async with db.read() as connection:
        found = await connection.execute(select(access_codes).where(access_codes.c.id == ident))
        return dict(found.mappings().one())
