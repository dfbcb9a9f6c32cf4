"""A Seam with a list of events, a backfill beside it, and a receiver that may be down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import select

from app.domain.events import read_event
from app.domain.intake import Intake
from app.domain.spans import cut
from app.receiver.metrics import ReceiverMetrics
from app.receiver.receipts import Receipts
from app.reconciler.backfill import Backfill
from app.reconciler.catching_up import CatchUp
from app.reconciler.loop import Reconciler
from app.reconciler.metrics import IntakeMetrics
from app.reconciler.silence import Channel, SilenceWatch
from app.seam.values import Answer, Event, Webhook
from app.storage.inbox import Delivery, store_batch
from app.storage.intake import load_intake
from app.storage.tables import events
from tests.api.worlds import DEVICE, FINGERPRINTER
from tests.reconciler.worlds import POLICY, Seam, World

EVERY = timedelta(minutes=10)
PUBLIC_URL = "https://latchwatch.test"


class SeamWithEvents(Seam):
    """``/events/list`` as Seam answers it: bounds exclusive and cut to milliseconds, no order, no word of more.

    ``ahead`` is how far its clock is ahead of ours, ``heeds_limit`` ``False`` makes it answer like its stand-in.
    """

    ahead = timedelta(0)
    heeds_limit = True
    most = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        self.history: list[Event] = []
        self.spans: list[tuple[datetime, datetime]] = []
        self.hooks: list[Webhook] = [Webhook("hook", f"{PUBLIC_URL}/webhooks/seam", ("*",))]

    def make(self, event_type: str, access_code_id: str | None = None, **fields: Any) -> Event:
        now = (self.clock() + self.ahead).isoformat()
        made = {
            "event_id": f"event-{len(self.history)}",
            "event_type": event_type,
            "access_code_id": access_code_id,
            "device_id": DEVICE,
            "created_at": now,
            "occurred_at": now,
            **fields,
        }
        self.history.append(made)
        return made

    async def list_events(
        self,
        *,
        since: datetime | None = None,
        between: tuple[datetime, datetime] | None = None,
        limit: int = 500,
    ) -> Answer[tuple[Event, ...]]:
        await self._outside_of_transactions()
        self._called("list_events")
        now = self.clock() + self.ahead
        if between is None:
            assert since is not None
            return Answer(now, ())
        self.spans.append(between)
        start, end = map(cut, between)
        found = [each for each in self.history if start < datetime.fromisoformat(each["created_at"]) < end]
        found.reverse()
        return Answer(now, tuple(found[: min(limit, self.most)] if self.heeds_limit else found))

    async def list_webhooks(self) -> tuple[Webhook, ...]:
        await self._outside_of_transactions()
        self._called("list_webhooks")
        return tuple(self.hooks)


@dataclass
class IntakeWorld(World):
    """``start`` begins a process: what it knew of breaks is gone, the database stays."""

    seam: SeamWithEvents = field(init=False)
    silence_after: timedelta = timedelta(minutes=15)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.seam = SeamWithEvents(self.clock)
        self.seam.db = self.db
        self.start()

    def start(self) -> None:
        registry = CollectorRegistry()
        self.catch_up = CatchUp(self.clock)
        self.receiver_metrics = ReceiverMetrics(registry)
        self.receipts = Receipts(db=self.db, metrics=self.receiver_metrics, clock=self.clock)
        self.backfill = Backfill(
            db=self.db,
            gateway=self.seam.gateway(),
            fingerprinter=FINGERPRINTER,
            clock=self.clock,
            every=EVERY,
            catch_up=self.catch_up,
            metrics=IntakeMetrics(registry),
            on_compared=lambda: None,
        )
        channel = Channel(PUBLIC_URL, ("label",), timedelta(minutes=5), self.silence_after)
        self.watch = SilenceWatch(
            db=self.db, gateway=self.seam.gateway(), channel=channel, clock=self.clock, ahead=self.backfill.ahead
        )
        self.reconciler = Reconciler(
            db=self.db,
            gateway=self.seam.gateway(),
            policy=POLICY,
            clock=self.clock,
            registry=registry,
            catch_up=self.catch_up,
        )

    async def live(self, seconds: float, step: float = 10) -> None:
        """Time passes, and every loop but the reconciler turns. Webhooks may come in, and do not by themselves."""
        passed = 0.0
        while passed < seconds:
            self.clock.advance(seconds=step)
            passed += step
            await self.receipts.keep()
            await self.backfill.run_once()
            await self.watch.run_once()

    async def bring(self, *made: Event) -> None:
        """Seam's webhooks of these events."""
        deliveries = [self._delivery(each) for each in made]
        await store_batch(self.db, deliveries)

    async def intake(self) -> Intake:
        async with self.db.read() as conn:
            return await load_intake(conn)

    async def sources(self) -> dict[str, str]:
        async with self.db.read() as conn:
            found = await conn.execute(select(events.c.event_id, events.c.source))
            return {row.event_id: row.source for row in found}

    async def payloads(self) -> Sequence[str]:
        async with self.db.read() as conn:
            return list((await conn.execute(select(events.c.payload))).scalars())

    def _delivery(self, made: Event) -> Delivery:
        now = self.clock()
        body = json.dumps(made).encode()
        known_by = f"msg-{made['event_id']}"
        reading = read_event(body, delivery_id=known_by, received_at=now, fingerprinter=FINGERPRINTER)
        return Delivery(known_by, now, len(body), lambda: "digest", reading, "webhook")
