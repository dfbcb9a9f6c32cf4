"""The sandbox as one thing: the simulated workspace, its clock and its webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import httpx

from app.sandbox.delivery import Courier
from app.sandbox.life import Life
from app.sandbox.limits import RateLimits
from app.sandbox.settings import SandboxError, SandboxSettings
from app.sandbox.timeline import Timeline
from app.sandbox.world import World

Clock = Callable[[], datetime]


class Sandbox:
    """A simulated Seam without its HTTP face.

    With real time, ``run`` follows the clock; with ``manual_time``, time moves only by ``advance``.
    """

    def __init__(
        self, settings: SandboxSettings, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._wake = asyncio.Event()
        self.timeline = Timeline(clock(), settings.speed)
        client = httpx.AsyncClient(transport=transport, follow_redirects=False, trust_env=False)
        self.courier = Courier(self.timeline, client, self.read_clock, faults=settings.faults, seed=settings.seed)
        self.world = World(self.timeline, settings.fleet, self.courier.take)
        self.life = Life(self.world)
        self.limits = RateLimits(enabled=settings.rate_limits)
        if settings.webhook_url is not None:
            self.courier.register(settings.webhook_url, secret=settings.webhook_secret)

    @property
    def now(self) -> datetime:
        return self.timeline.now

    def read_clock(self) -> datetime:
        return self.now if self.settings.manual_time else self._clock()

    def catch_up(self) -> None:
        """Let everything happen that is due by now."""
        self.timeline.advance(self.read_clock())

    def wake(self) -> None:
        """Tell ``run`` that there may be something new to do."""
        self._wake.set()

    async def advance(self, to: datetime) -> None:
        """Move manual time, and deliver each webhook at its moment, one after another."""
        if not self.settings.manual_time:
            raise SandboxError("This sandbox follows the real clock: start it with manual time to advance it.")
        await self._deliver()
        while (due := self.timeline.next_due) is not None and due <= to:
            self.timeline.advance(due)
            await self._deliver()
        self.timeline.advance(to)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the clock and send webhooks until ``stop`` is set."""
        while not stop.is_set():
            self._wake.clear()
            self.catch_up()
            for task in self.courier.start_due():
                task.add_done_callback(lambda _: self.wake())
            await self._rest()

    async def close(self) -> None:
        await self.courier.close()

    async def _deliver(self) -> None:
        """Send what is due now, and what becomes due at this very moment by sending it."""
        self.timeline.advance(self.now)
        while await self.courier.send_due():
            self.timeline.advance(self.now)

    async def _rest(self) -> None:
        due = self.timeline.next_due
        if due is None or self.settings.manual_time:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(max((due - self._clock()).total_seconds(), 0.0)):
                await self._wake.wait()
        except TimeoutError:
            return
