"""Values of one tracked access code: what was asked for, and what Seam answered when it was read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from app.domain.news import Issue


class Binding(StrEnum):
    """How far the create call got."""

    REQUESTED = "requested"  # Seam's answer is not known yet
    REFUSED = "refused"  # Seam refused for good
    BOUND = "bound"  # Seam's access_code_id is known


class CodeType(StrEnum):
    ONGOING = "ongoing"
    TIME_BOUND = "time_bound"


@dataclass(frozen=True, slots=True)
class Code:
    """The intent: what should be on the lock. Times are aware UTC.

    ``asked_at`` is on Seam's clock (the ``Date`` of the answer that accepted this intent), ``requested_at`` on ours.
    ``window_changed`` and ``pin_changed`` tell that this intent came from a change, which needs its own confirmation.
    ``replaced_by`` is Seam's id of the backup code that is in use instead.
    """

    binding: Binding
    type: CodeType
    requested_at: datetime
    asked_at: datetime | None = None
    access_code_id: str | None = None
    device_id: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    pin: str | None = None
    pin_changed: bool = False
    window_changed: bool = False
    end_asked_at: datetime | None = None
    is_offline: bool = False
    is_one_time_use: bool = False
    schedules_natively: bool | None = None
    set_within: timedelta | None = None
    replaced_by: str | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Seam's access code object, PINs replaced by fingerprints. ``None`` means that Seam did not say.

    Name, PIN and window are those that Seam has accepted: an update that is pending counts as made.
    """

    access_code_id: str
    device_id: str | None = None
    workspace_id: str | None = None
    connected_account_id: str | None = None
    name: str | None = None
    type: CodeType = CodeType.ONGOING
    status: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    created_at: datetime | None = None
    pin: str | None = None
    pending: tuple[str, ...] | None = None  # mutation codes
    errors: tuple[Issue, ...] = ()
    warnings: tuple[Issue, ...] = ()
    is_managed: bool = True
    is_backup: bool = False
    is_backup_available: bool | None = None
    is_scheduled_on_device: bool | None = None
    is_offline: bool = False
    is_one_time_use: bool = False
    pulled_backup_access_code_id: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """One answer of Seam about one code. ``snapshot`` is ``None`` when Seam said that it has no such code.

    ``at`` is on Seam's clock.
    """

    at: datetime
    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True)
class Reads:
    """What all reads of one code taught: the last answer, and the facts that a later answer must not erase.

    ``not_on_since`` is the first of an unbroken run of reads that did not show the code on the lock.
    ``failed_at`` is when Seam could last not be read (our clock); an answer clears it.
    """

    last: Read | None = None
    seen_on_at: datetime | None = None
    seen_absent_at: datetime | None = None
    not_on_since: datetime | None = None
    failed_at: datetime | None = None
    failure: str | None = None

    def failing(self, at: datetime, failure: str) -> Reads:
        return replace(self, failed_at=at, failure=failure)
