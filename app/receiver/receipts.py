"""Keeping for all processes what the receiver counted, and that it receives: beside the deliveries, not among them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime

import structlog
from prometheus_client import Counter

from app.domain.intake import BEAT_EVERY, BEAT_LIVES
from app.domain.silence import REJECTED, VERIFIED
from app.receiver.metrics import ReceiverMetrics
from app.storage.engine import Database
from app.storage.errors import StorageError
from app.storage.intake import note_receiving
from app.storage.receipts import add_receipts

_log = structlog.get_logger(__name__)


class Receipts:
    """``since`` is from when on this process took every delivery that came, as far as it knows: its start, or the end
    of the last time when it could not store any, was asleep, or had its clock set."""

    def __init__(self, *, db: Database, metrics: ReceiverMetrics, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._metrics = metrics
        self._clock = clock
        self._kept: dict[tuple[str, str], int] = {}
        self._failures = _total(metrics.commit_failures)
        self.since = clock()
        self.last_pass_at: datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``; what was counted last is kept before it ends.

        The first word is said after a while: until then that of another process tells whether there was a break.
        """
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), BEAT_EVERY.total_seconds())
            try:
                await self.keep()
            except StorageError as error:
                self.since = self._clock()
                _log.warning("receipts_wait_for_storage", error=type(error).__name__)

    async def keep(self) -> None:
        """Keep what was counted since the last time: ``last_at`` of a receipt is exact to that.

        Raises ``StorageError``.
        """
        now = self._clock()
        self._notice_breaks(now)
        counted = dict(_counts(self._metrics))
        new = {key: count - self._kept.get(key, 0) for key, count in counted.items()}
        async with self._db.write() as conn:
            await note_receiving(conn, self.since, now)
            await add_receipts(conn, {key: count for key, count in new.items() if count}, now)
        self._kept = counted

    def _notice_breaks(self, now: datetime) -> None:
        failures = _total(self._metrics.commit_failures)
        slept = self.last_pass_at is not None and abs(now - self.last_pass_at) > BEAT_LIVES
        if failures > self._failures or slept:
            self.since = now
        self._failures = failures
        self.last_pass_at = now


def _counts(metrics: ReceiverMetrics) -> Iterator[tuple[tuple[str, str], int]]:
    for outcome, counter in ((VERIFIED, metrics.verified), (REJECTED, metrics.rejections)):
        for label, count in _samples(counter):
            yield (outcome, label), count


def _samples(counter: Counter) -> Iterator[tuple[str, int]]:
    for metric in counter.collect():
        for sample in metric.samples:
            if sample.name.endswith("_total"):
                yield next(iter(sample.labels.values()), ""), int(sample.value)


def _total(counter: Counter) -> int:
    return sum(count for _, count in _samples(counter))
