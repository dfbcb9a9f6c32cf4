"""Which of Seam's event types says what. To add a kind of event, add it here."""

from __future__ import annotations

from app.domain.health import AccountFacet, DeviceFacet
from app.domain.news import NewsKind

# Types that are news about the access code they name.
NEWS: dict[str, NewsKind] = {
    "access_code.created": NewsKind.CREATED,
    "access_code.scheduled_on_device": NewsKind.SCHEDULED,
    "access_code.set_on_device": NewsKind.SET,
    "access_code.delay_in_setting_on_device": NewsKind.DELAYED,
    "access_code.failed_to_set_on_device": NewsKind.FAILED,
    "access_code.removed_from_device": NewsKind.REMOVED,
    "access_code.delay_in_removing_from_device": NewsKind.REMOVAL_DELAYED,
    "access_code.failed_to_remove_from_device": NewsKind.FAILED_TO_REMOVE,
    "access_code.deleted": NewsKind.DELETED,
    "access_code.modified_external_to_seam": NewsKind.MODIFIED_EXTERNALLY,
    "access_code.deleted_external_to_seam": NewsKind.DELETED_EXTERNALLY,
    "access_code.changed": NewsKind.CHANGED,
    "access_code.mutations_requested": NewsKind.CHANGE_REQUESTED,
    "access_code.code_changed": NewsKind.CODE_CHANGED,
    "access_code.name_changed": NewsKind.NAME_CHANGED,
    "access_code.time_frame_changed": NewsKind.TIME_FRAME_CHANGED,
    "access_code.backup_access_code_pulled": NewsKind.BACKUP_PULLED,
    "lock.unlocked": NewsKind.USED,
    # announced successors
    "access_code.issued": NewsKind.SET,
    "access_code.delay_in_issuing": NewsKind.DELAYED,
    "access_code.failed_to_issue": NewsKind.FAILED,
    "access_code.failed_to_update": NewsKind.FAILED_TO_CHANGE,
    "access_code.failed_to_expire": NewsKind.FAILED_TO_REMOVE,
}

# Types that report one facet of a lock, with the value that they report.
DEVICE_STATES: dict[str, tuple[DeviceFacet, str]] = {
    "device.connected": (DeviceFacet.CONNECTION, "connected"),
    "device.disconnected": (DeviceFacet.CONNECTION, "disconnected"),
    "device.connection_became_flaky": (DeviceFacet.STABILITY, "flaky"),
    "device.connection_stabilized": (DeviceFacet.STABILITY, "stable"),
    "device.low_battery": (DeviceFacet.BATTERY, "low"),
    "device.accessory_keypad_connected": (DeviceFacet.KEYPAD, "connected"),
    "device.accessory_keypad_disconnected": (DeviceFacet.KEYPAD, "disconnected"),
    "device.third_party_integration_detected": (DeviceFacet.THIRD_PARTY, "detected"),
    "device.third_party_integration_no_longer_detected": (DeviceFacet.THIRD_PARTY, "clear"),
    "device.error.subscription_required": (DeviceFacet.SUBSCRIPTION, "required"),
    "device.error.subscription_required.resolved": (DeviceFacet.SUBSCRIPTION, "resolved"),
    "device.salto.privacy_mode_activated": (DeviceFacet.PRIVACY, "on"),
    "device.salto.privacy_mode_deactivated": (DeviceFacet.PRIVACY, "off"),
    "device.added": (DeviceFacet.PRESENCE, "added"),
    "device.unmanaged.converted_to_managed": (DeviceFacet.PRESENCE, "added"),
    "device.removed": (DeviceFacet.PRESENCE, "removed"),
    "device.deleted": (DeviceFacet.PRESENCE, "deleted"),
    "device.converted_to_unmanaged": (DeviceFacet.PRESENCE, "unmanaged"),
    "device.tampered": (DeviceFacet.TAMPER, "tampered"),
}
BATTERY_STATUS_CHANGED = "device.battery_status_changed"  # its value is the event's own battery_status
BATTERY_STATUSES = frozenset({"critical", "low", "good", "full"})

ACCOUNT_STATES: dict[str, tuple[AccountFacet, str]] = {
    "connected_account.connected": (AccountFacet.CONNECTION, "connected"),
    "connected_account.created": (AccountFacet.CONNECTION, "connected"),
    "connected_account.successful_login": (AccountFacet.CONNECTION, "connected"),
    "connected_account.completed_first_sync": (AccountFacet.CONNECTION, "connected"),
    "connected_account.completed_first_sync_after_reconnection": (AccountFacet.CONNECTION, "connected"),
    "connected_account.disconnected": (AccountFacet.CONNECTION, "disconnected"),
    "connected_account.reauthorization_requested": (AccountFacet.CONNECTION, "reauthorization_requested"),
    "connected_account.deleted": (AccountFacet.CONNECTION, "deleted"),
}

# Documented types that change nothing we keep. Being listed spares them the strict redaction of unknown ones.
STORED_ONLY = frozenset(
    {
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
    }
)

# Sent by `latchwatch doctor` through the public address. It is kept like any unknown type, but it is no word of Seam's.
PROBE = "latchwatch.probe"

KNOWN = frozenset({*NEWS, *DEVICE_STATES, *ACCOUNT_STATES, *STORED_ONLY, BATTERY_STATUS_CHANGED})
