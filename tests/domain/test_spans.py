"""Which pieces of Seam's list are asked for: together they leave nothing out, however full the answers are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.spans import SETTLED, Span, cut, span

START = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
MS = timedelta(milliseconds=1)


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def fetch(made: list[datetime], until: datetime, limit: int) -> tuple[set[datetime], int]:
    """As the backfill does, with a Seam that has these events: what it saw, and with how many calls."""
    seen: set[datetime] = set()
    calls = 0
    piece: Span | None = span(START, until)
    while piece is not None:
        calls += 1
        answer = sorted(each for each in made if piece.start < each < piece.end)[:limit]
        half = piece.halved() if len(answer) >= limit else None
        if half is not None:
            piece = half
            continue
        seen.update(answer)
        piece = piece.next(until)
    return seen, calls


@settings(deadline=None, max_examples=200)
@given(
    micros=st.lists(
        st.integers(min_value=1, max_value=3_600_000_000), max_size=60, unique_by=lambda each: each // 9000
    ),
    limit=st.integers(min_value=2, max_value=50),
)
def test_every_event_is_seen_whatever_its_moment_and_however_few_an_answer_holds(micros: list[int], limit: int) -> None:
    made = [START + timedelta(microseconds=each) for each in micros]
    until = later(3600.5)
    seen, calls = fetch(made, until, limit)
    assert seen == set(made)
    assert calls < 80 * (1 + len(made))


def test_an_empty_hour_costs_one_call() -> None:
    assert fetch([], later(3600), 500) == (set(), 1)


def test_a_crowd_is_narrowed_down_to_and_the_rest_is_taken_in_ever_wider_pieces() -> None:
    made = [later(1800 + each / 100) for each in range(999)]
    seen, calls = fetch(made, later(86_400), 500)
    assert seen == set(made)
    assert calls < 60


def test_what_cannot_be_halved_any_more_is_taken_as_it_is() -> None:
    narrow = span(START, START + 8 * MS)
    assert narrow.halved() is None
    wide = span(START, START + 16 * MS).halved()
    assert wide is not None
    assert (wide.start, wide.end) == (START, START + 8 * MS)


def test_pieces_reach_into_each_other_as_both_bounds_are_exclusive() -> None:
    first = span(START, later(100), timedelta(seconds=10))
    second = first.next(later(100))
    assert second is not None
    assert second.start == first.end - MS
    assert second.end - second.start == timedelta(seconds=20)


def test_bounds_are_cut_to_what_seam_is_asked() -> None:
    assert cut(START + timedelta(microseconds=1999)) == START + MS
    piece = span(START + timedelta(microseconds=999), START + timedelta(seconds=1, microseconds=999))
    assert (piece.start, piece.end) == (START, later(1))


def test_nothing_that_lies_in_seams_future_or_is_too_young_is_called_proven() -> None:
    piece = span(START, later(100))
    assert piece.proven(later(1000)) == later(100)
    assert piece.proven(later(100)) == later(100) - SETTLED
    assert piece.proven(later(50)) == later(50) - SETTLED  # our clock is ahead of Seam's


def test_a_span_that_ends_before_it_begins_is_still_a_question_that_can_be_asked() -> None:
    piece = span(START, later(-60))
    assert piece.start < piece.end
    assert piece.next(later(-60)) is None
