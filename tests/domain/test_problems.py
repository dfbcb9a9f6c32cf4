"""What an operator reads about Seam's codes."""

from __future__ import annotations

import pytest

from app.domain import problems
from app.domain.news import Issue, IssueSource
from app.domain.problem_table import ROWS, UNRELATED, Row
from app.domain.problems import PROBLEMS, blocks, is_permanent, problem_of, source_of

CODE, DEVICE, ACCOUNT = IssueSource.ACCESS_CODE, IssueSource.DEVICE, IssueSource.ACCOUNT

# Seam's documented codes and their older names: T heals by itself, P needs a person.
DOCUMENTED = {
    "T": [
        "failed_to_set_on_device",
        "failed_to_remove_from_device",
        "conflicting_external_modification",
        "code_modified_external_to_seam",
        "access_code_state_unconfirmed",
        "kwikset_unable_to_confirm_code",
        "kwikset_unable_to_confirm_deletion",
        "august_device_programming_delay",
        "august_lock_temporarily_offline",
        "provider_issue",
        "device_disconnected",
        "device_offline",
        "hub_disconnected",
        "bridge_disconnected",
        "empty_backup_access_code_pool",
        "delay_in_setting_on_device",
        "delay_in_removing_from_device",
        "time_frame_adjusted_for_unknown_time_zone",
        "schlage_access_code_ambiguous_timezone_dst_risk",
        "device_has_flaky_connection",
        "device_communication_degraded",
        "max_access_codes_reached",
        "many_active_backup_codes",
        "partial_backup_access_code_pool",
        "power_saving_mode",
        "accessory_keypad_low_battery",
        "privacy_mode",
        "failed_to_issue",
        "failed_to_update",
        "failed_to_delete",
        "delay_in_issuing",
        "provider_service_unavailable",
    ],
    "P": [
        "duplicate_code_on_device",
        "conflicting_unmanaged_access_code_id",
        "schlage_detected_duplicate",
        "no_space_for_access_code_on_device",
        "august_device_slots_full",
        "smartthings_no_free_slots_available",
        "code_constraints_violated",
        "august_lock_bad_access_code_format",
        "access_code_inactive",
        "ultraloq_access_code_disabled",
        "replaced_by_newer_access_code",
        "insufficient_permissions",
        "salto_ks_user_not_subscribed",
        "salto_site_user_not_subscribed",
        "august_lock_missing_keypad",
        "smartthings_failed_to_set_after_multiple_retries",
        "device_removed",
        "missing_device_credentials",
        "subscription_required",
        "august_lock_missing_bridge",
        "account_disconnected",
        "using_backup_access_code",
        "external_modification_in_effect",
        "third_party_integration_detected",
        "august_lock_not_authorized",
        "salto_ks_subscription_limit_exceeded",
        "dormakaba_sites_disconnected",
    ],
}
SETS = [
    "SETTING_FAILED",
    "SETTING_DELAYED",
    "REMOVAL_ERRORS",
    "EXTERNAL_MODIFICATION",
    "SLOTS_FULL",
    "OFFLINE",
    "ACCOUNT_LOST",
    "DEVICE_GONE",
    "DST_WARNINGS",
    "RISK_WARNINGS",
    "BLOCKING",
]


def error(code: str, source: IssueSource = CODE, message: str = "") -> Issue:
    return Issue(code, message, source, is_error=True)


def warning(code: str, source: IssueSource = CODE, message: str = "") -> Issue:
    return Issue(code, message, source, is_error=False)


@pytest.mark.parametrize(("mark", "code"), [(mark, code) for mark, codes in DOCUMENTED.items() for code in codes])
def test_every_documented_code_is_known_and_heals_or_needs_a_person(mark: str, code: str) -> None:
    assert PROBLEMS[code].is_permanent is (mark == "P")


def test_no_code_has_two_meanings() -> None:
    codes = [code for row in ROWS for code in row.codes]
    assert len(codes) == len(set(codes))
    assert not UNRELATED.intersection(codes)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.codes[0])
def test_every_row_says_what_is_wrong_and_what_to_do_in_whole_sentences(row: Row) -> None:
    for sentence in (row.meaning, row.remedy):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "  " not in sentence


@pytest.mark.parametrize("name", SETS)
def test_the_sets_that_verdicts_use_hold_codes_of_the_table_with_all_their_names(name: str) -> None:
    codes = getattr(problems, name)
    assert codes <= PROBLEMS.keys()
    current = {code for code in codes if PROBLEMS[code].codes[0] == code}
    assert codes
    assert current or name == "REMOVAL_ERRORS"


@pytest.mark.parametrize(
    ("issues", "first"),
    [
        ([error("failed_to_set_on_device"), error("duplicate_code_on_device")], "duplicate_code_on_device"),
        ([error("failed_to_set_on_device"), error("device_disconnected", DEVICE)], "device_disconnected"),
        ([error("device_disconnected", DEVICE), error("account_disconnected", ACCOUNT)], "account_disconnected"),
        ([error("device_removed", DEVICE), error("account_disconnected", ACCOUNT)], "device_removed"),
        ([error("device_removed", DEVICE), error("duplicate_code_on_device")], "duplicate_code_on_device"),
        ([warning("delay_in_setting_on_device"), error("failed_to_set_on_device")], "failed_to_set_on_device"),
        ([warning("using_backup_access_code"), error("device_removed", DEVICE)], "device_removed"),
        ([error("failed_to_set_on_device"), error("not_heard_of")], "not_heard_of"),
        ([warning("power_saving_mode", DEVICE), warning("unreliable_online_status", DEVICE)], "power_saving_mode"),
    ],
)
def test_the_worst_cause_is_told_whatever_the_order(issues: list[Issue], first: str) -> None:
    for order in (issues, issues[::-1]):
        problem = problem_of(order)
        assert problem is not None
        assert problem.code == first


@pytest.mark.parametrize("issues", [[], [warning("unreliable_online_status", DEVICE)], [warning("being_deleted")]])
def test_what_has_no_bearing_on_the_code_is_no_problem(issues: list[Issue]) -> None:
    assert problem_of(issues) is None


@pytest.mark.parametrize("source", list(IssueSource))
def test_a_problem_tells_whose_it_is(source: IssueSource) -> None:
    problem = problem_of([error("provider_issue", source)])
    assert problem is not None
    assert problem.kind == source.value


def test_an_old_name_is_told_as_seam_wrote_it_with_the_meaning_of_the_new_one() -> None:
    old, new = (
        problem_of([error("august_device_slots_full")]),
        problem_of([error("no_space_for_access_code_on_device")]),
    )
    assert old is not None
    assert new is not None
    assert (old.code, old.message) == ("august_device_slots_full", new.message)


@pytest.mark.parametrize(
    ("message", "told"),
    [("The lock caught fire.", "The lock caught fire."), ("", "Seam reports lock_on_fire and says no more about it.")],
)
def test_an_unknown_code_is_told_in_seams_own_words(message: str, told: str) -> None:
    problem = problem_of([error("lock_on_fire", message=message)])
    assert problem is not None
    assert (problem.message, problem.temporary) == (told, True)
    assert "support" in problem.remedy


@pytest.mark.parametrize(
    ("code", "permanent"),
    [("newbrand_missing_gateway", True), ("newbrand_device_removed", True), ("newbrand_hiccup", False)],
)
def test_an_unknown_code_is_temporary_unless_its_name_says_that_something_is_gone(code: str, permanent: bool) -> None:
    assert is_permanent(error(code, DEVICE)) is permanent


@pytest.mark.parametrize(
    ("issue", "is_blocking"),
    [
        (error("failed_to_set_on_device"), True),
        (error("duplicate_code_on_device"), True),
        (error("access_code_inactive"), True),
        (error("not_heard_of"), True),
        (error("failed_to_remove_from_device"), False),
        (error("kwikset_unable_to_confirm_deletion"), False),
        (error("conflicting_external_modification"), False),
        (error("failed_to_update"), False),
        (error("device_disconnected", DEVICE), False),
        (error("not_heard_of", DEVICE), False),
        (warning("delay_in_setting_on_device"), False),
    ],
)
def test_only_errors_of_the_code_itself_forbid_to_believe_that_it_is_on(issue: Issue, is_blocking: bool) -> None:
    assert blocks(issue) is is_blocking


@pytest.mark.parametrize(
    ("code", "source"),
    [
        ("failed_to_set_on_device", CODE),
        ("device_offline", DEVICE),
        ("account_disconnected", ACCOUNT),
        ("provider_issue", None),
        ("not_heard_of", None),
    ],
)
def test_a_code_knows_whose_it_is_where_that_is_certain(code: str, source: IssueSource | None) -> None:
    assert source_of(code) is source
