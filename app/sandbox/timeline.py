"""The sandbox's time: a queue of what will happen, moved forward by whoever owns the clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

Action = Callable[[], None]


class Timeline:
    """Simulated delays, divided by ``speed``, on a clock that only ``advance`` moves.

    While an action runs, ``now`` is the moment it was due, however late ``advance`` was called: a slow machine
    does not change the story.
    """

    def __init__(self, start: datetime, speed: float) -> None:
        self.now = start
        self.speed = speed
        self._queue: list[tuple[datetime, int, Action]] = []
        self._numbers = count()

    @property
    def next_due(self) -> datetime | None:
        return self._queue[0][0] if self._queue else None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def scaled(self, seconds: float) -> timedelta:
        return timedelta(seconds=seconds / self.speed)

    def at(self, moment: datetime, action: Action) -> None:
        """Run ``action`` at a moment of real time; at the next ``advance`` if it has passed."""
        heapq.heappush(self._queue, (max(moment, self.now), next(self._numbers), action))

    def after(self, seconds: float, action: Action) -> None:
        """Run ``action`` after a simulated delay."""
        self.at(self.now + self.scaled(seconds), action)

    def advance(self, to: datetime) -> None:
        """Move to ``to`` and run all that was due until then, in order. An earlier ``to`` moves nothing back."""
        while (due := self.next_due) is not None and due <= max(to, self.now):
            moment, _, action = heapq.heappop(self._queue)
            self.now = moment
            action()
        self.now = max(self.now, to)
