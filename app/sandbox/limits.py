"""Seam's limits per device and minute."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

CALLS_PER_MINUTE = {"create": 10, "update": 10, "delete": 20}
MINUTE = timedelta(minutes=1)


class RateLimits:
    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._calls: dict[tuple[str, str], deque[datetime]] = {}

    def admit(self, action: str, device_id: str, now: datetime) -> timedelta | None:
        """Count one call. ``None`` lets it pass; otherwise it is refused, and may come again after so long."""
        if not self.enabled:
            return None
        calls = self._calls.setdefault((action, device_id), deque())
        while calls and calls[0] <= now - MINUTE:
            calls.popleft()
        if len(calls) >= CALLS_PER_MINUTE[action]:
            return calls[0] + MINUTE - now
        calls.append(now)
        return None
