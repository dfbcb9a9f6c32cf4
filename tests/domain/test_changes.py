"""What acceptance makes of an intent, and what a read tells of a change whose answer was lost."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.domain.changes import Change, Outcome, Unanswered, Window, accepted, outcome
from app.domain.codes import CodeType, Read, Reads, Snapshot
from app.domain.news import NewsKind
from tests.domain.stories import OTHER_PIN, PIN, at, fold, news, ongoing, set_on, stay

WITHIN = timedelta(minutes=1)
LATER = Window(CodeType.TIME_BOUND, at(60), at(300))


def snapshot(**fields: object) -> Snapshot:
    known = {"type": CodeType.TIME_BOUND, "starts_at": at(60), "ends_at": at(120), "pin": PIN, "name": "Ada"}
    return Snapshot("ac_1", "lock_1", **{**known, **fields})  # type: ignore[arg-type]  # any field of it


@pytest.mark.parametrize(
    ("change", "shown", "found"),
    [
        (Change(pin=OTHER_PIN), {"pin": OTHER_PIN}, True),
        (Change(pin=OTHER_PIN), {}, False),
        (Change(pin=OTHER_PIN), {"pin": None}, False),
        (Change(pin=OTHER_PIN), {"pin": "k2:other"}, False),
        (Change(window=LATER), {"ends_at": at(300)}, True),
        (Change(window=LATER), {"ends_at": at(330)}, True),  # Seam rounded it
        (Change(window=LATER), {"ends_at": at(400)}, False),
        (Change(window=LATER), {}, False),
        (Change(window=Window(CodeType.TIME_BOUND, at(60), at(130))), {}, False),  # near, but the old one
        (Change(window=Window(CodeType.ONGOING)), {"type": CodeType.ONGOING, "starts_at": None, "ends_at": None}, True),
        (Change(window=Window(CodeType.ONGOING)), {}, False),
        (Change(name="Ben"), {"name": "Ben"}, True),
        (Change(name="Ben"), {}, False),
        (Change(pin=OTHER_PIN, window=LATER), {"pin": OTHER_PIN}, False),
        (Change(pulls_backup=True), {"pulled_backup_access_code_id": "ac_2"}, True),
        (Change(pulls_backup=True), {}, False),
    ],
)
def test_a_change_is_found_when_seam_shows_all_of_it(change: Change, shown: dict[str, object], found: bool) -> None:
    read = Read(at(5), snapshot(**shown))
    told = outcome(Unanswered(change, at(1)), stay(60, 120), read, WITHIN)
    assert told == (Outcome.FOUND if found else Outcome.LOST)


def test_too_early_an_answer_means_nothing() -> None:
    unanswered = Unanswered(Change(pin=OTHER_PIN), at(1))
    assert outcome(unanswered, stay(60, 120), Read(at(1.5), snapshot()), WITHIN) is None
    assert outcome(unanswered, stay(60, 120), Read(at(1.5), None), WITHIN) is None
    assert outcome(unanswered, stay(60, 120), Read(at(2), None), WITHIN) is Outcome.LOST


class TestAccepted:
    def test_a_new_pin_and_window_renew_the_intent(self) -> None:
        known = fold(stay(60, 120), [set_on(60)])
        code = accepted(known.code, Change(pin=OTHER_PIN, window=LATER), at(70), known.signals, known.reads)
        assert (code.pin, code.ends_at, code.asked_at) == (OTHER_PIN, at(300), at(70))
        assert (code.pin_changed, code.window_changed) == (True, True)

    def test_a_name_alone_leaves_it(self) -> None:
        known = fold(ongoing(), [set_on(1)])
        assert accepted(known.code, Change(name="Ben"), at(70), known.signals, known.reads) == known.code

    @pytest.mark.parametrize(("minute", "is_open"), [(15, True), (25, False)], ids=["unconfirmed", "confirmed"])
    def test_an_earlier_change_stays_open_until_it_is_confirmed(self, minute: float, is_open: bool) -> None:
        known = fold(stay(0, 120, asked_at=at(20), pin_changed=True), [set_on(1), news(minute, NewsKind.CODE_CHANGED)])
        code = accepted(known.code, Change(window=LATER), at(30), known.signals, known.reads)
        assert (code.pin_changed, code.window_changed) == (is_open, True)

    def test_an_answer_that_comes_late_moves_nothing_back(self) -> None:
        code = accepted(ongoing(asked_at=at(40)), Change(pin=OTHER_PIN), at(30), fold(ongoing(), []).signals, Reads())
        assert code.asked_at == at(40)
