"""What answers look like. Names and fields are those of the contract; times are ISO 8601 in UTC with ``Z``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from app.api import examples
from app.domain.assessment import FlagKind, Severity, Verdict
from app.domain.codes import CodeType

T = TypeVar("T")
AlertChange = Literal["opened", "closed", "reminder"]
AlertState = Literal["pending", "sending", "sent", "dead", "skipped"]
DeliveryState = Literal["pending", "sent", "dead"]


def shown(example: dict[str, Any]) -> ConfigDict:
    """With an example in the API's description."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PageOf(Answer, Generic[T]):
    """``next_cursor`` is ``null`` on the last page."""

    items: list[T]
    next_cursor: str | None


class ProblemFacts(Answer):
    """Why something is wrong. ``kind`` tells whose problem it is; ``temporary`` that it heals by itself."""

    model_config = shown(examples.PROBLEM_FACTS)

    kind: Annotated[str, Field(examples=["device"])]
    code: Annotated[str, Field(examples=["device_disconnected"])]
    message: str
    temporary: bool
    remedy: str


class SignalTimes(Answer):
    """When each kind of news about this code occurred last, as Seam's events said."""

    created_at: datetime | None = None
    scheduled_at: datetime | None = None
    set_at: datetime | None = None
    delayed_at: datetime | None = None
    failed_at: datetime | None = None
    removed_at: datetime | None = None
    failed_to_remove_at: datetime | None = None
    deleted_at: datetime | None = None
    modified_externally_at: datetime | None = None
    deleted_externally_at: datetime | None = None
    code_changed_at: datetime | None = None
    time_frame_changed_at: datetime | None = None
    used_at: datetime | None = None


class SeamIssue(Answer):
    code: str
    message: str
    created_at: datetime | None = None


class SeamFacts(Answer):
    """What Seam answered when the code was read last, at ``checked_at`` on Seam's clock."""

    status: str | None = None
    errors: list[SeamIssue] = []
    warnings: list[SeamIssue] = []
    checked_at: datetime | None = None


class Flag(Answer):
    """``opened_at`` is when the cause began. ``snoozed_until`` comes from an acknowledgement with ``until``."""

    model_config = shown(examples.FLAG)

    id: str
    kind: str
    severity: Severity
    code_id: str | None
    access_code_id: str | None
    device_id: str | None
    opened_at: datetime
    closed_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    snoozed_until: datetime | None
    reason: str
    problem: ProblemFacts | None


class AccessCode(Answer):
    """One code: what was asked for, and whether it is really on the lock."""

    model_config = shown(examples.ACCESS_CODE)

    id: str
    access_code_id: Annotated[str | None, Field(description="Seam's id; null until Seam answered the create call.")]
    device_id: str | None
    workspace_id: str | None
    name: str | None
    type: CodeType
    starts_at: datetime | None
    ends_at: datetime | None
    reference: str | None
    metadata: dict[str, Any] | None
    verdict: Verdict
    reason: Annotated[str, Field(description="The verdict in one sentence.")]
    since: datetime
    deadline: datetime | None
    next_check_at: datetime | None
    safe_to_share: Annotated[bool, Field(description="Whether the PIN may be told to the guest.")]
    replaced_by: str | None
    problem: ProblemFacts | None
    signals: SignalTimes
    seam: SeamFacts
    flags: Annotated[list[Flag], Field(description="The open ones.")]
    untracked_at: Annotated[datetime | None, Field(description="Since when it is not watched any more.")]
    created_at: datetime
    updated_at: datetime


class CreatedAccessCode(AccessCode):
    """``code`` is the PIN, in the first answer to a create alone: it is not kept. Absent: not assigned, or a repeat."""

    model_config = shown(examples.CREATED_ACCESS_CODE)

    code: Annotated[str | None, Field(exclude_if=lambda code: code is None)] = None


class Pin(Answer):
    """Read from Seam just now. ``code`` is null while Seam has not assigned it."""

    model_config = shown(examples.PIN)

    access_code_id: str
    code: str | None


class Tracked(Answer):
    """``not_found`` are ids that Seam does not have, or does not manage."""

    items: list[AccessCode]
    not_found: list[str]


class EventEntry(Answer):
    at: datetime
    kind: Literal["event"]
    event_id: str
    event_type: str
    received_at: datetime
    source: Literal["webhook", "backfill"]


class ReadEntry(Answer):
    """What Seam answered when we asked."""

    at: datetime
    kind: Literal["read"]
    details: dict[str, Any] | None


class TransitionEntry(Answer):
    at: datetime
    kind: Literal["transition"]
    from_verdict: Verdict | None
    to_verdict: Verdict
    since: datetime
    reason: str


class FlagOpenedEntry(Answer):
    at: datetime
    kind: Literal["flag_opened"]
    flag_id: str
    flag_kind: str
    severity: Severity
    reason: str
    opened_at: datetime


class FlagClosedEntry(Answer):
    at: datetime
    kind: Literal["flag_closed"]
    flag_id: str
    flag_kind: str
    severity: Severity
    reason: str


class AlertEntry(Answer):
    at: datetime
    kind: Literal["alert"]
    alert_id: str
    flag_id: str
    change: AlertChange
    state: AlertState
    attempts: int
    last_error: str | None


class ActionEntry(Answer):
    """What a person, or a program with a token, did."""

    at: datetime
    kind: Literal["action"]
    actor: str
    action: str
    details: dict[str, Any] | None


TimelineEntry = Annotated[
    EventEntry | ReadEntry | TransitionEntry | FlagOpenedEntry | FlagClosedEntry | AlertEntry | ActionEntry,
    Field(discriminator="kind"),
]


class Event(Answer):
    """A stored event. ``payload`` is what Seam sent, PINs cut out."""

    model_config = shown(examples.EVENT)

    event_id: str
    event_type: str
    access_code_id: str | None
    device_id: str | None
    connected_account_id: str | None
    workspace_id: str | None
    occurred_at: datetime
    created_at: datetime
    received_at: datetime
    source: Literal["webhook", "backfill"]
    payload: Any


class Unreadable(Answer):
    """A signed payload that could not be read. The body is not kept: it may hold a PIN."""

    model_config = shown(examples.UNREADABLE)

    id: int
    delivery_id: str
    received_at: datetime
    size: Annotated[int, Field(description="In bytes.")]
    digest: str
    reason: str


class AlertDelivery(Answer):
    """One message on one channel."""

    channel: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    sent_at: datetime | None


class Alert(Answer):
    """``attempts``, ``next_attempt_at`` and ``last_error`` are those of the channel that took most attempts."""

    model_config = shown(examples.ALERT)

    id: str
    flag_id: str
    change: AlertChange
    state: AlertState
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    created_at: datetime
    message_id: Annotated[str | None, Field(description="What receivers know it by. Alerts with one cause share it.")]
    deliveries: Annotated[list[AlertDelivery], Field(description="One for each channel, once it is in a message.")]


class DurationFacts(Answer):
    """Percentiles in seconds over ``count`` codes."""

    count: int
    p50: float | None
    p95: float | None


class IngestFacts(Answer):
    """Until when nothing was missed (``proven_until``, on Seam's clock), and how long ago that is."""

    last_delivery_at: datetime | None
    proven_until: datetime | None
    gap_seconds: float | None
    backfilled: Annotated[int, Field(description="Events that the backfill brought first.")]
    lost: Annotated[int, Field(description="Those that prove that a webhook got lost.")]
    compared_at: Annotated[datetime | None, Field(description="When Seam's list was last compared with ours.")]
    compare_failure: Annotated[str | None, Field(description="Why it was not since.")]


class Summary(Answer):
    model_config = shown(examples.summary([*Verdict], [*FlagKind]))

    at: datetime
    codes: Annotated[dict[Verdict, int], Field(description="Watched codes by verdict.")]
    flags: Annotated[dict[str, int], Field(description="Open flags by kind.")]
    arrivals: Annotated[dict[Verdict, int], Field(description="Codes that start within 24 hours, by verdict.")]
    seconds_to_set: DurationFacts
    ingest: IngestFacts


class FacetState(Answer):
    value: str
    since: datetime


class DeviceHealth(Answer):
    """``reported``: what events said last of each facet. The rest is from Seam's device object, at ``checked_at``."""

    online: bool | None
    battery_level: Annotated[float | None, Field(description="From 0 to 1.")]
    battery_status: str | None
    errors: list[SeamIssue]
    warnings: list[SeamIssue]
    checked_at: datetime | None
    reported: dict[str, FacetState]
    account: Annotated[dict[str, FacetState], Field(description="The same of the account that the lock hangs on.")]


class Device(Answer):
    """A lock as far as it is known. ``success_rate`` is the share of its codes that were ever verified."""

    model_config = shown(examples.DEVICE)

    device_id: str
    workspace_id: str | None
    connected_account_id: str | None
    name: str | None
    device_type: str | None
    health: DeviceHealth
    codes: Annotated[dict[Verdict, int], Field(description="Watched codes by verdict; those without any are left out.")]
    success_rate: float | None
    seconds_to_set: DurationFacts
    seconds_to_remove: DurationFacts


class FieldError(Answer):
    field: str
    message: str


class ProblemDocument(BaseModel):
    """RFC 9457. ``type`` is stable; docs/problems.md tells what to do about each."""

    model_config = shown(examples.PROBLEM_DOCUMENT)

    type: Annotated[str, Field(examples=["urn:latchwatch:problem:invalid-input"])]
    title: str
    status: int
    detail: Annotated[str, Field(description="What to do.")]
    errors: Annotated[list[FieldError] | None, Field(description="Of invalid input: each wrong field.")] = None
    scope: Annotated[str | None, Field(description="Of a missing scope: which one.")] = None
    seam_status: Annotated[int | None, Field(description="What Seam answered.")] = None
    seam_type: Annotated[str | None, Field(description="Seam's own error type.")] = None
    seam_message: Annotated[str | None, Field(description="Seam's own message, PINs cut out.")] = None


class Alive(Answer):
    status: Literal["alive"] = "alive"


class ReadyCheck(Answer):
    name: str
    ok: bool
    detail: str | None


class Readiness(Answer):
    ready: bool
    checks: list[ReadyCheck]
