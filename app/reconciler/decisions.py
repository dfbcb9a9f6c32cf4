"""One step of one code, decided: what was seen at Seam meets what is stored. Pure; saving it is another matter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.domain.assessment import Assessment, Policy
from app.domain.changes import Outcome, accepted, outcome
from app.domain.codes import Binding, Code, Read, Reads
from app.domain.news import NewsKind, Signals
from app.domain.reads import after_read, renewed_by
from app.domain.verdicts import assess
from app.reconciler.reading import Reading, Unread
from app.reconciler.waits import FIRST_AGAIN, FIRST_RETRY, Spread, next_look, no_spread, pause
from app.storage.codes import Case, CodeRow
from app.storage.steps import Queueing


@dataclass(frozen=True, slots=True)
class Seen:
    """What one unit of work learnt about a code at Seam.

    ``access_code_id`` and ``version`` (of its signals) are what was known before the question left: an answer to a
    question about something else is worth nothing. ``reading`` is ``None`` if the code was not read, or was looked for
    and not found too early for that to mean anything. ``end_sent_at`` is when Seam took the delete call.
    ``asked_at`` is when the intent of then began, and ``name`` what the code was called.
    """

    asked: bool = False
    access_code_id: str | None = None
    version: int = 0
    reading: Reading | None = None
    end_sent_at: datetime | None = None
    end_failure: Unread | None = None
    asked_at: datetime | None = None
    name: str | None = None

    def is_about(self, case: Case) -> bool:
        return self.access_code_id == case.row.access_code_id


NOTHING_SEEN = Seen()


def asked_about(case: Case) -> Seen:
    """The state of knowledge before Seam is asked about this code."""
    row = case.row
    return Seen(
        asked=True,
        access_code_id=row.access_code_id,
        version=case.signals.version,
        asked_at=row.asked_at,
        name=row.name,
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """``case`` is the one that was decided on, with what the read renewed of its intent. ``read`` is the answer that
    counted (``None``: there was none, or it was dropped because news or another intent had overtaken it), ``outcome``
    what it told about a change without an answer, ``backup`` Seam's id of a backup code that is new to us."""

    case: Case
    assessment: Assessment
    reads: Reads
    queueing: Queueing
    read: Read | None
    is_dropped: bool
    outcome: Outcome | None = None
    backup: str | None = None


def decide(case: Case, seen: Seen, policy: Policy, now: datetime, spread: Spread = no_spread) -> Decision:
    """What to save for this code now. Where its read was dropped, or Seam was not asked, it stays due as needed."""
    row, signals = case.row, case.signals
    if not seen.is_about(case):
        seen = NOTHING_SEEN
    # An answer may be stamped later than a change, and yet be from before it.
    is_overtaken = seen.version != signals.version or seen.asked_at not in {None, row.asked_at}
    reading = None if is_overtaken else seen.reading
    is_dropped = reading is not seen.reading
    reads, code, told = row.reads(), row.intent(), None
    if isinstance(reading, Unread):
        reads = reads.failing(now, reading.failure)
    elif reading is not None:
        if _is_current(code, reads, reading):
            told = _outcome(case, reading, policy)
            code = renewed_by(_after_outcome(case, told, reading), reading, signals)
            row = row.having(name=_name(row, seen, reading))
        reads = after_read(reads, reading, code, signals)
    row = row.with_intent(code).having(
        unanswered_change=row.unanswered_change if told is None else None,
        replaced_by=_replaced_by(row, reads, signals),
        end_sent_at=row.end_sent_at or seen.end_sent_at,
    )
    intent = code if row is case.row else row.intent()
    assessment = assess(intent, signals, reads, case.health, now, policy)
    if is_dropped:
        seen = replace(seen, reading=None, asked=False)
    if is_dropped or case.has_news:
        # Its mark goes with this step. If that calls for a question to Seam, the code has to stay due.
        row = row.having(due_at=min(row.due_at or now, now))
    queueing = _queue(row, assessment, seen, policy, now, spread)
    read = reading if isinstance(reading, Read) else None
    backup = row.replaced_by if row.replaced_by != case.row.replaced_by else None
    case = case if row is case.row else replace(case, row=row)
    return Decision(case, assessment, reads, queueing, read, is_dropped, told, backup)


def needs_seam(row: CodeRow, assessment: Assessment) -> bool:
    """Whether Seam has to be asked or told something when this code is due."""
    if row.unanswered_change is not None:
        return True
    return not assessment.is_terminal and (
        assessment.needs_read or row.must_send_end or row.binding == Binding.REQUESTED
    )


def _outcome(case: Case, read: Read, policy: Policy) -> Outcome | None:
    unanswered = case.row.unanswered()
    return outcome(unanswered, case.row.intent(), read, policy.request_within) if unanswered is not None else None


def _after_outcome(case: Case, told: Outcome | None, read: Read) -> Code:
    """The intent, with a change in it whose answer was lost and which Seam's object shows."""
    row, unanswered = case.row, case.row.unanswered()
    if told is not Outcome.FOUND or unanswered is None:
        return row.intent()
    return accepted(row.intent(), unanswered.change, read.at, case.signals, row.reads())


def _name(row: CodeRow, seen: Seen, read: Read) -> str | None:
    """Seam's name of the code, unless it was renamed here while Seam was asked."""
    snapshot = read.snapshot
    if snapshot is None or not snapshot.is_managed or snapshot.name is None or seen.name != row.name:
        return row.name
    return snapshot.name


def _is_current(code: Code, reads: Reads, read: Read) -> bool:
    """Whether a read may renew the intent: neither the intent nor a later read came in between."""
    known = (code.asked_at, reads.last.at if reads.last is not None else None)
    return all(moment is None or moment <= read.at for moment in known)


def _queue(row: CodeRow, assessment: Assessment, seen: Seen, policy: Policy, now: datetime, spread: Spread) -> Queueing:
    if not needs_seam(row, assessment):
        return Queueing(due_at=assessment.next_check_at)
    if not seen.asked:
        return Queueing(row.due_at or now, failures=row.failures, error=row.postponed_error)
    failed = seen.end_failure or (seen.reading if isinstance(seen.reading, Unread) else None)
    if failed is not None and failed.wants_key:
        # Looked at again when that may tell something else. The error is what it is found by once there is a key.
        return Queueing(assessment.next_check_at, failures=row.failures, error=failed.failure)
    failures, wait, error = _wait(row, seen, failed, policy, now, spread)
    moments = (now + wait, assessment.next_check_at)
    due_at = min(moment for moment in moments if moment is not None)
    return Queueing(due_at, failures=failures, error=error)


def _wait(
    row: CodeRow, seen: Seen, failed: Unread | None, policy: Policy, now: datetime, spread: Spread
) -> tuple[int, timedelta, str | None]:
    """How often Seam failed in a row, how long to wait before it is asked again, and what the delete call met."""
    error = seen.end_failure.failure if seen.end_failure is not None else None
    if failed is not None:
        failures = row.failures + 1
        wait = pause(failures, FIRST_RETRY, policy.recheck_after, spread)
        return failures, max(wait, failed.retry_after or wait), error
    unanswered = row.unanswered()
    if unanswered is not None:
        return 0, next_look(unanswered.sent_at, now, policy.request_within) - now, None
    if row.binding == Binding.REQUESTED:
        return 0, next_look(row.requested_at, now, policy.request_within) - now, None
    if seen.reading is None:
        return row.failures, timedelta(0), None  # only the delete call was made; the read comes at once
    # Seam answered, but from before the moment that counts (its clock is behind ours), or says two things at once.
    failures = row.failures + 1
    return failures, pause(failures, FIRST_AGAIN, policy.recheck_after, spread), None


def _replaced_by(row: CodeRow, reads: Reads, signals: Signals) -> str | None:
    """Seam's id of the backup code that is in use instead."""
    pulled = signals.latest.get(NewsKind.BACKUP_PULLED)
    snapshot = reads.last.snapshot if reads.last is not None else None
    in_read = snapshot.pulled_backup_access_code_id if snapshot is not None else None
    return (pulled.backup_access_code_id if pulled is not None else None) or in_read or row.replaced_by
