"""Composing: pending alerts become messages with a delivery for each channel, and reminders become alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from app.alerts.metrics import AlertMetrics
from app.alerts.pacing import keep_working
from app.domain.alert_texts import document
from app.domain.alerting import TRIED_FOR, Alert, AlertPolicy, Change, message_id, plan
from app.storage.alerts import (
    NewMessage,
    has_reminders,
    load_pending,
    postpone_alerts,
    save_message,
    skip_alerts,
    write_reminders,
)
from app.storage.deliveries import abandon_channels, load_backlog
from app.storage.engine import Database
from app.storage.errors import StorageConflict, StorageUnavailable

BATCH = 1000
_MESSAGES_AT_ONCE = 50
_POSTPONEMENT = timedelta(minutes=10)
_COUNT_EVERY = timedelta(seconds=15)
_NOT_CONFIGURED = "this channel is not configured any more"

_log = structlog.get_logger(__name__)


class Composer:
    """One process's share of composing. Any number of processes may run one, all with the same settings.

    ``on_composed`` wakes whoever delivers. ``wake`` says that a flag has changed in this process.
    """

    def __init__(
        self,
        *,
        db: Database,
        channels: Sequence[str],
        policy: AlertPolicy,
        clock: Callable[[], datetime],
        metrics: AlertMetrics,
        on_composed: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = db
        self._channels = tuple(channels)
        self._policy = policy
        self._clock = clock
        self._metrics = metrics
        self._on_composed = on_composed
        self._woken = asyncio.Event()
        self._counted_at: datetime | None = None
        self.last_pass_at: datetime | None = None

    def wake(self) -> None:
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        await keep_working("alerts", self.run_once, self._woken, stop)

    async def run_once(self) -> bool:
        """One bounded unit of work. False: there was none. Raises ``StorageError``."""
        now = self._clock()
        await self._count(now)
        reminded = await self._remind(now)
        async with self._db.read() as conn:
            pending = await load_pending(conn, now, self._policy.after, BATCH)
        self.last_pass_at = now
        if not self._channels:
            await self._skip([alert.id for alert in pending])
            return bool(pending)
        planned = plan(pending, now, self._policy)
        await self._skip(planned.skipped)
        composed = await self._compose(planned.messages[:_MESSAGES_AT_ONCE], now)
        return bool(composed or planned.skipped or reminded)

    async def _remind(self, now: datetime) -> bool:
        if not self._channels:
            return False
        async with self._db.read() as conn:
            if not await has_reminders(conn, now):
                return False
        async with self._db.write() as conn:
            return bool(await write_reminders(conn, now, self._policy.repeat, BATCH))

    async def _skip(self, ids: Sequence[str]) -> None:
        if ids:
            async with self._db.write() as conn:
                await skip_alerts(conn, ids)
            self._metrics.alerts.labels("skipped").inc(len(ids))

    async def _compose(self, messages: Sequence[Sequence[Alert]], now: datetime) -> bool:
        """False: nothing is told; other replicas were faster, or there was nothing."""
        told = [alerts for alerts in messages if await self._tell(alerts, now)]
        self._metrics.alerts.labels("told").inc(sum(map(len, told)))
        if told:
            self._on_composed()
        return bool(told)

    async def _tell(self, alerts: Sequence[Alert], now: datetime) -> bool:
        """One that cannot be told must not keep the others."""
        ids = [alert.id for alert in alerts]
        try:
            message = self._message(alerts, now)
            async with self._db.write() as conn:
                return await save_message(conn, message, self._channels, now)
        except (StorageUnavailable, StorageConflict):
            raise
        except Exception as error:  # noqa: BLE001 - whatever its data provokes
            async with self._db.write() as conn:
                await postpone_alerts(conn, ids, now + _POSTPONEMENT)
            self._metrics.alerts.labels("postponed").inc(len(ids))
            _log.error("alerts_postponed", alert_ids=ids, error=type(error).__name__)
            return False

    def _message(self, alerts: Sequence[Alert], now: datetime) -> NewMessage:
        repeats = alerts[0].change is Change.OPENED and self._policy.repeat
        return NewMessage(
            id=message_id(alert.id for alert in alerts),
            content=document(alerts, now),
            alerts=alerts,
            remind_at=now + self._policy.repeat if repeats else None,
        )

    async def _count(self, now: datetime) -> None:
        """Now and then: how far behind we are, and what waits for channels that are gone from the settings."""
        if self._counted_at is not None and now - self._counted_at < _COUNT_EVERY:
            return
        self._counted_at = now
        async with self._db.write() as conn:
            await abandon_channels(conn, self._channels, now - TRIED_FOR, _NOT_CONFIGURED)
        async with self._db.read() as conn:
            backlog = await load_backlog(conn)
        oldest = backlog.oldest_unsent_at
        self._metrics.oldest_unsent.set(0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0))
        self._metrics.dead.set(sum(backlog.dead.values()))
