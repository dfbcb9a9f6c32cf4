"""The silence watch: raises ``webhook_silent`` when Seam's webhooks stop arriving, outside of any request's path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from app.domain.assessment import FlagKind, Problem
from app.domain.silence import Evidence, Hook, Silence, diagnose, explain, silence_of
from app.reconciler.waits import sleep
from app.seam.errors import SeamError
from app.seam.gateway import Gateway
from app.storage.engine import Connection, Database
from app.storage.errors import RefusedByDatabase, StorageError
from app.storage.flags import FlagRow, close_flags, correct_flag, open_flag, open_flag_of_service
from app.storage.intake import load_intake
from app.storage.receipts import list_receipts

LOOK_EVERY = timedelta(seconds=2)
_EXAMINE_EVERY = timedelta(minutes=1)
_KIND = FlagKind.WEBHOOK_SILENT

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Channel:
    """How webhooks are meant to come in. ``secrets`` are the labels of the configured ones."""

    public_url: str | None
    secrets: tuple[str, ...]
    tolerance: timedelta
    silence_after: timedelta


class SilenceWatch:
    """Any number of processes may run one: the database lets one flag be open. ``ahead`` tells how far Seam's clock is
    ahead of this machine's, as far as is known."""

    def __init__(
        self,
        *,
        db: Database,
        gateway: Gateway,
        channel: Channel,
        clock: Callable[[], datetime],
        ahead: Callable[[], timedelta],
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._channel = channel
        self._clock = clock
        self._ahead = ahead
        self._watching_since = clock()
        self._examined_at: datetime | None = None
        self.last_pass_at: datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Look now and then, until ``stop``. Survives storage and Seam that are away."""
        while not stop.is_set():
            try:
                await self.run_once()
            except StorageError as error:
                _log.warning("silence_watch_waits_for_storage", error=type(error).__name__)
            await sleep(LOOK_EVERY, stop)

    async def run_once(self) -> None:
        """Open the flag, close it, or correct the cause that it names. Raises ``StorageError``."""
        now = self._clock()
        self.last_pass_at = now
        async with self._db.read() as conn:
            silence = await self._silence(conn, now)
            flag = await open_flag_of_service(conn, _KIND)
        if silence is None:
            if flag is not None:
                await self._close(now)
            return
        if flag is None:
            await self._open(silence, await self._examine(silence, now), now)
        elif self._examined_at is None or now - self._examined_at >= _EXAMINE_EVERY:
            await self._correct(flag, silence, await self._examine(silence, now))

    async def _silence(self, conn: Connection, now: datetime) -> Silence | None:
        intake = await load_intake(conn)
        return silence_of(intake, now, self._channel.silence_after, self._watching_since)

    async def _examine(self, silence: Silence, now: datetime) -> Problem:
        """Look for the cause. Seam is asked outside of any transaction."""
        self._examined_at = now
        hooks = await self._hooks()
        async with self._db.read() as conn:
            intake, receipts = await load_intake(conn), await list_receipts(conn)
        evidence = Evidence(
            public_url=self._channel.public_url,
            hooks=hooks,
            ahead=self._ahead(),
            tolerance=self._channel.tolerance,
            receipts=tuple(receipts),
            secrets=self._channel.secrets,
            last_delivery_at=intake.last_delivery_at,
        )
        return diagnose(silence, evidence)

    async def _hooks(self) -> tuple[Hook, ...] | None:
        try:
            return tuple(Hook(hook.url, hook.event_types) for hook in await self._gateway.list_webhooks())
        except SeamError as error:
            _log.warning("webhooks_not_listed", error=type(error).__name__)
            return None

    async def _open(self, silence: Silence, problem: Problem, now: datetime) -> None:
        try:
            async with self._db.write() as conn:
                if await self._silence(conn, now) is None:
                    return  # it ended while Seam was asked
                await open_flag(
                    conn,
                    kind=_KIND,
                    code_id=None,
                    access_code_id=None,
                    device_id=None,
                    opened_at=silence.since,
                    reason=explain(silence, problem),
                    problem=problem,
                    now=now,
                )
        except RefusedByDatabase:
            return  # another replica has just opened it
        _log.warning("webhook_silent", since=silence.since.isoformat(), lost=silence.lost, cause=problem.code)

    async def _correct(self, flag: FlagRow, silence: Silence, problem: Problem) -> None:
        if flag.problem is not None and flag.problem["code"] == problem.code:
            return
        async with self._db.write() as conn:
            await correct_flag(conn, flag.id, explain(silence, problem), problem)
        _log.info("webhook_silence_explained", cause=problem.code)

    async def _close(self, now: datetime) -> None:
        async with self._db.write() as conn:
            flag = await open_flag_of_service(conn, _KIND, lock=True)
            if flag is None or await self._silence(conn, now) is not None:
                return
            await close_flags(conn, [flag], now)
        self._examined_at = None
        _log.info("webhooks_arrive_again", flag_id=flag.id)
