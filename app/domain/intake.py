"""Whether our own intake is whole: until when it is proven, since when it runs without a break, what was lost.

Three clocks meet here. ``created_at`` of events, and all that is drawn from it (``proven_until``, ``lost_at``), is on
Seam's; everything else is on ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

BEAT_EVERY = timedelta(seconds=10)
"""How often whoever receives webhooks says that it does."""
BEAT_LIVES = timedelta(seconds=30)
"""After so long without a word nobody receives any more."""

LOST_AFTER = timedelta(minutes=1)
"""An event that is older, and that no webhook brought, is proof that one got lost (contract, section 6)."""
EVERY_AFTER_LOSSES = timedelta(minutes=1)
"""While webhooks get lost, the comparison with Seam is the only news that there is."""

_PATIENCE = timedelta(minutes=2)  # a replica that died holds the lease for one

Window = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Intake:
    """The one row that tells of our intake (see ``app.storage.tables``)."""

    proven_until: datetime | None = None
    last_delivery_at: datetime | None = None
    backfilled: int = 0
    lost: int = 0
    lost_at: datetime | None = None
    lost_in_a_row: int = 0
    lost_since: datetime | None = None
    compared_at: datetime | None = None
    compare_failure: str | None = None
    compare_failed_at: datetime | None = None
    seam_event_at: datetime | None = None
    receiving_since: datetime | None = None
    receiving_at: datetime | None = None

    def is_received(self, now: datetime) -> bool:
        """Whether any process receives webhooks now."""
        return self.receiving_at is not None and now - self.receiving_at <= BEAT_LIVES


def unbroken_since(intake: Intake, since: datetime, now: datetime) -> datetime:
    """Since when somebody has received without a break, as seen by a process that itself only knows of the time from
    ``since`` on (its start, or the end of its last interruption).

    A word of another process that is newer shows that there was no break in between. One from before ``since`` may
    well be the last word of a process that died, and one that tells of the future comes from a clock that was ahead.
    """
    heard, began = intake.receiving_at, intake.receiving_since
    if began is None or began > now or heard is None or heard <= since or not intake.is_received(now):
        return since
    return began


def is_caught_up(intake: Intake, since: datetime, now: datetime) -> bool:
    """Whether Seam's list was compared after the last break of our intake."""
    return intake.compared_at is not None and intake.compared_at >= unbroken_since(intake, since, now)


def may_judge(intake: Intake, since: datetime, now: datetime) -> bool:
    """First catch up, then judge (contract, section 2.8). Where Seam could not be reached there is nothing to wait
    for: its codes cannot be read either, and then they are ``unknown``."""
    if is_caught_up(intake, since, now):
        return True
    failed_at = intake.compare_failed_at
    return failed_at is not None and failed_at >= unbroken_since(intake, since, now)


def next_comparison(intake: Intake, since: datetime, now: datetime, every: timedelta) -> datetime:
    """When Seam's list is to be compared with ours again: at once after a break, and after a clock that was ahead."""
    if intake.compared_at is None or not is_caught_up(intake, since, now):
        return now
    if intake.compared_at - now > max(every, _PATIENCE):
        return now
    return intake.compared_at + (min(every, EVERY_AFTER_LOSSES) if intake.lost_in_a_row else every)


def losses_within(intake: Intake, seams_now: datetime, now: datetime) -> Window | None:
    """Between which moments an event must have been made, so that its webhook counts as lost if only the backfill finds
    it: we received then, and it had time to arrive. ``None``: we do not receive, so nothing can be lost on its way."""
    if intake.receiving_since is None or not intake.is_received(now):
        return None
    return intake.receiving_since + (seams_now - now), seams_now - LOST_AFTER


def is_lost(created_at: datetime, within: Window | None) -> bool:
    return within is not None and within[0] < created_at <= within[1]


def may_be_lost(created_at: datetime, within: Window | None) -> bool:
    """Whether it is too early to tell."""
    return within is not None and created_at > within[1]


def shows_life(intake: Intake, found: int) -> bool:
    """Whether a comparison that found so many events which no webhook had brought shows that webhooks arrive again."""
    if intake.lost_at is None:
        return True
    return found == 0 and intake.last_delivery_at is not None and intake.last_delivery_at > intake.lost_at


@dataclass(frozen=True, slots=True)
class Freshness:
    """``is_tried``: some process compares, in vain or not. ``detail`` is for people; ``None``: the proof moves on."""

    is_tried: bool
    detail: str | None = None


def freshness(intake: Intake, now: datetime, every: timedelta, started_at: datetime) -> Freshness:
    """Whether the proof of the intake moves on. It blames nobody for the time before ``started_at``."""
    tried_at = max(moment for moment in (intake.compared_at, intake.compare_failed_at, started_at) if moment)
    if now - tried_at > max(3 * every, _PATIENCE):
        told = f"nobody has compared Seam's events with ours since {_told(tried_at)}"
        return Freshness(False, f"{told}; start latchwatch serve or work, or see in its log why it does not")
    if intake.compare_failure is not None:
        return Freshness(True, f"proven until {_told(intake.proven_until)}; comparing failed: {intake.compare_failure}")
    return Freshness(True)


def _told(moment: datetime | None) -> str:
    return "nothing" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}Z"
