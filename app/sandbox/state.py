"""What the simulated Seam remembers: locks, codes, and the issues that hang on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from app.sandbox.behaviours import HABITS, Behaviour, Habit, Plan
from app.sandbox.fleet import DeviceSpec

Json = dict[str, Any]

WORKSPACE_ID = "5a2d0f5c-1b1e-4d6a-9a52-0c2f6b0a7d10"
CONNECTED_ACCOUNT_ID = "c7e6f1d8-93b4-4d0e-8f0a-6f4b8d2e5a31"


class Phase(StrEnum):
    """Where a code stands."""

    DEFERRED = "deferred"  # Seam waits with programming until shortly before its start
    SETTING = "setting"
    SCHEDULED = "scheduled"  # in the lock's memory, activates by itself
    ON = "on"
    REMOVING = "removing"


@dataclass(slots=True)
class Change:
    """An update that was asked for while the code was on the lock, until the lock has it."""

    mutation_code: str
    created_at: datetime
    before: Json
    after: Json


@dataclass(slots=True)
class Device:
    spec: DeviceSpec
    created_at: datetime
    behaviour: Behaviour
    set_after_seconds: float | None = None
    error_code: str | None = None
    online: bool = True
    online_changed_at: datetime | None = None
    battery_level: float = 0.9

    @property
    def device_id(self) -> str:
        return self.spec.device_id

    @property
    def habit(self) -> Habit:
        return HABITS[self.behaviour]

    @property
    def takes_online_codes(self) -> bool:
        return self.behaviour is not Behaviour.NO_ACCESS_CODES

    @property
    def failure(self) -> str:
        return self.error_code or self.habit.error_code

    @property
    def errors(self) -> list[Json]:
        if self.online:
            return []
        message = "The lock is offline. Check its power and its connection."
        return [device_error("device_disconnected", message, self.online_changed_at or self.created_at)]


@dataclass(slots=True, kw_only=True)
class AccessCode:
    """A managed code. ``pin`` and the window are what was asked for, also while a change of them is pending.

    ``on_lock`` is the truth at the door. ``turn`` counts the changes of plan: a timer of an older turn does nothing.
    ``deferred_until`` is when Seam will start programming, while it waits for that.
    """

    access_code_id: str
    device_id: str
    name: str | None
    pin: str
    created_at: datetime
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    common_code_key: str | None = None
    prefer_native_scheduling: bool = True
    is_external_modification_allowed: bool = False
    is_offline: bool = False
    is_one_time_use: bool = False
    is_backup: bool = False
    uses_backup_pool: bool = False
    pulled_backup_id: str | None = None
    phase: Phase = Phase.SETTING
    phase_since: datetime | None = None
    deferred_until: datetime | None = None
    on_lock: bool = False
    end_asked: bool = False
    plan: Plan = ()
    turn: int = 0
    changes: list[Change] = field(default_factory=list)
    errors: list[Json] = field(default_factory=list)
    warnings: list[Json] = field(default_factory=list)

    def enter(self, phase: Phase, at: datetime) -> None:
        self.phase = phase
        self.phase_since = at


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmanagedCode:
    """A code on the lock that Seam did not put there."""

    access_code_id: str
    device_id: str
    name: str | None
    pin: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """An event as ``/events/list`` and the webhooks tell it."""

    at: datetime
    body: Json

    @property
    def event_id(self) -> str:
        return str(self.body["event_id"])

    @property
    def event_type(self) -> str:
        return str(self.body["event_type"])


def iso(moment: datetime) -> str:
    """Seam's way of writing times: UTC with milliseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_milliseconds(moment: datetime) -> datetime:
    """The time as ``iso`` shows it, so that comparing and showing agree."""
    return moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)


def code_error(error_code: str, message: str, at: datetime, **details: Any) -> Json:
    common = {"error_code": error_code, "message": message, "created_at": iso(at)}
    return {**common, "is_access_code_error": True, **details}


def code_warning(warning_code: str, message: str, at: datetime, **details: Any) -> Json:
    return {"warning_code": warning_code, "message": message, "created_at": iso(at), **details}


def device_error(error_code: str, message: str, at: datetime) -> Json:
    return {"error_code": error_code, "message": message, "created_at": iso(at), "is_device_error": True}
