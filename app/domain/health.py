"""Health of a lock and of the account it hangs on, from their own events and reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from app.domain.news import Issue


class DeviceFacet(StrEnum):
    """One thing that device events report about; the latest report of each is kept."""

    CONNECTION = "connection"  # connected | disconnected
    STABILITY = "stability"  # flaky | stable
    BATTERY = "battery"  # critical | low | good | full
    KEYPAD = "keypad"  # connected | disconnected
    THIRD_PARTY = "third_party"  # detected | clear
    SUBSCRIPTION = "subscription"  # required | resolved
    PRIVACY = "privacy"  # on | off
    PRESENCE = "presence"  # added | removed | deleted | unmanaged
    TAMPER = "tamper"  # tampered


class AccountFacet(StrEnum):
    CONNECTION = "connection"  # connected | disconnected | reauthorization_requested | deleted


@dataclass(frozen=True, slots=True)
class State:
    """What the newest event about one facet said."""

    value: str
    occurred_at: datetime
    event_id: str

    @property
    def order(self) -> tuple[datetime, str]:
        return self.occurred_at, self.event_id


@dataclass(frozen=True, slots=True)
class DeviceRead:
    """What Seam's device object said. ``at`` is on Seam's clock; ``None`` means that Seam did not say."""

    at: datetime
    device_id: str
    workspace_id: str | None = None
    connected_account_id: str | None = None
    name: str | None = None
    device_type: str | None = None
    is_managed: bool = True
    online: bool | None = None
    battery_level: float | None = None  # 0.0 to 1.0
    battery_status: str | None = None
    can_program_online: bool | None = None
    can_program_offline: bool | None = None
    schedules_natively: bool | None = None
    supports_backup_pool: bool | None = None
    supported_code_lengths: tuple[int, ...] = ()
    errors: tuple[Issue, ...] = ()
    warnings: tuple[Issue, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    device: Mapping[DeviceFacet, State] = field(default_factory=lambda: MappingProxyType({}))
    account: Mapping[AccountFacet, State] = field(default_factory=lambda: MappingProxyType({}))
    device_read: DeviceRead | None = None
