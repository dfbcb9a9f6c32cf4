"""By when each thing has to have happened (contract, section 3)."""

from __future__ import annotations

from datetime import datetime, timedelta

from app.domain.assessment import Policy
from app.domain.codes import Code, Reads
from app.domain.health import Health
from app.domain.problems import DST_WARNINGS

_HOUR = timedelta(hours=1)
# Some verdicts cannot change by the clock (an ongoing code that is verified). They are looked at once a day all the
# same, without asking Seam, so that no code ever drops out of the loop.
_HEARTBEAT = timedelta(days=1)


def asked_at(code: Code) -> datetime:
    return code.asked_at or code.requested_at


def set_deadline(code: Code, policy: Policy) -> datetime:
    """When the code has to be on the lock: so long after it was asked for, or shortly after its start."""
    soonest = asked_at(code) + (code.set_within or policy.set_within)
    return soonest if code.starts_at is None else max(code.starts_at + policy.start_grace, soonest)


def preload_deadline(code: Code, health: Health, policy: Policy) -> datetime | None:
    """When a natively scheduling lock has to hold the code in its memory; ``None`` where that promises nothing."""
    native = code.schedules_natively
    if native is None and health.device_read is not None:
        native = health.device_read.schedules_natively
    if not native or code.starts_at is None:
        return None
    deadline = max(code.starts_at - policy.preload_by, asked_at(code) + (code.set_within or policy.set_within))
    return deadline if deadline < code.starts_at else None


def removal_deadline(end: datetime, reads: Reads, policy: Policy) -> datetime:
    """When the code has to be off the lock. Where Seam warns of a shifted clock, an hour is added."""
    snapshot = reads.last.snapshot if reads.last else None
    is_shifted = snapshot is not None and any(warning.code in DST_WARNINGS for warning in snapshot.warnings)
    return end + policy.remove_within + (_HOUR if is_shifted else timedelta(0))


def reread_at(since: datetime, reads: Reads, policy: Policy) -> datetime:
    """When to ask Seam again about a code that is not well: at growing distances, so that an outage costs few calls."""
    if reads.last is None or reads.last.at <= since:
        return since + policy.recheck_after
    return reads.last.at + max(min(reads.last.at - since, _HOUR), policy.recheck_after)


def heartbeat(since: datetime, now: datetime) -> datetime:
    """The next whole number of days after ``since``."""
    return since + ((now - since) // _HEARTBEAT + 1) * _HEARTBEAT
