"""Every event of Seam's is read, whatever is missing, surplus or wrong in it, and no PIN gets past the reading."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.event_kinds import KNOWN
from app.domain.events import Event, Reason, Unreadable, read_event
from app.domain.fingerprints import Fingerprinter
from app.domain.health import AccountFacet, DeviceFacet, State
from app.domain.news import Issue, IssueSource, News, NewsKind
from app.storage.codec import PAYLOADS

RECEIVED_AT = datetime(2026, 8, 14, 9, 30, 6, tzinfo=UTC)
OCCURRED_AT = datetime(2026, 8, 14, 9, 30, 4, tzinfo=UTC)
FINGERPRINTER = Fingerprinter(b"a key for tests")
EXAMPLES = {path.stem: json.loads(path.read_text()) for path in Path(__file__).with_name("payloads").glob("*.json")}
FIRST_PIN, SECOND_PIN = "40917", "88264"  # the PINs in the examples


def read_body(body: bytes) -> Event | Unreadable:
    """Read in both ways, which have to give the same; only the spelling of the payload's numbers may differ."""
    slow, quick = (
        read_event(body, delivery_id="msg_1", received_at=RECEIVED_AT, fingerprinter=FINGERPRINTER, fast=fast)
        for fast in (None, PAYLOADS)
    )
    assert spelt_alike(quick) == spelt_alike(slow)
    return quick


def spelt_alike(reading: Event | Unreadable) -> Event | Unreadable:
    if isinstance(reading, Unreadable):
        return reading
    return reading._replace(payload=json.dumps(json.loads(reading.payload)))


def read(obj: dict[str, Any]) -> Event:
    event = read_body(json.dumps(obj).encode())
    assert isinstance(event, Event)
    return event


def fingerprint(pin: str) -> str:
    return FINGERPRINTER.pin(EXAMPLES["access_code.created"]["device_id"], pin)


# event type, kind of news, PIN that it tells, codes of its issues
NEWS = [
    ("access_code.created", NewsKind.CREATED, None, []),
    ("access_code.scheduled_on_device", NewsKind.SCHEDULED, FIRST_PIN, []),
    ("access_code.set_on_device", NewsKind.SET, FIRST_PIN, []),
    (
        "access_code.delay_in_setting_on_device",
        NewsKind.DELAYED,
        None,
        ["delay_in_setting_on_device", "device_has_flaky_connection"],
    ),
    (
        "access_code.failed_to_set_on_device",
        NewsKind.FAILED,
        None,
        ["failed_to_set_on_device", "duplicate_code_on_device", "device_disconnected"],
    ),
    ("access_code.removed_from_device", NewsKind.REMOVED, None, []),
    (
        "access_code.delay_in_removing_from_device",
        NewsKind.REMOVAL_DELAYED,
        None,
        ["delay_in_removing_from_device"],
    ),
    (
        "access_code.failed_to_remove_from_device",
        NewsKind.FAILED_TO_REMOVE,
        None,
        ["failed_to_remove_from_device", "account_disconnected"],
    ),
    ("access_code.deleted", NewsKind.DELETED, FIRST_PIN, []),
    ("access_code.changed", NewsKind.CHANGED, SECOND_PIN, []),
    ("access_code.code_changed", NewsKind.CODE_CHANGED, SECOND_PIN, []),
    ("access_code.name_changed", NewsKind.NAME_CHANGED, None, []),
    ("access_code.time_frame_changed", NewsKind.TIME_FRAME_CHANGED, None, []),
    ("access_code.mutations_requested", NewsKind.CHANGE_REQUESTED, SECOND_PIN, []),
    ("access_code.modified_external_to_seam", NewsKind.MODIFIED_EXTERNALLY, None, []),
    ("access_code.deleted_external_to_seam", NewsKind.DELETED_EXTERNALLY, None, []),
    ("access_code.backup_access_code_pulled", NewsKind.BACKUP_PULLED, None, []),
    ("access_code.issued", NewsKind.SET, FIRST_PIN, []),
    ("access_code.delay_in_issuing", NewsKind.DELAYED, None, ["delay_in_issuing"]),
    ("access_code.failed_to_issue", NewsKind.FAILED, None, ["failed_to_issue"]),
    ("access_code.failed_to_update", NewsKind.FAILED_TO_CHANGE, None, ["failed_to_update"]),
    ("access_code.failed_to_expire", NewsKind.FAILED_TO_REMOVE, None, ["failed_to_delete"]),
    ("lock.unlocked", NewsKind.USED, FIRST_PIN, []),
]

DEVICE_STATES = [
    ("device.connected", DeviceFacet.CONNECTION, "connected"),
    ("device.disconnected", DeviceFacet.CONNECTION, "disconnected"),
    ("device.connection_became_flaky", DeviceFacet.STABILITY, "flaky"),
    ("device.connection_stabilized", DeviceFacet.STABILITY, "stable"),
    ("device.low_battery", DeviceFacet.BATTERY, "low"),
    ("device.battery_status_changed", DeviceFacet.BATTERY, "critical"),
    ("device.accessory_keypad_connected", DeviceFacet.KEYPAD, "connected"),
    ("device.accessory_keypad_disconnected", DeviceFacet.KEYPAD, "disconnected"),
    ("device.third_party_integration_detected", DeviceFacet.THIRD_PARTY, "detected"),
    ("device.third_party_integration_no_longer_detected", DeviceFacet.THIRD_PARTY, "clear"),
    ("device.error.subscription_required", DeviceFacet.SUBSCRIPTION, "required"),
    ("device.error.subscription_required.resolved", DeviceFacet.SUBSCRIPTION, "resolved"),
    ("device.salto.privacy_mode_activated", DeviceFacet.PRIVACY, "on"),
    ("device.salto.privacy_mode_deactivated", DeviceFacet.PRIVACY, "off"),
    ("device.added", DeviceFacet.PRESENCE, "added"),
    ("device.unmanaged.converted_to_managed", DeviceFacet.PRESENCE, "added"),
    ("device.removed", DeviceFacet.PRESENCE, "removed"),
    ("device.deleted", DeviceFacet.PRESENCE, "deleted"),
    ("device.converted_to_unmanaged", DeviceFacet.PRESENCE, "unmanaged"),
    ("device.tampered", DeviceFacet.TAMPER, "tampered"),
]

ACCOUNT_STATES = [
    ("connected_account.connected", "connected"),
    ("connected_account.created", "connected"),
    ("connected_account.successful_login", "connected"),
    ("connected_account.completed_first_sync", "connected"),
    ("connected_account.completed_first_sync_after_reconnection", "connected"),
    ("connected_account.disconnected", "disconnected"),
    ("connected_account.reauthorization_requested", "reauthorization_requested"),
    ("connected_account.deleted", "deleted"),
]

STORED_ONLY = [
    "access_code.unmanaged.created",
    "access_code.unmanaged.removed",
    "access_code.unmanaged.converted_to_managed",
    "access_code.unmanaged.failed_to_convert_to_managed",
    "device.unmanaged.connected",
    "device.unmanaged.disconnected",
    "device.name_changed",
    "device.doorbell_rang",
    "lock.locked",
    "lock.access_denied",
]


def test_these_tables_tell_of_every_kind_and_every_kind_has_an_example() -> None:
    told = [row[0] for table in (NEWS, DEVICE_STATES, ACCOUNT_STATES) for row in table] + STORED_ONLY
    assert len(told) == len(set(told))
    assert set(told) == KNOWN == EXAMPLES.keys()


@pytest.mark.parametrize(("event_type", "kind", "pin", "issues"), NEWS)
def test_news_about_a_code(event_type: str, kind: NewsKind, pin: str | None, issues: list[str]) -> None:
    event = read(EXAMPLES[event_type])
    assert event.news is not None
    told, news = event.news
    assert told is kind
    assert (news.occurred_at, news.event_id) == (OCCURRED_AT, EXAMPLES[event_type]["event_id"])
    assert news.pin == (fingerprint(pin) if pin else None)
    assert [issue.code for issue in news.issues] == issues
    assert (event.device_state, event.account_state) == (None, None)


@pytest.mark.parametrize(("event_type", "facet", "value"), DEVICE_STATES)
def test_news_about_a_lock(event_type: str, facet: DeviceFacet, value: str) -> None:
    event = read(EXAMPLES[event_type])
    assert event.device_state == (facet, State(value, OCCURRED_AT, EXAMPLES[event_type]["event_id"]))
    assert (event.news, event.account_state) == (None, None)


@pytest.mark.parametrize(("event_type", "value"), ACCOUNT_STATES)
def test_news_about_an_account(event_type: str, value: str) -> None:
    event = read(EXAMPLES[event_type])
    state = State(value, OCCURRED_AT, EXAMPLES[event_type]["event_id"])
    assert event.account_state == (AccountFacet.CONNECTION, state)
    assert (event.news, event.device_state) == (None, None)


@pytest.mark.parametrize("event_type", [*STORED_ONLY, "noise_sensor.noise_threshold_triggered", "made.up"])
def test_other_kinds_and_unknown_ones_are_stored_and_change_nothing(event_type: str) -> None:
    event = read({**EXAMPLES.get(event_type, EXAMPLES["access_code.created"]), "event_type": event_type})
    assert event.event_type == event_type
    assert (event.news, event.device_state, event.account_state) == (None, None, None)


@pytest.mark.parametrize("event_type", sorted(KNOWN))
def test_ids_and_times_are_taken_over_and_no_pin_is_left(event_type: str) -> None:
    example = EXAMPLES[event_type]
    event = read(example)
    for name in ("event_id", "event_type", "workspace_id", "access_code_id", "device_id", "connected_account_id"):
        assert getattr(event, name) == example.get(name)
    assert event.occurred_at == OCCURRED_AT
    assert event.created_at == datetime(2026, 8, 14, 9, 30, 5, 412_000, tzinfo=UTC)
    assert FIRST_PIN not in repr(event)
    assert SECOND_PIN not in repr(event)
    assert json.loads(event.payload).keys() == example.keys()


def test_issues_keep_their_diagnosis_and_lose_the_pin() -> None:
    news = read(EXAMPLES["access_code.failed_to_set_on_device"]).news
    assert news is not None
    created_at = datetime(2026, 8, 14, 9, 28, tzinfo=UTC)
    code, device = IssueSource.ACCESS_CODE, IssueSource.DEVICE
    assert news[1].issues == (
        Issue("failed_to_set_on_device", "The lock would not take •••.", code, True, created_at),
        Issue("duplicate_code_on_device", "PIN ••• is already there.", code, True, created_at),
        Issue("device_disconnected", "The lock has not answered for a while.", device, True, created_at),
    )


def test_at_most_twenty_issues_are_kept() -> None:
    many = [{"error_code": "provider_issue", "message": "Again."}] * 15
    news = read(
        {**EXAMPLES["access_code.failed_to_set_on_device"], "access_code_errors": many, "device_errors": many}
    ).news
    assert news is not None
    assert len(news[1].issues) == 20


def test_a_pulled_backup_code_is_named() -> None:
    example = EXAMPLES["access_code.backup_access_code_pulled"]
    news = read(example).news
    assert news is not None
    assert news[1].backup_access_code_id == example["backup_access_code_id"]


@pytest.mark.parametrize(
    ("event_type", "changes"),
    [
        ("access_code.set_on_device", {"code": None}),
        ("access_code.set_on_device", {"code": ""}),
        ("access_code.set_on_device", {"code": 40917}),
        ("access_code.set_on_device", {"code": {"code": "40917"}}),
        ("access_code.set_on_device", {"code": "4" * 65}),
        ("access_code.set_on_device", {"device_id": None}),
        ("access_code.code_changed", {"to": None}),
        ("access_code.code_changed", {"to": "88264"}),
        ("access_code.changed", {"changed_properties": None}),
        ("access_code.changed", {"changed_properties": ["code", {"property": "name", "to": "88264"}]}),
        ("access_code.mutations_requested", {"requested_mutations": {"mutation_code": "updating_code"}}),
        (
            "access_code.mutations_requested",
            {"requested_mutations": [{"mutation_code": "creating", "to": {"code": "88264"}}]},
        ),
    ],
)
def test_without_a_certain_pin_and_lock_there_is_no_fingerprint(event_type: str, changes: dict[str, Any]) -> None:
    news = read({**EXAMPLES[event_type], **changes}).news
    assert news is not None
    assert news[1].pin is None


@pytest.mark.parametrize(
    ("event_type", "changes"),
    [
        ("access_code.set_on_device", {"access_code_id": None}),
        ("access_code.set_on_device", {"access_code_id": 7}),
        ("access_code.set_on_device", {"access_code_id": " "}),
        ("lock.unlocked", {"access_code_id": None, "method": "manual"}),
        ("device.disconnected", {"device_id": None}),
        ("device.battery_status_changed", {"battery_status": None}),
        ("device.battery_status_changed", {"battery_status": ["low"]}),
        ("device.battery_status_changed", {"battery_status": "splendid"}),
        ("connected_account.disconnected", {"connected_account_id": ["a"]}),
    ],
)
def test_news_about_nothing_certain_is_no_news(event_type: str, changes: dict[str, Any]) -> None:
    event = read({**EXAMPLES[event_type], **changes})
    assert (event.news, event.device_state, event.account_state) == (None, None, None)


@pytest.mark.parametrize("event_id", [None, 7, "", "  ", {}, True])
def test_an_event_without_an_id_goes_by_its_deliverys(event_id: object) -> None:
    event = read({**EXAMPLES["access_code.set_on_device"], "event_id": event_id})
    assert event.event_id == "svix:msg_1"
    assert event.news is not None
    assert event.news[1].event_id == "svix:msg_1"


@pytest.mark.parametrize("name", ["workspace_id", "access_code_id", "device_id", "connected_account_id"])
@pytest.mark.parametrize("value", [0, False, "", " ", "\n", [], {}, ["a"], {"a": 1}, 7])
def test_an_id_that_is_none_counts_as_absent_and_spoils_no_other(name: str, value: object) -> None:
    example = EXAMPLES["access_code.set_on_device"]
    event = read({**example, name: value})
    assert getattr(event, name) is None
    assert event.event_id == example["event_id"]


@pytest.mark.parametrize("value", ["the front door", "t\N{LATIN SMALL LETTER U WITH DIAERESIS}r", "i" * 255, "{}\"'"])
def test_ids_are_opaque(value: str) -> None:
    event = read({**EXAMPLES["device.connected"], "event_id": value, "device_id": value})
    assert (event.event_id, event.device_id) == (value, value)
    assert event.device_state is not None


OTHER = datetime(2026, 8, 14, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("occurred", "created", "occurred_at", "created_at"),
    [
        ("2026-08-14T11:30:04+02:00", "2026-08-14T08:00:00Z", OCCURRED_AT, OTHER),
        (None, "2026-08-14T08:00:00Z", OTHER, OTHER),
        ("2026-08-14T08:00:00Z", None, OTHER, OTHER),
        (None, None, RECEIVED_AT, RECEIVED_AT),
        ("2026-08-14T08:00:00", 1_786_700_000, RECEIVED_AT, RECEIVED_AT),
        ("0001-01-01T00:00:00Z", "2026-08-14T08:00:00Z", OTHER, OTHER),
        ("9999-12-31T23:59:59Z", "2026-08-14T08:00:00Z", OTHER, OTHER),
        ("2026-08-15T09:30:07Z", "soon", RECEIVED_AT, RECEIVED_AT),
        ("2026-08-15T09:30:06Z", None, RECEIVED_AT + timedelta(days=1), RECEIVED_AT + timedelta(days=1)),
        ("2024-01-01T00:00:00Z", None, datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
    ],
)
def test_each_time_stands_in_for_the_other_and_the_arrival_for_both(
    occurred: object, created: object, occurred_at: datetime, created_at: datetime
) -> None:
    event = read({**EXAMPLES["access_code.created"], "occurred_at": occurred, "created_at": created})
    assert (event.occurred_at, event.created_at) == (occurred_at, created_at)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b"hello", Reason.NOT_JSON),
        (b'{"event_type": "a"', Reason.NOT_JSON),
        (b'{"event_type": "a"} {}', Reason.NOT_JSON),
        (b'{"event_type": "\xff"}', Reason.NOT_JSON),
        (b'{"event_type": "\xed\xa0\x80"}', Reason.NOT_JSON),
        ('{"event_type": "a"}'.encode("utf-16"), Reason.NOT_JSON),
        (b'{"event_type": "a", "n": ' + b"9" * 5000 + b"}", Reason.NUMBER_TOO_LONG),
        (b"[" * 100_000, Reason.TOO_DEEP),
        (b'{"event_type": "a", "deep": ' + b'{"a":' * 50_000, Reason.TOO_DEEP),
        (b"null", Reason.NOT_AN_OBJECT),
        (b"[]", Reason.NOT_AN_OBJECT),
        (b'"event_type"', Reason.NOT_AN_OBJECT),
        (b"4821", Reason.NOT_AN_OBJECT),
        (b"NaN", Reason.NOT_AN_OBJECT),
        (b"{}", Reason.NO_EVENT_TYPE),
        (b'{"event_type": null}', Reason.NO_EVENT_TYPE),
        (b'{"event_type": ""}', Reason.NO_EVENT_TYPE),
        (b'{"event_type": " "}', Reason.NO_EVENT_TYPE),
        (b'{"event_type": 7}', Reason.NO_EVENT_TYPE),
        (b'{"event_type": "a", "event_type": null}', Reason.NO_EVENT_TYPE),
        (b'{"event_type": "a\\u0000"}', Reason.UNUSABLE_ID),
        (b'{"event_type": "a", "event_id": "\\u0000"}', Reason.UNUSABLE_ID),
        (b'{"event_type": "a", "access_code_id": "\\ud800"}', Reason.UNUSABLE_ID),
        (b'{"event_type": "a", "device_id": "a\\u001fb"}', Reason.UNUSABLE_ID),
        (b'{"event_type": "a", "backup_access_code_id": "a\\nb"}', Reason.UNUSABLE_ID),
        (b'{"event_type": "a", "event_id": "' + b"x" * 256 + b'"}', Reason.UNUSABLE_ID),
    ],
)
def test_what_is_no_event_is_unreadable_and_says_why(body: bytes, reason: Reason) -> None:
    assert read_body(body) == Unreadable(reason)


def test_a_byte_order_mark_does_no_harm() -> None:
    assert isinstance(read_body(b'\xef\xbb\xbf{"event_type": "a"}'), Event)


def test_the_bare_minimum_is_an_event() -> None:
    assert read_body(b'{"event_type": "a"}') == Event(
        event_id="svix:msg_1",
        event_type="a",
        occurred_at=RECEIVED_AT,
        created_at=RECEIVED_AT,
        workspace_id=None,
        access_code_id=None,
        device_id=None,
        connected_account_id=None,
        payload='{"event_type":"a"}',
    )


def test_text_that_no_database_takes_is_cleaned_in_the_payload() -> None:
    event = read({**EXAMPLES["access_code.created"], "na\x00me": ["A\x00da", {"b": "\ud800"}], "smile": "\U0001f600"})
    assert "\\u0000" not in event.payload
    assert event.payload.encode()
    payload = json.loads(event.payload)
    assert payload["na\ufffdme"] == ["A\ufffdda", {"b": "\ufffd"}]
    assert payload["smile"] == "\U0001f600"


def test_numbers_that_are_none_and_very_large_ones_leave_valid_json() -> None:
    body = b'{"event_type": "lock.locked", "a": NaN, "b": -Infinity, "c": 1e999, "d": ' + b"7" * 400 + b"}"
    event = read_body(body)
    assert isinstance(event, Event)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    payload = json.loads(event.payload, parse_constant=refuse)
    assert (payload["a"], payload["b"], payload["c"], payload["d"]) == (None, None, None, "7" * 400)


@pytest.mark.parametrize("number", ["9223372036854775808", "18446744073709551616", "-123456789012345678901234567890"])
def test_whole_numbers_beyond_64_bits_keep_every_digit(number: str) -> None:
    event = read_body(f'{{"event_type": "lock.locked", "inner": [{{"number": {number}}}]}}'.encode())
    assert isinstance(event, Event)
    assert json.loads(event.payload)["inner"] == [{"number": number}]


@pytest.mark.parametrize("depth", [10, 100, 500])
@pytest.mark.parametrize("inner", ['"40917"', '"\\u0000"'])
def test_deep_nesting_is_no_reason_to_lose_an_event(depth: int, inner: str) -> None:
    nested = '{"a":' * depth + inner + "}" * depth
    event = read_body(f'{{"event_type": "access_code.deleted", "code": "40917", "deep": {nested}}}'.encode())
    assert isinstance(event, Event)
    assert "40917" not in event.payload


def test_of_a_key_that_comes_twice_the_last_counts() -> None:
    event = read_body(b'{"event_type": "a", "event_id": "first", "event_id": "last"}')
    assert isinstance(event, Event)
    assert event.event_id == "last"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({key for example in EXAMPLES.values() for key in example} - {"event_type"})


@given(st.binary())
def test_no_bytes_make_reading_raise(body: bytes) -> None:
    assert isinstance(read_body(body), Event | Unreadable)


@given(JSON)
def test_no_json_makes_reading_raise(value: object) -> None:
    assert isinstance(read_body(json.dumps(value).encode()), Event | Unreadable)


@given(st.sampled_from(sorted(KNOWN)), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6))
def test_no_field_of_the_wrong_type_makes_reading_raise(event_type: str, changes: dict[str, object]) -> None:
    event = read_body(json.dumps({**EXAMPLES[event_type], **changes}).encode())
    if isinstance(event, Event):
        assert event.event_type == event_type
        assert isinstance(json.loads(event.payload), dict)
        assert event.payload.encode()
    else:
        assert event.reason == Reason.UNUSABLE_ID


PINS = st.text("0123456789", min_size=4, max_size=12) | st.from_regex(r"[A-Z][0-9][A-Z]{1,3}[0-9]", fullmatch=True)
PLACES = [
    lambda pin: {"code": pin},
    lambda pin: {"pin": {"now": [pin]}},
    lambda pin: {"from": {"code": "0000"}, "to": {"code": pin}},
    lambda pin: {"changed_properties": [{"property": "code", "from": pin, "to": None}]},
    lambda pin: {"requested_mutations": [{"mutation_code": "updating_code", "to": {"code": pin}}]},
    lambda pin: {"access_code_warnings": [{"warning_code": "x", "modified_fields": [{"field": "code", "to": pin}]}]},
    lambda pin: {"device_custom_metadata": {"passcode": pin}},
]


def _hide(pin: str, words: str) -> st.SearchStrategy[object]:
    """JSON with the PIN somewhere in it: in text, in a key, in a number, at any depth."""
    leaf = st.sampled_from([pin, f"{words}{pin}", f"{pin}{words}", f"{words}{pin}{words}{pin}", {pin: words}])
    if pin.isdigit():
        leaf |= st.sampled_from([int("1" + pin), float(f"{int('1' + pin)}.5")])
    return st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6
    )


@given(data=st.data(), pin=PINS, words=st.text(max_size=8), event_type=st.sampled_from([*sorted(KNOWN), "made.up"]))
def test_no_byte_of_a_pin_gets_past_the_reading(data: st.DataObject, pin: str, words: str, event_type: str) -> None:
    ids = dict.fromkeys(("event_id", "workspace_id", "access_code_id", "device_id", "connected_account_id"), "an-id")
    hidden = data.draw(_hide(pin, words))
    message = {"error_code": "provider_issue", "message": f"{words}{pin}."}
    event = read(
        {
            **ids,
            "event_type": event_type,
            **data.draw(st.sampled_from(PLACES))(pin),
            "name": hidden,
            "connected_account_custom_metadata": {"hidden": hidden},
            "device_errors": [message],
            "event_description": f"{pin} {words}",
        }
    )
    if event.news is not None:  # a fingerprint is hex, in which four digits may stand by chance
        event = event._replace(news=(event.news[0], event.news[1]._replace(pin=None)))
    times_apart = {**event._asdict(), "occurred_at": None, "created_at": None, "news": None}
    assert pin not in repr(times_apart)
    assert pin not in repr(json.loads(event.payload))
    if event.news is not None:
        assert pin not in repr(event.news[1].issues)


def test_news_of_one_event_is_the_same_however_often_it_is_read() -> None:
    first, second = (read(EXAMPLES["access_code.set_on_device"]) for _ in range(2))
    assert first == second
    assert first.news is not None
    assert isinstance(first.news[1], News)
