"""The loops that run in the background of a process: started and stopped together, looked at by ``/readyz``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from app.api.services import Check
from app.reconciler.waits import pause, sleep

_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=1)

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
    """``first_pause`` is how long a loop that raised rests before it begins again; it doubles while it goes on so."""

    def __init__(
        self, loops: Sequence[Loop], clock: Callable[[], datetime], first_pause: timedelta = _FIRST_PAUSE
    ) -> None:
        self._loops = loops
        self._clock = clock
        self._first_pause = first_pause
        self._stop = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._raised: dict[str, str] = {}  # why a loop rests

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
        """What a loop does not survive by itself is a mistake of ours; nobody has to be there to bring it back."""
        time = asyncio.get_running_loop().time
        failures = 0
        while not self._stop.is_set():
            began = time()
            try:
                await loop.run(self._stop)
            except Exception as error:  # noqa: BLE001 - told by its kind alone: the message may quote data
                failures = 1 if time() - began > _LONGEST_PAUSE.total_seconds() else failures + 1
                self._raised[loop.name] = type(error).__name__
                _log.error("loop_raised", loop=loop.name, error=type(error).__name__, failures=failures)
                await sleep(pause(failures, self._first_pause, _LONGEST_PAUSE), self._stop)
                del self._raised[loop.name]
            else:
                return

    def _check(self, loop: Loop) -> Check:
        task = self._tasks.get(loop.name)
        if task is None:
            return Check(loop.name, ok=True, detail="left to other processes (--no-background)")
        if loop.name in self._raised:
            error = self._raised[loop.name]
            return Check(loop.name, ok=False, detail=f"it raised {error} and begins again within a minute; see the log")
        if task.done():
            return Check(loop.name, ok=False, detail="it ended; the log says why, and a restart brings it back")
        last = loop.last_pass_at()
        if last is not None and self._clock() - last > loop.silent_for:
            return Check(loop.name, ok=False, detail=f"its last look for work was at {last.isoformat()}")
        return Check(loop.name, ok=True)
