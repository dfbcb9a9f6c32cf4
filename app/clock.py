"""The clock: the only place that asks what time it is. Everything else is given the time, or this function."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)
