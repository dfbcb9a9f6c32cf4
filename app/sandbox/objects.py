"""Seam's objects as its API answers them: every field that the SDK's resource classes know of these kinds."""

from __future__ import annotations

from datetime import datetime

from app.sandbox.behaviours import Behaviour
from app.sandbox.state import CONNECTED_ACCOUNT_ID, WORKSPACE_ID, AccessCode, Device, Json, Phase, UnmanagedCode, iso

STATUS = {
    Phase.DEFERRED: "unset",
    Phase.SETTING: "setting",
    Phase.SCHEDULED: "unset",
    Phase.ON: "set",
    Phase.REMOVING: "removing",
}
DISPLAY_STATUS = {
    Phase.DEFERRED: "Upcoming",
    Phase.SETTING: "Issuing",
    Phase.SCHEDULED: "Upcoming",
    Phase.ON: "Active",
    Phase.REMOVING: "Removing",
}


def access_code_object(code: AccessCode, device: Device) -> Json:
    return {
        "access_code_id": code.access_code_id,
        "code": code.pin,
        "common_code_key": code.common_code_key,
        "created_at": iso(code.created_at),
        "device_id": code.device_id,
        "display_status": DISPLAY_STATUS[code.phase],
        "dormakaba_oracode_metadata": None,
        "errors": [*code.errors, *device.errors],
        "is_backup": code.is_backup,
        "is_backup_access_code_available": code.uses_backup_pool and code.pulled_backup_id is None,
        "is_external_modification_allowed": code.is_external_modification_allowed,
        "is_managed": True,
        "is_offline_access_code": code.is_offline,
        "is_one_time_use": code.is_one_time_use,
        "is_scheduled_on_device": code.phase is Phase.SCHEDULED,
        "is_waiting_for_code_assignment": False,
        "name": code.name,
        "pending_mutations": pending_mutations(code),
        "pulled_backup_access_code_id": code.pulled_backup_id,
        "status": STATUS[code.phase],
        "warnings": list(code.warnings),
        "workspace_id": WORKSPACE_ID,
        **window(code.starts_at, code.ends_at),
    }


def window(starts_at: datetime | None, ends_at: datetime | None) -> Json:
    if starts_at is None or ends_at is None:
        return {"type": "ongoing", "starts_at": None, "ends_at": None}
    return {"type": "time_bound", "starts_at": iso(starts_at), "ends_at": iso(ends_at)}


def pending_mutations(code: AccessCode) -> list[Json]:
    since = iso(code.phase_since or code.created_at)
    match code.phase:
        case Phase.DEFERRED:
            until = code.deferred_until or code.created_at
            message = "Seam will start to program this code at its scheduled time."
            deferring = {"mutation_code": "deferring_creation", "scheduled_at": iso(until)}
            return [{**deferring, "created_at": since, "message": message}]
        case Phase.SETTING:
            return [{"mutation_code": "creating", "created_at": since, "message": "Being programmed on the device."}]
        case Phase.REMOVING:
            return [{"mutation_code": "deleting", "created_at": since, "message": "Being removed from the device."}]
        case Phase.SCHEDULED | Phase.ON:
            return [
                {
                    "mutation_code": change.mutation_code,
                    "created_at": iso(change.created_at),
                    "message": "Waiting for the device to take the change.",
                    "from": change.before,
                    "to": change.after,
                }
                for change in code.changes
            ]


def unmanaged_object(code: UnmanagedCode) -> Json:
    return {
        "access_code_id": code.access_code_id,
        "cannot_be_managed": None,
        "cannot_delete_unmanaged_access_code": None,
        "code": code.pin,
        "created_at": iso(code.created_at),
        "device_id": code.device_id,
        "display_status": "Active",
        "dormakaba_oracode_metadata": None,
        "errors": [],
        "is_managed": False,
        "name": code.name,
        "status": "set",
        "warnings": [],
        "workspace_id": WORKSPACE_ID,
        **window(None, None),
    }


def device_object(device: Device) -> Json:
    name = device.spec.name or device.device_id
    takes_codes = device.takes_online_codes
    return {
        "device_id": device.device_id,
        "device_type": device.spec.device_type,
        "display_name": name,
        "nickname": None,
        "capabilities_supported": ["lock", "battery", *(["access_code"] if takes_codes else [])],
        "can_program_online_access_codes": takes_codes,
        "can_program_offline_access_codes": device.spec.can_program_offline,
        "can_remotely_lock": True,
        "can_remotely_unlock": True,
        "can_unlock_with_code": takes_codes,
        "can_simulate_connection": not device.online,
        "can_simulate_disconnection": device.online,
        "can_simulate_removal": False,
        "connected_account_id": CONNECTED_ACCOUNT_ID,
        "created_at": iso(device.created_at),
        "custom_metadata": {},
        "device_manufacturer": {"display_name": "Sandbox", "manufacturer": "sandbox", "image_url": None},
        "device_provider": None,
        "errors": device.errors,
        "is_managed": True,
        "location": None,
        "properties": _properties(device, name),
        "space_ids": [],
        "warnings": [],
        "workspace_id": WORKSPACE_ID,
    }


def _properties(device: Device, name: str) -> Json:
    takes_codes = device.takes_online_codes
    offline_codes = device.spec.can_program_offline
    return {
        "name": name,
        "appearance": {"name": name},
        "manufacturer": "sandbox",
        "model": {
            "display_name": device.behaviour.value,
            "manufacturer_display_name": "Sandbox",
            "has_built_in_keypad": takes_codes,
            "online_access_codes_supported": takes_codes,
            "offline_access_codes_supported": offline_codes,
        },
        "online": device.online,
        "locked": True,
        "battery": {"level": device.battery_level, "status": battery_status(device.battery_level)},
        "battery_level": device.battery_level,
        "serial_number": device.device_id,
        "online_access_codes_enabled": takes_codes,
        "offline_access_codes_enabled": offline_codes,
        "supports_offline_access_codes": offline_codes,
        "supported_code_lengths": list(device.spec.supported_code_lengths),
        "code_constraints": [],
        "max_active_codes_supported": 100,
        "supports_backup_access_code_pool": device.spec.supports_backup_pool,
        "backup_access_code_pool_enabled": False,
        "has_native_entry_events": device.behaviour is Behaviour.NATIVE,
    }


def battery_status(level: float) -> str:
    for limit, status in ((0.1, "critical"), (0.3, "low"), (0.8, "good")):
        if level < limit:
            return status
    return "full"


def webhook_object(webhook_id: str, url: str, event_types: tuple[str, ...], secret: str) -> Json:
    return {"webhook_id": webhook_id, "url": url, "event_types": list(event_types), "secret": secret}


WORKSPACE: Json = {
    "workspace_id": WORKSPACE_ID,
    "name": "Latchwatch sandbox",
    "company_name": "Latchwatch sandbox",
    "connect_partner_name": None,
    "connect_webview_customization": {},
    "is_publishable_key_auth_enabled": False,
    "is_sandbox": True,
    "is_suspended": False,
    "organization_id": None,
    "publishable_key": None,
}
