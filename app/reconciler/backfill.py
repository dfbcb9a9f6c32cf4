"""The backfill: what Seam made is compared with what webhooks brought, so that nothing is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from uuid import uuid4

import structlog

from app.domain.fingerprints import Fingerprinter
from app.domain.intake import Intake, is_caught_up, is_lost, losses_within, may_be_lost, next_comparison, shows_life
from app.domain.spans import LOOK_BACK, OVERLAP, SETTLED, Span
from app.reconciler.catching_up import CatchUp
from app.reconciler.fetching import Fetcher, Found
from app.reconciler.metrics import IntakeMetrics
from app.reconciler.waits import FIRST_RETRY, Spread, no_spread, pause, sleep
from app.seam.errors import SeamError, SeamRateLimited
from app.seam.gateway import Gateway
from app.storage.engine import Database
from app.storage.errors import StorageError
from app.storage.intake import begin_proof, load_intake, note_caught_up, note_failure, note_lost
from app.storage.leases import keep_lease, release_lease, take_lease

LEASE = timedelta(seconds=20)
"""Kept before each call to Seam, which takes 5 s at most. If its holder is killed, nothing is judged until it ends."""
LOOK_EVERY = timedelta(seconds=1)
_LEASE_NAME = "backfill"
# Catching up leaves nothing out, also what Seam makes while it answers. Otherwise the youngest are left to webhooks.
_AHEAD = timedelta(seconds=2)
_LONGEST_PAUSE = timedelta(minutes=1)
_AT_ONCE = 1000  # suspects of one look: PostgreSQL takes 32 767 values in one statement

_log = structlog.get_logger(__name__)


class Backfill:
    """Any number of processes may run one: a lease lets one of them compare at a time (contract, section 6).
    ``on_compared`` is called when codes may have become due, or may be judged again."""

    def __init__(
        self,
        *,
        db: Database,
        gateway: Gateway,
        fingerprinter: Fingerprinter,
        clock: Callable[[], datetime],
        every: timedelta,
        catch_up: CatchUp,
        metrics: IntakeMetrics,
        on_compared: Callable[[], None],
        track_all: bool = False,
        spread: Spread = no_spread,
    ) -> None:
        self._db = db
        self._fetcher = Fetcher(db=db, gateway=gateway, fingerprinter=fingerprinter, clock=clock, track_all=track_all)
        self._clock = clock
        self._every = every
        self._catch_up = catch_up
        self._metrics = metrics
        self._on_compared = on_compared
        self._spread = spread
        self._holder = uuid4().hex
        self._failures = 0
        # While Seam does not answer: since when it is left alone, and until when.
        self._left_alone: tuple[datetime, datetime] | None = None
        self.last_pass_at: datetime | None = None

    def ahead(self) -> timedelta:
        """How far Seam's clock is ahead of ours, by its last answer."""
        return self._fetcher.ahead

    async def run(self, stop: asyncio.Event) -> None:
        """Compare when it is time, until ``stop``. Survives storage and Seam that are away."""
        while not stop.is_set():
            try:
                await self.run_once(stop)
            except StorageError as error:
                self._catch_up.interrupted_by(error)
                _log.warning("backfill_waits_for_storage", error=type(error).__name__)
            await sleep(LOOK_EVERY, stop)

    async def run_once(self, stop: asyncio.Event | None = None) -> Found | None:
        """Compare if it is time and nobody else does. ``None``: it was not done. Raises ``StorageError``."""
        now = self._clock()
        self.last_pass_at = now
        async with self._db.read() as conn:
            intake = await load_intake(conn)
        self._metrics.tell(intake)
        await self._count_lost(intake, now)
        if not self._is_time(intake, now) or not await self._take(now):
            return None
        try:
            return await self._compare(stop or asyncio.Event())
        finally:
            async with self._db.write() as conn:
                await release_lease(conn, _LEASE_NAME, self._holder)

    async def _count_lost(self, intake: Intake, now: datetime) -> None:
        """An event that was found early counts as lost once a webhook has had time to bring it, and did not."""
        losses = losses_within(intake, self._fetcher.seams_now(), now)
        suspects = self._fetcher.suspects
        ripe = dict(
            islice(((event_id, made) for event_id, made in suspects.items() if not may_be_lost(made, losses)), _AT_ONCE)
        )
        if not ripe:
            return
        async with self._db.write() as conn:
            lost = await note_lost(conn, [event_id for event_id, made in ripe.items() if is_lost(made, losses)])
        self._metrics.lost.inc(lost)
        self._fetcher.suspects = {event_id: made for event_id, made in suspects.items() if event_id not in ripe}

    def _is_time(self, intake: Intake, now: datetime) -> bool:
        if self._left_alone is not None:
            since, until = self._left_alone
            # A break of our intake, or a clock that was set back, is a reason to try at once.
            if self._catch_up.since <= since <= now < until:
                return False
        return now >= next_comparison(intake, self._catch_up.since, now, self._every)

    async def _compare(self, stop: asyncio.Event) -> Found | None:
        began = self._clock()
        try:
            before = await self._begin()
            found = await self._fetch(before, stop)
        except SeamError as error:
            await self._failed(error)
            return None
        if found is not None:
            await self._got_through(began, found, before)
        return found

    async def _begin(self) -> Intake:
        async with self._db.read() as conn:
            intake = await load_intake(conn)
        if intake.proven_until is not None:
            return intake
        await self._fetcher.ask_the_time()
        async with self._db.write() as conn:
            await begin_proof(conn, self._fetcher.seams_now() - LOOK_BACK)
            return await load_intake(conn)

    async def _fetch(self, intake: Intake, stop: asyncio.Event) -> Found | None:
        async def goes_on(_: Span) -> bool:
            if stop.is_set():
                return False
            now = self._clock()
            self.last_pass_at = now
            async with self._db.write() as conn:
                return await keep_lease(conn, _LEASE_NAME, self._holder, now, LEASE)

        start = (intake.proven_until or self._fetcher.seams_now()) - OVERLAP
        is_whole = is_caught_up(intake, self._catch_up.since, self._clock())
        return await self._fetcher.fetch(start, -SETTLED if is_whole else _AHEAD, goes_on)

    async def _got_through(self, began: datetime, found: Found, before: Intake) -> None:
        self._failures, self._left_alone = 0, None
        async with self._db.write() as conn:
            known = await load_intake(conn)
            await note_caught_up(conn, began, shows_life=shows_life(known, found.new))
        lost = known.lost - before.lost
        self._metrics.found.inc(found.new)
        self._metrics.lost.inc(lost)
        self._metrics.comparisons.labels("through").inc()
        _log.info("intake_compared", listed=found.listed, found=found.new, lost=lost)
        self._on_compared()

    async def _failed(self, error: SeamError) -> None:
        now = self._clock()
        self._failures += 1
        wait = pause(self._failures, FIRST_RETRY, min(_LONGEST_PAUSE, max(self._every, FIRST_RETRY)), self._spread)
        self._left_alone = (now, now + wait)
        self._metrics.comparisons.labels("failed").inc()
        _log.warning("comparison_failed", error=type(error).__name__, failures=self._failures)
        if isinstance(error, SeamRateLimited):
            # Seam can be reached: codes go on waiting for what it made meanwhile.
            self._left_alone = (now, now + max(wait, error.retry_after or wait))
            return
        async with self._db.write() as conn:
            await note_failure(conn, f"{error.title}: {error}", now)
        self._on_compared()

    async def _take(self, now: datetime) -> bool:
        async with self._db.write() as conn:
            return await take_lease(conn, _LEASE_NAME, self._holder, now, LEASE)
