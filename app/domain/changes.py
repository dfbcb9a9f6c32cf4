"""Changes of an intent: what is asked of Seam, what acceptance makes of it, and what became of a lost answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from app.domain.codes import Code, CodeType, Read, Reads, Snapshot
from app.domain.fingerprints import same_pin
from app.domain.news import NewsKind, Signals
from app.domain.reads import UPDATING_PIN, UPDATING_WINDOW, shows_on, shows_scheduled

_ROUNDING = timedelta(hours=1)
"""By how much Seam may have rounded a window."""


@dataclass(frozen=True, slots=True)
class Window:
    """An ongoing code has neither start nor end, a time-bound one has both."""

    type: CodeType
    starts_at: datetime | None = None
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What Seam is asked to change of a code; ``None`` leaves it as it is. ``pin`` is a fingerprint."""

    name: str | None = None
    pin: str | None = None
    window: Window | None = None
    pulls_backup: bool = False


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A change whose call left at ``sent_at`` (our clock), and whose answer is not known."""

    change: Change
    sent_at: datetime


class Outcome(StrEnum):
    """What a read told about a change without an answer."""

    FOUND = "found"
    LOST = "lost"


def window_of(it: Code | Snapshot) -> Window:
    return Window(it.type, it.starts_at, it.ends_at)


def accepted(code: Code, change: Change, at: datetime, signals: Signals, reads: Reads) -> Code:
    """The intent after Seam accepted the change ``at`` (on its clock). A change that was still unconfirmed stays so."""
    window = change.window or window_of(code)
    renews = change.pin is not None or change.window is not None
    return replace(
        code,
        type=window.type,
        starts_at=window.starts_at,
        ends_at=window.ends_at,
        pin=change.pin or code.pin,
        asked_at=max(at, code.asked_at or at) if renews else code.asked_at,
        pin_changed=change.pin is not None or awaits_pin(code, signals, reads),
        window_changed=change.window is not None or awaits_window(code, signals, reads),
    )


def awaits_pin(code: Code, signals: Signals, reads: Reads) -> bool:
    """Whether a new PIN was asked for, and nothing confirms that the lock has it."""
    return code.pin_changed and not _is_confirmed(code, signals, reads, NewsKind.CODE_CHANGED, UPDATING_PIN)


def awaits_window(code: Code, signals: Signals, reads: Reads) -> bool:
    """Whether a new window was asked for, and nothing confirms that the lock has it."""
    return code.window_changed and not _is_confirmed(code, signals, reads, NewsKind.TIME_FRAME_CHANGED, UPDATING_WINDOW)


def _is_confirmed(code: Code, signals: Signals, reads: Reads, kind: NewsKind, mutation: str) -> bool:
    asked_at = code.asked_at or code.requested_at
    news = (signals.at(each) for each in (kind, NewsKind.SET, NewsKind.SCHEDULED))
    if any(at is not None and at > asked_at for at in news):
        return True
    last = reads.last
    if last is None or last.snapshot is None or last.at < asked_at or mutation in (last.snapshot.pending or ()):
        return False
    return shows_on(last.snapshot, last.at) or shows_scheduled(last.snapshot, last.at)


def outcome(unanswered: Unanswered, code: Code, read: Read, request_within: timedelta) -> Outcome | None:
    """What this answer of Seam tells about the change; ``None``: too early to tell, the call may still be on its way.

    Seam's object shows what was accepted also while the lock does not have it yet.
    """
    if read.snapshot is not None and _shows(unanswered.change, code, read.snapshot):
        return Outcome.FOUND
    return Outcome.LOST if read.at >= unanswered.sent_at + request_within else None


def _shows(change: Change, code: Code, snapshot: Snapshot) -> bool:
    if change.pulls_backup:
        return snapshot.pulled_backup_access_code_id is not None
    return (
        (change.name is None or snapshot.name == change.name)
        and (change.pin is None or same_pin(change.pin, snapshot.pin) is True)
        and (change.window is None or _is_window(change.window, window_of(code), window_of(snapshot)))
    )


def _is_window(wanted: Window, before: Window, shown: Window) -> bool:
    if shown == wanted:
        return True
    is_near = _is_near(wanted.starts_at, shown.starts_at) and _is_near(wanted.ends_at, shown.ends_at)
    return is_near and shown.type is wanted.type and shown != before


def _is_near(wanted: datetime | None, shown: datetime | None) -> bool:
    if wanted is None or shown is None:
        return wanted is shown
    return abs(wanted - shown) <= _ROUNDING
