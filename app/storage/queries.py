"""What lists show: filters, and pages by keyset, newest first. A page names the place where the next one starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import orjson
from sqlalchemy import ColumnElement, RowMapping, Select, exists, func, literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.health import Health
from app.storage.codes import Case, load_cases
from app.storage.flags import FlagRow
from app.storage.health import Place, load_health
from app.storage.tables import access_codes, alert_deliveries, alerts, devices, events, flags, unreadable
from app.storage.types import UtcDateTime

T = TypeVar("T")
TimeKey = tuple[datetime, str]
"""The place in a list ordered by a time and an id."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """``next_after`` is the last item's place in the order; ``None``: there is no more."""

    items: Sequence[T]
    next_after: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class CodeFilter:
    """``None`` leaves a filter out. ``q`` is found in name and reference, or is the exact id, ours or Seam's."""

    verdicts: Sequence[str] = ()
    flagged: bool | None = None
    device_id: str | None = None
    reference: str | None = None
    starts_before: datetime | None = None
    starts_after: datetime | None = None
    q: str | None = None
    tracked: bool | None = True


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
    """``attempts`` and ``last_error`` are those of the channel that took most."""

    id: str
    flag_id: str
    change: str
    state: str
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


async def list_codes(conn: AsyncConnection, wanted: CodeFilter, *, after: TimeKey | None, limit: int) -> Page[Case]:
    """Codes as they are stored, newest first."""
    found = await _rows(conn, codes_query(wanted, after=after, limit=limit))
    cases = {case.row.id: case for case in await load_cases(conn, [row["id"] for row in found[:limit]])}
    # A code may have been merged into another one in between.
    items = [cases[row["id"]] for row in found[:limit] if row["id"] in cases]
    return Page(items, _time_place(found, limit))


def codes_query(wanted: CodeFilter, *, after: TimeKey | None, limit: int) -> Select[Any]:
    columns = access_codes.c
    query = select(columns.id, columns.created_at).where(*_code_conditions(wanted))
    return _newest_first(query, columns.created_at, columns.id, after, limit)


async def list_flags(conn: AsyncConnection, wanted: FlagFilter, *, after: TimeKey | None, limit: int) -> Page[FlagRow]:
    query = select(flags).where(*_flag_conditions(wanted))
    found = await _rows(conn, _newest_first(query, flags.c.created_at, flags.c.id, after, limit))
    return Page([FlagRow(**row) for row in found[:limit]], _time_place(found, limit))


async def list_alerts(conn: AsyncConnection, *, state: str | None, after: TimeKey | None, limit: int) -> Page[AlertRow]:
    query = select_alerts()
    if state is not None:
        query = query.where(alerts.c.state == state)
    found = await _rows(conn, _newest_first(query, alerts.c.created_at, alerts.c.id, after, limit))
    return Page([AlertRow(**row) for row in found[:limit]], _time_place(found, limit))


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
        func.coalesce(of_alert.with_only_columns(sent.attempts).scalar_subquery(), 0).label("attempts"),
        func.coalesce(
            columns.next_attempt_at, of_alert.with_only_columns(sent.next_attempt_at).scalar_subquery()
        ).label("next_attempt_at"),
        of_alert.with_only_columns(sent.last_error).scalar_subquery().label("last_error"),
        columns.created_at,
    )


async def list_events(conn: AsyncConnection, wanted: EventFilter, *, after: int | None, limit: int) -> Page[EventRow]:
    """Events in the order of their arrival, newest first."""
    query = _select_events().where(*_event_conditions(wanted))
    if after is not None:
        query = query.where(events.c.id < after)
    found = (await conn.execute(query.order_by(events.c.id.desc()).limit(limit + 1))).mappings().all()
    return Page([_event_row(row) for row in found[:limit]], _id_place(found, limit))


async def load_event(conn: AsyncConnection, event_id: str) -> EventRow | None:
    row = (await conn.execute(_select_events().where(events.c.event_id == event_id))).mappings().one_or_none()
    return _event_row(row) if row is not None else None


async def list_unreadable(conn: AsyncConnection, *, after: int | None, limit: int) -> Page[UnreadableRow]:
    query = select(unreadable)
    if after is not None:
        query = query.where(unreadable.c.id < after)
    found = (await conn.execute(query.order_by(unreadable.c.id.desc()).limit(limit + 1))).mappings().all()
    return Page([UnreadableRow(**row) for row in found[:limit]], _id_place(found, limit))


def _newest_first(
    query: Select[Any], time: ColumnElement[datetime], ident: ColumnElement[str], after: TimeKey | None, limit: int
) -> Select[Any]:
    """One row more than the page, which tells whether there is a next one."""
    if after is not None:
        # As one value: so both databases go to the place in the index and walk on from there.
        query = query.where(tuple_(time, ident) < tuple_(literal(after[0], UtcDateTime()), literal(after[1])))
    return query.order_by(time.desc(), ident.desc()).limit(limit + 1)


async def _rows(conn: AsyncConnection, query: Select[Any]) -> list[RowMapping]:
    return list((await conn.execute(query)).mappings())


def _time_place(found: Sequence[RowMapping], limit: int) -> tuple[Any, ...] | None:
    return (found[limit - 1]["created_at"], found[limit - 1]["id"]) if len(found) > limit else None


def _id_place(found: Sequence[RowMapping], limit: int) -> tuple[Any, ...] | None:
    return (found[limit - 1]["id"],) if len(found) > limit else None


def _code_conditions(wanted: CodeFilter) -> list[ColumnElement[bool]]:
    columns = access_codes.c
    conditions = _equal({columns.device_id: wanted.device_id, columns.reference: wanted.reference})
    if wanted.verdicts:
        conditions.append(columns.verdict.in_(wanted.verdicts))
    if wanted.flagged is not None:
        has_flag = exists(select(flags.c.id).where(flags.c.code_id == columns.id, flags.c.closed_at.is_(None)))
        conditions.append(has_flag if wanted.flagged else ~has_flag)
    if wanted.starts_before is not None:
        conditions.append(columns.starts_at < wanted.starts_before)
    if wanted.starts_after is not None:
        conditions.append(columns.starts_at >= wanted.starts_after)
    if wanted.tracked is not None:
        conditions.append(columns.untracked_at.is_(None) if wanted.tracked else columns.untracked_at.is_not(None))
    if wanted.q:
        conditions.append(_mentions(wanted.q))
    return conditions


def _mentions(text: str) -> ColumnElement[bool]:
    columns, lower = access_codes.c, text.lower()
    return or_(
        func.lower(columns.name).contains(lower, autoescape=True),
        func.lower(columns.reference).contains(lower, autoescape=True),
        columns.id == text,
        columns.access_code_id == text,
    )


def _flag_conditions(wanted: FlagFilter) -> list[ColumnElement[bool]]:
    columns = flags.c
    conditions = _equal(
        {columns.kind: wanted.kind, columns.severity: wanted.severity, columns.device_id: wanted.device_id}
    )
    if wanted.is_open is not None:
        conditions.append(columns.closed_at.is_(None) if wanted.is_open else columns.closed_at.is_not(None))
    if wanted.acknowledged is not None:
        known = columns.acknowledged_at
        conditions.append(known.is_not(None) if wanted.acknowledged else known.is_(None))
    return conditions


def _event_conditions(wanted: EventFilter) -> list[ColumnElement[bool]]:
    columns = events.c
    conditions = _equal(
        {
            columns.access_code_id: wanted.access_code_id,
            columns.device_id: wanted.device_id,
            columns.event_type: wanted.event_type,
            columns.source: wanted.source,
        }
    )
    if wanted.since is not None:
        conditions.append(columns.occurred_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(columns.occurred_at < wanted.until)
    if wanted.tracked is not None:
        codes = access_codes.c
        is_tracked = exists(
            select(codes.id).where(codes.access_code_id == columns.access_code_id, codes.untracked_at.is_(None))
        )
        conditions.append(is_tracked if wanted.tracked else ~is_tracked)
    return conditions


def _equal(wanted: Mapping[ColumnElement[Any], Any]) -> list[ColumnElement[bool]]:
    return [column == value for column, value in wanted.items() if value is not None]


def _select_events() -> Select[Any]:
    # Without ``news``: it holds fingerprints, which never leave.
    return select(*[column for column in events.c if column.name != "news"])


def _event_row(row: RowMapping) -> EventRow:
    values = dict(row)
    del values["id"]
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
