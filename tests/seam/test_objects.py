"""Seam's objects, as odd as they come, read as values of the domain."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.domain.codes import CodeType
from app.domain.fingerprints import same_pin
from app.domain.news import IssueSource
from app.seam.capability import can_program, schedules_natively
from app.seam.objects import next_cursor, read_created, read_device, read_generated_code, read_snapshot, read_unmanaged
from tests.seam.support import CODE, DEVICE, FINGERPRINTER, OUR_TIME, PIN, WORKSPACE, Json, access_code

STARTS = "2026-08-04T14:00:00.000Z"
ENDS = "2026-08-05T12:00:00+02:00"


def test_an_access_code_becomes_a_snapshot() -> None:
    obj = access_code(
        type="time_bound",
        status="set",
        starts_at=STARTS,
        ends_at=ENDS,
        is_backup=True,
        is_scheduled_on_device=True,
        is_offline_access_code=True,
        is_one_time_use=True,
        pulled_backup_access_code_id="code-2",
        pending_mutations=[{"mutation_code": "updating_code", "from": {"code": "1111"}, "to": {"code": PIN}}],
    )
    snapshot = read_snapshot(obj, FINGERPRINTER)
    assert snapshot.access_code_id == CODE
    assert snapshot.device_id == DEVICE
    assert snapshot.workspace_id == WORKSPACE
    assert snapshot.name == "Ada"
    assert snapshot.type is CodeType.TIME_BOUND
    assert snapshot.status == "set"
    assert snapshot.starts_at == datetime(2026, 8, 4, 14, tzinfo=UTC)
    assert snapshot.ends_at == datetime(2026, 8, 5, 10, tzinfo=UTC)
    assert snapshot.created_at == datetime(2026, 8, 3, 11, 59, 59, 500_000, tzinfo=UTC)
    assert snapshot.pending == ("updating_code",)
    assert snapshot.is_managed
    assert snapshot.is_backup
    assert snapshot.is_scheduled_on_device
    assert snapshot.is_offline
    assert snapshot.is_one_time_use
    assert snapshot.pulled_backup_access_code_id == "code-2"


@pytest.mark.parametrize("shown", ["the old", "the new"])
def test_a_pending_update_counts_as_made(shown: str) -> None:
    """Whichever values Seam shows until the lock has the change: accepted is what it ends with."""
    before = {"name": "Ada", "code": "1111", "starts_at": STARTS, "ends_at": ENDS, "type": "time_bound"}
    after: Json = {"name": "Ben", "code": PIN, "starts_at": None, "ends_at": None, "type": "ongoing"}
    mutations = [
        {"mutation_code": f"updating_{what}", "from": _some(before, *names), "to": _some(after, *names)}
        for what, names in (("name", ["name"]), ("code", ["code"]), ("time_frame", ["starts_at", "ends_at"]))
    ]
    obj = access_code(**(before if shown == "the old" else after), pending_mutations=mutations)
    snapshot = read_snapshot(obj, FINGERPRINTER)
    assert same_pin(snapshot.pin, FINGERPRINTER.pin(DEVICE, PIN))
    assert (snapshot.name, snapshot.type, snapshot.starts_at, snapshot.ends_at) == ("Ben", CodeType.ONGOING, None, None)
    assert snapshot.pending == ("updating_name", "updating_code", "updating_time_frame")


def _some(values: Json, *names: str) -> Json:
    return {name: values[name] for name in names}


def test_a_name_loses_its_own_pin_and_keeps_other_digits() -> None:
    snapshot = read_snapshot(access_code(name=f"Ada 2027, PIN {PIN}"), FINGERPRINTER)
    assert snapshot.name == "Ada 2027, PIN •••"


def test_a_snapshot_holds_the_fingerprint_and_nowhere_the_pin() -> None:
    obj = access_code(errors=[{"error_code": "provider_issue", "message": f"The lock said: {PIN} is taken"}])
    snapshot = read_snapshot(obj, FINGERPRINTER)
    assert same_pin(snapshot.pin, FINGERPRINTER.pin(DEVICE, PIN))
    assert PIN not in repr(snapshot)


@pytest.mark.parametrize(
    ("changes", "pin"),
    [
        ({"code": None}, None),
        ({"code": ""}, None),
        ({"code": 4821}, None),
        ({"device_id": None}, None),
        ({}, FINGERPRINTER.pin(DEVICE, PIN)),
    ],
)
def test_a_pin_without_its_lock_has_no_fingerprint(changes: Json, pin: str | None) -> None:
    assert read_snapshot(access_code(**changes), FINGERPRINTER).pin == pin


@pytest.mark.parametrize(
    ("changes", "pending"),
    [
        ({}, None),  # older API versions and the stand-in do not have the field: nothing is known
        ({"pending_mutations": None}, None),
        ({"pending_mutations": "creating"}, None),
        ({"pending_mutations": []}, ()),  # nothing is pending: this is a fact
        ({"pending_mutations": [{"mutation_code": "creating"}, 7, {}]}, ("creating",)),
    ],
)
def test_absent_pending_mutations_are_not_the_same_as_none(changes: Json, pending: tuple[str, ...] | None) -> None:
    assert read_snapshot(access_code(**changes), FINGERPRINTER).pending == pending


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"type": "ongoing"}, CodeType.ONGOING),
        ({"type": "time_bound"}, CodeType.TIME_BOUND),
        ({"type": None, "starts_at": STARTS}, CodeType.TIME_BOUND),
        ({"type": "forever", "starts_at": None}, CodeType.ONGOING),
    ],
)
def test_an_unknown_type_goes_by_the_window(changes: Json, expected: CodeType) -> None:
    assert read_snapshot(access_code(**changes), FINGERPRINTER).type is expected


def test_errors_and_warnings_of_a_code_keep_whose_they_are() -> None:
    obj = access_code(
        errors=[
            {"error_code": "failed_to_set_on_device", "message": "No", "is_access_code_error": True},
            {"error_code": "device_disconnected", "message": "Away", "is_device_error": True},
            {"error_code": "account_disconnected", "message": "Out", "is_connected_account_error": True},
        ],
        warnings=[{"warning_code": "delay_in_setting_on_device", "message": "Slow", "created_at": STARTS}],
    )
    snapshot = read_snapshot(obj, FINGERPRINTER)
    assert [(issue.code, issue.source) for issue in snapshot.errors] == [
        ("failed_to_set_on_device", IssueSource.ACCESS_CODE),
        ("device_disconnected", IssueSource.DEVICE),
        ("account_disconnected", IssueSource.ACCOUNT),
    ]
    assert [issue.code for issue in snapshot.warnings] == ["delay_in_setting_on_device"]
    assert snapshot.warnings[0].created_at == datetime(2026, 8, 4, 14, tzinfo=UTC)


def test_a_pin_with_letters_is_cut_out_of_issues_wherever_the_object_holds_it() -> None:
    obj = access_code(
        code="XK7P",
        pending_mutations=[{"mutation_code": "updating_code", "from": {"code": "OLD1"}, "to": {"code": "NEW2"}}],
        errors=[{"error_code": "provider_issue", "message": "XK7P was OLD1 and will be NEW2"}],
    )
    assert read_snapshot(obj, FINGERPRINTER).errors[0].message == "••• was ••• and will be •••"


def test_an_unmanaged_code_is_marked_even_if_seam_leaves_it_out() -> None:
    obj = access_code()
    del obj["is_managed"]
    assert read_snapshot(obj, FINGERPRINTER).is_managed
    assert not read_unmanaged(obj, FINGERPRINTER).is_managed


def test_a_created_code_has_its_pin_and_hides_it() -> None:
    created = read_created(access_code(), FINGERPRINTER)
    assert created.pin == PIN
    assert PIN not in repr(created)


@pytest.mark.parametrize("access_code_id", [None, "", 7, ["code-1"]])
def test_an_access_code_without_an_id_is_none(access_code_id: object) -> None:
    with pytest.raises(ValueError, match="access_code_id"):
        read_snapshot(access_code(access_code_id=access_code_id), FINGERPRINTER)


@pytest.mark.parametrize(
    ("answer", "pin"),
    [
        ({"access_code": {"code": "2468", "device_id": DEVICE}}, "2468"),  # the documentation
        ({"generated_code": {"code": "2468", "device_id": DEVICE}}, "2468"),  # the stand-in
        ({"access_code": {"code": None}}, None),
    ],
)
def test_a_generated_code_is_found_under_either_name(answer: Json, pin: str | None) -> None:
    assert read_generated_code(answer) == pin


@pytest.mark.parametrize(
    ("pagination", "cursor"),
    [
        ({"has_next_page": True, "next_page_cursor": "abc"}, "abc"),
        ({"has_next_page": False, "next_page_cursor": "abc"}, None),
        ({"has_next_page": True, "next_page_cursor": None}, None),
        (None, None),
    ],
)
def test_there_is_a_next_page_only_if_seam_says_so_and_how(pagination: object, cursor: str | None) -> None:
    assert next_cursor({"pagination": pagination}) == cursor


def _device(**changes: object) -> Json:
    return {
        "device_id": DEVICE,
        "workspace_id": WORKSPACE,
        "connected_account_id": "account-1",
        "device_type": "august_lock",
        "display_name": "Front door",
        "can_program_online_access_codes": True,
        "errors": [],
        "warnings": [],
        "properties": {"online": True, "battery": {"level": 0.5, "status": "good"}, "manufacturer": "august"},
        **changes,
    }


def test_a_device_becomes_a_device_read() -> None:
    obj = _device(
        errors=[{"error_code": "device_disconnected", "message": "Away", "is_device_error": True}],
        warnings=[{"warning_code": "power_saving_mode", "message": "Saving"}],
        properties={
            "online": False,
            "battery": {"level": 0.07, "status": "critical"},
            "supported_code_lengths": [4, 6.0, "8", None, True, 4.5, float("inf"), float("nan"), 10**400],
            "supports_backup_access_code_pool": True,
        },
    )
    read = read_device(obj, OUR_TIME)
    assert (read.at, read.device_id, read.workspace_id, read.connected_account_id) == (
        OUR_TIME,
        DEVICE,
        WORKSPACE,
        "account-1",
    )
    assert (read.name, read.device_type, read.is_managed, read.online) == ("Front door", "august_lock", True, False)
    assert (read.battery_level, read.battery_status) == (0.07, "critical")
    assert (read.can_program_online, read.can_program_offline) == (True, None)
    assert read.schedules_natively is True
    assert read.supports_backup_pool is True
    assert read.supported_code_lengths == (4, 6)
    assert [issue.code for issue in read.errors] == ["device_disconnected"]
    assert [issue.code for issue in read.warnings] == ["power_saving_mode"]


def test_an_older_device_tells_its_battery_beside_its_other_properties() -> None:
    assert read_device(_device(properties={"battery_level": 0.9}), OUR_TIME).battery_level == 0.9


@pytest.mark.parametrize(
    ("flags", "online", "offline"),
    [
        ({"can_program_online_access_codes": True, "can_program_offline_access_codes": True}, True, True),
        ({"can_program_online_access_codes": False, "capabilities_supported": ["access_code"]}, False, None),
        ({"can_program_offline_access_codes": True, "capabilities_supported": ["access_code"]}, None, True),
        ({"capabilities_supported": ["lock", "access_code"]}, True, None),
        ({"capabilities_supported": ["lock"]}, False, None),
        ({"capabilities_supported": None}, None, None),
        ({}, None, None),
        ({"can_program_online_access_codes": "yes"}, None, None),
    ],
)
def test_what_a_lock_can_program(flags: Json, online: bool | None, offline: bool | None) -> None:
    """The flags decide; the older list, which does not tell online from offline, counts only where there is no flag."""
    obj = _device(**flags)
    if "can_program_online_access_codes" not in flags:
        del obj["can_program_online_access_codes"]
    read = read_device(obj, OUR_TIME)
    assert (can_program(read, offline=False), can_program(read, offline=True)) == (online, offline)


@pytest.mark.parametrize(
    ("device_type", "manufacturer", "natively"),
    [
        ("two_n_intercom", None, True),
        ("august_lock", "august", True),
        ("igloohome_lock", None, True),
        ("kwikset_lock", None, True),
        ("nuki_lock", None, True),
        ("salto_lock", None, True),
        ("schlage_lock", None, True),
        ("tedee_lock", None, True),
        ("ttlock_lock", None, True),
        ("yale_lock", None, True),
        ("wyze_lock", None, True),
        (None, "Yale", True),
        (None, "2n", True),
        ("smartthings_lock", "yale", False),
        ("dormakaba_oracode_door", None, False),
        ("lockly_lock", None, False),
        (None, "lockly", False),
        ("akiles_lock", None, None),
        (None, None, None),
    ],
)
def test_which_locks_keep_a_schedule(device_type: str | None, manufacturer: str | None, natively: bool | None) -> None:
    assert schedules_natively(device_type, manufacturer) is natively


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(access_code(pending_mutations=[]))), _JSON)
def test_any_json_in_any_field_but_the_id_of_a_code_is_read(name: str, value: object) -> None:
    assume(name != "access_code_id")
    assert read_snapshot(access_code(**{name: value}), FINGERPRINTER).access_code_id == CODE


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(_device(device_manufacturer={}))),
    st.dictionaries(st.sampled_from(["battery", "battery_level", "online", "supported_code_lengths"]), _JSON) | _JSON,
)
def test_any_json_in_any_field_but_the_id_of_a_device_is_read(name: str, value: object) -> None:
    assume(name != "device_id")
    assert read_device(_device(**{name: value}), OUR_TIME).device_id == DEVICE
