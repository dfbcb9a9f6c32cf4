"""The body of a create, as a property: whatever JSON arrives is refused by name, or makes a request for Seam."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.api.bodies import CreateAccessCode
from app.api.problems import InvalidInput

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
TIMES = st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat) | st.text("0123456789-:TZ+.", max_size=30)
PINS = st.text("0123456789", max_size=14)
BODIES = st.fixed_dictionaries(
    {"device_id": st.text(min_size=1, max_size=5) | JSON},
    optional={
        "code": PINS | JSON,
        "name": st.text() | PINS | JSON,
        "starts_at": TIMES | JSON,
        "ends_at": TIMES | JSON,
        "metadata": st.dictionaries(st.text(max_size=3), JSON, max_size=3) | JSON,
        "set_within_seconds": JSON,
        "preferred_code_length": JSON,
        "use_backup_access_code_pool": JSON,
        "max_time_rounding": JSON,
    },
)


@given(BODIES)
def test_any_body_is_refused_or_can_be_kept_and_sent(data: dict[str, Any]) -> None:
    try:
        body = CreateAccessCode.model_validate(data)
        body.check()
    except (ValidationError, InvalidInput):
        return
    kept = [body.device_id, body.name or "", *(f"{name}{value}" for name, value in (body.metadata or {}).items())]
    assert "\0" not in "".join(kept)
    "".join(kept).encode()
    assert (body.starts_at is None) == (body.ends_at is None)
    if body.starts_at is not None and body.ends_at is not None:
        assert body.starts_at < body.ends_at
    if body.code is not None:
        assert body.code.isascii()
        assert body.code.isdigit()
        assert 4 <= len(body.code) <= 12
        assert body.code not in str([body.name, body.reference, body.metadata])
