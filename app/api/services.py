"""What the API is handed: its collaborators, built once by the wiring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry

from app.api.waiting import Waiting
from app.domain.assessment import Policy
from app.domain.fingerprints import Fingerprinter
from app.seam.gateway import Gateway
from app.storage.engine import Database


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that ``/readyz`` looks at. ``detail`` says what is wrong and what to do; it holds no secrets."""

    name: str
    ok: bool
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """``gateway`` is ``None`` when no Seam key is configured. ``ready`` answers all checks of ``/readyz``.
    ``wake`` tells the reconcilers that something may have become due; ``waiting`` are those who wait for a code."""

    db: Database
    gateway: Gateway | None
    policy: Policy
    clock: Callable[[], datetime]
    fingerprinter: Fingerprinter
    wake: Callable[[], None]
    waiting: Waiting
    ready: Callable[[], Awaitable[Sequence[Check]]]
    registry: CollectorRegistry
    admin_token: str | None = None
    metrics_token: str | None = None
