"""How long to wait, before asking Seam again and between looks: the policy is pure, and tested as a table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

FIRST_RETRY = timedelta(seconds=5)
FIRST_AGAIN = timedelta(seconds=1)
_FIRST_LOOK = timedelta(seconds=5)
_LONGEST_LOOK = timedelta(hours=6)

Spread = Callable[[], float]
"""Answers between 0 and 1: where in its last fifth a wait ends."""


def no_spread() -> float:
    return 1.0


def pause(failures: int, first: timedelta, most: timedelta, spread: Spread = no_spread) -> timedelta:
    """The wait after so many failures in a row: doubling from ``first`` up to ``most``."""
    doubled: timedelta = first * (1 << min(max(failures - 1, 0), 20))
    return min(doubled, most) * (0.8 + 0.2 * spread())


def next_look(requested_at: datetime, now: datetime, request_within: timedelta) -> datetime:
    """When to look again for a code whose create call was not answered: at growing distances, also right when it counts
    as lost, and for ever after, as Seam may carry out a call late."""
    waited = now - requested_at
    lost_at = requested_at + request_within
    if waited < request_within:
        return min(now + max(waited, _FIRST_LOOK), lost_at)
    return now + min(max(waited, request_within), _LONGEST_LOOK)


async def sleep(wait: timedelta, stop: asyncio.Event) -> None:
    """Wait for so long, or until ``stop``."""
    with suppress(TimeoutError):
        async with asyncio.timeout(wait.total_seconds()):
            await stop.wait()
