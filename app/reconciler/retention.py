"""The loop that deletes what is older than it has to be kept. One process at a time does it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import uuid4

import structlog

from app.reconciler.waits import Spread, no_spread, pause, sleep
from app.storage.engine import Connection, Database
from app.storage.errors import StorageError
from app.storage.leases import release_lease, take_lease
from app.storage.retention import (
    Swept,
    forget_receipts,
    sweep_alerts,
    sweep_events,
    sweep_transitions,
    sweep_unreadable,
)

PASS_EVERY = timedelta(minutes=10)
_LEASE_NAME = "retention"
_LEASE = timedelta(minutes=1)
# Old rows that had to stay are looked at again once a day: until then a pass begins behind them.
_FROM_THE_BEGINNING_EVERY = timedelta(days=1)
# Between two batches, so that those who wait for the database are not kept waiting by this.
_BREATHER = timedelta(milliseconds=100)

_SIGN_OF_LIFE_EVERY = timedelta(seconds=5)

_Sweep = Callable[[Connection, int, datetime], Awaitable[Swept]]
_SWEEPS: dict[str, _Sweep] = {
    "events": sweep_events,
    "unreadable": sweep_unreadable,
    "transitions": sweep_transitions,
    "alerts": sweep_alerts,
}

_log = structlog.get_logger(__name__)


class Retention:
    """``keep`` is how long events are kept after their arrival, and all else that grows."""

    def __init__(
        self, *, db: Database, clock: Callable[[], datetime], keep: timedelta, spread: Spread = no_spread
    ) -> None:
        self._db = db
        self._clock = clock
        self._keep = keep
        self._spread = spread
        self._holder = uuid4().hex
        self._after = dict.fromkeys(_SWEEPS, 0)
        self._began_at: datetime | None = None
        self.last_pass_at: datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``. Survives storage that is away."""
        failures = 0
        while not stop.is_set():
            try:
                wait = _BREATHER if await self.run_once() else PASS_EVERY
                failures = 0
            except StorageError as error:
                failures += 1
                wait = pause(failures, timedelta(seconds=5), PASS_EVERY, self._spread)
                _log.warning("retention_waits_for_storage", error=type(error).__name__, failures=failures)
            await self._rest(wait, stop)

    async def _rest(self, wait: timedelta, stop: asyncio.Event) -> None:
        """In short steps, each of which shows that the loop is alive: also after a clock was set."""
        steps, rest = divmod(wait, _SIGN_OF_LIFE_EVERY)
        for step in (*[_SIGN_OF_LIFE_EVERY] * steps, rest):
            await sleep(step, stop)
            self.last_pass_at = self._clock()

    async def run_once(self) -> bool:
        """One batch of each table. ``False``: nothing more is old, or another process sees to it.

        Raises ``StorageError``.
        """
        now = self.last_pass_at = self._clock()
        if self._began_at is None or now - self._began_at >= _FROM_THE_BEGINNING_EVERY:
            self._began_at = now
            self._after = dict.fromkeys(_SWEEPS, 0)
        async with self._db.write() as conn:
            if not await take_lease(conn, _LEASE_NAME, self._holder, now, _LEASE):
                return False
            swept = {name: await sweep(conn, self._after[name], now - self._keep) for name, sweep in _SWEEPS.items()}
            is_done = all(each.is_at_end for each in swept.values())
            if is_done:
                await forget_receipts(conn, now - self._keep)
                await release_lease(conn, _LEASE_NAME, self._holder)
        self._note(swept)
        return not is_done

    def _note(self, swept: dict[str, Swept]) -> None:
        self._after = {name: each.after for name, each in swept.items()}
        for name, each in swept.items():
            if each.deleted:
                _log.info("old_rows_deleted", table=name, count=each.deleted)
