"""The loops of a process: one that raises begins again, and ``/readyz`` tells how each is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from app.loops import Loop, Loops

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
Run = Callable[[asyncio.Event], Awaitable[None]]


def looped(run: Run, *, last: datetime = NOW, first_pause: float = 0) -> Loops:
    loop = Loop("work", run, lambda: last, timedelta(seconds=30))
    return Loops([loop], lambda: NOW, timedelta(seconds=first_pause))


def told(loops: Loops) -> tuple[bool, str | None]:
    (check,) = loops.checks()
    return check.ok, check.detail


async def until_stopped(stop: asyncio.Event) -> None:
    await stop.wait()


async def test_a_loop_that_raises_begins_again_and_the_others_go_on() -> None:
    begun, goes_on = 0, asyncio.Event()

    async def run(stop: asyncio.Event) -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise ValueError("this must not be quoted: 4821")
        goes_on.set()
        await stop.wait()

    loops = looped(run)
    loops.start()
    async with asyncio.timeout(10):
        await goes_on.wait()
    assert told(loops) == (True, None)
    await loops.stop()
    assert begun == 3


async def test_while_it_rests_the_process_is_not_ready_and_a_stop_does_not_wait() -> None:
    raised = asyncio.Event()

    async def run(_: asyncio.Event) -> None:
        raised.set()
        raise KeyError("4821")

    loops = looped(run, first_pause=60)
    loops.start()
    async with asyncio.timeout(10):
        await raised.wait()
        assert told(loops) == (False, "it raised KeyError and begins again within a minute; see the log")
        await loops.stop()


@pytest.mark.parametrize(
    ("ago", "ok", "detail"),
    [(30, True, None), (31, False, "its last look for work was at 2026-08-01T11:59:29+00:00")],
)
async def test_a_loop_that_has_not_looked_for_too_long_is_not_alive(ago: int, ok: bool, detail: str | None) -> None:
    loops = looped(until_stopped, last=NOW - timedelta(seconds=ago))
    loops.start()
    assert told(loops) == (ok, detail)
    await loops.stop()


async def test_what_was_not_started_is_left_to_other_processes() -> None:
    loops = looped(until_stopped)
    assert told(loops) == (True, "left to other processes (--no-background)")
    await loops.stop()
