"""What a lock can do, as far as Seam's device object tells: its capability flags, and whether it keeps schedules."""

from __future__ import annotations

from app.domain.health import DeviceRead

# The families that keep a schedule in the lock: loading starts 72 h before the start. The others are programmed just in
# time, when the window opens.
_NATIVE = (
    "2n",
    "two_n",
    "august",
    "igloohome",
    "kwikset",
    "nuki",
    "salto",
    "schlage",
    "tedee",
    "ttlock",
    "yale",
    "wyze",
)
_JUST_IN_TIME = ("dormakaba", "lockly", "smartthings")


def can_program(read: DeviceRead, offline: bool) -> bool | None:
    """Whether Seam can make such codes for this lock. ``None``: Seam did not say, so only trying tells."""
    return read.can_program_offline if offline else read.can_program_online


def schedules_natively(device_type: str | None, manufacturer: str | None) -> bool | None:
    """Whether a code gets into the lock before its start. The way that a lock is connected decides (a Yale lock behind
    SmartThings does not keep schedules), so the manufacturer counts only where the type is not said. ``None``: unknown.
    """
    family = (device_type or manufacturer or "").lower()
    if family.startswith(_NATIVE):
        return True
    if family.startswith(_JUST_IN_TIME):
        return False
    return None
