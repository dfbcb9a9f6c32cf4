"""Reading codes that Seam mentioned and that are not known here: managed ones are watched from then on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog

from app.domain.codes import Read
from app.reconciler.reading import Reading, Unread, read_codes
from app.reconciler.waits import FIRST_RETRY, Spread, no_spread, pause, sleep
from app.seam.gateway import IDS_PER_CALL, Gateway
from app.storage.audit import record
from app.storage.binding import held_codes
from app.storage.engine import Database
from app.storage.errors import StorageConflict, StorageError, StorageUnavailable
from app.storage.mentions import (
    adopt_mentioned,
    claim_mentions,
    forget_mentions,
    mention_unknown,
    postpone_mention,
)

POLL_EVERY = timedelta(seconds=1)
_LEASE = timedelta(seconds=120)
_LONGEST_POSTPONEMENT = timedelta(hours=1)
_LONGEST_WAIT_FOR_STORAGE = timedelta(seconds=30)
_CALLS_AT_ONCE = 4
_ACTOR = "latchwatch"

_log = structlog.get_logger(__name__)


class Mentions:
    """One process's share of this work; any number of processes may do it. ``track_all`` also reads, at the start, the
    codes that events told of before. ``on_tracked`` is called when there are new codes to assess."""

    def __init__(
        self,
        *,
        db: Database,
        gateway: Gateway | None,
        clock: Callable[[], datetime],
        track_all: bool,
        on_tracked: Callable[[], None],
        spread: Spread = no_spread,
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._clock = clock
        self._on_tracked = on_tracked
        self._spread = spread
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._owes_history = track_all
        self.last_pass_at: datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``. Survives storage that is away."""
        failures = 0
        while not stop.is_set():
            wait = timedelta(0)
            try:
                if not await self.run_once():
                    wait = POLL_EVERY
                failures = 0
            except StorageError as error:
                failures += 1
                wait = pause(failures, POLL_EVERY, _LONGEST_WAIT_FOR_STORAGE, self._spread)
                _log.warning("mentions_wait_for_storage", error=type(error).__name__, failures=failures)
            await sleep(wait, stop)

    async def run_once(self) -> bool:
        """One call's worth of codes. False: nothing was due, or Seam cannot be asked. Raises ``StorageError``."""
        now = self.last_pass_at = self._clock()
        if self._gateway is None:
            return False
        if self._owes_history:
            await self._note_history(now)
        async with self._db.write() as conn:
            claimed = await claim_mentions(conn, now, _LEASE, IDS_PER_CALL)
        if not claimed:
            return False
        async with self._db.read() as conn:
            known = await held_codes(conn, sorted(claimed))
        readings = await read_codes(
            self._gateway, {ident: None for ident in claimed if ident not in known}, self._calls
        )
        await self._settle(claimed, readings)
        return True

    async def _note_history(self, now: datetime) -> None:
        async with self._db.write() as conn:
            found = await mention_unknown(conn, now)
        self._owes_history = False
        if found:
            _log.info("codes_mentioned", codes=found)

    async def _settle(self, claimed: Mapping[str, int], readings: Mapping[str, Reading]) -> None:
        """Watch what is managed, try again later what could not be read, and forget all others."""
        managed = {
            ident: reading
            for ident, reading in readings.items()
            if isinstance(reading, Read) and reading.snapshot is not None and reading.snapshot.is_managed
        }
        unread = {ident: reading for ident, reading in readings.items() if isinstance(reading, Unread)}
        done = set(claimed) - set(managed) - set(unread)
        async with self._db.write() as conn:
            await forget_mentions(conn, done)
            for ident, reading in unread.items():
                await postpone_mention(conn, ident, self._clock() + self._pause(claimed[ident], reading))
        tracked = [await self._watch(ident, read, claimed[ident]) for ident, read in managed.items()]
        if any(tracked):
            self._on_tracked()
        _log.info("mentions_read", tracked=sum(tracked), forgotten=len(done), unread=len(unread))

    async def _watch(self, ident: str, read: Read, failures: int) -> bool:
        """Whether there is a new row. What this one code provokes in storage stops no other."""
        now = self._clock()
        try:
            async with self._db.write() as conn:
                await forget_mentions(conn, [ident])
                row = await adopt_mentioned(conn, read.snapshot, read.at, now) if read.snapshot is not None else None
                if row is not None:
                    details = {"origin": row.origin}
                    await record(conn, at=now, actor=_ACTOR, action="code_tracked", code_id=row.id, details=details)
            return row is not None
        except Exception as error:
            if isinstance(error, StorageUnavailable) and not isinstance(error, StorageConflict):
                raise
            # The message may quote data.
            _log.warning("mention_postponed", access_code_id=ident, error=type(error).__name__)
        async with self._db.write() as conn:
            await postpone_mention(conn, ident, now + self._pause(failures, None))
        return False

    def _pause(self, failures: int, reading: Unread | None) -> timedelta:
        wait = pause(failures + 1, FIRST_RETRY, _LONGEST_POSTPONEMENT, self._spread)
        return max(wait, reading.retry_after or wait) if reading is not None else wait
