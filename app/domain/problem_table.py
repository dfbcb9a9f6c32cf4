"""The table behind ``problems``: one row for each of Seam's codes, with its older names."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.news import IssueSource

_CODE = IssueSource.ACCESS_CODE
_DEVICE = IssueSource.DEVICE
_ACCOUNT = IssueSource.ACCOUNT


@dataclass(frozen=True, slots=True)
class Row:
    """``codes`` holds the current name first. ``source`` is ``None`` when codes, devices and accounts may all have it.
    A symptom says that something goes wrong, and not why."""

    codes: tuple[str, ...]
    source: IssueSource | None
    is_error: bool
    is_permanent: bool
    meaning: str
    remedy: str
    is_symptom: bool = False


def _error(
    codes: str, source: IssueSource | None, meaning: str, remedy: str, *, person: bool, symptom: bool = False
) -> Row:
    return Row(tuple(codes.split()), source, True, person, meaning, remedy, symptom)


def _warning(
    codes: str, source: IssueSource | None, meaning: str, remedy: str, *, person: bool = False, symptom: bool = False
) -> Row:
    return Row(tuple(codes.split()), source, False, person, meaning, remedy, symptom)


CODE_ERRORS = (
    _error(
        "failed_to_set_on_device failed_to_issue smartthings_failed_to_set_access_code",
        _CODE,
        "Seam could not put the code on the lock and keeps trying.",
        "Read the errors beside this one; is the lock online? If the guest arrives soon, pull a backup code.",
        person=False,
        symptom=True,
    ),
    _error(
        "failed_to_remove_from_device failed_to_delete failed_to_expire",
        _CODE,
        "Seam could not take the code off the lock; it may still open the door.",
        "Look for the code in the vendor's app and delete it there; until then count on it working.",
        person=False,
        symptom=True,
    ),
    _error(
        "failed_to_update",
        _CODE,
        "Seam could not bring the change to the lock; the old PIN or window still applies, and Seam keeps trying.",
        "Check that the lock is online. Until the change is confirmed, tell the guest what applied before.",
        person=False,
        symptom=True,
    ),
    _error(
        "duplicate_code_on_device duplicate_code_attempt_prevented duplicate_code conflicting_unmanaged_access_code_id "
        "schlage_detected_duplicate",
        _CODE,
        "Another code on this lock already has the same PIN.",
        "Delete the other code or convert it to a managed one, or give this code another PIN.",
        person=True,
    ),
    _error(
        "no_space_for_access_code_on_device august_device_slots_full smartthings_no_free_slots_available",
        _CODE,
        "The lock has no free slot for another code.",
        "Delete codes that have ended, and codes made outside Seam, from the lock.",
        person=True,
    ),
    _error(
        "code_constraints_violated august_lock_bad_access_code_format august_lock_invalid_code_length",
        _CODE,
        "The lock does not take a PIN like this one, and Seam will not try it again.",
        "Choose a PIN that fits the lock's code_constraints and supported_code_lengths.",
        person=True,
    ),
    _error(
        "conflicting_external_modification code_modified_external_to_seam",
        _CODE,
        "Somebody changed or deleted the code in the vendor's app; Seam is putting it back.",
        "Tell whoever manages the vendor's app, or allow external changes for this code.",
        person=False,
    ),
    _error(
        "access_code_inactive ultraloq_access_code_disabled",
        _CODE,
        "The code is on the lock, but it is disabled and opens nothing.",
        "Enable the code in the vendor's app.",
        person=True,
    ),
    _error(
        "access_code_state_unconfirmed kwikset_unable_to_confirm_code",
        _CODE,
        "The vendor cannot confirm whether the code is on the lock.",
        "Look for codes with the same PIN that were made outside Seam. If it stays so, change the PIN.",
        person=False,
    ),
    _error(
        "kwikset_unable_to_confirm_deletion",
        _CODE,
        "The vendor cannot confirm that the code is off the lock; it may still open the door.",
        "Look for the code in the vendor's app and delete it there if it is still listed.",
        person=False,
    ),
    _error(
        "replaced_by_newer_access_code",
        _CODE,
        "A newer code took this code's slot on the lock.",
        "Create the code again, and check who else makes codes on this lock.",
        person=True,
    ),
    _error(
        "salto_ks_user_not_subscribed salto_site_user_not_subscribed",
        _CODE,
        "The Salto site has no seat for this code's user.",
        "Free seats on the Salto site or raise its plan.",
        person=True,
    ),
    _error(
        "august_device_programming_delay august_lock_temporarily_offline",
        _CODE,
        "The lock is hard to reach at the moment, so programming takes longer.",
        "Check the lock's Wi-Fi and bridge, then lock and unlock it once through Seam.",
        person=False,
    ),
    _error(
        "august_lock_missing_keypad",
        _CODE,
        "The lock has no keypad, so no PIN can be typed.",
        "Install a keypad and pair it with the lock.",
        person=True,
    ),
    _error(
        "smartthings_failed_to_set_after_multiple_retries",
        _CODE,
        "The hub refused the code several times; another lock manager on the hub is probably in the way.",
        "Switch off other lock software on the SmartThings hub.",
        person=True,
    ),
    _error(
        "provider_issue",
        None,
        "The lock's vendor reported a fault of its own.",
        "Read Seam's message and look at the vendor's status page.",
        person=False,
        symptom=True,
    ),
)

DEVICE_ERRORS = (
    _error(
        "device_disconnected device_offline",
        _DEVICE,
        "The lock is offline.",
        "Check the lock's batteries or power, its network and its bridge.",
        person=False,
    ),
    _error(
        "hub_disconnected",
        _DEVICE,
        "The hub that the lock depends on is offline.",
        "Check the hub's power and network.",
        person=False,
    ),
    _error(
        "bridge_disconnected seam_bridge_disconnected",
        _DEVICE,
        "The bridge between Seam and the locks cannot be reached.",
        "Check that the bridge, and the computer that it runs on, have power and network.",
        person=False,
    ),
    _error(
        "device_removed",
        _DEVICE,
        "The lock is gone from the vendor's account.",
        "Add the lock to the account again and reconnect it to Seam; its codes have to be made anew.",
        person=True,
    ),
    _error(
        "missing_device_credentials",
        _DEVICE,
        "Seam has no valid credentials for this lock.",
        "Enter the lock's credentials again by reconnecting it through a Connect Webview.",
        person=True,
    ),
    _error(
        "subscription_required",
        _DEVICE,
        "The vendor wants a subscription before this lock can be managed.",
        "Take out or renew the subscription with the vendor.",
        person=True,
    ),
    _error(
        "august_lock_missing_bridge igloohome_missing_bridge lockly_missing_wifi_bridge wyze_device_missing_gateway "
        "ttlock_lock_not_paired_to_gateway",
        _DEVICE,
        "The lock has no bridge or gateway, so nothing reaches it from afar.",
        "Install the vendor's bridge or gateway and pair the lock with it.",
        person=True,
    ),
    _error(
        "insufficient_permissions august_lock_not_authorized",
        None,
        "Seam's access to the vendor's account lacks a role that this needs.",
        "Authorise the account again as an administrator, or grant the role in the vendor's app.",
        person=True,
    ),
    _error(
        "empty_backup_access_code_pool",
        _DEVICE,
        "No backup code is left for this lock.",
        "Wait until Seam has filled the pool again; meanwhile no backup code can be pulled.",
        person=False,
    ),
)

ACCOUNT_ERRORS = (
    _error(
        "account_disconnected invalid_credentials",
        _ACCOUNT,
        "Seam is logged out of the vendor's account, so nothing about its locks is certain.",
        "Reconnect the account through a Connect Webview.",
        person=True,
    ),
    _error(
        "salto_ks_subscription_limit_exceeded salto_site_user_limit_reached",
        _ACCOUNT,
        "The Salto site has reached the number of users in its plan.",
        "Delete users from the Salto site or ask Salto to raise the limit.",
        person=True,
    ),
    _error(
        "dormakaba_sites_disconnected",
        _ACCOUNT,
        "Sites of the dormakaba account cannot be reached.",
        "Ask dormakaba's support to restore the connection of the sites.",
        person=True,
    ),
)

CODE_WARNINGS = (
    _warning(
        "delay_in_setting_on_device delay_in_issuing",
        _CODE,
        "Putting the code on the lock takes unusually long; Seam is still trying.",
        "Watch the deadline, and have a backup code ready if the guest arrives soon.",
        symptom=True,
    ),
    _warning(
        "delay_in_removing_from_device",
        _CODE,
        "Taking the code off the lock takes unusually long; until it is off, it opens the door.",
        "Watch the deadline, and look in the vendor's app if it passes.",
        symptom=True,
    ),
    _warning(
        "using_backup_access_code",
        _CODE,
        "A backup code is in use instead of this one: the guest needs the other PIN.",
        "Send the guest the backup code's PIN.",
        person=True,
    ),
    _warning(
        "external_modification_in_effect",
        _CODE,
        "The code was changed in the vendor's app, and the change was allowed to stand: PIN or window may differ.",
        "Compare the code in the vendor's app with what the guest was told.",
        person=True,
    ),
    _warning(
        "time_frame_adjusted_for_unknown_time_zone schlage_access_code_ambiguous_timezone_dst_risk",
        _CODE,
        "Near a change of daylight-saving time the window was widened by an hour, as the lock's time zone is unknown.",
        "Nothing needs to be done; set the lock's time zone to avoid it.",
    ),
    _warning(
        "code_rotates_periodically",
        _CODE,
        "The vendor changes this code's PIN from time to time.",
        "Fetch the PIN anew before each stay.",
        person=True,
    ),
    _warning(
        "igloo_algopin_must_be_used_within_24_hours",
        _CODE,
        "The code must be typed at the lock within a day of its start, or it never works.",
        "Tell the guest to use the code on the first day.",
        person=True,
    ),
    _warning(
        "management_transferred",
        _CODE,
        "Another Seam workspace manages this code now.",
        "Watch it from that workspace, or take it back.",
        person=True,
    ),
)

DEVICE_WARNINGS = (
    _warning(
        "third_party_integration_detected",
        None,
        "Another system also manages codes on this lock and may undo Seam's work.",
        "Switch off the other system's control of this lock.",
        person=True,
    ),
    _warning(
        "device_has_flaky_connection device_communication_degraded ttlock_weak_gateway_signal",
        _DEVICE,
        "The lock's connection comes and goes.",
        "Move its bridge or gateway closer and check the network.",
    ),
    _warning(
        "max_access_codes_reached",
        _DEVICE,
        "The lock holds as many codes as it can.",
        "Delete codes that have ended, and codes made outside Seam, from the lock.",
    ),
    _warning(
        "many_active_backup_codes partial_backup_access_code_pool",
        _DEVICE,
        "The pool of backup codes for this lock is not in order.",
        "Delete backup codes that nobody needs any more and let Seam fill the pool.",
    ),
    _warning(
        "power_saving_mode",
        _DEVICE,
        "The lock saves power and answers slowly.",
        "Replace the batteries, or wake the lock by using it once.",
    ),
    _warning(
        "accessory_keypad_low_battery low_battery",
        _DEVICE,
        "The batteries of the lock or of its keypad are running down.",
        "Replace the batteries before the next arrival.",
    ),
    _warning(
        "accessory_keypad_setup_required",
        _DEVICE,
        "The keypad is not linked to its bridge, so codes cannot reach it.",
        "Link the keypad to the bridge in the vendor's app.",
        person=True,
    ),
    _warning(
        "privacy_mode salto_ks_privacy_mode",
        _DEVICE,
        "The lock is in privacy mode: codes do not open the door.",
        "Switch privacy mode off at the lock.",
    ),
    _warning(
        "salto_ks_office_mode",
        _DEVICE,
        "The lock is in office mode: codes do not open the door.",
        "Switch office mode off in Salto KS.",
    ),
    _warning(
        "salto_ks_lock_access_code_support_removed",
        _DEVICE,
        "The lock no longer reports that it takes codes, which can happen after its hub was reset.",
        "Ask Seam's support to look at the lock's model.",
        person=True,
    ),
    _warning(
        "scheduled_maintenance_window",
        None,
        "The vendor has announced maintenance, during which nothing reaches the lock.",
        "Programme codes for arrivals in that time before it begins.",
    ),
    _warning(
        "time_zone_unknown time_zone_mismatch lockly_time_zone_not_configured ultraloq_time_zone_unknown "
        "two_n_device_missing_timezone",
        _DEVICE,
        "The lock's time zone is not known or not right, so codes may start and end at the wrong hour.",
        "Set the lock's time zone.",
        person=True,
    ),
    _warning(
        "keynest_unsupported_locker",
        _DEVICE,
        "The key is in a locker that cannot take codes.",
        "Move the key to a locker that supports codes.",
        person=True,
    ),
)

ACCOUNT_WARNINGS = (
    _warning(
        "account_reauthorization_requested",
        _ACCOUNT,
        "The vendor wants the account to be authorised again; put off too long, it will be disconnected.",
        "Authorise the account again through a Connect Webview.",
        person=True,
    ),
    _warning(
        "provider_service_unavailable",
        _ACCOUNT,
        "The vendor's service is down at the moment; Seam reconnects by itself.",
        "Look at the vendor's status page.",
    ),
    _warning(
        "salto_ks_subscription_limit_almost_reached",
        None,
        "The Salto site has nearly reached the number of users in its plan.",
        "Delete users from the Salto site or raise its plan before new codes are refused.",
    ),
    _warning(
        "setup_required dormakaba_sites_unapproved",
        _ACCOUNT,
        "The account is not fully set up.",
        "Follow the steps in Seam's message.",
        person=True,
    ),
    _warning(
        "unknown_issue_with_access_code unknown_issue_with_connected_account",
        None,
        "Seam met a fault that it cannot name.",
        "Read Seam's message; if it stays, ask Seam's support.",
        symptom=True,
    ),
)

# True of the lock or its account, and without bearing on whether a code works.
UNRELATED = frozenset(
    {"auxiliary_heat_running", "temperature_threshold_exceeded", "unknown_issue_with_phone", "unreliable_online_status"}
    | {"ttlock_lock_gateway_unlocking_not_enabled", "hub_required_for_additional_capabilities", "being_deleted"}
)

ROWS: tuple[Row, ...] = (
    *CODE_ERRORS,
    *DEVICE_ERRORS,
    *ACCOUNT_ERRORS,
    *CODE_WARNINGS,
    *DEVICE_WARNINGS,
    *ACCOUNT_WARNINGS,
)
