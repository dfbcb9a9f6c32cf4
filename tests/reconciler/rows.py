"""Rows of codes in memory, for rules that need no database."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from app.domain.codes import CodeType
from app.storage.codes import CodeRow
from tests.storage.arrivals import NOW
from tests.storage.made import PIN

_NOT_NONE: dict[str, Any] = {
    "id": "code",
    "revision": 1,
    "origin": "created",
    "device_id": "device",
    "type": CodeType.ONGOING.value,
    "pin": PIN,
    "pin_changed": False,
    "window_changed": False,
    "is_offline": False,
    "is_one_time_use": False,
    "requested_at": NOW,
    "verdict": "requested",
    "reason": "Seam has not answered the create call yet.",
    "since": NOW,
    "safe_to_share": False,
    "is_settled": False,
    "is_terminal": False,
    "due_at": NOW,
    "failures": 0,
    "created_at": NOW,
    "updated_at": NOW,
}


def requested_row(**columns: Any) -> CodeRow:
    """A code whose create call left at ``NOW`` and was not answered."""
    known = {**dict.fromkeys(field.name for field in fields(CodeRow)), **_NOT_NONE}
    return CodeRow(**{**known, "binding": "requested", "call_sent_at": NOW, **columns})


def bound_row(**columns: Any) -> CodeRow:
    """A code that Seam accepted at ``NOW``, as ``ac``."""
    return requested_row(**{"binding": "bound", "access_code_id": "ac", "asked_at": NOW, **columns})
