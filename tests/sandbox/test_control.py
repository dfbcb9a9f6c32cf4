"""``/sandbox/*``: what is behind the scenes, and how to move it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.sandbox import SandboxSettings, create_sandbox
from tests.sandbox.worlds import START, Bench, Json, later


async def test_control_needs_no_key(bench: Bench) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(bench.app), base_url="http://127.0.0.1") as http:
        assert (await http.get("/sandbox/state")).status_code == 200


async def test_the_state_shows_locks_codes_and_what_waits(bench: Bench) -> None:
    ident = await bench.create("lock_slow", name="Ada", code="4821")
    state = (await bench.http.get("/sandbox/state")).json()
    assert state["now"] == later(hours=0)
    assert state["access_codes"] == [
        {"access_code_id": ident, "device_id": "lock_slow", "name": "Ada", "phase": "setting", "on_lock": False}
    ]
    locks = {device["device_id"]: device for device in state["devices"]}
    assert (locks["lock_slow"]["behaviour"], locks["lock_slow"]["access_codes"]) == ("slow", 1)
    assert locks["lock_offline"]["online"] is False
    assert (state["events"], state["waiting"] > 0) == (1, True)
    assert "4821" not in str(state)
    assert "whsec_" not in str(state)


async def test_an_unknown_device_is_a_new_lock(bench: Bench) -> None:
    answer = await bench.call("/sandbox/devices/front_door", behaviour="slow", set_after_seconds=3)
    assert (answer["device"]["behaviour"], answer["device"]["online"]) == ("slow", True)
    await bench.create("front_door")
    await bench.until(seconds=3)
    assert bench.happened == [(0, "created"), (3, "set_on_device")]


async def test_a_new_lock_may_be_offline_from_the_start(bench: Bench) -> None:
    answer = await bench.call("/sandbox/devices/shed", behaviour="offline")
    assert answer["device"]["online"] is False
    assert bench.events == []


async def test_a_lock_may_go_offline_without_a_webhook(bench: Bench) -> None:
    answer = await bench.call("/sandbox/devices/lock_slow", online=False, announced=False)
    await bench.until(seconds=1)
    assert answer["device"]["online"] is False
    assert bench.received_types == []
    assert [event.event_type for event in bench.events] == ["device.disconnected"]


async def test_another_behaviour_forgets_what_the_old_one_was_told(bench: Bench) -> None:
    await bench.call("/sandbox/devices/lock_slow", set_after_seconds=3, error_code="provider_issue")
    answer = await bench.call("/sandbox/devices/lock_slow", behaviour="fails")
    assert (answer["device"]["set_after_seconds"], answer["device"]["error_code"]) == (None, None)


@pytest.mark.parametrize(
    ("level", "told"),
    [(0.9, ["device.battery_status_changed"]), (0.05, ["device.battery_status_changed", "device.low_battery"])],
)
async def test_a_battery_that_changes_is_told(bench: Bench, level: float, told: list[str]) -> None:
    await bench.call("/sandbox/devices/lock_slow", battery_level=level)
    assert [event.event_type for event in bench.events] == told
    device = (await bench.call("/devices/get", device_id="lock_slow"))["device"]
    assert device["properties"]["battery"]["status"] == ("full" if level > 0.5 else "critical")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"behaviour": "flies"}, "behaviour"),
        ({"battery_level": 2}, "battery_level"),
        ({"set_after_seconds": -1}, "set_after_seconds"),
        ({"online": "maybe"}, "online"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_control_that_cannot_be_changes_nothing(bench: Bench, body: Json, field: str) -> None:
    status, error = await bench.refused("/sandbox/devices/lock_slow", **body)
    assert status == 400
    assert field in error["validation_errors"]
    assert bench.events == []


async def test_an_arbitrary_event_is_filled_in_and_sent(bench: Bench) -> None:
    ident = await bench.create("lock_slow")
    asked = {"event_type": "lock.unlocked", "access_code_id": ident, "method": "keycode"}
    event = (await bench.call("/sandbox/events", **asked))["event"]
    await bench.until(seconds=1)
    assert bench.received[-1] == event
    assert event["device_id"] == "lock_slow"
    assert event.keys() >= {"event_id", "created_at", "occurred_at", "workspace_id", "method"}


async def test_an_arbitrary_event_may_say_anything(bench: Bench) -> None:
    asked = {
        "event_type": "access_code.set_on_device",
        "event_id": "evt-1",
        "occurred_at": "2020-01-01T00:00:00Z",
        "x": 1,
    }
    event = (await bench.call("/sandbox/events", **asked))["event"]
    assert asked.items() <= event.items()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sandbox/events", {}),
        ("/sandbox/events", {"event_type": 3}),
        ("/sandbox/faults", {"drop": 2}),
        ("/sandbox/faults", {"drop": "often"}),
        ("/sandbox/faults", {"gremlins": 1}),
        ("/sandbox/advance", {}),
        ("/sandbox/advance", {"seconds": -1}),
        ("/sandbox/advance", {"seconds": 1, "to": later(hours=1)}),
    ],
)
async def test_orders_that_cannot_be_followed_are_refused(bench: Bench, path: str, body: Json) -> None:
    status, _ = await bench.refused(path, **body)
    assert status == 400


async def test_faults_change_one_by_one(bench: Bench) -> None:
    await bench.call("/sandbox/faults", drop=0.5)
    answer = await bench.call("/sandbox/faults", duplicate=1)
    assert (answer["faults"]["drop"], answer["faults"]["duplicate"]) == (0.5, 1)


@pytest.mark.parametrize(("body", "now"), [({"seconds": 90}, 90), ({"to": later(seconds=150)}, 150)])
async def test_manual_time_moves_on_request_and_delivers(bench: Bench, body: Json, now: int) -> None:
    await bench.create("lock_sets_at_once")
    answer = await bench.call("/sandbox/advance", **body)
    assert answer["now"] == later(seconds=now)
    assert bench.received_types == ["created", "set_on_device"]


async def test_real_time_cannot_be_moved() -> None:
    app = create_sandbox(SandboxSettings(), clock=lambda: START)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        response = await http.post("/sandbox/advance", json={"seconds": 1})
    assert (response.status_code, response.json()["error"]["type"]) == (400, "sandbox")
    await app.state.sandbox.close()


async def test_in_real_time_a_request_finds_everything_done_that_is_due() -> None:
    moments = [START]
    app = create_sandbox(SandboxSettings(), clock=lambda: moments[-1])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers={"Authorization": "Bearer seam_x"}
    ) as http:
        made: Any = (await http.post("/access_codes/create", json={"device_id": "lock_slow"})).json()
        moments.append(START + timedelta(seconds=121))
        asked = {"access_code_id": made["access_code"]["access_code_id"]}
        assert (await http.post("/access_codes/get", json=asked)).json()["access_code"]["status"] == "set"
    assert [event.at - START for event in app.state.sandbox.world.events] == [timedelta(0), timedelta(seconds=120)]
    await app.state.sandbox.close()
