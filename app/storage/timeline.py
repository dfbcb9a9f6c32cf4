"""All that happened to one code, oldest first: events, reads, transitions, flags, alerts and what people did.

Each kind comes from its own table, ordered by (time, rank of the kind, id), and the pages are merged: so one page costs
a few index look-ups for one code, whatever else is stored.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, and_, false, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.codes import CodeRow
from app.storage.pages import Page
from app.storage.queries import select_alerts
from app.storage.tables import alerts, audit_log, events, flags, transitions
from app.storage.types import UtcDateTime

Place = tuple[datetime, int, str | int]
"""Time, rank of the kind, id."""

READ_ACTION = "code_read"
NUMBERED_RANKS = (0, 1, 2)
"""The kinds whose ids are numbers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. ``facts`` are the members of that kind (see the API's schema)."""

    at: datetime
    kind: str
    place: Place
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Source:
    rank: int
    at: ColumnElement[datetime]
    ident: ColumnElement[Any]
    query: Callable[[CodeRow], Select[Any]]
    entry: Callable[[RowMapping], tuple[str, dict[str, Any]]]


async def load_timeline(conn: AsyncConnection, code: CodeRow, *, after: Place | None, limit: int) -> Page[Entry]:
    """The next ``limit`` things that happened to this code after that place."""
    pages = [await _page(conn, source, code, after, limit + 1) for source in _SOURCES]
    merged = list(heapq.merge(*pages, key=lambda entry: entry.place[:2]))
    return Page(merged[:limit], merged[limit - 1].place if len(merged) > limit else None)


async def _page(
    conn: AsyncConnection, source: _Source, code: CodeRow, after: Place | None, count: int
) -> Sequence[Entry]:
    query = source.query(code)
    if after is not None:
        query = query.where(_later(source, after))
    rows = await conn.execute(query.order_by(source.at, source.ident).limit(count))
    return [_entry(source, row) for row in rows.mappings()]


def _later(source: _Source, after: Place) -> ColumnElement[bool]:
    moment, rank, ident = literal(after[0], UtcDateTime()), after[1], after[2]
    if source.rank > rank:
        return source.at >= moment
    if source.rank < rank:
        return source.at > moment
    return or_(source.at > moment, and_(source.at == moment, source.ident > ident))


def _entry(source: _Source, row: RowMapping) -> Entry:
    kind, facts = source.entry(row)
    at: datetime = row[source.at]
    return Entry(at=at, kind=kind, place=(at, source.rank, row[source.ident]), facts=facts)


def _events_of(code: CodeRow) -> Select[Any]:
    columns = events.c
    query = select(
        columns.id, columns.event_id, columns.event_type, columns.occurred_at, columns.received_at, columns.source
    )
    return query.where(columns.access_code_id == code.access_code_id if code.access_code_id else false())


def _event(row: RowMapping) -> tuple[str, dict[str, Any]]:
    return "event", {
        "event_id": row["event_id"],
        "event_type": row["event_type"],
        "received_at": row["received_at"],
        "source": row["source"],
    }


def _transition(row: RowMapping) -> tuple[str, dict[str, Any]]:
    return "transition", {
        "from_verdict": row["from_verdict"],
        "to_verdict": row["to_verdict"],
        "since": row["since"],
        "reason": row["reason"],
    }


def _flag_facts(row: RowMapping) -> dict[str, Any]:
    return {"flag_id": row["id"], "flag_kind": row["kind"], "severity": row["severity"], "reason": row["reason"]}


def _flag_opened(row: RowMapping) -> tuple[str, dict[str, Any]]:
    return "flag_opened", {**_flag_facts(row), "opened_at": row["opened_at"]}


def _flag_closed(row: RowMapping) -> tuple[str, dict[str, Any]]:
    return "flag_closed", _flag_facts(row)


def _alert(row: RowMapping) -> tuple[str, dict[str, Any]]:
    return "alert", {
        "alert_id": row["id"],
        "flag_id": row["flag_id"],
        "change": row["change"],
        "state": row["state"],
        "attempts": row["attempts"],
        "last_error": row["last_error"],
    }


def _audited(row: RowMapping) -> tuple[str, dict[str, Any]]:
    if row["action"] == READ_ACTION:
        return "read", {"details": row["details"]}
    return "action", {"actor": row["actor"], "action": row["action"], "details": row["details"]}


_SOURCES = (
    _Source(0, events.c.occurred_at, events.c.id, _events_of, _event),
    _Source(
        1,
        audit_log.c.at,
        audit_log.c.id,
        lambda code: select(audit_log).where(audit_log.c.code_id == code.id),
        _audited,
    ),
    _Source(
        2,
        transitions.c.at,
        transitions.c.id,
        lambda code: select(transitions).where(transitions.c.code_id == code.id),
        _transition,
    ),
    _Source(
        3, flags.c.created_at, flags.c.id, lambda code: select(flags).where(flags.c.code_id == code.id), _flag_opened
    ),
    _Source(
        4,
        flags.c.closed_at,
        flags.c.id,
        lambda code: select(flags).where(flags.c.code_id == code.id, flags.c.closed_at.is_not(None)),
        _flag_closed,
    ),
    _Source(
        5,
        alerts.c.created_at,
        alerts.c.id,
        lambda code: select_alerts().join(flags, flags.c.id == alerts.c.flag_id).where(flags.c.code_id == code.id),
        _alert,
    ),
)
