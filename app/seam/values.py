"""What goes into the gateway and what comes out of it.

A PIN in clear stands in these values only where a person must be told it, or Seam must; their ``repr`` hides it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from app.domain.codes import CodeType, Snapshot

T = TypeVar("T")

Event = dict[str, Any]
"""An event as Seam wrote it, PINs and all: for the inbox, which redacts it."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """``at`` is when Seam said so, on Seam's clock. Of an answer that took several calls it is the earliest."""

    at: datetime
    value: T


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """The parameters of ``/access_codes/create``. ``None`` leaves a parameter out. Times are aware."""

    device_id: str
    name: str | None = None
    code: str | None = field(default=None, repr=False)
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    preferred_code_length: int | None = None
    use_backup_access_code_pool: bool | None = None
    prefer_native_scheduling: bool | None = None
    is_offline_access_code: bool | None = None
    is_one_time_use: bool | None = None
    max_time_rounding: str | None = None
    common_code_key: str | None = None
    is_external_modification_allowed: bool | None = None
    attempt_for_offline_device: bool | None = None


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """The parameters of ``/access_codes/update``. ``None`` leaves a property as it is. Times are aware."""

    access_code_id: str
    name: str | None = None
    code: str | None = field(default=None, repr=False)
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    type: CodeType | None = None


@dataclass(frozen=True, slots=True)
class CreatedCode:
    """``pin`` in clear is the one time that we have it (``None``: Seam has not assigned it yet)."""

    snapshot: Snapshot
    pin: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Webhook:
    webhook_id: str
    url: str
    event_types: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)
