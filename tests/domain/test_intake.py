"""The rules of our own intake: breaks, catching up, what counts as lost, and when to compare again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.intake import (
    Intake,
    freshness,
    is_caught_up,
    is_lost,
    losses_within,
    may_be_lost,
    may_judge,
    next_comparison,
    shows_life,
    unbroken_since,
)

NOW = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
EVERY = timedelta(minutes=10)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def intake(**seconds: float | str) -> Intake:
    """Times as seconds from ``NOW``; other columns as they are."""
    counts = {"lost", "lost_in_a_row", "compare_failure"}
    values: dict[str, Any] = {name: value if name in counts else at(float(value)) for name, value in seconds.items()}
    return Intake(**values)


@pytest.mark.parametrize(
    ("known", "since", "unbroken"),
    [
        (intake(), -60, -60),  # nobody ever received
        (intake(receiving_since=-900, receiving_at=-5), -60, -900),  # somebody said so since: no break
        (intake(receiving_since=-900, receiving_at=-60), -60, -60),  # perhaps the last word of the dead
        (intake(receiving_since=-900, receiving_at=-61), -60, -60),
        (intake(receiving_since=-900, receiving_at=-31), -60, -60),  # it went silent
        (intake(receiving_since=-900, receiving_at=-30), -60, -900),
        (intake(receiving_since=900, receiving_at=0), -60, -60),  # by a clock that was ahead
    ],
)
def test_only_a_newer_word_of_others_shows_that_there_was_no_break(
    known: Intake, since: float, unbroken: float
) -> None:
    assert unbroken_since(known, at(since), NOW) == at(unbroken)


HEALTHY = {"receiving_since": -900, "receiving_at": -1}


@pytest.mark.parametrize(
    ("known", "judges", "is_whole"),
    [
        (intake(), False, False),
        (intake(compared_at=-61), False, False),  # before the start
        (intake(compared_at=-60), True, True),
        (intake(compared_at=-700, **HEALTHY), True, True),  # beside others that receive: nothing to wait for
        (intake(compared_at=-901, **HEALTHY), False, False),  # those have not caught up themselves
        (intake(compared_at=-700, receiving_since=-900, receiving_at=-61), False, False),
        (intake(compare_failed_at=-60), True, False),  # Seam cannot be reached
        (intake(compare_failed_at=-61), False, False),
        (intake(compare_failed_at=-800, compared_at=-901, **HEALTHY), True, False),
    ],
)
def test_codes_are_judged_once_seams_list_was_compared_after_the_break_or_could_not_be(
    known: Intake, *, judges: bool, is_whole: bool
) -> None:
    assert may_judge(known, at(-60), NOW) is judges
    assert is_caught_up(known, at(-60), NOW) is is_whole


@pytest.mark.parametrize(
    ("known", "due"),
    [
        (intake(), 0),
        (intake(compared_at=-61), 0),  # a break came after it
        (intake(compared_at=-60), 540),
        (intake(compared_at=-60, lost_in_a_row=1), 0),  # each minute while webhooks get lost
        (intake(compared_at=-20, lost_in_a_row=1), 40),
        (intake(compared_at=600), 1200),  # by a replica whose clock is ahead
        (intake(compared_at=601), 0),  # by a clock that was ahead
    ],
)
def test_the_next_comparison_comes_at_once_after_a_break_and_soon_after_a_loss(known: Intake, due: float) -> None:
    assert next_comparison(known, at(-60), NOW, EVERY) == at(due)


def test_a_short_interval_stays_short_after_a_loss() -> None:
    known = intake(compared_at=-1, lost_in_a_row=3)
    assert next_comparison(known, at(-60), NOW, timedelta(seconds=5)) == at(4)


@pytest.mark.parametrize(
    ("made", "lost", "undecided"),
    [(-900, False, False), (-899, True, False), (-60, True, False), (-59, False, True), (0, False, True)],
)
def test_an_event_counts_as_lost_if_it_was_made_while_we_received_and_had_a_minute_to_arrive(
    made: float, *, lost: bool, undecided: bool
) -> None:
    within = losses_within(intake(**HEALTHY), NOW, NOW)
    assert (is_lost(at(made), within), may_be_lost(at(made), within)) == (lost, undecided)


def test_what_seam_made_while_we_were_down_is_not_lost() -> None:
    just_back = intake(receiving_since=-10, receiving_at=0)
    assert not any(is_lost(at(-made), losses_within(just_back, NOW, NOW)) for made in range(0, 3600, 7))


@pytest.mark.parametrize("known", [intake(), intake(receiving_since=-900, receiving_at=-31)])
def test_nothing_gets_lost_on_its_way_to_nobody(known: Intake) -> None:
    within = losses_within(known, NOW, NOW)
    assert within is None
    assert not is_lost(at(-600), within)
    assert not may_be_lost(at(-1), within)


def test_the_time_of_receiving_is_compared_on_seams_clock() -> None:
    """Seam's clock is an hour ahead: what it made at 12:50 it made before we began, at 11:55 of ours."""
    within = losses_within(intake(receiving_since=-300, receiving_at=0), at(3600), NOW)
    assert not is_lost(at(3000), within)
    assert is_lost(at(3400), within)


@pytest.mark.parametrize(
    ("known", "found", "alive"),
    [
        (intake(), 7, True),
        (intake(lost_at=-100, last_delivery_at=-90), 0, True),
        (intake(lost_at=-100, last_delivery_at=-90), 1, False),  # some still have to be fetched
        (intake(lost_at=-100, last_delivery_at=-100), 0, False),  # none has come since
        (intake(lost_at=-100), 0, False),
    ],
)
def test_webhooks_arrive_again_when_some_came_since_the_loss_and_nothing_else_was_found(
    known: Intake, found: int, *, alive: bool
) -> None:
    assert shows_life(known, found) is alive


@pytest.mark.parametrize(
    ("known", "started", "is_tried", "says"),
    [
        (intake(), -1800, True, None),  # it has just started
        (intake(), -1801, False, "nobody has compared"),
        (intake(compared_at=-1800), -9000, True, None),
        (intake(compared_at=-1801), -9000, False, "2026-08-03 11:29:59Z"),
        (intake(compared_at=-9000, compare_failed_at=-60, compare_failure="no way"), -9000, True, "failed: no way"),
        (intake(compared_at=-9000, compare_failed_at=-1801, compare_failure="no way"), -9000, False, "nobody"),
    ],
)
def test_readiness_tells_a_comparison_that_fails_from_one_that_nobody_makes(
    known: Intake, started: float, *, is_tried: bool, says: str | None
) -> None:
    found = freshness(known, NOW, EVERY, at(started))
    assert found.is_tried is is_tried
    assert says in (found.detail or "") if says is not None else found.detail is None


def test_however_short_the_interval_nobody_is_blamed_within_two_minutes() -> None:
    assert freshness(intake(compared_at=-119), NOW, timedelta(seconds=1), at(-9000)).is_tried
