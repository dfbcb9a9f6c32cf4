"""Delivering: each channel has a sender of its own, with its own claims, so that none waits for another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from app.alerts.channels import LONGEST_SEND, Arrived, Channel, Failed, Message, Outcome
from app.alerts.metrics import AlertMetrics
from app.alerts.pacing import keep_working
from app.domain.alerting import Spread, next_attempt
from app.storage.deliveries import Claim, claim_deliveries, has_due, note_failed, note_sent
from app.storage.engine import Database

LEASE = LONGEST_SEND + timedelta(seconds=45)  # for the outcome to be written, also with a database that is slow
STOP_WITHIN = timedelta(seconds=5)
_STOPPED = Failed("the process was stopped before an answer came")

_log = structlog.get_logger(__name__)


class Sender:
    """One process's share of one channel. Any number of processes may run one: claims keep them apart."""

    def __init__(
        self,
        *,
        db: Database,
        channel: Channel,
        clock: Callable[[], datetime],
        metrics: AlertMetrics,
        spread: Spread = random.random,
    ) -> None:
        self._db = db
        self._channel = channel
        self._clock = clock
        self._metrics = metrics
        self._spread = spread
        self._woken = asyncio.Event()
        self._stop = asyncio.Event()
        self.last_pass_at: datetime | None = None

    @property
    def name(self) -> str:
        return self._channel.name

    def wake(self) -> None:
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Send until ``stop``; what is under way then has a few seconds to arrive."""
        self._stop = stop
        try:
            await keep_working(f"alerts to {self.name}", self.run_once, self._woken, stop)
        finally:
            if stop.is_set():  # otherwise it raised, and is begun again
                await self._channel.aclose()

    async def run_once(self) -> bool:
        """One bounded unit of work. False: nothing was due. Raises ``StorageError``."""
        now = self._clock()
        async with self._db.read() as conn:
            is_due = await has_due(conn, self.name, now)
        self.last_pass_at = now
        if not is_due:
            return False
        async with self._db.write() as conn:
            claims = await claim_deliveries(conn, self.name, now, LEASE, self._channel.at_once)
        outcomes = await asyncio.gather(*map(self._deliver, claims), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        return bool(claims)

    async def _deliver(self, claim: Claim) -> None:
        outcome = await self._send(claim)
        now = self._clock()
        match outcome:
            case Arrived():
                async with self._db.write() as conn:
                    await note_sent(conn, claim, now)
                self._told("sent", claim)
            case Failed(is_permanent=True):
                await self._fail(claim, outcome, None)
            case Failed():
                again = next_attempt(claim.attempts, claim.tried_since, now, outcome.retry_after, self._spread)
                await self._fail(claim, outcome, again)

    async def _send(self, claim: Claim) -> Outcome:
        sending = asyncio.create_task(self._attempt(claim))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({sending, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({sending}, timeout=STOP_WITHIN.total_seconds())
        finally:
            stopping.cancel()
            sending.cancel()
        return sending.result() if sending.done() and not sending.cancelled() else _STOPPED

    async def _attempt(self, claim: Claim) -> Outcome:
        try:
            return await self._channel.send(Message(claim.message_id, claim.content))
        except Exception as error:  # noqa: BLE001 - a channel that breaks must not end the loop
            return Failed(f"it raised {type(error).__name__}")

    async def _fail(self, claim: Claim, failed: Failed, again: datetime | None) -> None:
        async with self._db.write() as conn:
            await note_failed(conn, claim, failed.error, again)
        self._told("failed" if again is not None else "dead", claim, failed.error, again)

    def _told(self, outcome: str, claim: Claim, error: str | None = None, again: datetime | None = None) -> None:
        self._metrics.deliveries.labels(self.name, outcome).inc()
        ids = {"message_id": claim.message_id, "channel": self.name, "attempts": claim.attempts}
        if error is None:
            _log.info("alert_sent", **ids)
        else:
            next_attempt_at = again.isoformat() if again is not None else None
            _log.warning("alert_failed", **ids, error=error, next_attempt_at=next_attempt_at)
