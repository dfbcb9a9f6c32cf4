"""Windows, changes, removals, backups and locks that come and go."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.worlds import Bench, Json, later

PIN = "4821"


def mutations(code: Json) -> list[str]:
    return [mutation["mutation_code"] for mutation in code["pending_mutations"]]


# Windows.


async def test_a_native_lock_holds_the_code_in_its_memory_until_the_start(bench: Bench) -> None:
    ident = await bench.create("lock_native", starts_at=later(hours=2), ends_at=later(hours=4))
    await bench.until(seconds=20)
    scheduled = await bench.code(ident)
    assert (scheduled["status"], scheduled["is_scheduled_on_device"], mutations(scheduled)) == ("unset", True, [])
    await bench.until(hours=2)
    assert (await bench.code(ident))["status"] == "set"
    await bench.until(hours=5)
    assert await bench.read(ident) is None
    assert bench.happened == [
        (0, "created"),
        (20, "scheduled_on_device"),
        (7_200, "set_on_device"),
        (14_410, "removed_from_device"),
        (14_410, "deleted"),
    ]


@pytest.mark.parametrize(
    ("device", "preference", "hours_before"),
    [
        ("lock_native", True, 72),
        ("lock_native", False, 1),
        ("lock_just_in_time", True, 1),
        ("lock_sets_at_once", True, 1),
    ],
)
async def test_programming_starts_so_many_hours_before_the_start(
    bench: Bench, device: str, preference: bool, hours_before: int
) -> None:
    window = {"starts_at": later(hours=100), "ends_at": later(hours=101)}
    ident = await bench.create(device, prefer_native_scheduling=preference, **window)
    deferred = await bench.code(ident)
    assert (deferred["status"], mutations(deferred)) == ("unset", ["deferring_creation"])
    assert deferred["pending_mutations"][0]["scheduled_at"] == later(hours=100 - hours_before)
    await bench.until(hours=100 - hours_before)
    assert mutations(await bench.code(ident)) == ["creating"]


async def test_speed_leaves_windows_in_real_time() -> None:
    bench = Bench(speed=100)
    await bench.create("lock_native", starts_at=later(hours=1), ends_at=later(hours=2))
    await bench.until(hours=3)
    assert [second for second, _ in bench.happened] == [0, 0, 3_600, 7_200, 7_200]
    await bench.close()


async def test_a_silent_lock_lets_the_window_pass_and_never_says_removed(bench: Bench) -> None:
    ident = await bench.create("lock_silent", starts_at=later(minutes=1), ends_at=later(minutes=10))
    await bench.until(minutes=11)
    assert await bench.read(ident) is None
    assert [kind for _, kind in bench.happened] == ["created", "deleted"]


# Removal.


async def test_a_deleted_code_is_removing_and_then_gone(bench: Bench) -> None:
    ident = await bench.create("lock_sets_at_once", code=PIN)
    await bench.until(seconds=1)
    await bench.call("/access_codes/delete", access_code_id=ident)
    code = await bench.code(ident)
    assert (code["status"], mutations(code)) == ("removing", ["deleting"])
    assert [warning["warning_code"] for warning in code["warnings"]] == ["being_deleted"]
    await bench.until(seconds=11)
    assert await bench.read(ident) is None
    assert bench.happened[-3:] == [(1, "mutations_requested"), (11, "removed_from_device"), (11, "deleted")]
    assert bench.last("deleted")["code"] == PIN


async def test_deleting_twice_is_deleting_once(bench: Bench) -> None:
    ident = await bench.create("lock_sets_at_once")
    for _ in range(2):
        await bench.call("/access_codes/delete", access_code_id=ident)
    await bench.until(minutes=1)
    assert [kind for _, kind in bench.happened].count("deleted") == 1


@pytest.mark.parametrize("by_window", [False, True])
async def test_a_lock_that_never_removes_leaves_the_code_removing(bench: Bench, by_window: bool) -> None:
    window = {"starts_at": later(seconds=10), "ends_at": later(seconds=100)} if by_window else {}
    ident = await bench.create("lock_never_removes", code=PIN, **window)
    await bench.until(seconds=100)
    if not by_window:
        await bench.call("/access_codes/delete", access_code_id=ident)
    await bench.until(days=2)
    assert bench.happened[-2:] == [(160, "delay_in_removing_from_device"), (220, "failed_to_remove_from_device")]
    code = await bench.code(ident)
    assert (code["status"], mutations(code)) == ("removing", ["deleting"])
    assert [error["error_code"] for error in code["errors"]] == ["failed_to_remove_from_device"]
    assert PIN in bench.last("failed_to_remove_from_device")["access_code_errors"][0]["message"]


async def test_a_window_that_is_extended_after_its_end_calls_the_removal_off(bench: Bench) -> None:
    ident = await bench.create("lock_never_removes", starts_at=later(seconds=10), ends_at=later(seconds=100))
    await bench.until(seconds=300)
    await bench.call("/access_codes/update", access_code_id=ident, ends_at=later(hours=2))
    code = await bench.code(ident)
    assert (code["status"], mutations(code), code["errors"]) == ("set", ["updating_time_frame"], [])
    await bench.until(seconds=305)
    assert bench.last("time_frame_changed")["to"]["ends_at"] == later(hours=2)


# Changes.


async def test_a_changed_pin_is_pending_until_the_lock_has_it(bench: Bench) -> None:
    ident = await bench.create("lock_slow", code=PIN)
    await bench.until(seconds=120)
    await bench.call("/access_codes/update", access_code_id=ident, code="7777")
    code = await bench.code(ident)
    (pending,) = code["pending_mutations"]
    assert (code["status"], pending["mutation_code"]) == ("set", "updating_code")
    assert (pending["from"], pending["to"]) == ({"code": PIN}, {"code": "7777"})
    await bench.until(seconds=240)
    code = await bench.code(ident)
    assert (code["code"], code["pending_mutations"]) == ("7777", [])
    assert bench.happened[-3:] == [(120, "mutations_requested"), (240, "code_changed"), (240, "changed")]
    assert bench.last("code_changed")["to"] == {"code": "7777"}
    assert bench.last("changed")["changed_properties"] == [{"property": "code", "from": PIN, "to": "7777"}]


async def test_a_code_that_is_not_on_the_lock_yet_is_programmed_anew_by_a_change(bench: Bench) -> None:
    ident = await bench.create("lock_slow", code=PIN)
    await bench.until(seconds=100)
    await bench.call("/access_codes/update", access_code_id=ident, code="7777")
    await bench.until(minutes=10)
    assert bench.happened == [(0, "created"), (100, "mutations_requested"), (220, "set_on_device")]
    assert bench.last("set_on_device")["code"] == "7777"


async def test_a_change_of_several_things_is_confirmed_thing_by_thing(bench: Bench) -> None:
    ident = await bench.create("lock_native", code=PIN, starts_at=later(hours=2), ends_at=later(hours=4))
    await bench.until(minutes=1)
    change = {"name": "Ada", "code": "7777", "starts_at": later(hours=3)}
    await bench.call("/access_codes/update", access_code_id=ident, **change)
    await bench.until(hours=3)
    confirmed = [kind for _, kind in bench.happened[3:]]
    assert confirmed == [
        "name_changed",
        "changed",
        "code_changed",
        "changed",
        "time_frame_changed",
        "changed",
        "set_on_device",
    ]
    assert bench.happened[-1] == (10_800, "set_on_device")


async def test_an_update_that_changes_nothing_says_nothing(bench: Bench) -> None:
    ident = await bench.create("lock_sets_at_once", code=PIN, name="Ada")
    await bench.call("/access_codes/update", access_code_id=ident, code=PIN, name="Ada")
    await bench.until(minutes=1)
    assert [kind for _, kind in bench.happened] == ["created", "set_on_device"]


async def test_a_time_bound_code_becomes_ongoing_and_outlives_its_window(bench: Bench) -> None:
    ident = await bench.create("lock_sets_at_once", starts_at=later(minutes=1), ends_at=later(minutes=10))
    await bench.until(minutes=5)
    await bench.call("/access_codes/update", access_code_id=ident, type="ongoing")
    await bench.until(hours=1)
    code = await bench.code(ident)
    assert (code["type"], code["starts_at"], code["ends_at"], code["status"]) == ("ongoing", None, None, "set")


@pytest.mark.parametrize(
    ("device", "change_type", "fields"),
    [("lock_modified_externally", "modified", 1), ("lock_deleted_externally", "removed", 0)],
)
async def test_changes_from_outside_stay_where_they_are_allowed(
    bench: Bench, device: str, change_type: str, fields: int
) -> None:
    ident = await bench.create(device, code=PIN, is_external_modification_allowed=True)
    await bench.until(hours=1)
    code = await bench.code(ident)
    (warning,) = code["warnings"]
    assert warning["warning_code"] == "external_modification_in_effect"
    assert (warning["change_type"], len(warning["modified_fields"])) == (change_type, fields)
    assert [kind for _, kind in bench.happened].count("set_on_device") == 1


# Backups, offline codes, foreign codes.


async def test_a_pulled_backup_code_is_another_code_that_is_on_the_lock_at_once(bench: Bench) -> None:
    window = {"starts_at": later(minutes=1), "ends_at": later(hours=1)}
    ident = await bench.create("lock_fails", code=PIN, use_backup_access_code_pool=True, **window)
    assert (await bench.code(ident))["is_backup_access_code_available"] is True
    backup = (await bench.call("/access_codes/pull_backup_access_code", access_code_id=ident))["access_code"]
    assert (backup["is_backup"], backup["status"]) == (True, "set")
    assert (backup["starts_at"], backup["ends_at"]) == (window["starts_at"], window["ends_at"])
    assert backup["code"] != PIN
    code = await bench.code(ident)
    assert code["pulled_backup_access_code_id"] == backup["access_code_id"]
    assert "using_backup_access_code" in [warning["warning_code"] for warning in code["warnings"]]
    assert bench.last("backup_access_code_pulled")["backup_access_code_id"] == backup["access_code_id"]


async def test_a_code_without_a_pool_has_no_backup(bench: Bench) -> None:
    ident = await bench.create("lock_fails")
    status, error = await bench.refused("/access_codes/pull_backup_access_code", access_code_id=ident)
    assert (status, error["type"]) == (400, "no_backup_access_code_available")


async def test_an_offline_code_is_valid_when_made_and_never_confirmed(bench: Bench) -> None:
    window = {"starts_at": later(hours=1), "ends_at": later(hours=2)}
    ident = await bench.create("lock_offline_codes", is_offline_access_code=True, **window)
    await bench.until(minutes=90)
    code = await bench.code(ident)
    assert (code["is_offline_access_code"], code["status"], code["pending_mutations"]) == (True, "set", [])
    assert [kind for _, kind in bench.happened] == ["created"]
    status, error = await bench.refused("/access_codes/delete", access_code_id=ident)
    assert (status, error["type"]) == (400, "cannot_delete_offline_access_code")


async def test_a_pin_that_a_foreign_code_holds_fails_for_good(bench: Bench) -> None:
    foreign = await bench.call(
        "/access_codes/simulate/create_unmanaged_access_code", device_id="lock_sets_at_once", code=PIN, name="Cleaner"
    )
    ident = await bench.create("lock_sets_at_once", code=PIN)
    await bench.until(minutes=1)
    _, cause = (await bench.code(ident))["errors"]
    assert cause["error_code"] == "duplicate_code_on_device"
    assert cause["unmanaged_access_code_id"] == foreign["access_code"]["access_code_id"]
    listed = await bench.call("/access_codes/unmanaged/list", device_id="lock_sets_at_once")
    assert [code["name"] for code in listed["access_codes"]] == ["Cleaner"]


async def test_a_pin_of_a_length_that_the_lock_does_not_take_fails_for_good(bench: Bench) -> None:
    ident = await bench.create("lock_four_digits", code="123456")
    await bench.until(minutes=1)
    _, cause = (await bench.code(ident))["errors"]
    assert cause["error_code"] == "code_constraints_violated"


# Locks that come and go.


async def control(bench: Bench, device: str, **settings: Any) -> Json:
    answer = await bench.call(f"/sandbox/devices/{device}", **settings)
    found: Json = answer["device"]
    return found


async def test_a_lock_that_comes_back_sets_what_it_owes(bench: Bench) -> None:
    ident = await bench.create("lock_offline", code=PIN)
    await bench.until(minutes=10)
    await control(bench, "lock_offline", online=True)
    await bench.until(minutes=11)
    assert [kind for _, kind in bench.happened[-2:]] == ["device.connected", "set_on_device"]
    assert (await bench.code(ident))["errors"] == []


async def test_a_lock_that_goes_away_delays_what_it_was_about_to_set(bench: Bench) -> None:
    await bench.create("lock_slow", code=PIN)
    await control(bench, "lock_slow", online=False)
    await bench.until(minutes=10)
    assert bench.happened == [
        (0, "created"),
        (0, "device.disconnected"),
        (60, "delay_in_setting_on_device"),
        (300, "failed_to_set_on_device"),
    ]


async def test_a_code_on_a_lock_that_is_away_cannot_be_removed(bench: Bench) -> None:
    ident = await bench.create("lock_sets_at_once")
    await bench.until(seconds=1)
    await control(bench, "lock_sets_at_once", online=False)
    await bench.call("/access_codes/delete", access_code_id=ident)
    await bench.until(seconds=301)
    assert bench.happened[-1] == (301, "failed_to_remove_from_device")
    await control(bench, "lock_sets_at_once", online=True)
    await bench.until(seconds=311)
    assert await bench.read(ident) is None


async def test_a_change_that_a_lock_missed_is_made_up_for_when_it_comes_back(bench: Bench) -> None:
    ident = await bench.create("lock_sets_at_once", code=PIN)
    await bench.until(seconds=1)
    await control(bench, "lock_sets_at_once", online=False)
    await bench.call("/access_codes/update", access_code_id=ident, code="7777")
    await bench.until(seconds=30)
    await control(bench, "lock_sets_at_once", online=True)
    await bench.until(seconds=31)
    assert bench.happened[-2:] == [(31, "code_changed"), (31, "changed")]


async def test_a_silent_lock_that_gets_another_behaviour_wakes_up(bench: Bench) -> None:
    await bench.create("lock_silent")
    await bench.until(hours=1)
    await control(bench, "lock_silent", behaviour="sets_at_once")
    await bench.until(hours=1, seconds=1)
    assert bench.happened[-1] == (3_601, "set_on_device")


async def test_a_lock_takes_as_long_as_it_is_told(bench: Bench) -> None:
    await control(bench, "lock_slow", set_after_seconds=700)
    await bench.create("lock_slow")
    await bench.until(hours=1)
    assert bench.happened[-1] == (700, "set_on_device")


async def test_a_lock_fails_for_the_cause_that_it_is_told(bench: Bench) -> None:
    await control(bench, "lock_fails", error_code="a_code_that_nobody_knows")
    ident = await bench.create("lock_fails")
    await bench.until(minutes=1)
    assert (await bench.code(ident))["errors"][1]["error_code"] == "a_code_that_nobody_knows"
