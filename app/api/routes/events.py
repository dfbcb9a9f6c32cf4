"""What came in: events, payloads that could not be read, and the outbox of alerts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from app.api import present, schemas
from app.api.auth import Reader
from app.api.bodies import Text, UtcTime
from app.api.context import ServicesOf
from app.api.documents import COMMON, NOT_FOUND
from app.api.pagination import PageQuery, decode_id_cursor, decode_time_cursor, encode_cursor
from app.api.problems import NotFound
from app.storage.deliveries import load_deliveries
from app.storage.queries import EventFilter, list_alerts, list_events, list_unreadable, load_event

router = APIRouter(prefix="/v1", responses=COMMON)


class EventQuery(PageQuery):
    access_code_id: Text | None = None
    device_id: Text | None = None
    event_type: Text | None = None
    since: UtcTime | None = None
    until: UtcTime | None = None
    source: Literal["webhook", "backfill"] | None = None
    tracked: bool | None = None

    def wanted(self) -> EventFilter:
        return EventFilter(**self.model_dump(exclude={"limit", "cursor"}))


class AlertQuery(PageQuery):
    state: schemas.AlertState | None = None


@router.get("/events", tags=["events"], summary="List events, the newest arrival first")
async def events(
    services: ServicesOf, _: Reader, query: Annotated[EventQuery, Query()]
) -> schemas.PageOf[schemas.Event]:
    """`since` and `until` are about when it happened; `tracked` tells whether it is about a watched code."""
    after = decode_id_cursor(query.cursor)
    async with services.db.read() as conn:
        page = await list_events(conn, query.wanted(), after=after, limit=query.limit)
    items = [schemas.Event(**asdict(row)) for row in page.items]
    return schemas.PageOf(items=items, next_cursor=encode_cursor(page.next_after))


@router.get("/events/{event_id}", tags=["events"], responses=NOT_FOUND, summary="One event")
async def event(services: ServicesOf, _: Reader, event_id: str) -> schemas.Event:
    async with services.db.read() as conn:
        row = await load_event(conn, event_id)
    if row is None:
        raise NotFound("No event has this id.")
    return schemas.Event(**asdict(row))


@router.get("/unreadable", tags=["events"], summary="List signed payloads that could not be read")
async def unreadable(
    services: ServicesOf, _: Reader, query: Annotated[PageQuery, Query()]
) -> schemas.PageOf[schemas.Unreadable]:
    after = decode_id_cursor(query.cursor)
    async with services.db.read() as conn:
        page = await list_unreadable(conn, after=after, limit=query.limit)
    items = [schemas.Unreadable(**asdict(row)) for row in page.items]
    return schemas.PageOf(items=items, next_cursor=encode_cursor(page.next_after))


@router.get("/alerts", tags=["flags"], summary="List the outbox, newest first")
async def alerts(
    services: ServicesOf, _: Reader, query: Annotated[AlertQuery, Query()]
) -> schemas.PageOf[schemas.Alert]:
    """Who was told of which flag, and who could not be told yet. See docs/alerts.md."""
    after = decode_time_cursor(query.cursor)
    async with services.db.read() as conn:
        page = await list_alerts(conn, state=query.state, after=after, limit=query.limit)
        deliveries = await load_deliveries(conn, {row.message_id for row in page.items if row.message_id})
    items = [present.alert(row, deliveries.get(row.message_id or "", [])) for row in page.items]
    return schemas.PageOf(items=items, next_cursor=encode_cursor(page.next_after))
