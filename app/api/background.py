"""Work that must come to its end although nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from app.domain.errors import LatchwatchError

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Background:
    """Tasks that outlive the request that began them. ``drain`` waits for them: call it before storage is closed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def complete(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of this work, which goes on to its end even if the caller is cancelled."""
        return await asyncio.shield(self.spawn(work))

    async def drain(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        # Its waiter, if there still is one, gets it as well. The message may quote data: only its kind is logged.
        if error is not None and not isinstance(error, LatchwatchError):
            log.error("background_work_failed", error=type(error).__name__)
