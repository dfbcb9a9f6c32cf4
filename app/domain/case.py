"""One code with all that is known of it, as the rules see it, and what a rule finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from app.domain.assessment import FlagKind, Policy, Problem, Verdict
from app.domain.changes import awaits_pin, awaits_window
from app.domain.codes import Code, Reads
from app.domain.deadlines import asked_at, preload_deadline, set_deadline
from app.domain.facts import Facts, Step, last_snapshot, read_since
from app.domain.health import Health
from app.domain.news import Issue, Signals


@dataclass(frozen=True, slots=True)
class Case:
    code: Code
    signals: Signals
    reads: Reads
    health: Health
    now: datetime
    policy: Policy
    facts: Facts

    @property
    def asked_at(self) -> datetime:
        return asked_at(self.code)

    @property
    def deadline(self) -> datetime:
        return set_deadline(self.code, self.policy)

    @property
    def end(self) -> datetime | None:
        """When the code had to go, once that has come: an end asked for, or the end of its window."""
        window_end = self.code.ends_at if self.has_ended else None
        return min((end for end in (self.code.end_asked_at, window_end) if end is not None), default=None)

    @property
    def has_ended(self) -> bool:
        return self.code.ends_at is not None and self.now >= self.code.ends_at

    @property
    def has_started(self) -> bool:
        return self.code.starts_at is None or self.now >= self.code.starts_at

    @property
    def leaves(self) -> bool:
        """Whether an end is due of a code that may be on the lock. A window that ended before the code ever was on
        is another story (``missed``)."""
        return self.code.end_asked_at is not None or (self.has_ended and self.facts.was_on)

    @property
    def was_taken_off(self) -> bool:
        """On, then off again, under the present intent."""
        facts = self.facts
        return facts.was_on and facts.is_off and facts.off is not None and facts.off.at >= self.asked_at

    @property
    def awaits_pin(self) -> bool:
        return awaits_pin(self.code, self.signals, self.reads)

    @property
    def awaits_window(self) -> bool:
        return awaits_window(self.code, self.signals, self.reads)

    @property
    def holds_the_old(self) -> bool:
        """Whether what waits in the lock's memory is from before a change."""
        newest = self.facts.newest
        in_memory = newest is not None and newest.step is Step.SCHEDULED
        return in_memory and (self.awaits_pin or self.awaits_window)

    @property
    def is_scheduled(self) -> bool:
        newest = self.facts.newest
        return newest is not None and newest.step is Step.SCHEDULED and not self.holds_the_old

    @property
    def first_read_off(self) -> datetime | None:
        """The first answer of Seam that did not show a code on that had been on and was taken off."""
        on, first = self.facts.on, self.reads.not_on_since
        return first if self.was_taken_off and on is not None and first is not None and first >= on.at else None

    def lacks_read(self, moment: datetime) -> bool:
        """The clock has passed ``moment``, and Seam gave no answer since."""
        return self.now >= moment and not read_since(self.reads, moment)

    def issues(self) -> tuple[Issue, ...]:
        """Seam's diagnosis: that of the newest mark, unless a newer answer has one of its own."""
        newest, last, snapshot = self.facts.newest, self.reads.last, last_snapshot(self.reads)
        in_read = (*snapshot.errors, *snapshot.warnings) if snapshot else ()
        if newest is None or (in_read and last is not None and last.at >= newest.at):
            return in_read
        return (*newest.issues, *in_read)


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Verdict
    reason: str
    since: datetime
    deadline: datetime | None = None
    problem: Problem | None = None
    flag: FlagKind | None = None
    flag_since: datetime | None = None
    is_terminal: bool = False


def turns(case: Case) -> Iterator[datetime]:
    """The moments from which a verdict on a code that is not on the lock needs an answer of Seam."""
    facts, code = case.facts, case.code
    if facts.is_on or case.leaves:
        return
    if case.has_ended and code.ends_at is not None:
        yield code.ends_at
    if case.was_taken_off and facts.off is not None and case.has_started:
        yield facts.off.at
        if case.first_read_off is not None:
            yield case.first_read_off + case.policy.recheck_after
    else:
        yield case.deadline
    preload = preload_deadline(code, case.health, case.policy)
    if preload is not None and not case.has_started and not case.is_scheduled:
        yield preload


def blinded(reason: str, since: datetime, deadline: datetime, problem: Problem) -> Finding:
    return Finding(Verdict.UNKNOWN, reason, since, deadline, problem, flag=FlagKind.UNKNOWN, flag_since=since)


def stamp(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "an unknown time"
