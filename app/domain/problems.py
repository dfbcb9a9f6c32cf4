"""What Seam's error and warning codes mean, whether they heal by themselves, and what an operator should do.

The table (``problem_table``) is built from Seam's documented codes and their older names. Seam's lists drift: a code
that is not in the table counts as temporary, and its message, already redacted, is passed on.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.assessment import Problem
from app.domain.news import Issue, IssueSource
from app.domain.problem_table import ROWS, UNRELATED, Row

_SOURCES = (IssueSource.ACCESS_CODE, IssueSource.DEVICE, IssueSource.ACCOUNT)

PROBLEMS: dict[str, Row] = {code: row for row in ROWS for code in row.codes}

SETTING_FAILED = frozenset(
    {"failed_to_set_on_device", "failed_to_issue", "smartthings_failed_to_set_access_code"}
    | {"smartthings_failed_to_set_after_multiple_retries"}
)
SETTING_DELAYED = frozenset({"delay_in_setting_on_device", "delay_in_issuing"})
CHANGE_FAILED = frozenset({"failed_to_update"})
REMOVAL_ERRORS = frozenset(
    {"failed_to_remove_from_device", "failed_to_delete", "failed_to_expire", "kwikset_unable_to_confirm_deletion"}
)
EXTERNAL_MODIFICATION = frozenset(
    {"conflicting_external_modification", "code_modified_external_to_seam", "external_modification_in_effect"}
)
SLOTS_FULL = frozenset(
    {"no_space_for_access_code_on_device", "august_device_slots_full", "smartthings_no_free_slots_available"}
    | {"max_access_codes_reached"}
)
OFFLINE = frozenset(
    {"device_disconnected", "device_offline", "hub_disconnected", "bridge_disconnected", "seam_bridge_disconnected"}
    | {"august_lock_temporarily_offline", "account_disconnected", "dormakaba_sites_disconnected"}
    | {"provider_service_unavailable"}
)
# What blinds us: with these nothing that was known about the codes is certain any more.
ACCOUNT_LOST = frozenset({"account_disconnected", "invalid_credentials"})
DEVICE_GONE = frozenset({"device_removed"})
DST_WARNINGS = frozenset(
    {"time_frame_adjusted_for_unknown_time_zone", "schlage_access_code_ambiguous_timezone_dst_risk"}
)
RISK_WARNINGS = frozenset(
    {"device_has_flaky_connection", "device_communication_degraded", "max_access_codes_reached"}
    | {"many_active_backup_codes", "partial_backup_access_code_pool", "power_saving_mode", "privacy_mode"}
    | {"accessory_keypad_low_battery", "salto_ks_privacy_mode", "salto_ks_office_mode", "ttlock_weak_gateway_signal"}
    | {"accessory_keypad_setup_required", "third_party_integration_detected", "scheduled_maintenance_window"}
    | {"salto_ks_lock_access_code_support_removed", "provider_service_unavailable"}
)
# Errors of the access code itself with which it cannot be believed to be on the lock. Ask ``blocks``: it also knows
# what to make of codes that are not in any list.
BLOCKING = frozenset(
    code for code, row in PROBLEMS.items() if row.is_error and row.source in (None, IssueSource.ACCESS_CODE)
) - (REMOVAL_ERRORS | EXTERNAL_MODIFICATION | CHANGE_FAILED)


def blocks(issue: Issue) -> bool:
    """Whether a code that carries this issue cannot be believed to be on the lock."""
    if not issue.is_error or issue.source is not IssueSource.ACCESS_CODE:
        return False
    return issue.code in BLOCKING or issue.code not in PROBLEMS


def source_of(code: str) -> IssueSource | None:
    """Whose problem a code always is; ``None`` when it may be anybody's, or the code is unknown."""
    row = PROBLEMS.get(code)
    return row.source if row else None


def is_permanent(issue: Issue) -> bool:
    """Whether a person has to act before this goes away."""
    row = PROBLEMS.get(issue.code)
    if row is not None:
        return row.is_permanent
    return issue.code.endswith(("_missing_bridge", "_missing_gateway")) or "removed" in issue.code


def problem_of(issues: Sequence[Issue]) -> Problem | None:
    """The one issue that a person should read first, as a problem with its remedy; ``None`` when nothing is wrong.

    Permanent before temporary (a generic "will retry" must not hide the cause), errors before warnings, causes before
    mere symptoms, then the code's own before its device's before its account's.
    """
    related = [issue for issue in issues if issue.code not in UNRELATED]
    return _problem(min(related, key=_urgency)) if related else None


def _urgency(issue: Issue) -> tuple[bool, bool, bool, int]:
    row = PROBLEMS.get(issue.code)
    is_symptom = row is not None and row.is_symptom
    return not is_permanent(issue), not issue.is_error, is_symptom, _SOURCES.index(issue.source)


def _problem(issue: Issue) -> Problem:
    row = PROBLEMS.get(issue.code)
    if row is None:
        meaning = issue.message or f"Seam reports {issue.code} and says no more about it."
        remedy = "Read Seam's message; if it does not help, ask Seam's support."
    else:
        meaning, remedy = row.meaning, row.remedy
    return Problem(
        kind=issue.source.value, code=issue.code, message=meaning, temporary=not is_permanent(issue), remedy=remedy
    )
