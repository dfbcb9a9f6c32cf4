"""Which piece of Seam's list of events is asked for next. All times are on Seam's clock.

Both bounds of a piece are exclusive and cut to milliseconds, and an answer holds at most so many events, without saying
that there are more. So a piece whose answer is full is halved, and each piece reaches a little into the one before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

OVERLAP = timedelta(minutes=2)
"""How far before the proven moment a comparison begins: Seam does not say how soon an event is in its list."""
SETTLED = timedelta(seconds=5)
"""What is younger is not called proven, for the same reason."""
LOOK_BACK = timedelta(minutes=10)
"""Where nothing is proven yet, so far before the start. Events from before the first start concern no code here (one
that is put under watch is read then); these minutes are those in which the webhook is registered and the container
starts. Whoever wants more asks for it: ``latchwatch backfill --since``."""

_MILLISECOND = timedelta(milliseconds=1)
# A narrower piece may hold no whole millisecond between its bounds.
_NARROWEST = 8 * _MILLISECOND


@dataclass(frozen=True, slots=True)
class Span:
    """Events made after ``start`` and before ``end``. ``width`` is how much is asked for at once."""

    start: datetime
    end: datetime
    width: timedelta

    def halved(self) -> Span | None:
        """The first half, for an answer that was full. ``None``: it is as narrow as it gets."""
        half = (self.end - self.start) / 2
        if half < _NARROWEST:
            return None
        return replace(self, end=cut(self.start + half), width=half)

    def next(self, until: datetime) -> Span | None:
        """The piece after this one, on the way to ``until``; twice as wide, as this one's answer had room left.
        ``None``: there is none."""
        if self.end >= cut(until):
            return None
        return span(self.end - _MILLISECOND, until, self.width * 2)

    def proven(self, seams_now: datetime) -> datetime:
        """Until when everything is known once this piece is stored. Never beyond Seam's own present: nothing tells what
        it will make, and our clock, by which ``end`` was chosen, may be ahead."""
        return min(self.end, cut(seams_now - SETTLED))


def span(start: datetime, until: datetime, width: timedelta | None = None) -> Span:
    """From ``start`` towards ``until``, at most ``width`` of it."""
    start, until = cut(start), cut(until)
    whole = max(until - start, _NARROWEST)
    width = max(min(width or whole, whole), _NARROWEST)
    return Span(start, cut(start + width), width)


def cut(moment: datetime) -> datetime:
    """To milliseconds, as Seam is asked."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
