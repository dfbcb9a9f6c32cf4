"""How long to wait before Seam is asked again, as tables."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.reconciler.waits import next_look, pause
from tests.storage.arrivals import NOW, after

FIRST, MOST, MINUTE = timedelta(seconds=5), timedelta(seconds=120), timedelta(seconds=60)


@pytest.mark.parametrize(
    ("failures", "wait"), [(0, 5), (1, 5), (2, 10), (3, 20), (5, 80), (6, 120), (7, 120), (100_000, 120)]
)
def test_a_pause_doubles_up_to_its_longest(failures: int, wait: float) -> None:
    assert pause(failures, FIRST, MOST) == timedelta(seconds=wait)


@pytest.mark.parametrize(("place", "wait"), [(0.0, 8), (0.5, 9), (1.0, 10)])
def test_a_pause_ends_somewhere_in_its_last_fifth(place: float, wait: float) -> None:
    assert pause(2, FIRST, MOST, lambda: place) == timedelta(seconds=wait)


@pytest.mark.parametrize(
    ("waited", "look_at"),
    [
        (-1, 4),
        (0, 5),
        (5, 10),
        (10, 20),
        (29, 58),
        (40, 60),
        (59, 60),
        (60, 120),
        (600, 1200),
        (21_600, 43_200),
        (50_000, 71_600),
    ],
)
def test_a_lost_answer_is_looked_for_at_growing_distances_and_when_it_counts_as_lost(
    waited: float, look_at: float
) -> None:
    assert next_look(NOW, after(waited), MINUTE) == after(look_at)
