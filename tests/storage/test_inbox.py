from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from app.domain.events import Event, Unreadable
from app.domain.health import AccountFacet, DeviceFacet, State
from app.domain.news import News, NewsKind
from app.storage.codec import decode_news, encode_state
from app.storage.engine import Database
from app.storage.inbox import Delivery, Outcome, store_batch
from app.storage.tables import access_codes, accounts, devices, events, intake, signals, unreadable

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


def event(event_id: str, seconds: int = 0, kind: NewsKind | None = NewsKind.SET, **fields: Any) -> Event:
    at = NOW + timedelta(seconds=seconds)
    values: dict[str, Any] = {
        "event_id": event_id,
        "event_type": "access_code.something",
        "occurred_at": at,
        "created_at": at,
        "workspace_id": "workspace",
        "access_code_id": "code",
        "device_id": "device",
        "connected_account_id": "account",
        "payload": "{}",
        "news": (kind, News(occurred_at=at, event_id=event_id)) if kind else None,
    }
    return Event(**{**values, **fields})


def delivery(reading: Event | Unreadable, delivery_id: str | None = None, **fields: Any) -> Delivery:
    known_by = delivery_id or (f"msg_{reading.event_id}" if isinstance(reading, Event) else "msg")
    values = {"received_at": NOW, "size": 2, "digest": "key:digest", "source": "webhook", **fields}
    return Delivery(delivery_id=known_by, reading=reading, **values)


async def test_an_event_that_comes_twice_in_a_batch_is_stored_once(db: Database) -> None:
    outcomes = await store_batch(db, [delivery(event("e1")), delivery(event("e1"), "msg_again")])
    assert outcomes == [Outcome.STORED, Outcome.DUPLICATE]
