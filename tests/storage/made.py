"""Codes made through the module under test, and Seam's word on them, for the tests of what is stored of codes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Table, select

from app.domain.assessment import Policy
from app.domain.codes import CodeType, Snapshot
from app.storage.binding import bind
from app.storage.codes import Case, CodeRow, NewCode, insert_requested, load_case, mark_call_sent
from app.storage.engine import Database
from tests.storage.arrivals import NOW

POLICY = Policy()
PIN = "key:4821"


def snapshot(access_code_id: str = "ac", **said: Any) -> Snapshot:
    """What Seam says of a code that the lock does not have yet."""
    known = {"device_id": "device", "status": "setting", "pending": ("creating",), "pin": PIN, "created_at": NOW}
    return Snapshot(access_code_id=access_code_id, **{**known, **said})


async def request(db: Database, *, sent_at: datetime | None = NOW, **fields: Any) -> CodeRow:
    """A code whose create call has left, without an answer."""
    values = {"device_id": "device", "type": CodeType.ONGOING, "pin": PIN, **fields}
    async with db.write() as conn:
        row = await insert_requested(conn, NewCode(**values), NOW)
        if sent_at is None:
            return row
        sent = await mark_call_sent(conn, row.id, sent_at, NOW)
    assert sent is not None
    return sent


async def bound(db: Database, access_code_id: str = "ac", **fields: Any) -> CodeRow:
    """A code that Seam accepted at ``NOW``, due to be judged."""
    row = await request(db, **fields)
    window = {"type": CodeType(row.type), "starts_at": row.starts_at, "ends_at": row.ends_at}
    async with db.write() as conn:
        return await bind(conn, row.id, snapshot(access_code_id, **window), NOW, NOW)


async def case_of(db: Database, ident: str) -> Case:
    async with db.read() as conn:
        case = await load_case(conn, ident)
    assert case is not None
    return case


async def rows_of(db: Database, table: Table) -> list[dict[str, Any]]:
    async with db.read() as conn:
        found = await conn.execute(select(table).order_by(*table.primary_key))
        return [dict(row) for row in found.mappings()]
