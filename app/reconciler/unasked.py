"""Having those codes asked about that a process without a Seam key could not ask about: at the start with one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from app.reconciler.reading import NO_KEY
from app.reconciler.waits import Spread, no_spread, pause, sleep
from app.storage.codes import mark_due
from app.storage.engine import Database
from app.storage.errors import StorageError
from app.storage.unasked import find_unasked

LOOK_EVERY = timedelta(hours=1)
"""Beside this process another one without a key may still be at work, such as the one that it takes the place of."""

_POLL_EVERY = timedelta(seconds=5)
# Between two parts, so that those who wait for the database are not kept waiting by this.
_BREATHER = timedelta(milliseconds=20)

_log = structlog.get_logger(__name__)


class UnaskedCodes:
    """For a process with a key; any number of them may do this. ``on_due`` is called when codes were marked due."""

    def __init__(
        self,
        *,
        db: Database,
        clock: Callable[[], datetime],
        on_due: Callable[[], None],
        spread: Spread = no_spread,
    ) -> None:
        self._db = db
        self._clock = clock
        self._on_due = on_due
        self._spread = spread
        self._after: str | None = ""
        self._marked = 0
        self._ended_at: datetime | None = None
        self.last_pass_at: datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``. Survives storage that is away."""
        failures = 0
        while not stop.is_set():
            try:
                wait = _BREATHER if await self.run_once() else _POLL_EVERY
                failures = 0
            except StorageError as error:
                failures += 1
                wait = pause(failures, _BREATHER, _POLL_EVERY, self._spread)
                _log.warning("unasked_codes_wait_for_storage", error=type(error).__name__, failures=failures)
            await sleep(wait, stop)

    async def run_once(self) -> bool:
        """One part of the codes. False: all were looked at not long ago. Raises ``StorageError``."""
        now = self.last_pass_at = self._clock()
        if self._after is None:
            if self._ended_at is not None and now - self._ended_at < LOOK_EVERY:
                return False
            self._after = ""
        async with self._db.read() as conn:
            found = await find_unasked(conn, NO_KEY, self._after, now)
        if found.ids:
            async with self._db.write() as conn:
                await mark_due(conn, found.ids, now)
            self._marked += len(found.ids)
            self._on_due()
        self._after = found.after
        if found.after is None:
            self._end(now)
        return found.after is not None

    def _end(self, now: datetime) -> None:
        if self._marked:
            _log.info("codes_marked_due", codes=self._marked, reason="there was no SEAM_API_KEY")
        self._marked, self._ended_at = 0, now
