"""What a read of Seam's access code object means, and what it adds to all that earlier reads taught."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from app.domain.codes import Code, Read, Reads, Snapshot
from app.domain.fingerprints import same_pin
from app.domain.news import NewsKind, Signals
from app.domain.problems import REMOVAL_ERRORS, blocks

UPDATING_PIN = "updating_code"
UPDATING_WINDOW = "updating_time_frame"
_NOT_THERE = frozenset({"creating", "deferring_creation", "deleting"})


def shows_on(snapshot: Snapshot, at: datetime) -> bool:
    """Whether Seam's object, read at ``at``, says that the code is active on the lock.

    Everything that Seam says must agree: nothing pending that makes or removes it, no blocking error, and ``status``
    (which Seam deprecates) either absent or ``set``. A code being removed may be there, or never have been. Where
    pending mutations are absent, only the status tells, and outside the window too: there the absence of anything
    pending is what an absent code shows as well.
    """
    if not snapshot.is_managed or any(blocks(issue) for issue in snapshot.errors):
        return False
    if snapshot.pending is None or not _in_window(snapshot, at):
        return snapshot.status == "set"
    return snapshot.status in {None, "set"} and not _NOT_THERE.intersection(snapshot.pending)


def _in_window(snapshot: Snapshot, at: datetime) -> bool:
    has_started = snapshot.starts_at is None or snapshot.starts_at <= at
    return has_started and (snapshot.ends_at is None or at < snapshot.ends_at)


def shows_scheduled(snapshot: Snapshot, at: datetime) -> bool:
    """Whether the code waits in the lock's own memory for a start that is still to come."""
    return (
        snapshot.is_scheduled_on_device is True
        and snapshot.starts_at is not None
        and snapshot.starts_at > at
        and not any(blocks(issue) for issue in snapshot.errors)
    )


def shows_leaving(snapshot: Snapshot) -> bool:
    """Whether Seam still works on the removal, or reports that it failed."""
    return (
        "deleting" in (snapshot.pending or ())
        or snapshot.status == "removing"
        or any(issue.code in REMOVAL_ERRORS for issue in (*snapshot.errors, *snapshot.warnings))
    )


def shows_gone(snapshot: Snapshot) -> bool:
    """Whether the object of a code whose window has ended says that nothing is left on the lock.

    Neither ``deleting`` nor an error of removal may show, and ``status``, where Seam still gives one, must not say
    that the code is there. Without pending mutations only ``unset`` says that it is gone.
    """
    if shows_leaving(snapshot) or snapshot.status in {"set", "unknown"}:
        return False
    return snapshot.pending is not None or snapshot.status == "unset"


def after_read(reads: Reads, read: Read, code: Code, signals: Signals) -> Reads:
    """Add one answer of Seam. An answer older than the last one changes nothing: it arrived late."""
    if reads.last is not None and read.at < reads.last.at:
        return reads
    answered = replace(reads, last=read, failed_at=None, failure=None)
    if read.snapshot is not None and shows_on(read.snapshot, read.at):
        return replace(answered, seen_on_at=read.at, not_on_since=None)
    turned_at = _newest_turn(reads, code, signals)
    if read.snapshot is None:
        answered = replace(answered, seen_absent_at=_first_of_run(reads.seen_absent_at, read.at, turned_at))
    return replace(answered, not_on_since=_first_of_run(reads.not_on_since, read.at, turned_at))


def _first_of_run(known: datetime | None, at: datetime, turned_at: datetime | None) -> datetime:
    """When the present run of like answers began: a turn of the code ends a run."""
    return at if known is None or (turned_at is not None and known < turned_at) else known


def _newest_turn(reads: Reads, code: Code, signals: Signals) -> datetime | None:
    """When the code last changed sides: reads from before then say nothing about the side it is on now."""
    moments = [
        reads.seen_on_at,
        code.asked_at,
        *(signals.at(kind) for kind in (NewsKind.SET, NewsKind.REMOVED, NewsKind.DELETED, NewsKind.DELETED_EXTERNALLY)),
    ]
    return max((moment for moment in moments if moment is not None), default=None)


def renewed_by(code: Code, read: Read, signals: Signals) -> Code:
    """The intent after a read: somebody may have changed the code elsewhere through Seam, and that counts.

    A window that differs from the accepted one is such a change. Another PIN is one only when news since ``asked_at``
    tells of a change of the PIN; without it the PIN is a mismatch. A code whose PIN the vendor chose late gets it here.
    """
    snapshot = read.snapshot
    if snapshot is None or not snapshot.is_managed:
        return code
    if code.pin is None and snapshot.pin is not None:
        code = replace(code, pin=snapshot.pin)
    window_changed = (snapshot.type, snapshot.starts_at, snapshot.ends_at) != (code.type, code.starts_at, code.ends_at)
    pin_changed = same_pin(code.pin, snapshot.pin) is False and _pin_changed_through_seam(code, signals)
    if not window_changed and not pin_changed:
        return code
    return replace(
        code,
        type=snapshot.type,
        starts_at=snapshot.starts_at,
        ends_at=snapshot.ends_at,
        pin=snapshot.pin if pin_changed else code.pin,
        asked_at=read.at,
        window_changed=window_changed,
        pin_changed=pin_changed,
    )


def _pin_changed_through_seam(code: Code, signals: Signals) -> bool:
    kinds = (NewsKind.CHANGED, NewsKind.CHANGE_REQUESTED, NewsKind.CODE_CHANGED)
    return any(
        news.pin is not None and (code.asked_at is None or news.occurred_at >= code.asked_at)
        for kind in kinds
        if (news := signals.latest.get(kind)) is not None
    )
