"""One step decided, as tables: which answer counts, and when the code is due again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.domain.codes import CodeType, Read
from app.domain.health import Health
from app.domain.news import News, NewsKind, Signals
from app.reconciler.decisions import NOTHING_SEEN, Decision, Seen, asked_about, decide
from app.reconciler.reading import Unread
from app.storage.codes import Case, CodeRow
from app.storage.flags import FlagRow
from app.storage.steps import Queueing, closed_by, opened_by
from app.storage.values import encode_read
from tests.reconciler.rows import bound_row, requested_row
from tests.storage.arrivals import NOW, after
from tests.storage.made import POLICY, snapshot

SETTING, ON = snapshot(), snapshot(status="set", pending=())
WINDOW: dict[str, Any] = {"type": CodeType.TIME_BOUND, "starts_at": after(0), "ends_at": after(9000)}
LATE = 601  # after the deadline of an ongoing code


def case_of(row: CodeRow, signals: Signals | None = None, flags: tuple[FlagRow, ...] = ()) -> Case:
    return Case(row=row, signals=signals or Signals(), health=Health(), flags=flags)


def signals_of(kind: NewsKind, at: float, **said: Any) -> Signals:
    return Signals(latest={kind: News(after(at), "e1", **said)}, version=1)


def decided(case: Case, at: float, seen: Seen | None = None, **changes: Any) -> Decision:
    return decide(case, replace(seen or asked_about(case), **changes), POLICY, after(at))


@pytest.mark.parametrize(
    ("at", "reading", "verdict"),
    [
        (599, None, "pending"),
        (LATE, None, "pending"),
        (LATE, Read(after(599), SETTING), "pending"),
        (LATE, Read(after(600), SETTING), "stuck"),
        (LATE, Read(after(LATE), SETTING), "stuck"),
        (LATE, Read(after(LATE), ON), "verified"),
        (LATE, Unread("Seam did not answer."), "unknown"),
    ],
    ids=["in time", "unread", "read too early", "at the deadline", "after it", "it is on", "unreadable"],
)
def test_the_clock_alone_never_accuses(at: float, reading: Any, verdict: str) -> None:
    assert decided(case_of(bound_row()), at, reading=reading).assessment.verdict == verdict


def test_a_read_that_news_overtook_is_dropped_and_asked_for_again() -> None:
    before = case_of(bound_row())
    overtaken = replace(asked_about(before), reading=Read(after(LATE), SETTING))
    case = case_of(bound_row(), signals_of(NewsKind.CHANGED, LATE))
    decision = decided(case, LATE, overtaken)
    assert (decision.is_dropped, decision.read, decision.reads.last) == (True, None, None)
    assert decision.queueing == Queueing(NOW)
    assert decision.assessment.verdict == "pending"


def test_an_answer_about_another_access_code_is_worth_nothing() -> None:
    seen = Seen(asked=True, access_code_id=None, reading=Read(after(LATE), None), end_sent_at=after(LATE))
    decision = decided(case_of(bound_row()), LATE, seen)
    assert (decision.read, decision.case.row.end_sent_at, decision.queueing.due_at) == (None, None, NOW)


def test_a_read_brings_in_a_window_that_was_changed_elsewhere() -> None:
    decision = decided(case_of(bound_row()), LATE, reading=Read(after(LATE), replace(ON, **WINDOW)))
    row = decision.case.row
    assert (row.type, row.ends_at, row.asked_at, row.window_changed) == ("time_bound", after(9000), after(LATE), True)


def test_an_answer_from_before_the_intent_or_before_the_last_one_renews_nothing() -> None:
    old = Read(after(1), replace(ON, **WINDOW))
    for row in (bound_row(asked_at=after(2)), bound_row(read=encode_read(Read(after(2), SETTING)))):
        decision = decided(case_of(row), 3, reading=old)
        assert (decision.case.row.ends_at, decision.case.row.asked_at) == (None, row.asked_at)


@pytest.mark.parametrize(
    ("failures", "retry_after", "wait"),
    [(0, None, 5), (1, None, 10), (4, None, 80), (9, None, 120), (0, 60, 60), (4, 60, 80)],
)
def test_seam_is_asked_again_after_a_growing_wait_or_when_it_says_so(
    failures: int, retry_after: float | None, wait: float
) -> None:
    unread = Unread("no", timedelta(seconds=retry_after) if retry_after is not None else None)
    row = bound_row(failures=failures, end_asked_at=NOW)
    queueing = decided(case_of(row), 0, end_failure=unread).queueing
    assert queueing == Queueing(after(wait), failures=failures + 1, error="no")


def test_no_wait_is_longer_than_until_the_next_check() -> None:
    row = bound_row(end_asked_at=after(-1795))
    queueing = decided(case_of(row), 1, end_failure=Unread("no", timedelta(hours=1))).queueing
    assert queueing.due_at == after(5)


def test_a_failure_is_forgotten_when_seam_answers() -> None:
    row = bound_row(failures=5, postponed_error="ValueError", read_failed_at=after(LATE), read_failure="no")
    decision = decided(case_of(row), LATE + 1, reading=Read(after(LATE + 1), ON))
    assert (decision.queueing.failures, decision.queueing.error, decision.reads.failed_at) == (0, None, None)
    assert decision.queueing.due_at == decision.assessment.next_check_at


def test_an_answer_that_is_not_late_enough_is_asked_for_again_soon() -> None:
    """Seam's clock is behind ours."""
    decision = decided(case_of(bound_row()), LATE, reading=Read(after(599), SETTING))
    assert decision.queueing == Queueing(after(LATE + 1), failures=1)


def test_an_end_that_seam_took_is_dated_once() -> None:
    row = bound_row(end_asked_at=NOW)
    assert decided(case_of(row), 2, end_sent_at=after(1)).case.row.end_sent_at == after(1)
    sent = replace(row, end_sent_at=after(1))
    assert decided(case_of(sent), 9, end_sent_at=after(8)).case.row.end_sent_at == after(1)


@pytest.mark.parametrize(("at", "due"), [(0, 5), (10, 20), (50, 60)])
def test_a_request_that_was_not_found_is_looked_for_later(at: float, due: float) -> None:
    decision = decided(case_of(requested_row()), at)
    assert (decision.assessment.flag, decision.queueing.due_at) == (None, after(due))


def test_a_request_that_seam_does_not_have_when_its_time_is_over_is_lost() -> None:
    decision = decided(case_of(requested_row()), 61, reading=Read(after(60), None))
    assert (decision.assessment.flag, decision.assessment.flag_since) == ("request_lost", after(60))


def test_what_needs_seam_and_did_not_ask_it_stays_due() -> None:
    decision = decide(case_of(bound_row(failures=2)), NOTHING_SEEN, POLICY, after(LATE))
    assert decision.queueing == Queueing(NOW, failures=2)


def test_a_terminal_code_is_not_due_any_more() -> None:
    row = bound_row(end_asked_at=after(1), end_sent_at=after(1))
    decision = decided(case_of(row, signals_of(NewsKind.REMOVED, 2)), 3, NOTHING_SEEN, access_code_id="ac")
    assert (decision.assessment.verdict, decision.queueing) == ("removed", Queueing(None))


@pytest.mark.parametrize("by_news", [True, False])
def test_the_backup_in_use_is_named(by_news: bool) -> None:
    pulled = signals_of(NewsKind.BACKUP_PULLED, 1, backup_access_code_id="ac-2")
    if by_news:
        decision = decided(case_of(bound_row(), pulled), 2, NOTHING_SEEN, access_code_id="ac", version=1)
    else:
        said = replace(ON, pulled_backup_access_code_id="ac-2")
        decision = decided(case_of(bound_row()), 2, reading=Read(after(2), said))
    assert decision.case.row.replaced_by == "ac-2"


def test_a_missed_flag_opens_once_for_a_verdict() -> None:
    window = {"type": "time_bound", "starts_at": after(-60), "ends_at": after(1)}
    row = bound_row(**window, verdict="pending", next_check_at=after(1))
    said = replace(SETTING, type=CodeType.TIME_BOUND, starts_at=after(-60), ends_at=after(1))
    decision = decided(case_of(row), 3, reading=Read(after(2), said))
    assert (decision.assessment.verdict, opened_by(case_of(row), decision.assessment)) == ("missed", "missed")
    acknowledged = case_of(replace(row, verdict="missed", is_terminal=True))
    assert opened_by(acknowledged, decision.assessment) is None
    assert closed_by(acknowledged, decision.assessment) == []
