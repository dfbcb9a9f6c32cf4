"""Webhooks: every event as a POST signed by svix, at least once, retried, with faults on request."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import uuid4

import httpx
from svix.webhooks import Webhook as Signer

from app.sandbox.settings import FAULT_NAMES, Faults
from app.sandbox.state import Event, Json, iso
from app.sandbox.timeline import Timeline

# Svix's schedule: seconds from one failed attempt to the next.
RETRY_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
ATTEMPT_TIMEOUT_SECONDS = 15.0
# Nobody listens yet: the service may be starting. Such attempts do not use up the schedule.
REFUSED_RETRY = timedelta(seconds=1)
REFUSALS_AT_MOST = 600
REORDER_SECONDS = 5.0
REORDER_GAP = timedelta(milliseconds=100)
AT_ONCE = 32
LOG_SIZE = 10_000

State = Literal["pending", "delivered", "failed", "dropped"]


@dataclass(frozen=True, slots=True)
class Webhook:
    webhook_id: str
    url: str
    event_types: tuple[str, ...]
    secret: str

    def wants(self, event_type: str) -> bool:
        return "*" in self.event_types or event_type in self.event_types


@dataclass(frozen=True, slots=True)
class Attempt:
    at: datetime
    signature: Literal["valid", "wrong"]
    status_code: int | None = None
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def was_refused(self) -> bool:
        return self.error == "ConnectError"


@dataclass(slots=True)
class Delivery:
    """One event on its way to one webhook. ``delivery_id`` is the ``svix-id``: the same on every attempt."""

    delivery_id: str
    webhook: Webhook
    event: Event
    body: str
    faults: frozenset[str]
    state: State = "pending"
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def failures(self) -> int:
        return sum(not attempt.succeeded and not attempt.was_refused for attempt in self.attempts)

    @property
    def refusals(self) -> int:
        return sum(attempt.was_refused for attempt in self.attempts)

    def as_json(self) -> Json:
        return {
            "delivery_id": self.delivery_id,
            "webhook_id": self.webhook.webhook_id,
            "url": self.webhook.url,
            "event_id": self.event.event_id,
            "event_type": self.event.event_type,
            "state": self.state,
            "faults": sorted(self.faults),
            "attempts": [
                {
                    "at": iso(attempt.at),
                    "signature": attempt.signature,
                    "status_code": attempt.status_code,
                    "error": attempt.error,
                }
                for attempt in self.attempts
            ],
        }


@dataclass(frozen=True, slots=True)
class Due:
    """An attempt whose time has come. An echo is the second copy of a duplicate: it is not retried."""

    delivery: Delivery
    is_echo: bool = False


class Courier:
    """Plans deliveries on the timeline and sends what is due.

    ``take`` is synchronous and draws every fault, so that a seed repeats them whatever the network does.
    """

    def __init__(
        self,
        timeline: Timeline,
        client: httpx.AsyncClient,
        now: Callable[[], datetime],
        *,
        faults: Faults,
        seed: int | None,
    ) -> None:
        self.webhooks: dict[str, Webhook] = {}
        self.faults = faults
        self.log: deque[Delivery] = deque(maxlen=LOG_SIZE)
        self._timeline = timeline
        self._client = client
        self._now = now
        # Faults are a game of dice, not a secret: the seed makes them repeatable.
        self._dice = random.Random(seed)  # noqa: S311
        self._due: deque[Due] = deque()
        self._held: dict[str, list[Delivery]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(AT_ONCE)

    def register(self, url: str, event_types: tuple[str, ...] = ("*",), secret: str | None = None) -> Webhook:
        webhook = Webhook(str(uuid4()), url, event_types, secret or new_secret())
        self.webhooks[webhook.webhook_id] = webhook
        return webhook

    def choose_events(self, webhook: Webhook, event_types: tuple[str, ...]) -> None:
        self.webhooks[webhook.webhook_id] = replace(webhook, event_types=event_types)

    def take(self, event: Event) -> None:
        """Plan the deliveries of an event that just happened."""
        for webhook in self.webhooks.values():
            if webhook.wants(event.event_type):
                body = json.dumps(event.body, separators=(",", ":"), ensure_ascii=False)
                self._plan(Delivery(new_delivery_id(), webhook, event, body, self._draw()))

    def start_due(self) -> list[asyncio.Task[None]]:
        """Send all that is due, at most ``AT_ONCE`` together, without waiting for the answers."""
        started = [asyncio.create_task(self._send_gated(due)) for due in self._drain()]
        for task in started:
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return started

    async def send_due(self) -> bool:
        """Send all that is due one after another, as manual time needs it. Returns whether there was any."""
        sent = False
        for due in self._drain():
            await self._send(due)
            sent = True
        return sent

    async def close(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._client.aclose()

    def _draw(self) -> frozenset[str]:
        # Every die is thrown every time: changing one probability leaves the others' luck as it was.
        return frozenset([name for name in FAULT_NAMES if self._dice.random() < getattr(self.faults, name)])

    def _plan(self, delivery: Delivery) -> None:
        self.log.append(delivery)
        wait = self._timeline.scaled(self._dice.uniform(0, self.faults.delay_seconds))
        if "drop" in delivery.faults:
            delivery.state = "dropped"
        elif "reorder" in delivery.faults:
            self._hold(delivery)
        else:
            self._schedule(delivery, self._timeline.now + (wait if "delay" in delivery.faults else timedelta(0)))
            self._release(delivery.webhook.webhook_id)

    def _schedule(self, delivery: Delivery, moment: datetime) -> None:
        self._timeline.at(moment, lambda: self._due.append(Due(delivery)))
        if "duplicate" in delivery.faults:
            self._timeline.at(moment, lambda: self._due.append(Due(delivery, is_echo=True)))

    def _hold(self, delivery: Delivery) -> None:
        """Keep it until the next delivery has gone, or for a while if there is none."""
        webhook_id = delivery.webhook.webhook_id
        self._held.setdefault(webhook_id, []).append(delivery)
        self._timeline.after(REORDER_SECONDS, lambda: self._release(webhook_id))

    def _release(self, webhook_id: str) -> None:
        for delivery in self._held.pop(webhook_id, []):
            self._schedule(delivery, self._timeline.now + REORDER_GAP)

    def _drain(self) -> Iterator[Due]:
        while self._due:
            yield self._due.popleft()

    async def _send_gated(self, due: Due) -> None:
        async with self._gate:
            await self._send(due)

    async def _send(self, due: Due) -> None:
        delivery = due.delivery
        attempt = await self._attempt(delivery)
        delivery.attempts.append(attempt)
        if attempt.succeeded:
            delivery.state = "delivered"
        elif not due.is_echo and delivery.state == "pending":
            self._retry(delivery, attempt)

    def _retry(self, delivery: Delivery, attempt: Attempt) -> None:
        wait = self._wait_after(delivery, attempt)
        if wait is None:
            delivery.state = "failed"
        else:
            self._timeline.at(self._now() + wait, lambda: self._due.append(Due(delivery)))

    def _wait_after(self, delivery: Delivery, attempt: Attempt) -> timedelta | None:
        if attempt.was_refused and delivery.refusals <= REFUSALS_AT_MOST:
            return REFUSED_RETRY
        failures = max(delivery.failures, 1)
        if failures > len(RETRY_SECONDS) or delivery.refusals > REFUSALS_AT_MOST:
            return None
        return self._timeline.scaled(RETRY_SECONDS[failures - 1])

    async def _attempt(self, delivery: Delivery) -> Attempt:
        at = self._now()
        forged = "wrong_signature" in delivery.faults and not any(
            attempt.signature == "wrong" and not attempt.was_refused for attempt in delivery.attempts
        )
        signature: Literal["valid", "wrong"] = "wrong" if forged else "valid"
        headers = signed_headers(delivery, new_secret() if forged else delivery.webhook.secret, at)
        try:
            response = await self._client.post(
                delivery.webhook.url, content=delivery.body.encode(), headers=headers, timeout=ATTEMPT_TIMEOUT_SECONDS
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Attempt(at, signature, error=type(error).__name__)
        return Attempt(at, signature, status_code=response.status_code)


def signed_headers(delivery: Delivery, secret: str, at: datetime) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "user-agent": "Svix-Webhooks/sandbox",
        "svix-id": delivery.delivery_id,
        "svix-timestamp": str(int(at.timestamp())),
        "svix-signature": Signer(secret).sign(delivery.delivery_id, at, delivery.body),
    }


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def new_delivery_id() -> str:
    return "msg_" + uuid4().hex[:27]
