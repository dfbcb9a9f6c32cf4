"""Which code on a lock a lost create call made, as tables: in doubt, none."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.codes import Snapshot
from app.reconciler.requests import match
from app.storage.codes import CodeRow
from tests.reconciler.rows import requested_row
from tests.storage.arrivals import after
from tests.storage.made import PIN, snapshot


def _found(requests: list[CodeRow], codes: list[Snapshot], held: dict[str, str] | None = None) -> dict[str, str]:
    return {code_id: code.access_code_id for code_id, code in match(requests, codes, held or {}).items()}


@pytest.mark.parametrize(
    ("said", "is_found"),
    [
        ({}, True),
        ({"name": "renamed", "starts_at": after(5)}, True),
        ({"pin": "key:other"}, False),
        ({"pin": "rotated:4821", "name": "another"}, False),
        ({"pin": None, "name": "another"}, False),
        ({"created_at": after(-119)}, True),
        ({"created_at": after(-121)}, False),
        ({"created_at": None}, True),
        ({"created_at": after(86_400)}, True),
    ],
    ids=str,
)
def test_a_pin_identifies_the_code(said: dict[str, Any], *, is_found: bool) -> None:
    assert _found([requested_row()], [snapshot(**said)]) == ({"code": "ac"} if is_found else {})


@pytest.mark.parametrize(
    ("asked", "said", "is_found"),
    [
        ({}, {}, True),
        ({"name": "Ada"}, {"name": "Ada"}, True),
        ({"name": "Ada"}, {"name": "Bob"}, False),
        ({"name": ""}, {"name": None}, True),
        ({}, {"created_at": None}, False),
        ({}, {"created_at": after(-121)}, False),
        ({}, {"created_at": after(720)}, True),
        ({}, {"created_at": after(721)}, False),
        ({"starts_at": after(0)}, {"starts_at": after(3600)}, True),
        ({"starts_at": after(0)}, {"starts_at": after(3601)}, False),
        ({"ends_at": after(9000)}, {"ends_at": after(5399)}, False),
        ({"ends_at": after(9000)}, {}, False),
        ({}, {"ends_at": after(9000)}, False),
        ({"call_sent_at": None}, {}, True),
        ({"pin": PIN}, {"pin": "rotated:4821"}, True),
        ({"pin": PIN}, {"pin": None}, True),
    ],
    ids=str,
)
def test_without_comparable_pins_window_name_and_time_have_to_fit(
    asked: dict[str, Any], said: dict[str, Any], *, is_found: bool
) -> None:
    found = _found([requested_row(**{"pin": None, **asked})], [snapshot(**said)])
    assert found == ({"code": "ac"} if is_found else {})


CHOSEN_LATE = {"pin": None}


@pytest.mark.parametrize(
    ("requests", "codes", "held", "found"),
    [
        ([CHOSEN_LATE], ["a", "b"], {}, {}),
        ([CHOSEN_LATE, CHOSEN_LATE], ["a"], {}, {}),
        ([CHOSEN_LATE, CHOSEN_LATE], ["a", "b"], {}, {}),
        ([CHOSEN_LATE], ["a", "b"], {"b": "created"}, {"r0": "a"}),
        ([CHOSEN_LATE], ["a"], {"a": "tracked"}, {}),
        ([CHOSEN_LATE], [], {}, {}),
        ([{}], ["a"], {"a": "tracked"}, {"r0": "a"}),
        ([{}], ["a"], {"a": "created"}, {}),
        ([{}], ["a"], {"a": "backup"}, {}),
        ([{}, CHOSEN_LATE], ["a"], {}, {"r0": "a"}),
    ],
    ids=[
        "two candidates",
        "two requests for one",
        "two for two",
        "the other is taken",
        "only tracked is not ours by looks",
        "nothing there",
        "tracked may be ours by its PIN",
        "that of another request",
        "a backup",
        "a PIN goes before looks",
    ],
)
def test_in_doubt_none_is_taken(
    requests: list[dict[str, Any]], codes: list[str], held: dict[str, str], found: dict[str, str]
) -> None:
    asked = [requested_row(id=f"r{number}", **fields) for number, fields in enumerate(requests)]
    assert _found(asked, [snapshot(ident) for ident in codes], held) == found


def test_two_codes_with_one_pin_are_a_doubt_too() -> None:
    assert _found([requested_row(name="Ada")], [snapshot("a"), snapshot("b")]) == {}


def test_of_two_calls_with_one_pin_the_first_made_the_code() -> None:
    late, early = requested_row(id="late", call_sent_at=after(1)), requested_row(id="early")
    assert _found([late, early], [snapshot()]) == {"early": "ac"}
