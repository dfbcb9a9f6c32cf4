"""Deleting what does not have to be kept any longer, along the ids: they grow with the time of arrival.

So the oldest rows come first, a batch looks at a bounded number of rows however many there are, and a look that finds
a young row at once is all that there is to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Table, and_, delete, exists, false, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.alerting import AlertState, DeliveryState
from app.storage.tables import (
    access_codes,
    alert_deliveries,
    alert_messages,
    alerts,
    events,
    receipts,
    transitions,
    unreadable,
)

AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Swept:
    """``after`` is the id after which the next batch begins. ``is_at_end``: what follows is young."""

    after: int
    deleted: int
    is_at_end: bool


async def sweep_events(conn: AsyncConnection, after: int, older_than: datetime) -> Swept:
    """Delete events among the next ``AT_ONCE`` rows, but for those of codes under watch that are not terminal."""
    needed = _is_of_open_code(access_codes.c.access_code_id == events.c.access_code_id)
    return await _sweep(conn, events, events.c.received_at, after, older_than, needed)


async def sweep_unreadable(conn: AsyncConnection, after: int, older_than: datetime) -> Swept:
    return await _sweep(conn, unreadable, unreadable.c.received_at, after, older_than, needed=false())


async def sweep_transitions(conn: AsyncConnection, after: int, older_than: datetime) -> Swept:
    """The same for verdicts that codes once had."""
    needed = _is_of_open_code(access_codes.c.id == transitions.c.code_id)
    return await _sweep(conn, transitions, transitions.c.at, after, older_than, needed)


async def sweep_alerts(conn: AsyncConnection, after: int, older_than: datetime) -> Swept:
    """Alerts that nobody is to be told of any more, with the messages that told them. Their flags stay. The oldest come
    first in an index, and none of them has to stay, so there is no place to go on from."""
    is_over = alerts.c.state.in_((AlertState.SENT, AlertState.DEAD, AlertState.SKIPPED))
    # Looked up alert by alert: EXISTS may be made a join, and PostgreSQL then reads every delivery for each batch.
    tried = (
        select(alert_deliveries.c.channel)
        .where(alert_deliveries.c.message_id == alerts.c.message_id, alert_deliveries.c.state == DeliveryState.PENDING)
        .limit(1)
        .scalar_subquery()
    )
    is_old = alerts.c.created_at < older_than
    old = select(alerts.c.id).where(is_old, is_over, tried.is_(None)).order_by(alerts.c.created_at)
    ids = list((await conn.execute(old.limit(AT_ONCE))).scalars())
    if ids:
        told = await conn.execute(delete(alerts).where(alerts.c.id.in_(ids)).returning(alerts.c.message_id))
        await _forget_messages(conn, {message_id for message_id in told.scalars() if message_id is not None})
    return Swept(after, len(ids), is_at_end=len(ids) < AT_ONCE)


async def forget_receipts(conn: AsyncConnection, older_than: datetime) -> None:
    """A row for each secret and for each reason: few, whatever happens."""
    await conn.execute(delete(receipts).where(receipts.c.last_at < older_than))


async def _forget_messages(conn: AsyncConnection, ids: set[str]) -> None:
    """Unless one of their alerts is still there."""
    kept = await conn.execute(select(alerts.c.message_id).where(alerts.c.message_id.in_(sorted(ids))))
    gone = sorted(ids - set(kept.scalars()))
    await conn.execute(delete(alert_deliveries).where(alert_deliveries.c.message_id.in_(gone)))
    await conn.execute(delete(alert_messages).where(alert_messages.c.id.in_(gone)))


def _is_of_open_code(is_its_code: ColumnElement[bool]) -> ColumnElement[bool]:
    is_open = and_(not_(access_codes.c.is_terminal), access_codes.c.untracked_at.is_(None))
    return exists().where(is_its_code, is_open)


async def _sweep(
    conn: AsyncConnection,
    table: Table,
    since: ColumnElement[datetime],
    after: int,
    older_than: datetime,
    needed: ColumnElement[bool],
) -> Swept:
    ids = table.c.id
    query = select(ids, since.label("since")).where(ids > after).order_by(ids).limit(AT_ONCE)
    rows = (await conn.execute(query)).all()
    old = [row.id for row in rows if row.since < older_than]
    if not old:
        return Swept(after, 0, is_at_end=True)
    # Young rows may lie between: the rows of one batch are not numbered by their arrival, and clocks differ.
    within = (ids > after, ids <= old[-1], since < older_than)
    deleted = await conn.execute(delete(table).where(*within, not_(needed)))
    return Swept(old[-1], deleted.rowcount, is_at_end=len(rows) < AT_ONCE)
