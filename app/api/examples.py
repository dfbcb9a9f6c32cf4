"""One small story for the API's description: Ada's code for room 12, whose lock is offline."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

_DEVICE_ID = "5f5b0f1c-9f3a-4a52-8f7e-0b6f9f0f2c11"
_ACCESS_CODE_ID = "0e5b3c1a-7f0b-4f7c-9a57-61a3a6e8a0d2"
_WORKSPACE_ID = "b1d7c0aa-7f11-4d6f-8f0c-0a8de2f0e7aa"
_ACCOUNT_ID = "9d2f6c55-1b0e-4c39-8b0a-3d1c2e4f5a60"
_EVENT_ID = "3c7f8f2e-2f3c-4d8e-9a53-0a4d5d1f8a10"
_CODE_ID = "code_4f1d2c3b5a694e7d8c9b0a1f2e3d4c5b"
_FLAG_ID = "flag_8a7b6c5d4e3f42a1b0c9d8e7f6a5b4c3"

PROBLEM_FACTS: Example = {
    "kind": "device",
    "code": "device_disconnected",
    "message": "The lock is offline.",
    "temporary": True,
    "remedy": "Check the power, the network and the bridge of the lock.",
}

FLAG: Example = {
    "id": _FLAG_ID,
    "kind": "stuck",
    "severity": "critical",
    "code_id": _CODE_ID,
    "access_code_id": _ACCESS_CODE_ID,
    "device_id": _DEVICE_ID,
    "opened_at": "2026-12-01T15:02:00Z",
    "closed_at": None,
    "acknowledged_at": None,
    "acknowledged_by": None,
    "snoozed_until": None,
    "reason": "It should be on the lock since 15:02, and Seam does not confirm it.",
    "problem": PROBLEM_FACTS,
}

CHANGE: Example = {"ends_at": "2026-12-05T12:00:00Z", "reference": "reservation-8812"}

ACCESS_CODE: Example = {
    "id": _CODE_ID,
    "access_code_id": _ACCESS_CODE_ID,
    "device_id": _DEVICE_ID,
    "workspace_id": _WORKSPACE_ID,
    "name": "Ada, room 12",
    "type": "time_bound",
    "starts_at": "2026-12-01T15:00:00Z",
    "ends_at": "2026-12-05T10:00:00Z",
    "reference": "reservation-8812",
    "metadata": {"room": "12"},
    "verdict": "stuck",
    "reason": "It should be on the lock since 15:02, and Seam does not confirm it.",
    "since": "2026-12-01T15:02:00Z",
    "deadline": "2026-12-01T15:02:00Z",
    "next_check_at": "2026-12-01T15:04:00Z",
    "safe_to_share": False,
    "replaced_by": None,
    "problem": PROBLEM_FACTS,
    "signals": {
        "created_at": "2026-11-20T09:00:01Z",
        "scheduled_at": None,
        "set_at": None,
        "delayed_at": "2026-12-01T15:00:40Z",
        "failed_at": None,
        "removed_at": None,
        "failed_to_remove_at": None,
        "deleted_at": None,
        "modified_externally_at": None,
        "deleted_externally_at": None,
        "code_changed_at": None,
        "time_frame_changed_at": None,
        "used_at": None,
    },
    "seam": {
        "status": "setting",
        "errors": [
            {"code": "device_disconnected", "message": "Device is offline.", "created_at": "2026-12-01T14:58:00Z"}
        ],
        "warnings": [],
        "checked_at": "2026-12-01T15:02:01Z",
    },
    "flags": [FLAG],
    "untracked_at": None,
    "created_at": "2026-11-20T09:00:00Z",
    "updated_at": "2026-12-01T15:02:01Z",
}

CREATED_ACCESS_CODE: Example = {
    **ACCESS_CODE,
    "verdict": "upcoming",
    "reason": "It starts later and is not being programmed yet.",
    "since": "2026-11-20T09:00:00Z",
    "problem": None,
    "signals": dict.fromkeys(ACCESS_CODE["signals"]),
    "seam": {"status": "unset", "errors": [], "warnings": [], "checked_at": "2026-11-20T09:00:00Z"},
    "flags": [],
    "updated_at": "2026-11-20T09:00:00Z",
    "code": "4821",
}

PIN: Example = {"access_code_id": _ACCESS_CODE_ID, "code": "4821"}

CREATE: Example = {
    "device_id": _DEVICE_ID,
    "name": "Ada, room 12",
    "starts_at": "2026-12-01T15:00:00Z",
    "ends_at": "2026-12-05T10:00:00Z",
    "reference": "reservation-8812",
    "metadata": {"room": "12"},
}

TRACK: Example = {"access_code_ids": [_ACCESS_CODE_ID], "reference": "reservation-8812"}

ACKNOWLEDGE: Example = {"until": "2026-12-01T17:00:00Z"}

EVENT: Example = {
    "event_id": _EVENT_ID,
    "event_type": "access_code.delay_in_setting_on_device",
    "access_code_id": _ACCESS_CODE_ID,
    "device_id": _DEVICE_ID,
    "connected_account_id": _ACCOUNT_ID,
    "workspace_id": _WORKSPACE_ID,
    "occurred_at": "2026-12-01T15:00:40Z",
    "created_at": "2026-12-01T15:00:41Z",
    "received_at": "2026-12-01T15:00:42Z",
    "source": "webhook",
    "payload": {"event_id": _EVENT_ID, "event_type": "access_code.delay_in_setting_on_device"},
}

UNREADABLE: Example = {
    "id": 7,
    "delivery_id": "msg_2b7d1c",
    "received_at": "2026-12-01T15:00:42Z",
    "size": 211,
    "digest": "1f0c9a3e:6b1f",
    "reason": "not JSON",
}

ALERT: Example = {
    "id": f"{_FLAG_ID}:opened",
    "flag_id": _FLAG_ID,
    "change": "opened",
    "state": "sending",
    "attempts": 2,
    "next_attempt_at": "2026-12-01T15:02:21Z",
    "last_error": "answered 503",
    "created_at": "2026-12-01T15:02:01Z",
    "message_id": "msg_0f6b1c3a5d7e9f20718293a4b5c6d7e8",
    "deliveries": [
        {
            "channel": "slack-5f1c0a9e",
            "state": "sent",
            "attempts": 1,
            "next_attempt_at": None,
            "last_error": None,
            "sent_at": "2026-12-01T15:02:07Z",
        },
        {
            "channel": "webhook",
            "state": "pending",
            "attempts": 2,
            "next_attempt_at": "2026-12-01T15:02:21Z",
            "last_error": "answered 503",
            "sent_at": None,
        },
    ],
}

_SECONDS: Example = {"count": 40, "p50": 12.5, "p95": 95.0}

DEVICE: Example = {
    "device_id": _DEVICE_ID,
    "workspace_id": _WORKSPACE_ID,
    "connected_account_id": _ACCOUNT_ID,
    "name": "Room 12",
    "device_type": "august_lock",
    "health": {
        "online": False,
        "battery_level": 0.8,
        "battery_status": "good",
        "errors": [],
        "warnings": [],
        "checked_at": "2026-12-01T15:02:01Z",
        "reported": {"connection": {"value": "disconnected", "since": "2026-12-01T14:58:00Z"}},
        "account": {},
    },
    "codes": {"stuck": 1, "verified": 3},
    "success_rate": 0.975,
    "seconds_to_set": _SECONDS,
    "seconds_to_remove": {"count": 38, "p50": 8.0, "p95": 40.0},
}

PROBLEM_DOCUMENT: Example = {
    "type": "urn:latchwatch:problem:invalid-input",
    "title": "The input is not valid",
    "status": 422,
    "detail": "ends_at: must be after starts_at.",
    "errors": [{"field": "ends_at", "message": "must be after starts_at"}],
}


def summary(verdicts: list[str], flag_kinds: list[str]) -> Example:
    """With every verdict and kind that there is."""
    return {
        "at": "2026-12-01T15:02:30Z",
        "codes": {**dict.fromkeys(verdicts, 0), "verified": 212, "upcoming": 31, "stuck": 1},
        "flags": {**dict.fromkeys(flag_kinds, 0), "stuck": 1},
        "arrivals": {**dict.fromkeys(verdicts, 0), "upcoming": 9},
        "seconds_to_set": _SECONDS,
        "ingest": {
            "last_delivery_at": "2026-12-01T15:02:10Z",
            "proven_until": "2026-12-01T14:55:00Z",
            "gap_seconds": 450.0,
            "backfilled": 0,
            "lost": 0,
            "compared_at": "2026-12-01T14:55:05Z",
            "compare_failure": None,
        },
    }
