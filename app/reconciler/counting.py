"""The loop that keeps the counters short, so that a summary costs the same however much has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from app.reconciler.waits import sleep
from app.storage.counts import fold
from app.storage.engine import Database
from app.storage.errors import StorageError

FOLD_EVERY = timedelta(seconds=2)

_log = structlog.get_logger(__name__)


class Counting:
    """Any number of processes may run one: what one of them is adding up, the others leave alone."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._clock = clock
        self.last_pass_at: datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``. Survives storage that is away."""
        while not stop.is_set():
            if await self._fold():
                continue
            await sleep(FOLD_EVERY, stop)

    async def _fold(self) -> bool:
        try:
            folded = await fold(self._db)
        except StorageError as error:
            _log.warning("counting_waits_for_storage", error=type(error).__name__)
            return False
        self.last_pass_at = self._clock()
        return folded
