"""Times as Seam writes them: ISO 8601 with any offset."""

from __future__ import annotations

from datetime import UTC, datetime

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def read_time(value: object) -> datetime | None:
    """The aware UTC time that a string names, or ``None``: not a time, without an offset (its zone would be a guess),
    or before 1970 (storage counts whole microseconds from there). Windows that "never" end, in the year 9999, come back
    as the year 9000, so that a deadline can still be added to them."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        zone = moment.tzinfo
        if zone is not UTC:
            if zone is None:
                return None
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    if _EARLIEST <= moment < _LATEST:
        return moment
    return None if moment < _EARLIEST else _LATEST
