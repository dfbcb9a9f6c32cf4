"""Fetching a span of Seam's list of events into the inbox, piece by piece, with proof of each piece."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from app.domain.events import Event, read_event
from app.domain.fingerprints import Fingerprinter
from app.domain.intake import Window, losses_within, may_be_lost
from app.domain.spans import SETTLED, Span, span
from app.domain.times import read_time
from app.seam.gateway import Gateway
from app.seam.values import Answer
from app.seam.values import Event as SeamsEvent
from app.storage.codec import PAYLOADS
from app.storage.engine import Database
from app.storage.inbox import Comparison, Delivery, Outcome, store_batch
from app.storage.intake import load_intake

LIMIT = 500  # events of one answer, and of one commit

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """Events that Seam listed, and those of them that nobody had brought. An event in two pieces is listed twice."""

    listed: int = 0
    new: int = 0

    def __add__(self, other: Found) -> Found:
        return Found(self.listed + other.listed, self.new + other.new)


class Fetcher:
    """``ahead`` is how far Seam's clock is ahead of ours, by its last answer. ``suspects`` are events that it found and
    that a webhook may still bring: when each was made, by its id."""

    def __init__(
        self,
        *,
        db: Database,
        gateway: Gateway,
        fingerprinter: Fingerprinter,
        clock: Callable[[], datetime],
        track_all: bool,
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._fingerprinter = fingerprinter
        self._clock = clock
        self._track_all = track_all
        self.ahead = timedelta(0)
        self.suspects: dict[str, datetime] = {}

    def seams_now(self) -> datetime:
        return self._clock() + self.ahead

    async def ask_the_time(self) -> None:
        """Learn how far Seam's clock is ahead, before anything is measured by it. Raises ``SeamError``."""
        answer = await self._gateway.list_events(since=self._clock(), limit=1)
        self.ahead = answer.at - self._clock()

    async def fetch(
        self, start: datetime, margin: timedelta, goes_on: Callable[[Span], Awaitable[bool]]
    ) -> Found | None:
        """All that Seam made from ``start`` on, until its present and ``margin`` (which may be negative).

        ``goes_on`` is asked before each call; ``None``: it said no. What was fetched until then is stored and proven.
        Raises ``SeamError`` and ``StorageError``.
        """
        until = self.seams_now() + margin
        piece: Span | None = span(start, until)
        found = Found()
        while piece is not None:
            if not await goes_on(piece):
                return None
            answer = await self._gateway.list_events(between=(piece.start, piece.end), limit=LIMIT)
            self.ahead = answer.at - self._clock()
            half = piece.halved() if len(answer.value) >= LIMIT else None
            if half is not None:
                piece = half
                continue
            found += await self._store(piece, answer)
            # Time went by, or the answer told that our clock is behind Seam's. Less than this comes with the next run.
            if self.seams_now() + margin - until > 2 * SETTLED:
                until = self.seams_now() + margin
            piece = piece.next(until)
        return found

    async def _store(self, piece: Span, answer: Answer[tuple[SeamsEvent, ...]]) -> Found:
        async with self._db.read() as conn:
            intake = await load_intake(conn)
        now = self._clock()
        losses = losses_within(intake, answer.at, now)
        said = sorted(answer.value, key=_order)
        if len(said) >= LIMIT:
            _log.warning("span_full", start=piece.start.isoformat(), listed=len(said))
        newest = max((made for made in map(_made_at, said) if made is not None and made <= answer.at), default=None)
        batches = [said[begin : begin + LIMIT] for begin in range(0, len(said), LIMIT)] or [[]]
        new = 0
        for number, batch in enumerate(batches, 1):
            proves = (piece.start, piece.proven(answer.at)) if number == len(batches) else None
            deliveries = self._read(batch, now)
            comparison = Comparison(proves, losses, newest)
            outcomes = await store_batch(self._db, deliveries, comparison, track_all=self._track_all)
            new += outcomes.count(Outcome.STORED)
            self._suspect(deliveries, outcomes, losses)
        return Found(len(said), new)

    def _suspect(self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome], losses: Window | None) -> None:
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            event = delivery.reading
            if outcome is Outcome.STORED and isinstance(event, Event) and may_be_lost(event.created_at, losses):
                self.suspects[event.event_id] = event.created_at

    def _read(self, events: Sequence[SeamsEvent], now: datetime) -> list[Delivery]:
        """As if each had been delivered by itself: read, and its PINs cut out, in the same way."""
        deliveries = []
        for event in events:
            # ASCII, so that half a surrogate pair, which Python reads and UTF-8 refuses, is one escape as any other.
            body = json.dumps(event).encode()
            digest = partial(self._fingerprinter.digest, body)
            named = event.get("event_id")
            known_by = f"backfill:{named if isinstance(named, str) else digest()}"
            reading = read_event(
                body, delivery_id=known_by, received_at=now, fingerprinter=self._fingerprinter, fast=PAYLOADS
            )
            deliveries.append(Delivery(known_by, now, len(body), digest, reading, "backfill"))
        return deliveries


def _made_at(event: SeamsEvent) -> datetime | None:
    return read_time(event.get("created_at"))


def _order(event: SeamsEvent) -> tuple[str, str, str]:
    """Seam's list has no order. Merging needs none; people who read the stored events like one."""
    first, second, third = (str(event.get(name)) for name in ("occurred_at", "created_at", "event_id"))
    return first, second, third
