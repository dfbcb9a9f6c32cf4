"""What bad input to a create gets: 422 naming the field, and nothing is stored or sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.worlds import DEVICE, World

WINDOW = {"starts_at": "2026-08-04T15:00:00Z", "ends_at": "2026-08-06T10:00:00Z"}
GOOD: dict[str, Any] = {"device_id": DEVICE}

BAD = [
    # field named, body
    ("device_id", {}),
    ("device_id", {"device_id": None}),
    ("device_id", {"device_id": 7}),
    ("device_id", {"device_id": "  "}),
    ("device_id", {"device_id": "d" * 201}),
    ("device_id", {"device_id": "d\0"}),
    ("code", {**GOOD, "code": "12a"}),
    ("code", {**GOOD, "code": "123"}),
    ("code", {**GOOD, "code": "1234567890123"}),
    ("code", {**GOOD, "code": 1234}),
    ("code", {**GOOD, "code": ""}),
    ("code", {**GOOD, "code": "١٢٣٤"}),
    ("code", {**GOOD, "code": "1234\n"}),
    ("ends_at", {**GOOD, "starts_at": WINDOW["starts_at"]}),
    ("starts_at", {**GOOD, "ends_at": WINDOW["ends_at"]}),
    ("ends_at", {**GOOD, "starts_at": WINDOW["ends_at"], "ends_at": WINDOW["starts_at"]}),
    ("ends_at", {**GOOD, "starts_at": WINDOW["starts_at"], "ends_at": WINDOW["starts_at"]}),
    ("ends_at", {**GOOD, "starts_at": "2026-08-01T15:00:00Z", "ends_at": "2026-08-02T10:00:00Z"}),
    ("starts_at", {**GOOD, **WINDOW, "starts_at": "2026-08-04T15:00:00"}),
    ("starts_at", {**GOOD, **WINDOW, "starts_at": "2026-08-04"}),
    ("starts_at", {**GOOD, **WINDOW, "starts_at": 1785855600}),
    ("starts_at", {**GOOD, **WINDOW, "starts_at": "1785855600"}),
    ("starts_at", {**GOOD, **WINDOW, "starts_at": "soon"}),
    ("ends_at", {**GOOD, **WINDOW, "ends_at": "9999-12-31T23:59:59-14:00"}),
    ("starts_at", {**GOOD, **WINDOW, "starts_at": "0001-01-01T00:00:00+14:00"}),
    ("nmae", {**GOOD, "nmae": "Ada"}),
    ("name", {**GOOD, "name": "n" * 201}),
    ("name", {**GOOD, "name": ["Ada"]}),
    ("name", {**GOOD, "name": "Ada\0"}),
    ("name", {**GOOD, "name": "room 4821", "code": "4821"}),
    ("reference", {**GOOD, "reference": "r-4821", "code": "4821"}),
    ("metadata", {**GOOD, "metadata": {"pin": "4821"}, "code": "4821"}),
    ("metadata", {**GOOD, "metadata": {"pin": 4821}, "code": "4821"}),
    ("metadata", {**GOOD, "metadata": {"4821": True}, "code": "4821"}),
    ("metadata", {**GOOD, "metadata": {"a": "\0"}}),
    ("metadata", {**GOOD, "metadata": {"a": "x" * 501}}),
    ("metadata", {**GOOD, "metadata": {str(number): 1 for number in range(51)}}),
    ("metadata", {**GOOD, "metadata": {"n": 2**64}}),
    ("metadata", {**GOOD, "metadata": []}),
    ("set_within_seconds", {**GOOD, "set_within_seconds": 0}),
    ("set_within_seconds", {**GOOD, "set_within_seconds": -5}),
    ("set_within_seconds", {**GOOD, "set_within_seconds": 10**9}),
    ("set_within_seconds", {**GOOD, "set_within_seconds": "600"}),
    ("preferred_code_length", {**GOOD, "preferred_code_length": 3}),
    ("preferred_code_length", {**GOOD, "preferred_code_length": 13}),
    ("preferred_code_length", {**GOOD, "preferred_code_length": 6, "code": "4821"}),
    ("use_backup_access_code_pool", {**GOOD, "use_backup_access_code_pool": True}),
    ("is_one_time_use", {**GOOD, "is_one_time_use": "yes"}),
    ("max_time_rounding", {**GOOD, "max_time_rounding": "2h"}),
]


@pytest.mark.parametrize(("field", "body"), BAD, ids=[f"{number}-{row[0]}" for number, row in enumerate(BAD)])
async def test_a_wrong_field_is_named_and_nothing_is_stored_or_sent(
    world: World, field: str, body: dict[str, Any]
) -> None:
    answer = await world.client.post("/v1/access-codes", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:latchwatch:problem:invalid-input"
    assert field in {error["field"].split(".")[0] for error in problem["errors"]}
    assert world.seam.calls == []
    assert (await world.get("/v1/access-codes")).json()["items"] == []


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"{", {"content-type": "application/json"}),
        (b"[]", {"content-type": "application/json"}),
        (b"null", {"content-type": "application/json"}),
        (b"", {"content-type": "application/json"}),
        (b'{"device_id": "device-1"}', {"content-type": "text/plain"}),
        (b'{"device_id": "\\ud800"}', {"content-type": "application/json"}),
        (b'{"device_id": "device-1", "name": "\\ud800"}', {"content-type": "application/json"}),
        (b'{"device_id": "device-1", "metadata": {"a": "\\ud800"}}', {"content-type": "application/json"}),
        (b'{"device_id": "device-1", "metadata": {"\\ud800": 1}}', {"content-type": "application/json"}),
        (b'{"device_id": "device-1", "metadata": {"a": NaN}}', {"content-type": "application/json"}),
        (b'{"device_id": "device-1", "metadata": {"a": 1e999}}', {"content-type": "application/json"}),
    ],
)
async def test_a_body_that_is_not_a_json_object_of_text_is_refused(
    world: World, content: bytes, headers: dict[str, str]
) -> None:
    answer = await world.client.post("/v1/access-codes", content=content, headers=headers)
    assert answer.status_code == 422, answer.text
    assert world.seam.calls == []


@pytest.mark.parametrize("content", [b"\xff\xfe", b'{"a": ' * 10_000, b"1" * 10_000])
async def test_a_body_that_cannot_be_read_at_all_is_a_clients_error(world: World, content: bytes) -> None:
    answer = await world.client.post("/v1/access-codes", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 413, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_wrong_value_is_not_repeated_in_the_answer(world: World) -> None:
    """It may be a PIN."""
    answer = await world.create(code="48213579246801", name="x" * 300)
    assert answer.status_code == 422
    assert "48213579246801" not in answer.text
    assert {error["field"] for error in answer.json()["errors"]} == {"code", "name"}


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_an_idempotency_key_has_1_to_255_characters(world: World, key: str) -> None:
    answer = await world.create(key=key)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].lower() == "idempotency-key"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "access_code_ids"),
        ({"access_code_ids": ["a"], "device_id": "d"}, "access_code_ids"),
        ({"access_code_ids": []}, "access_code_ids"),
        ({"access_code_ids": [""]}, "access_code_ids.0"),
        ({"access_code_ids": ["a"] * 501}, "access_code_ids"),
        ({"device_id": "d", "code": "1234"}, "code"),
    ],
)
async def test_tracking_needs_either_ids_or_a_device(world: World, body: dict[str, Any], field: str) -> None:
    answer = await world.client.post("/v1/access-codes/track", json=body)
    assert answer.status_code == 422
    assert field in {error["field"] for error in answer.json()["errors"]}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/access-codes?limit=0", "limit"),
        ("/v1/access-codes?limit=501", "limit"),
        ("/v1/access-codes?limit=many", "limit"),
        ("/v1/access-codes?cursor=!", "cursor"),
        ("/v1/access-codes?cursor=bm90IGpzb24", "cursor"),
        ("/v1/access-codes?cursor=WzFd", "cursor"),
        ("/v1/access-codes?cursor=%C3%A4", "cursor"),
        ("/v1/access-codes?cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTksImEiXQ", "cursor"),
        ("/v1/access-codes?verdict=verifed", "verdict"),
        ("/v1/access-codes?verdcit=verified", "verdcit"),
        ("/v1/access-codes?flagged=maybe", "flagged"),
        ("/v1/access-codes?starts_before=2026-08-03", "starts_before"),
        ("/v1/access-codes?q=%00", "url"),
        ("/v1/access-codes/%00", "url"),
        ("/v1/flags?state=ajar", "state"),
        ("/v1/flags?severity=mild", "severity"),
        ("/v1/flags?cursor=x", "cursor"),
        ("/v1/events?source=pigeon", "source"),
        ("/v1/events?since=yesterday", "since"),
        ("/v1/events?cursor=WyJhIl0", "cursor"),
        ("/v1/unreadable?cursor=Wy0xXQ", "cursor"),
        ("/v1/devices?cursor=WzFd", "cursor"),
        ("/v1/alerts?state=lost", "state"),
    ],
)
async def test_a_wrong_parameter_is_named(world: World, path: str, field: str) -> None:
    """Also one that does not exist: a filter with a typing error must not look as if it had found everything."""
    answer = await world.client.get(path)
    assert answer.status_code == 422, answer.text
    assert field in {error["field"].split(".")[0] for error in answer.json()["errors"]}
