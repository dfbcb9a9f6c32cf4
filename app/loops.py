"""The loops that run in the background of a process: started and stopped together, looked at by ``/readyz``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from app.api.services import Check

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loop:
    """``run`` works until its event is set. ``last_pass_at`` is when it last looked for work; a loop that has not
    for longer than ``silent_for`` is not alive."""

    name: str
    run: Callable[[asyncio.Event], Awaitable[None]]
    last_pass_at: Callable[[], datetime | None]
    silent_for: timedelta


class Loops:
    def __init__(self, loops: Sequence[Loop], clock: Callable[[], datetime]) -> None:
        self._loops = loops
        self._clock = clock
        self._stop = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Call it once, inside the running loop."""
        for loop in self._loops:
            self._tasks[loop.name] = asyncio.create_task(self._run(loop), name=loop.name)

    async def stop(self) -> None:
        """Each brings to its end what it began. Harmless where none was started."""
        self._stop.set()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def checks(self) -> list[Check]:
        return [self._check(loop) for loop in self._loops]

    async def _run(self, loop: Loop) -> None:
        try:
            await loop.run(self._stop)
        except Exception as error:
            # The message may quote data.
            _log.error("loop_ended", loop=loop.name, error=type(error).__name__)
            raise

    def _check(self, loop: Loop) -> Check:
        task = self._tasks.get(loop.name)
        if task is None:
            return Check(loop.name, ok=True, detail="left to other processes (--no-background)")
        if task.done():
            return Check(loop.name, ok=False, detail="it ended; the log says why, and a restart brings it back")
        last = loop.last_pass_at()
        if last is not None and self._clock() - last > loop.silent_for:
            return Check(loop.name, ok=False, detail=f"its last look for work was at {last.isoformat()}")
        return Check(loop.name, ok=True)
