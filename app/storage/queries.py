"""What lists show: filters, and pages by keyset, newest first. A page names the place where the next one starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import ColumnElement, RowMapping, Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.health import Health
from app.storage.dialects import dialect_of
from app.storage.engine import Dialect
from app.storage.event_order import BLOCK_BITS
from app.storage.flags import FlagRow
from app.storage.health import Place, load_health
from app.storage.pages import Listing, Page, read_page, unindexed
from app.storage.tables import access_codes, alert_deliveries, alerts, devices, events, flags, unreadable

TimeKey = tuple[datetime, str]
"""The place in a list ordered by a time and an id."""
_EARLY = timedelta(hours=1)
"""By how much an event may seem to arrive before it occurred: clocks differ, and so does the order of commits."""
# As in the index, so not a bound value.
_BLOCK = events.c.id.bitwise_rshift(literal_column(str(BLOCK_BITS))).label("block")


@dataclass(frozen=True, slots=True)
class FlagFilter:
    is_open: bool | None = None
    acknowledged: bool | None = None
    kind: str | None = None
    severity: str | None = None
    device_id: str | None = None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """``since`` and ``until`` are about when it happened; ``tracked`` about the access code it names."""

    access_code_id: str | None = None
    device_id: str | None = None
    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    source: str | None = None
    tracked: bool | None = None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One stored event. ``payload`` is what Seam sent, PINs cut out."""

    event_id: str
    event_type: str
    access_code_id: str | None
    device_id: str | None
    connected_account_id: str | None
    workspace_id: str | None
    occurred_at: datetime
    created_at: datetime
    received_at: datetime
    source: str
    payload: Any


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    id: int
    delivery_id: str
    received_at: datetime
    size: int
    digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class AlertRow:
    """``attempts`` and ``last_error`` are those of the channel that took most. ``message_id`` is ``None`` as long as it
    is in no message."""

    id: str
    flag_id: str
    change: str
    state: str
    message_id: str | None
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DeviceRow:
    device_id: str
    connected_account_id: str | None
    workspace_id: str | None
    health: Health


async def list_flags(conn: AsyncConnection, wanted: FlagFilter, *, after: TimeKey | None, limit: int) -> Page[FlagRow]:
    """There may be more also after a page that is not full."""
    page = await read_page(conn, flag_listing(wanted), after, limit)
    return Page([FlagRow(**row) for row in page.items], page.next_after)


def flag_listing(wanted: FlagFilter) -> Listing:
    query, sift = select(flags), _flag_conditions(wanted)
    if wanted.is_open:
        query = query.where(flags.c.closed_at.is_(None))
    return Listing(query, (flags.c.created_at, flags.c.id), sift)


async def list_alerts(conn: AsyncConnection, *, state: str | None, after: TimeKey | None, limit: int) -> Page[AlertRow]:
    """There may be more also after a page that is not full."""
    page = await read_page(conn, alert_listing(state), after, limit)
    return Page([AlertRow(**row) for row in page.items], page.next_after)


def alert_listing(state: str | None) -> Listing:
    sift = [alerts.c.state == state] if state is not None else []
    return Listing(select_alerts(), (alerts.c.created_at, alerts.c.id), sift)


def select_alerts() -> Select[Any]:
    """The columns of ``AlertRow``."""
    columns, sent = alerts.c, alert_deliveries.c
    of_alert = (
        select(alert_deliveries).where(sent.message_id == columns.message_id).order_by(sent.attempts.desc()).limit(1)
    )
    return select(
        columns.id,
        columns.flag_id,
        columns.change,
        columns.state,
        columns.message_id,
        func.coalesce(of_alert.with_only_columns(sent.attempts).scalar_subquery(), 0).label("attempts"),
        func.coalesce(
            columns.next_attempt_at, of_alert.with_only_columns(sent.next_attempt_at).scalar_subquery()
        ).label("next_attempt_at"),
        of_alert.with_only_columns(sent.last_error).scalar_subquery().label("last_error"),
        columns.created_at,
    )


async def list_events(conn: AsyncConnection, wanted: EventFilter, *, after: int | None, limit: int) -> Page[EventRow]:
    """Events in the order of their arrival, newest first. There may be more also after a page that is not full."""
    listing = event_listing(wanted, dialect_of(conn))
    place = (after >> BLOCK_BITS, after)[-len(listing.by) :] if after is not None else None
    page = await read_page(conn, listing, place, limit)
    end = page.next_after[-1:] if page.next_after is not None else None
    if end is not None and wanted.since is not None and await _arrived_before(conn, end[0], wanted.since - _EARLY):
        end = None  # whatever arrived earlier still cannot have occurred since
    return Page([_event_row(row) for row in page.items], end)


def event_listing(wanted: EventFilter, dialect: Dialect) -> Listing:
    """By id. PostgreSQL's index by code knows the order of blocks only, so there these come first."""
    columns, query, sift = events.c, _select_events(), _event_conditions(wanted)
    if wanted.access_code_id is not None:
        query = query.where(columns.access_code_id == wanted.access_code_id)
        if dialect == "postgresql":
            return Listing(query.add_columns(_BLOCK), (_BLOCK, columns.id), sift)
    elif wanted.device_id is not None:
        query = query.where(columns.device_id == wanted.device_id)
    return Listing(query, (columns.id,), sift)


async def _arrived_before(conn: AsyncConnection, ident: int, moment: datetime) -> bool:
    query = select(events.c.id).where(events.c.id == ident, events.c.received_at < moment)
    return (await conn.execute(query)).first() is not None


async def load_event(conn: AsyncConnection, event_id: str) -> EventRow | None:
    row = (await conn.execute(_select_events().where(events.c.event_id == event_id))).mappings().one_or_none()
    return _event_row(row) if row is not None else None


async def list_unreadable(conn: AsyncConnection, *, after: int | None, limit: int) -> Page[UnreadableRow]:
    listing = Listing(select(unreadable), (unreadable.c.id,))
    page = await read_page(conn, listing, (after,) if after is not None else None, limit)
    return Page([UnreadableRow(**row) for row in page.items], page.next_after)


def _flag_conditions(wanted: FlagFilter) -> list[ColumnElement[bool]]:
    """Those that no index answers."""
    columns = flags.c
    conditions = _equal(
        {columns.kind: wanted.kind, columns.severity: wanted.severity, columns.device_id: wanted.device_id}
    )
    if wanted.is_open is False:
        conditions.append(columns.closed_at.is_not(None))
    if wanted.acknowledged is not None:
        known = columns.acknowledged_at
        conditions.append(known.is_not(None) if wanted.acknowledged else known.is_(None))
    return conditions


def _event_conditions(wanted: EventFilter) -> list[ColumnElement[bool]]:
    """Those that no index answers."""
    columns = events.c
    conditions = _equal({columns.event_type: wanted.event_type, columns.source: wanted.source})
    if wanted.access_code_id is not None and wanted.device_id is not None:
        conditions.append(unindexed(columns.device_id) == wanted.device_id)
    if wanted.since is not None:
        conditions.append(columns.occurred_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(columns.occurred_at < wanted.until)
    if wanted.tracked is not None:
        codes = access_codes.c
        # Looked up event by event: EXISTS may be made a join, and PostgreSQL then reads every code for one page.
        found = (
            select(codes.id)
            .where(codes.access_code_id == columns.access_code_id, codes.untracked_at.is_(None))
            .scalar_subquery()
        )
        conditions.append(found.is_not(None) if wanted.tracked else found.is_(None))
    return conditions


def _equal(wanted: Mapping[ColumnElement[Any], Any]) -> list[ColumnElement[bool]]:
    return [column == value for column, value in wanted.items() if value is not None]


def _select_events() -> Select[Any]:
    # Without ``news``: it holds fingerprints, which never leave.
    return select(*[column for column in events.c if column.name != "news"])


def _event_row(row: RowMapping) -> EventRow:
    values = {name: row[name] for name in row if name not in ("id", "block")}
    return EventRow(**{**values, "payload": orjson.loads(row["payload"])})


async def list_devices(conn: AsyncConnection, *, after: str | None, limit: int) -> Page[DeviceRow]:
    """Every lock that was heard of, by id."""
    query = select(devices.c.device_id, devices.c.connected_account_id, devices.c.workspace_id)
    if after is not None:
        query = query.where(devices.c.device_id > after)
    found = (await conn.execute(query.order_by(devices.c.device_id).limit(limit + 1))).mappings().all()
    place = (found[limit - 1]["device_id"],) if len(found) > limit else None
    return Page(await _with_health(conn, found[:limit]), place)


async def load_device_row(conn: AsyncConnection, device_id: str) -> DeviceRow | None:
    query = select(devices.c.device_id, devices.c.connected_account_id, devices.c.workspace_id)
    found = (await conn.execute(query.where(devices.c.device_id == device_id))).mappings().all()
    return (await _with_health(conn, found))[0] if found else None


async def _with_health(conn: AsyncConnection, rows: Sequence[RowMapping]) -> list[DeviceRow]:
    known = await load_health(conn, [_place(row) for row in rows])
    return [DeviceRow(**row, health=known[_place(row)]) for row in rows]


def _place(row: RowMapping) -> Place:
    return row["device_id"], row["connected_account_id"]
