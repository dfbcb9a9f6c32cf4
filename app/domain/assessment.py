"""The words of a verdict: what ``assess`` answers, and the policy that it answers by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Verdict(StrEnum):
    REQUESTED = "requested"
    REFUSED = "refused"
    REMOVED = "removed"
    UNVERIFIABLE = "unverifiable"
    MISSED = "missed"
    LINGERING = "lingering"
    REMOVING = "removing"
    REPLACED = "replaced"
    LOST = "lost"
    UNKNOWN = "unknown"
    MISMATCHED = "mismatched"
    OUTDATED = "outdated"
    FAILED = "failed"
    VERIFIED = "verified"
    STUCK = "stuck"
    SCHEDULED = "scheduled"
    DELAYED = "delayed"
    AT_RISK = "at_risk"
    PENDING = "pending"
    UPCOMING = "upcoming"


SAFE_TO_SHARE = frozenset({Verdict.VERIFIED, Verdict.SCHEDULED, Verdict.UNVERIFIABLE})


class FlagKind(StrEnum):
    """Each belongs to one code, but for ``webhook_silent``, which is about the service itself."""

    REQUEST_LOST = "request_lost"
    MISSED = "missed"
    LINGERING = "lingering"
    LOST = "lost"
    UNKNOWN = "unknown"
    MISMATCHED = "mismatched"
    OUTDATED = "outdated"
    FAILED = "failed"
    STUCK = "stuck"
    DELAYED = "delayed"
    AT_RISK = "at_risk"
    WEBHOOK_SILENT = "webhook_silent"


class Severity(StrEnum):
    CRITICAL = "critical"
    WARNING = "warning"


SEVERITIES: dict[FlagKind, Severity] = {
    FlagKind.REQUEST_LOST: Severity.CRITICAL,
    FlagKind.MISSED: Severity.CRITICAL,
    FlagKind.LINGERING: Severity.CRITICAL,
    FlagKind.LOST: Severity.CRITICAL,
    FlagKind.UNKNOWN: Severity.WARNING,
    FlagKind.MISMATCHED: Severity.CRITICAL,
    FlagKind.OUTDATED: Severity.WARNING,
    FlagKind.FAILED: Severity.CRITICAL,
    FlagKind.STUCK: Severity.CRITICAL,
    FlagKind.DELAYED: Severity.WARNING,
    FlagKind.AT_RISK: Severity.WARNING,
    FlagKind.WEBHOOK_SILENT: Severity.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a code is not as it should be, and what to do. ``kind`` tells whose problem it is
    (``access_code``, ``device`` or ``connected_account``); ``temporary`` that it heals by itself."""

    kind: str
    code: str
    message: str
    temporary: bool
    remedy: str


@dataclass(frozen=True, slots=True)
class Policy:
    """How long each thing may take (contract, section 5)."""

    set_within: timedelta = timedelta(seconds=600)
    start_grace: timedelta = timedelta(seconds=120)
    remove_within: timedelta = timedelta(seconds=1800)
    request_within: timedelta = timedelta(seconds=60)
    recheck_after: timedelta = timedelta(seconds=120)
    preload_by: timedelta = timedelta(seconds=86400)
    at_risk_before: timedelta = timedelta(seconds=3600)


@dataclass(frozen=True, slots=True)
class Assessment:
    """The answer for one code at one moment.

    ``since`` is when the verdict's cause began, ``flag_since`` when the cause of the flag did. ``next_check_at`` is the
    earliest moment at which the clock alone could change this answer (``None``: terminal). ``needs_read`` asks the
    reconciler to read the code at Seam now: the answer hangs on what Seam says.
    """

    verdict: Verdict
    reason: str
    since: datetime
    deadline: datetime | None
    next_check_at: datetime | None
    problem: Problem | None = None
    flag: FlagKind | None = None
    flag_since: datetime | None = None
    needs_read: bool = False
    is_terminal: bool = False

    @property
    def safe_to_share(self) -> bool:
        return self.verdict in SAFE_TO_SHARE

    @property
    def is_settled(self) -> bool:
        return self.safe_to_share or self.is_terminal or self.flag is not None
