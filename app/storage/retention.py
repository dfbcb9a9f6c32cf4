"""Deleting what does not have to be kept any longer, along the ids: they grow with the time of arrival.

So the oldest rows come first, a batch looks at a bounded number of rows however many there are, and a look that finds
a young row at once is all that there is to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Table, and_, delete, exists, false, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.tables import access_codes, events, receipts, unreadable

AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Swept:
    """``after`` is the id after which the next batch begins. ``is_at_end``: what follows is young."""

    after: int
    deleted: int
    is_at_end: bool


async def sweep_events(conn: AsyncConnection, after: int, older_than: datetime) -> Swept:
    """Delete events among the next ``AT_ONCE`` rows, but for those of codes under watch that are not terminal."""
    open_code = and_(
        access_codes.c.access_code_id == events.c.access_code_id,
        not_(access_codes.c.is_terminal),
        access_codes.c.untracked_at.is_(None),
    )
    return await _sweep(conn, events, after, older_than, needed=exists().where(open_code))


async def sweep_unreadable(conn: AsyncConnection, after: int, older_than: datetime) -> Swept:
    return await _sweep(conn, unreadable, after, older_than, needed=false())


async def forget_receipts(conn: AsyncConnection, older_than: datetime) -> None:
    """A row for each secret and for each reason: few, whatever happens."""
    await conn.execute(delete(receipts).where(receipts.c.last_at < older_than))


async def _sweep(
    conn: AsyncConnection, table: Table, after: int, older_than: datetime, needed: ColumnElement[bool]
) -> Swept:
    ids = table.c.id
    query = select(ids, table.c.received_at).where(ids > after).order_by(ids).limit(AT_ONCE)
    rows = (await conn.execute(query)).all()
    old = [row.id for row in rows if row.received_at < older_than]
    if not old:
        return Swept(after, 0, is_at_end=True)
    # Young rows may lie between: the rows of one batch are not numbered by their arrival, and clocks differ.
    within = (ids > after, ids <= old[-1], table.c.received_at < older_than)
    deleted = await conn.execute(delete(table).where(*within, not_(needed)))
    return Swept(old[-1], deleted.rowcount, is_at_end=len(rows) < AT_ONCE)
