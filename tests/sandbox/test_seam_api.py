"""The simulated API: what it refuses, in Seam's words, and what its objects hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import httpx
import pytest
from seam.resources.access_code import AccessCode
from seam.resources.device import Device
from seam.resources.unmanaged_access_code import UnmanagedAccessCode
from seam.resources.workspace import Workspace

from app.sandbox.requests import Params
from tests.sandbox.worlds import KEY, START, Bench, Json, later

LOCK = "lock_sets_at_once"
WINDOW = {"starts_at": later(hours=1), "ends_at": later(hours=2)}


# Keys and paths.


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer sk_123", "Basic seam_key", "seam_key"])
async def test_a_key_that_is_not_seams_is_refused(bench: Bench, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(bench.app), base_url="http://127.0.0.1") as http:
        response = await http.post("/devices/list", headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "unauthorized"
    assert response.json()["ok"] is False


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::1", "somewhere"])
async def test_callers_from_elsewhere_are_turned_away(bench: Bench, host: str) -> None:
    transport = httpx.ASGITransport(bench.app, client=(host, 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=KEY) as http:
        for path in ("/devices/list", "/sandbox/faults"):
            assert (await http.post(path)).status_code == 403


async def test_callers_from_elsewhere_are_let_in_when_that_is_wanted() -> None:
    bench = Bench(loopback_only=False)
    transport = httpx.ASGITransport(bench.app, client=("192.0.2.7", 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=KEY) as http:
        assert (await http.post("/devices/list")).status_code == 200
    await bench.close()


async def test_an_unknown_path_is_answered_in_seams_shape(bench: Bench) -> None:
    status, error = await bench.refused("/thermostats/list")
    assert (status, error["type"]) == (404, "unknown_endpoint")


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"'])
async def test_a_body_that_is_not_a_json_object_is_refused(bench: Bench, body: bytes) -> None:
    response = await bench.http.post("/access_codes/create", content=body)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_json")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_every_method_and_both_places_of_parameters_will_do(bench: Bench, method: str) -> None:
    asked = {"device_id": LOCK}
    by_query = await bench.http.request(method, "/devices/get", params=asked)
    by_body = await bench.http.request(method, "/devices/get", json=asked)
    for response in (by_query, by_body):
        assert response.json()["device"]["device_id"] == LOCK
        assert response.headers["seam-request-id"]


# Creating and changing.

UNKNOWN = "8f1f4a0e-5d0d-4a59-9f5f-0a8d3c1f8f11"

INVALID_CREATES: list[tuple[Json, str]] = [
    ({}, "device_id"),
    ({"device_id": 7}, "device_id"),
    ({"device_id": LOCK, "code": "12a4"}, "code"),
    ({"device_id": LOCK, "code": "123"}, "code"),
    ({"device_id": LOCK, "code": "1234567890123"}, "code"),
    ({"device_id": LOCK, "code": "١٢٣٤"}, "code"),
    ({"device_id": LOCK, "starts_at": later(hours=1)}, "ends_at"),
    ({"device_id": LOCK, "ends_at": later(hours=1)}, "starts_at"),
    ({"device_id": LOCK, "starts_at": later(hours=2), "ends_at": later(hours=1)}, "ends_at"),
    ({"device_id": LOCK, "starts_at": later(hours=-2), "ends_at": later(hours=-1)}, "ends_at"),
    ({"device_id": LOCK, "starts_at": "tomorrow", "ends_at": later(hours=1)}, "starts_at"),
    ({"device_id": LOCK, "is_one_time_use": "perhaps"}, "is_one_time_use"),
    ({"device_id": LOCK, "preferred_code_length": "long"}, "preferred_code_length"),
    ({"device_id": LOCK, "use_backup_access_code_pool": True}, "use_backup_access_code_pool"),
    ({"device_id": "lock_offline_codes", "is_offline_access_code": True}, "starts_at"),
    ({"device_id": "lock_offline_codes", "is_offline_access_code": True, "code": "4821"}, "code"),
]


@pytest.mark.parametrize(("body", "field"), INVALID_CREATES)
async def test_bad_input_is_refused_naming_the_field(bench: Bench, body: Json, field: str) -> None:
    status, error = await bench.refused("/access_codes/create", **body)
    assert (status, error["type"]) == (400, "invalid_input")
    assert error["validation_errors"][field]["_errors"]
    assert bench.events == []


@pytest.mark.parametrize(
    ("path", "body", "error_type"),
    [
        ("/access_codes/create", {"device_id": "nowhere"}, "device_not_found"),
        ("/access_codes/generate_code", {"device_id": "nowhere"}, "device_not_found"),
        ("/access_codes/list", {"device_id": "nowhere"}, "device_not_found"),
        ("/access_codes/get", {"access_code_id": UNKNOWN}, "access_code_not_found"),
        ("/access_codes/get", {"device_id": LOCK, "code": "0000"}, "access_code_not_found"),
        ("/access_codes/update", {"access_code_id": UNKNOWN}, "access_code_not_found"),
        ("/access_codes/delete", {"access_code_id": UNKNOWN}, "access_code_not_found"),
        ("/access_codes/unmanaged/get", {"access_code_id": UNKNOWN}, "access_code_not_found"),
        ("/devices/get", {"device_id": "nowhere"}, "device_not_found"),
        ("/events/get", {"event_id": UNKNOWN}, "event_not_found"),
        ("/webhooks/get", {"webhook_id": UNKNOWN}, "webhook_not_found"),
        ("/webhooks/delete", {"webhook_id": UNKNOWN}, "webhook_not_found"),
    ],
)
async def test_what_does_not_exist_is_named_by_the_errors_type(
    bench: Bench, path: str, body: Json, error_type: str
) -> None:
    status, error = await bench.refused(path, **body)
    assert (status, error["type"]) == (404, error_type)


@pytest.mark.parametrize("asked", [{}, {"device_id": LOCK}, {"code": "4821"}])
async def test_a_code_is_read_by_its_id_or_by_pin_and_device_together(bench: Bench, asked: Json) -> None:
    status, error = await bench.refused("/access_codes/get", **asked)
    assert (status, error["type"]) == (400, "invalid_input")


async def test_a_lock_without_offline_codes_refuses_them(bench: Bench) -> None:
    asked = {"device_id": LOCK, "is_offline_access_code": True, **WINDOW}
    status, error = await bench.refused("/access_codes/create", **asked)
    assert (status, error["type"]) == (400, "device_does_not_support_access_codes")


async def test_the_same_pin_on_the_same_lock_is_a_conflict_even_in_another_window(bench: Bench) -> None:
    await bench.create(LOCK, code="4821", **WINDOW)
    other = {"starts_at": later(hours=5), "ends_at": later(hours=6)}
    status, error = await bench.refused("/access_codes/create", device_id=LOCK, code="4821", **other)
    assert (status, error["type"]) == (409, "duplicate_access_code")
    await bench.create("lock_slow", code="4821")


async def test_a_change_to_a_pin_that_is_taken_is_a_conflict(bench: Bench) -> None:
    await bench.create(LOCK, code="4821")
    ident = await bench.create(LOCK, code="7777")
    status, error = await bench.refused("/access_codes/update", access_code_id=ident, code="4821")
    assert (status, error["type"]) == (409, "duplicate_access_code")
    assert (await bench.code(ident))["code"] == "7777"


async def test_a_pin_is_free_again_after_its_code_is_gone(bench: Bench) -> None:
    ident = await bench.create(LOCK, code="4821")
    await bench.call("/access_codes/delete", access_code_id=ident)
    await bench.until(minutes=1)
    assert await bench.create(LOCK, code="4821") != ident


async def test_a_code_that_is_being_deleted_cannot_be_changed(bench: Bench) -> None:
    ident = await bench.create("lock_never_removes")
    await bench.call("/access_codes/delete", access_code_id=ident)
    status, error = await bench.refused("/access_codes/update", access_code_id=ident, code="4821")
    assert (status, error["type"]) == (400, "access_code_cannot_be_updated")


@pytest.mark.parametrize(
    ("device", "preferred", "length"), [(LOCK, None, 4), (LOCK, 7, 7), ("lock_four_digits", 7, 4), (LOCK, 40, 4)]
)
async def test_a_pin_that_nobody_chose_has_a_length_that_the_lock_takes(
    bench: Bench, device: str, preferred: int | None, length: int
) -> None:
    ident = await bench.create(device, preferred_code_length=preferred)
    assert len((await bench.code(ident))["code"]) == length


async def test_a_generated_pin_is_not_taken(bench: Bench) -> None:
    generated = (await bench.call("/access_codes/generate_code", device_id=LOCK))["generated_code"]
    assert generated["device_id"] == LOCK
    await bench.create(LOCK, code=generated["code"])


async def test_a_window_is_answered_as_seam_writes_it(bench: Bench) -> None:
    window = {"starts_at": "2026-08-03T15:00:00.123456+02:00", "ends_at": "2026-08-03T16:00:00+02:00"}
    code = await bench.code(await bench.create(LOCK, **window))
    assert (code["starts_at"], code["ends_at"]) == ("2026-08-03T13:00:00.123Z", "2026-08-03T14:00:00.000Z")
    assert code["type"] == "time_bound"


@pytest.mark.parametrize(("action", "limit"), [("create", 10), ("update", 10), ("delete", 20)])
async def test_limits_per_device_and_minute(action: str, limit: int) -> None:
    bench = Bench(rate_limits=True)
    ident = await bench.create("lock_never_removes")
    await bench.until(minutes=2)
    asked = {"device_id": "lock_never_removes"} if action == "create" else {"access_code_id": ident}
    for _ in range(limit):
        await bench.call(f"/access_codes/{action}", **asked)
    response = await bench.http.post(f"/access_codes/{action}", json=asked)
    assert (response.status_code, response.headers["retry-after"]) == (429, "60")
    assert response.json()["error"]["type"] == "too_many_requests"
    await bench.create(LOCK)
    await bench.until(minutes=3)
    await bench.call(f"/access_codes/{action}", **asked)
    await bench.close()


async def test_without_limits_a_demo_may_create_as_fast_as_it_likes(bench: Bench) -> None:
    for _ in range(30):
        await bench.create(LOCK)


# Lists.


async def test_codes_are_listed_by_ids_or_by_device(bench: Bench) -> None:
    first, second = await bench.create(LOCK), await bench.create("lock_slow")

    async def listed(**params: Any) -> list[str]:
        answer = (await bench.http.get("/access_codes/list", params=params)).json()
        return [code["access_code_id"] for code in answer["access_codes"]]

    assert await listed(access_code_ids=[second, first, UNKNOWN]) == [first, second]
    assert await listed(access_code_ids=first) == [first]
    assert await listed(access_code_ids="") == []
    assert await listed(device_id=LOCK) == [first]
    assert await listed(device_id=LOCK, access_code_ids=second) == []
    status, error = await bench.refused("/access_codes/list")
    assert (status, error["type"]) == (400, "invalid_input")


async def test_a_list_comes_in_pages(bench: Bench) -> None:
    idents = [await bench.create(LOCK) for _ in range(5)]
    found: list[str] = []
    cursor: str | None = None
    for size in (2, 2, 1):
        answer = await bench.call("/access_codes/list", device_id=LOCK, limit=2, page_cursor=cursor)
        assert len(answer["access_codes"]) == size
        found += [code["access_code_id"] for code in answer["access_codes"]]
        cursor = answer["pagination"]["next_page_cursor"]
        assert answer["pagination"]["has_next_page"] is (cursor is not None)
    assert found == idents
    assert cursor is None


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("limit", 1_001), ("limit", "many"), ("page_cursor", "x")])
async def test_a_page_that_cannot_be_is_refused(bench: Bench, name: str, value: Any) -> None:
    _, error = await bench.refused("/devices/list", **{name: value})
    assert name in error["validation_errors"]


async def test_a_code_is_found_by_its_pin_on_its_device(bench: Bench) -> None:
    ident = await bench.create(LOCK, code="4821")
    found = await bench.call("/access_codes/get", device_id=LOCK, code="4821")
    assert found["access_code"]["access_code_id"] == ident


async def test_devices_are_listed_by_id_and_type(bench: Bench) -> None:
    everything = await bench.call("/devices/list")
    assert len(everything["devices"]) == len(bench.sandbox.world.devices)
    chosen = await bench.call("/devices/list", device_ids=[LOCK, "lock_native"], device_type="yale_lock")
    assert [device["device_id"] for device in chosen["devices"]] == ["lock_native"]


# Objects are whole.


def field_names(resource: type[Any]) -> set[str]:
    return {item.name for item in dataclasses.fields(resource)}


async def test_an_access_code_has_every_field_that_the_sdk_knows(bench: Bench) -> None:
    code = await bench.code(await bench.create(LOCK))
    assert code.keys() == field_names(AccessCode)
    foreign = {"device_id": LOCK, "code": "9999", "name": "Cleaner"}
    answer = await bench.call("/access_codes/simulate/create_unmanaged_access_code", **foreign)
    assert answer["access_code"].keys() == field_names(UnmanagedAccessCode)


async def test_a_device_and_the_workspace_have_the_fields_that_every_lock_has(bench: Bench) -> None:
    device = (await bench.call("/devices/get", device_id=LOCK))["device"]
    assert device.keys() <= field_names(Device)
    assert device["properties"]["supported_code_lengths"] == list(range(4, 13))
    assert device["properties"]["supports_backup_access_code_pool"] is True
    workspace = (await bench.call("/workspaces/get"))["workspace"]
    assert workspace.keys() == field_names(Workspace)
    assert workspace["is_sandbox"] is True


# Webhooks.


async def test_a_webhook_is_made_read_changed_and_deleted(bench: Bench) -> None:
    made = (await bench.call("/webhooks/create", url="https://example.com/hook"))["webhook"]
    assert made["event_types"] == ["*"]
    assert made["secret"].startswith("whsec_")
    ident = made["webhook_id"]
    await bench.call("/webhooks/update", webhook_id=ident, event_types=["device.connected"])
    read = (await bench.call("/webhooks/get", webhook_id=ident))["webhook"]
    assert read == {**made, "event_types": ["device.connected"]}
    assert len((await bench.call("/webhooks/list"))["webhooks"]) == 2
    await bench.call("/webhooks/delete", webhook_id=ident)
    assert len((await bench.call("/webhooks/list"))["webhooks"]) == 1


@pytest.mark.parametrize("url", [None, "ftp://example.com", "example.com", "http://"])
async def test_a_webhook_needs_an_address(bench: Bench, url: str | None) -> None:
    status, error = await bench.refused("/webhooks/create", url=url)
    assert (status, error["type"]) == (400, "invalid_input")


async def test_the_address_of_a_webhook_cannot_be_changed(bench: Bench) -> None:
    ident = next(iter(bench.sandbox.courier.webhooks))
    status, _ = await bench.refused("/webhooks/update", webhook_id=ident, url="https://example.com")
    assert status == 400


def test_times_without_a_zone_are_utc() -> None:
    assert Params({"since": ["2026-08-03T12:00:00"]}).time("since") == START
