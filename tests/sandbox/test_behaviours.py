"""What each behaviour of a lock does to an ongoing code with normal speed: its events, and Seam's object meanwhile."""

from __future__ import annotations

import pytest

from app.sandbox import DEFAULT_FLEET, Behaviour
from tests.sandbox.worlds import Bench, Json

PIN = "4821"

# Behaviour → (seconds since the create call, event).
STORIES: dict[str, list[tuple[int, str]]] = {
    "sets_at_once": [(0, "created"), (1, "set_on_device")],
    "slow": [(0, "created"), (120, "set_on_device")],
    "delays_then_sets": [(0, "created"), (60, "delay_in_setting_on_device"), (180, "set_on_device")],
    "fails": [(0, "created"), (30, "failed_to_set_on_device")],
    "fails_then_sets": [(0, "created"), (30, "failed_to_set_on_device"), (150, "set_on_device")],
    "wrong_pin": [(0, "created"), (5, "set_on_device")],
    "silent": [(0, "created")],
    "silent_webhook": [(0, "created"), (5, "set_on_device")],
    "never_removes": [(0, "created"), (5, "set_on_device")],
    "native": [(0, "created"), (20, "set_on_device")],
    "just_in_time": [(0, "created"), (20, "set_on_device")],
    "offline": [(0, "created"), (60, "delay_in_setting_on_device"), (300, "failed_to_set_on_device")],
    "modified_externally": [
        (0, "created"),
        (5, "set_on_device"),
        (65, "modified_external_to_seam"),
        (125, "set_on_device"),
    ],
    "deleted_externally": [
        (0, "created"),
        (5, "set_on_device"),
        (65, "deleted_external_to_seam"),
        (125, "set_on_device"),
    ],
    "lost": [
        (0, "created"),
        (5, "set_on_device"),
        (65, "deleted_external_to_seam"),
    ],
}


# Status, pending mutations, errors, warnings.
Shown = tuple[str, list[str], list[str], list[str]]


def summary(code: Json) -> Shown:
    return (
        code["status"],
        [mutation["mutation_code"] for mutation in code["pending_mutations"]],
        [error["error_code"] for error in code["errors"]],
        [warning["warning_code"] for warning in code["warnings"]],
    )


SETTING: Shown = ("setting", ["creating"], [], [])
IS_SET: Shown = ("set", [], [], [])
MEDDLED: Shown = ("setting", ["creating"], ["conflicting_external_modification"], [])
DELAYED: Shown = ("setting", ["creating"], [], ["delay_in_setting_on_device"])

# Behaviour, seconds, what Seam's object shows then.
OBJECTS = [
    ("sets_at_once", 0, SETTING),
    ("sets_at_once", 1, IS_SET),
    ("slow", 119, SETTING),
    ("slow", 120, IS_SET),
    ("delays_then_sets", 60, DELAYED),
    ("delays_then_sets", 180, IS_SET),
    ("fails", 30, ("setting", ["creating"], ["failed_to_set_on_device", "no_space_for_access_code_on_device"], [])),
    ("fails_then_sets", 30, ("setting", ["creating"], ["failed_to_set_on_device", "provider_issue"], [])),
    ("fails_then_sets", 150, IS_SET),
    ("wrong_pin", 5, IS_SET),
    ("silent", 86_400, SETTING),
    ("silent_webhook", 5, IS_SET),
    ("offline", 60, ("setting", ["creating"], ["device_disconnected"], ["delay_in_setting_on_device"])),
    (
        "offline",
        300,
        (
            "setting",
            ["creating"],
            ["failed_to_set_on_device", "device_disconnected"],
            ["delay_in_setting_on_device"],
        ),
    ),
    ("modified_externally", 65, MEDDLED),
    ("modified_externally", 125, IS_SET),
    ("deleted_externally", 65, MEDDLED),
    ("deleted_externally", 125, IS_SET),
    ("lost", 65, MEDDLED),
    ("lost", 600, MEDDLED),
]


def test_every_behaviour_has_a_lock_that_is_named_after_it_and_a_story() -> None:
    locks = {spec.device_id: spec.behaviour for spec in DEFAULT_FLEET}
    for behaviour in Behaviour:
        assert locks[f"lock_{behaviour}"] is behaviour
    assert STORIES.keys() == set(Behaviour) - {Behaviour.NO_ACCESS_CODES}


@pytest.mark.parametrize("behaviour", STORIES)
async def test_a_behaviour_tells_its_story(bench: Bench, behaviour: str) -> None:
    await bench.create(f"lock_{behaviour}", code=PIN)
    await bench.until(days=1)
    assert bench.happened == STORIES[behaviour]


@pytest.mark.parametrize(("behaviour", "seconds", "shown"), OBJECTS)
async def test_seams_object_agrees_with_the_story(bench: Bench, behaviour: str, seconds: int, shown: Shown) -> None:
    ident = await bench.create(f"lock_{behaviour}", code=PIN)
    await bench.until(seconds=seconds)
    assert summary(await bench.code(ident)) == shown


async def test_a_lock_without_access_codes_refuses_them(bench: Bench) -> None:
    status, error = await bench.refused("/access_codes/create", device_id="lock_no_access_codes", code=PIN)
    assert (status, error["type"]) == (400, "device_does_not_support_access_codes")
    device = (await bench.call("/devices/get", device_id="lock_no_access_codes"))["device"]
    assert device["can_program_online_access_codes"] is False
    assert "access_code" not in device["capabilities_supported"]


async def test_a_wrong_pin_is_told_by_event_and_object_alike(bench: Bench) -> None:
    ident = await bench.create("lock_wrong_pin", code=PIN)
    await bench.until(seconds=5)
    told = bench.last("set_on_device")["code"]
    assert told != PIN
    assert len(told) == len(PIN)
    assert (await bench.code(ident))["code"] == told


async def test_the_silent_webhook_is_missing_from_the_deliveries_alone(bench: Bench) -> None:
    await bench.create("lock_silent_webhook", code=PIN)
    await bench.until(minutes=10)
    assert bench.received_types == ["created"]
    listed = await bench.call("/events/list", since="2026-08-03T11:00:00Z")
    assert len(listed["events"]) == 2


async def test_a_failure_carries_the_pin_in_its_free_text_and_all_six_lists(bench: Bench) -> None:
    await bench.create("lock_fails", code=PIN)
    await bench.until(seconds=30)
    event = bench.last("failed_to_set_on_device")
    failure, cause = event["access_code_errors"]
    assert PIN in failure["message"]
    assert cause["error_code"] == "no_space_for_access_code_on_device"
    for owner in ("access_code", "device", "connected_account"):
        assert isinstance(event[f"{owner}_errors"], list)
        assert isinstance(event[f"{owner}_warnings"], list)


async def test_the_failure_of_an_offline_lock_lies_with_the_device(bench: Bench) -> None:
    await bench.create("lock_offline", code=PIN)
    await bench.until(seconds=300)
    event = bench.last("failed_to_set_on_device")
    assert [error["error_code"] for error in event["access_code_errors"]] == ["failed_to_set_on_device"]
    assert [error["error_code"] for error in event["device_errors"]] == ["device_disconnected"]


async def test_speed_shortens_what_a_lock_takes(bench: Bench) -> None:
    fast = Bench(speed=60)
    await fast.create("lock_delays_then_sets", code=PIN)
    await fast.until(seconds=3)
    assert fast.happened == [(0, "created"), (1, "delay_in_setting_on_device"), (3, "set_on_device")]
    await fast.close()


async def test_every_event_has_the_fields_that_all_of_seams_events_have(bench: Bench) -> None:
    ident = await bench.create("lock_sets_at_once", code=PIN)
    await bench.until(seconds=1)
    created, was_set = bench.received
    for event in (created, was_set):
        assert event["access_code_id"] == ident
        assert event["device_id"] == "lock_sets_at_once"
        assert event["workspace_id"] == (await bench.code(ident))["workspace_id"]
        assert event["connected_account_id"]
    assert created["event_id"] != was_set["event_id"]
    assert was_set["occurred_at"] == was_set["created_at"] == "2026-08-03T12:00:01.000Z"
