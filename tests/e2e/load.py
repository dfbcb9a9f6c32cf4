"""A load of signed webhooks that goes on while a test breaks things: each is sent until it is acked, as Svix does."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from tests.e2e.services import PATIENCE_SECONDS, signed

_AGAIN_AFTER_SECONDS = 0.2
_AT_ONCE = 24


class Load:
    """``acked`` holds the ids of events that got a 2xx; ``answers`` counts answers by their status (0: none came)."""

    def __init__(self, urls: Sequence[str], payloads: Sequence[dict[str, Any]]) -> None:
        self.urls = urls
        self.payloads = payloads
        self.acked: set[str] = set()
        self.answers: Counter[int] = Counter()
        self._random = random.Random(1)  # noqa: S311 - a balancer, and always the same one
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send_all()), daemon=True)
        self._progress = threading.Condition()

    def start(self) -> None:
        self._thread.start()

    def wait_until_acked(self, count: int) -> None:
        with self._progress:
            assert self._progress.wait_for(lambda: len(self.acked) >= count, PATIENCE_SECONDS), self.answers

    def wait_until_answered(self, status: int) -> None:
        with self._progress:
            assert self._progress.wait_for(lambda: self.answers[status] > 0, PATIENCE_SECONDS), self.answers

    def finish(self) -> None:
        """Wait until every event is acked."""
        self._thread.join(2 * PATIENCE_SECONDS)
        assert not self._thread.is_alive(), (len(self.acked), self.answers)
        assert self.acked == {payload["event_id"] for payload in self.payloads}

    async def _send_all(self) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)
        async with httpx.AsyncClient(trust_env=False, timeout=12) as client:
            await asyncio.gather(*(self._send(client, slots, payload) for payload in self.payloads))

    async def _send(self, client: httpx.AsyncClient, slots: asyncio.Semaphore, payload: dict[str, Any]) -> None:
        async with slots:
            while not await self._attempt(client, payload):  # noqa: ASYNC110 - a pause between attempts
                await asyncio.sleep(_AGAIN_AFTER_SECONDS)

    async def _attempt(self, client: httpx.AsyncClient, payload: dict[str, Any]) -> bool:
        """One attempt at a replica of the balancer's choice; every attempt is signed anew."""
        headers, body = signed(payload, f"msg_{payload['event_id']}")
        try:
            answer = await client.post(f"{self._random.choice(self.urls)}/webhooks/seam", content=body, headers=headers)
            status = answer.status_code
        except httpx.HTTPError:
            status = 0
        with self._progress:
            self.answers[status] += 1
            if status == 204:
                self.acked.add(payload["event_id"])
            self._progress.notify_all()
        return status == 204


@contextmanager
def under_load(urls: Sequence[str], payloads: Sequence[dict[str, Any]]) -> Iterator[Load]:
    """Break things inside; at the end every event was acked by somebody."""
    load = Load(urls, payloads)
    load.start()
    yield load
    load.finish()
