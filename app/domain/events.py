"""Reading one of Seam's events: what it says about a code, a lock or an account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.domain.fingerprints import Fingerprinter
from app.domain.health import AccountFacet, DeviceFacet, State
from app.domain.news import News, NewsKind


@dataclass(frozen=True, slots=True)
class Event:
    """One event, PINs cut out. Times are aware UTC; ``payload`` is JSON text; ids are opaque strings.

    At most one of ``news`` (about the access code), ``device_state`` and ``account_state`` is given: what the event
    changes. All three are ``None`` for kinds that are only stored.
    """

    event_id: str
    event_type: str
    occurred_at: datetime
    created_at: datetime
    workspace_id: str | None
    access_code_id: str | None
    device_id: str | None
    connected_account_id: str | None
    payload: str
    news: tuple[NewsKind, News] | None = None
    device_state: tuple[DeviceFacet, State] | None = None
    account_state: tuple[AccountFacet, State] | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A genuine payload that is no event. ``reason`` is one of ``Reason``."""

    reason: str


def read_event(
    body: bytes, *, delivery_id: str, received_at: datetime, fingerprinter: Fingerprinter
) -> Event | Unreadable:
    """Read the body of a delivery. Never raises: what cannot be read comes back as ``Unreadable``."""
    return Unreadable("not_json")
