"""No PIN is kept: it is cut where it belongs, and wherever else it stands. Ids, times and error codes survive."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.redaction import CUT, DEEPEST, MOST_PINS, cut_pins, redact, redact_text

UUID_WITH_PIN = "40917f00-89aa-477f-a701-c08f3de13c1f"


@pytest.mark.parametrize(
    "place",
    [
        {"code": "40917"},
        {"code": 40917},
        {"code": 40917.0},
        {"code": ["40917", {"first": "40917"}]},
        {"code": {"40917": True}},
        {"Code": "40917"},
        {"pin": "40917"},
        {"passcode": "40917"},
        {"pin_code": "40917"},
        {"new_code": "40917", "original_code": "40917"},
        {"access_code": "40917"},
        {"access_code": {"code": "40917"}},
        {"access_codes": ["40917", "4 0 9 1 7"]},
        {"door_unlock_code": 40917},
        {"from": {"code": "40917"}, "to": {"code": "40917"}},
        {"event_type": "access_code.code_changed", "from": "40917", "to": "40917"},
        {"changed_properties": [{"property": "code", "from": "40917", "to": None}]},
        {"modified_fields": [{"field": "code", "from": None, "to": "40917"}]},
        {"errors": [{"modified_fields": [{"field": "pin_code", "from": "40917", "to": 40917}]}]},
        {"requested_mutations": [{"mutation_code": "updating_code", "from": "40917", "to": {"value": "40917"}}]},
        {"pending_mutations": [{"mutation_code": "creating", "to": {"code": "40917", "name": "Ada"}}]},
        {"message": "Could not set 40917."},
        {"event_description": "40917"},
        {"error_messages": ["a", "40917", 40917]},
        {"reason": {"message": "40917 is blocked"}},
        {"deny_reason": "40917"},
        {"event_type": "access_code.name_changed", "from": {"name": "Ada 40917"}, "to": {"name": "Ada"}},
        {"changed_properties": [{"property": "name", "from": "Ada", "to": "Ada 40917"}]},
        {"requested_mutations": [{"mutation_code": "updating_name", "from": {"name": "40917"}, "to": {"name": None}}]},
    ],
)
@pytest.mark.parametrize("depth", [0, 3])
def test_a_pin_is_cut_where_pins_belong(place: dict[str, Any], depth: int) -> None:
    for _ in range(depth):
        place = {"inner": [place]}
    redacted = redact(place)
    assert "40917" not in redacted.text
    assert CUT in redacted.text
    assert json.loads(redacted.text) == redacted.payload


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"name": "Ada 40917"},
        {"name": "Ada 4 0 9 1 7 and 40-91-7"},
        {"name": "Ada\n4\n0\n9\n1\n7"},
        {"name": "Ada 4\N{NO-BREAK SPACE}0\N{EM SPACE}9\N{EN QUAD}1\N{NO-BREAK SPACE}7"},
        {"name": "Zoë 4 0 9 1 7"},
        {"name": "x140917x"},
        {"device_custom_metadata": {"guest": {"said": ["40917"]}}},
        {"device_custom_metadata": {"40917": "front door"}},
        {"device_custom_metadata": {"reservation_id": "40917"}},
        {"number": 40917},
        {"number": 1409171.5},
        {"error_code": "40917_refused"},
        {"access_grant_id": "grant-40917"},
    ],
)
def test_a_learned_pin_is_cut_everywhere_else(elsewhere: dict[str, Any]) -> None:
    redacted = redact({"code": "40917", **elsewhere})
    digits = "".join(character for character in redacted.text if character.isdigit())
    assert "40917" not in digits
    assert "40917" in redacted.pins


@pytest.mark.parametrize("pin", ["A7B2", "0000", "123", "481516234212", "4821#"])
def test_pins_of_every_form_are_learned(pin: str) -> None:
    assert redact({"code": pin, "name": f"is {pin}!"}).payload == {"code": CUT, "name": f"is {CUT}!"}


def test_the_longer_of_two_pins_is_cut_whole() -> None:
    assert redact({"from": {"code": "4821"}, "to": {"code": "48213"}, "name": "48213"}).payload["name"] == CUT


@pytest.mark.parametrize("pin", ["٤٠٩١٧", "é4091", CUT + "4091", "••••"])
def test_a_pin_of_other_letters_and_digits_is_cut_everywhere_else(pin: str) -> None:
    assert pin not in redact({"code": pin, "name": f"is {pin}!"}).payload["name"]


def test_a_pin_written_with_separators_is_learned_without_them() -> None:
    assert redact({"code": "40 91 7", "name": "40917"}).payload["name"] == CUT


@pytest.mark.parametrize(
    "kept",
    [
        {"event_id": "40917", "event_type": "made.up.40917", "access_code_id": "ac_40917", "device_id": "40917"},
        {"access_grant_id": UUID_WITH_PIN},
        {"device_custom_metadata": {"booking": UUID_WITH_PIN.upper()}},
        {"occurred_at": "2026-08-14T09:30:04.409170Z", "starts_at": "2026-08-14T09:30+02:00"},
        {"error_code": "device_disconnected", "warning_code": "igloo_algopin_must_be_used_within_24_hours"},
        {"mutation_code": "updating_code", "property": "code", "reason_code": "unknown_code", "method": "keycode"},
        {"battery_level": 0.5, "online": True, "image_url": None, "code": None, "name": "Ada", "empty": [{}, []]},
    ],
)
def test_ids_times_error_codes_and_plain_facts_survive(kept: dict[str, Any]) -> None:
    assert redact({"other": {"pin": "40917"}, **kept}).payload == {"other": {"pin": CUT}, **kept}


def test_a_pin_like_a_year_does_not_cut_times() -> None:
    kept = {"starts_at": "2026-08-14T09:30:04Z", "name": "Summer 2026"}
    assert redact({"code": "2026", **kept}).payload == {"code": CUT, **kept, "name": f"Summer {CUT}"}


def test_digits_that_are_no_known_pin_stay_in_names_of_known_forms() -> None:
    assert redact({"code": "40917", "name": "Room 1204", "floor": 12, "unit": "1204"}).payload == {
        "code": CUT,
        "name": "Room 1204",
        "floor": 12,
        "unit": "1204",
    }


def test_in_objects_of_an_unknown_form_whatever_is_just_digits_counts_as_a_pin() -> None:
    odd = {"keys": ["4091", "481516234212", " 8264 "], "digits": 40917, "name": "for 40917", "event_id": "40917"}
    kept = {"size": 12, "name_2": "Room 1204", "serial": "1234567890123", "person_id": "55555", "is_on": True}
    assert redact({**odd, **kept}, is_strict=True).payload == {
        "keys": [CUT, CUT, CUT],
        "digits": CUT,
        "name": f"for {CUT}",
        "event_id": "40917",
        **kept,
    }


def test_the_callers_object_is_left_alone() -> None:
    payload = {"code": "40917", "list": [{"code": "40917"}]}
    redact(payload)
    assert payload == {"code": "40917", "list": [{"code": "40917"}]}


def test_numbers_that_json_readers_cannot_agree_on_are_told_as_text_or_nothing() -> None:
    odd = {"inf": float("inf"), "nan": float("nan"), "big": 2**70, "long": 2**62, "small": -0.0}
    assert redact(odd).text == f'{{"inf":null,"nan":null,"big":"{2**70}","long":{2**62},"small":-0.0}}'


def test_what_is_nested_too_deeply_is_cut_as_a_whole() -> None:
    deep: dict[str, Any] = {"name": "40917"}
    for _ in range(DEEPEST * 2):
        deep = {"inner": deep}
    redacted = redact(deep)
    assert "name" not in redacted.text
    assert CUT in redacted.text


def test_a_payload_with_too_many_pins_loses_all_text_that_might_hold_one() -> None:
    codes = [{"code": f"{10_000 + number}"} for number in range(MOST_PINS + 1)]
    redacted = redact({"codes": codes, "name": "Ada", "occurred_at": "2026-08-14T09:30:04Z", "online": True})
    assert redacted.payload == {
        "codes": [{"code": CUT}] * len(codes),
        "name": CUT,
        "occurred_at": "2026-08-14T09:30:04Z",
        "online": True,
    }


@pytest.mark.parametrize(
    ("text", "pins", "redacted"),
    [
        ("set 40917 at 2026-08-14", [], f"set {CUT} at {CUT}-08-14"),
        ("24 hours, 404 not found", [], "24 hours, 404 not found"),
        ("(48-21)", ["4821"], f"({CUT})"),
        ("(48-21)", [], "(48-21)"),
        ("4 8 2 1 4 8 2 1", ["4821"], CUT + " " + CUT),
        ("12 4 8 2 1 34", ["4821"], f"12 {CUT} 34"),
        ("a7b2", ["a7b2"], CUT),
        ("\N{ARABIC-INDIC DIGIT FOUR}" * 5 + " and " + "\N{FULLWIDTH DIGIT NINE}" * 4, [], f"{CUT} and {CUT}"),
        ("nothing here", ["", "4821"], "nothing here"),
        ("", ["4821"], ""),
    ],
)
def test_free_text_loses_known_pins_and_every_run_of_four_digits(text: str, pins: list[str], redacted: str) -> None:
    assert redact_text(text, pins) == redacted


@given(st.text("0123456789 -./a", max_size=60), st.text("0123456789", min_size=4, max_size=12))
def test_no_known_pin_is_left_in_free_text(text: str, pin: str) -> None:
    assert pin not in redact_text(text, [pin])
    assert pin not in redact_text(f"{text}{pin}{text} {' '.join(pin)} {text}", [pin])


def test_redaction_is_idempotent() -> None:
    once = redact({"code": "40917", "message": "40917 is on", "name": "Ada 40917"})
    assert redact(once.payload).text == once.text


@pytest.mark.parametrize(
    ("name", "pins", "kept"),
    [
        ("Ada 4821", ["4821"], f"Ada {CUT}"),
        ("Ada 4 8 2 1, Room 1204", ["4821"], f"Ada {CUT}, Room 1204"),
        ("Ada 48213", ["4821", "48213"], f"Ada {CUT}"),
        ("Ada", ["", "A"], "Ada"),
        ("Room 1204", [], "Room 1204"),
    ],
)
def test_a_name_loses_the_given_pins_alone(name: str, pins: list[str], kept: str) -> None:
    assert cut_pins(name, pins) == kept
