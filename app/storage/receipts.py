"""What became of deliveries, kept for all processes to see: which secret verified them, why they were turned away."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.silence import Receipt
from app.storage.dialects import insert_into
from app.storage.tables import receipts

Counts = Mapping[tuple[str, str], int]
"""How many deliveries came to each (outcome, detail)."""


async def add_receipts(conn: AsyncConnection, counts: Counts, now: datetime) -> None:
    """Add what one process counted since it last did. All do so in one order, and never wait for each other in a
    circle."""
    for (outcome, detail), count in sorted(counts.items()):
        statement = insert_into(conn, receipts).values(outcome=outcome, detail=detail, count=count, last_at=now)
        await conn.execute(
            statement.on_conflict_do_update(
                index_elements=[receipts.c.outcome, receipts.c.detail],
                set_={"count": receipts.c.count + statement.excluded.count, "last_at": statement.excluded.last_at},
            )
        )


async def list_receipts(conn: AsyncConnection) -> list[Receipt]:
    """What all processes counted, the latest first."""
    rows = await conn.execute(select(receipts).order_by(receipts.c.last_at.desc(), receipts.c.detail))
    return [Receipt(**row) for row in rows.mappings()]
