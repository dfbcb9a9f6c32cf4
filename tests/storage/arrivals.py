"""Events and deliveries for the tests of the inbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app.domain.events import Event, Unreadable
from app.domain.health import AccountFacet, DeviceFacet, State
from app.domain.news import News, NewsKind
from app.storage.inbox import Delivery

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def event(event_id: str, at: float = 0, **fields: Any) -> Event:
    """Something that is only stored, ``at`` seconds after ``NOW``."""
    values: dict[str, Any] = {
        "event_id": event_id,
        "event_type": "access_code.something",
        "occurred_at": after(at),
        "created_at": after(at),
        "workspace_id": "workspace",
        "access_code_id": "code",
        "device_id": "device",
        "connected_account_id": "account",
        "payload": "{}",
    }
    return Event(**{**values, **fields})


def code_news(event_id: str, at: float = 0, kind: NewsKind = NewsKind.SET, **fields: Any) -> Event:
    return event(event_id, at, news=(kind, News(occurred_at=after(at), event_id=event_id)), **fields)


def device_news(
    event_id: str, at: float = 0, facet: DeviceFacet = DeviceFacet.CONNECTION, value: str = "connected", **fields: Any
) -> Event:
    state = State(value=value, occurred_at=after(at), event_id=event_id)
    return event(event_id, at, **{"access_code_id": None, "device_state": (facet, state), **fields})


def account_news(event_id: str, at: float = 0, value: str = "disconnected", **fields: Any) -> Event:
    state = State(value=value, occurred_at=after(at), event_id=event_id)
    values = {"access_code_id": None, "device_id": None, "account_state": (AccountFacet.CONNECTION, state)}
    return event(event_id, at, **{**values, **fields})


def delivery(reading: Event | Unreadable, delivery_id: str | None = None, **fields: Any) -> Delivery:
    known_by = delivery_id or (f"msg_{reading.event_id}" if isinstance(reading, Event) else "msg_unreadable")
    values: dict[str, Any] = {"received_at": NOW, "size": 2, "digest": lambda: "key:digest", "source": "webhook"}
    return Delivery(delivery_id=known_by, reading=reading, **{**values, **fields})


def deliveries(*readings: Event | Unreadable) -> list[Delivery]:
    return [delivery(reading) for reading in readings]
