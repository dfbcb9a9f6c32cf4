"""A stand-in for the inbox: keeps deliveries in memory and can be made to wait, to fail and to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry

from app.domain.events import Event, Unreadable
from app.receiver.committer import CommitLimits, Committer, Shed, Store
from app.receiver.metrics import ReceiverMetrics
from app.storage.inbox import Delivery, Outcome
from tests.receiver.deliveries import NOW


class FakeInbox:
    """``gate`` closed: a commit waits. ``failure`` set: a commit raises it, and nothing is kept."""

    def __init__(self) -> None:
        self.batches: list[list[Delivery]] = []
        self.attempts = 0
        self.failure: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def kept(self) -> list[str]:
        return [delivery.delivery_id for batch in self.batches for delivery in batch]

    async def store(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        self.attempts += 1
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        known = set(self.kept)
        self.batches.append(list(deliveries))
        return [self._outcome(delivery, known) for delivery in deliveries]

    def _outcome(self, delivery: Delivery, known: set[str]) -> Outcome:
        if isinstance(delivery.reading, Unreadable):
            return Outcome.UNREADABLE
        return Outcome.DUPLICATE if delivery.delivery_id in known else Outcome.STORED


class Station:
    """A committer over the fake inbox (or another ``store``), its metrics, and how often the reconciler was woken."""

    def __init__(self, store: Store | None = None, *, limits: CommitLimits | None = None) -> None:
        self.inbox = FakeInbox()
        self.registry = CollectorRegistry()
        self.metrics = ReceiverMetrics(self.registry)
        self.wakes = 0
        self.told: list[str] = []
        self.committer = Committer(store or self.inbox.store, metrics=self.metrics, on_stored=self._wake, limits=limits)

    def _wake(self, deliveries: Sequence[Delivery]) -> None:
        self.wakes += 1
        self.told += [each.delivery_id for each in deliveries]

    async def submit(self, delivery: Delivery) -> Outcome | Shed:
        """Wait for the reply, as a client would. It may be cancelled."""
        replied: asyncio.Future[Outcome | Shed] = asyncio.get_running_loop().create_future()
        self.committer.submit(delivery, lambda result: None if replied.done() else replied.set_result(result))
        return await replied

    def sample(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def count(self, outcome: str) -> int:
        return int(self.sample("latchwatch_webhook_deliveries_total", outcome=outcome))

    @property
    def waiting(self) -> int:
        return int(self.sample("latchwatch_commit_queue_depth"))


def event(event_id: str) -> Event:
    return Event(event_id, "access_code.created", NOW, NOW, None, None, None, None, "{}")


def delivery(delivery_id: str = "msg_1", *, size: int = 100, event_id: str | None = None) -> Delivery:
    return Delivery(delivery_id, NOW, size, lambda: "digest", event(event_id or delivery_id), "webhook")


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until ``condition`` holds. For what is certain to happen: the test's own limit ends it."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - not every state of the code under test has an event
            await asyncio.sleep(0)
