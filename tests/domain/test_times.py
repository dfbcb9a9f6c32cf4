"""Times as Seam writes them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.times import read_time


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-08-14T09:30:04Z", datetime(2026, 8, 14, 9, 30, 4, tzinfo=UTC)),
        ("2026-08-14T09:30:04.412Z", datetime(2026, 8, 14, 9, 30, 4, 412_000, tzinfo=UTC)),
        ("2026-08-14T09:30:04.412345678Z", datetime(2026, 8, 14, 9, 30, 4, 412_345, tzinfo=UTC)),
        ("2026-08-14T11:30:04+02:00", datetime(2026, 8, 14, 9, 30, 4, tzinfo=UTC)),
        ("2026-08-14T01:30:04-0800", datetime(2026, 8, 14, 9, 30, 4, tzinfo=UTC)),
        (" 2026-08-14 09:30:04+00:00 ", datetime(2026, 8, 14, 9, 30, 4, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9000, 1, 1, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("1969-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("2026-08-14T09:30:04", None),
        ("2026-08-14", None),
        ("yesterday", None),
        ("", None),
        ("\ud800", None),
        (1_786_700_000, None),
        (None, None),
        (["2026-08-14T09:30:04Z"], None),
    ],
)
def test_a_time_is_read_with_its_offset_or_not_at_all(value: object, moment: datetime | None) -> None:
    assert read_time(value) == moment


@given(st.text() | st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat))
def test_whatever_is_read_is_utc(value: str) -> None:
    moment = read_time(value)
    assert moment is None or moment.utcoffset() == datetime.now(UTC).utcoffset()
