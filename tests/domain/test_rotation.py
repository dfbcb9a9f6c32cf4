"""When the webhook with the old secret may be deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.rotation import Hook, Rotation, last_use, obstacles, rotation_of

NOW = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
URL = "https://latch.example/webhooks/seam"
DAY = timedelta(days=1)


def ago(**delta: float) -> datetime:
    return NOW - timedelta(**delta)


OLD = Hook("old", URL, "aaaa", ago(days=90), retired_at=ago(days=3))
NEW = Hook("new", URL, "bbbb", ago(days=3))
BOTH = frozenset({"old", "new"})

# label of the old secret, last uses, at Seam, unused for; the beginnings of what speaks against it
STORIES = [
    ("the old one is out of use", "aaaa", {"aaaa": ago(days=2), "bbbb": ago(hours=1)}, BOTH, DAY, []),
    ("exactly a day out of use", "aaaa", {"aaaa": ago(days=1), "bbbb": ago(hours=1)}, BOTH, DAY, []),
    ("the old one was never used", "aaaa", {"bbbb": ago(hours=1)}, BOTH, DAY, []),
    ("both are in use", "aaaa", {"aaaa": ago(hours=2), "bbbb": ago(hours=1)}, BOTH, DAY, ["The old secret was used"]),
    ("both are in use, and nobody wants to wait", "aaaa", {"aaaa": NOW, "bbbb": ago(hours=1)}, BOTH, timedelta(), []),
    ("the new one was never used", "aaaa", {"aaaa": ago(days=2)}, BOTH, DAY, ["No delivery was signed with the new"]),
    (
        "the new one was never used, and nobody wants to wait",
        "aaaa",
        {"aaaa": ago(days=2)},
        BOTH,
        timedelta(),
        ["No delivery was signed with the new"],
    ),
    (
        "the new one was used only before the old one's last use",
        "aaaa",
        {"aaaa": ago(days=2), "bbbb": ago(days=2.5)},
        BOTH,
        DAY,
        ["No delivery was signed with the new"],
    ),
    (
        "its label was seen before this webhook was made",
        "aaaa",
        {"bbbb": ago(days=4)},
        BOTH,
        timedelta(),
        ["No delivery was signed with the new"],
    ),
    ("the new one is gone", "aaaa", {"aaaa": ago(days=2), "bbbb": ago(hours=1)}, {"old"}, DAY, ["Seam does not have"]),
    (
        "the new one is gone and the old one is in use",
        "aaaa",
        {"aaaa": ago(hours=1)},
        {"old"},
        DAY,
        ["Seam does not have", "The old secret was used"],
    ),
    ("nobody knows the old label", None, {"cccc": ago(hours=1), "bbbb": NOW}, BOTH, DAY, ["The old secret was used"]),
    ("nobody knows the old label, and no other is used", None, {"cccc": ago(days=2), "bbbb": NOW}, BOTH, DAY, []),
]


@pytest.mark.parametrize(
    ("label", "used_at", "at_seam", "unused_for", "beginnings"),
    [story[1:] for story in STORIES],
    ids=[story[0] for story in STORIES],
)
def test_the_old_webhook_goes_when_nothing_speaks_against_it(
    label: str | None, used_at: dict[str, datetime], at_seam: set[str], unused_for: timedelta, beginnings: list[str]
) -> None:
    rotation = Rotation(replace(OLD, secret_label=label), NEW)
    found = obstacles(rotation, used_at, at_seam, NOW, unused_for)
    assert len(found) == len(beginnings)
    assert all(told.startswith(begin) for told, begin in zip(found, beginnings, strict=True))


def test_a_new_webhook_whose_secret_nobody_could_read_is_never_called_working() -> None:
    rotation = Rotation(OLD, replace(NEW, secret_label=None))
    assert obstacles(rotation, {"cccc": NOW}, BOTH, NOW, timedelta())


@pytest.mark.parametrize(
    ("hooks", "found"),
    [
        ([], None),
        ([NEW], None),
        ([OLD], None),
        ([OLD, NEW], Rotation(OLD, NEW)),
        ([NEW, OLD], Rotation(OLD, NEW)),
        ([replace(OLD, deleted_at=NOW), NEW], None),
        ([OLD, replace(NEW, deleted_at=NOW)], None),
        (
            [OLD, NEW, replace(NEW, webhook_id="newer", created_at=NOW)],
            Rotation(OLD, replace(NEW, webhook_id="newer", created_at=NOW)),
        ),
    ],
)
def test_a_rotation_is_under_way_between_a_retired_webhook_and_its_successor(
    hooks: list[Hook], found: Rotation | None
) -> None:
    assert rotation_of(hooks) == found


@pytest.mark.parametrize(
    ("span", "told"),
    [
        (30, "30 s ago"),
        (60, "1 min ago"),
        (119, "119 s ago"),
        (7200, "2 h ago"),
        (3600, "1 h ago"),
        (80_000, "22 h ago"),
    ],
)
def test_how_long_ago_is_told_in_the_unit_that_people_would_use(span: int, told: str) -> None:
    used_at = {"aaaa": NOW - timedelta(seconds=span), "bbbb": NOW}
    (found,) = obstacles(Rotation(OLD, NEW), used_at, BOTH, NOW, DAY)
    assert told in found


def test_a_secret_without_a_label_was_last_used_when_any_unknown_one_was() -> None:
    used_at = {"bbbb": NOW, "cccc": ago(days=1), "dddd": ago(days=2)}
    assert last_use(replace(OLD, secret_label=None), ["bbbb"], used_at) == ago(days=1)
    assert last_use(replace(OLD, secret_label=None), list(used_at), used_at) is None
