"""How the loops of alerts go on: unit after unit, a look now and then, and through times without storage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from app.storage.errors import StorageError

POLL_EVERY = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(seconds=30)

_log = structlog.get_logger(__name__)


async def keep_working(
    name: str, unit: Callable[[], Awaitable[bool]], woken: asyncio.Event, stop: asyncio.Event
) -> None:
    """Do units of work until ``stop``, with a pause after one that found none. ``woken`` cuts a pause short."""
    stopping = asyncio.create_task(stop.wait())
    failures = 0
    try:
        while not stop.is_set():
            woken.clear()
            try:
                wait = timedelta(0) if await unit() else POLL_EVERY
                failures = 0
            except StorageError as error:
                failures += 1
                wait = min(POLL_EVERY * (1 << min(failures - 1, 5)), _LONGEST_WAIT)
                _log.warning("alerts_wait_for_storage", loop=name, error=type(error).__name__, failures=failures)
            await _pause(wait, woken, stopping)
    finally:
        stopping.cancel()


async def _pause(wait: timedelta, woken: asyncio.Event, stopping: asyncio.Task[bool]) -> None:
    waking = asyncio.create_task(woken.wait())
    try:
        await asyncio.wait({waking, stopping}, timeout=wait.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waking.cancel()
