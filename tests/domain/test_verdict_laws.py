"""Laws that hold for every code, whatever happened to it and in whatever order it became known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.assessment import SAFE_TO_SHARE, Assessment, FlagKind, Verdict
from app.domain.codes import Binding, Code
from app.domain.facts import gather
from app.domain.health import AccountFacet, DeviceFacet, DeviceRead, Health
from app.domain.news import NewsKind, Signals, merge
from app.domain.reads import after_read
from app.domain.verdicts import assess
from tests.domain.stories import (
    OTHER_PIN,
    PIN,
    POLICY,
    Asked,
    Told,
    absent,
    at,
    error,
    fold,
    health,
    news,
    ongoing,
    shows_on,
    shows_setting,
    shows_unset,
    stay,
    unreadable,
    warning,
)

MINUTES = st.sampled_from([0.5, 1, 5, 9, 10, 11, 30, 59, 60, 61, 62, 63, 90, 119, 120, 121, 149, 150, 151, 400, 5000])
CODES = st.sampled_from(
    [
        ongoing(),
        ongoing(end_asked_at=at(61)),
        ongoing(is_one_time_use=True),
        ongoing(pin_changed=True, asked_at=at(30)),
        ongoing(binding=Binding.REQUESTED, asked_at=None, access_code_id=None),
        ongoing(binding=Binding.REFUSED),
        stay(60, 120),
        stay(60, 120, is_offline=True),
        stay(60, 120, end_asked_at=at(90)),
        stay(60, 120, window_changed=True, asked_at=at(61)),
        stay(3000, 6000, schedules_natively=True),
        stay(-60, 5),
    ]
)
NEWS = st.builds(
    lambda minute, kind, pin: news(minute, kind, pin=pin, issues=(error("failed_to_set_on_device"),)),
    MINUTES,
    st.sampled_from(NewsKind),
    st.sampled_from([None, PIN, OTHER_PIN]),
)
READS = st.builds(
    lambda minute, build: build(minute),
    MINUTES,
    st.sampled_from([shows_on, shows_setting, shows_unset, absent, unreadable]),
)
HEALTHS = st.sampled_from(
    [
        Health(),
        health((30, DeviceFacet.CONNECTION, "disconnected")),
        health((30, DeviceFacet.KEYPAD, "disconnected"), (31, DeviceFacet.BATTERY, "critical")),
        health((30, AccountFacet.CONNECTION, "disconnected")),
        health((30, DeviceFacet.PRESENCE, "removed")),
        health(read=DeviceRead(at(30), "lock_1", online=False, warnings=(warning("privacy_mode"),))),
    ]
)
CLOCK_ONLY = {Verdict.STUCK, Verdict.MISSED, Verdict.LOST}


def judge(code: Code, happenings: Sequence[Told | Asked], lock: Health, minute: float) -> Assessment:
    known = fold(code, happenings)
    return assess(known.code, known.signals, known.reads, lock, at(minute), POLICY)


@given(CODES, st.lists(st.one_of(NEWS, READS), max_size=8), HEALTHS, MINUTES)
def test_every_code_gets_an_answer_that_is_whole(
    code: Code, happenings: list[Told | Asked], lock: Health, minute: float
) -> None:
    answer = judge(code, [one for one in happenings if one.minute <= minute], lock, minute)
    assert answer.reason
    assert answer.is_terminal == (answer.next_check_at is None)
    assert answer.next_check_at is None or answer.next_check_at > at(minute)
    assert (answer.flag is None) == (answer.flag_since is None)
    assert answer.safe_to_share == (answer.verdict in SAFE_TO_SHARE)
    assert not (answer.is_terminal and answer.needs_read)
    assert answer.flag is None or answer.problem is not None


@given(CODES, st.lists(NEWS, max_size=8), st.data(), HEALTHS, MINUTES)
def test_neither_order_nor_duplicates_of_news_change_the_answer(
    code: Code, told: list[Told], data: Any, lock: Health, minute: float
) -> None:
    shuffled = data.draw(st.permutations(told + told[::2]))
    known = fold(code, told)
    other = Signals(merge((one.kind, one.news) for one in shuffled))
    answers = {assess(code, signals, known.reads, lock, at(minute), POLICY) for signals in (known.signals, other)}
    assert len(answers) == 1


@given(CODES, st.lists(NEWS, max_size=8), HEALTHS, MINUTES)
def test_the_clock_alone_never_accuses(code: Code, told: list[Told], lock: Health, minute: float) -> None:
    answer = judge(code, told, lock, minute)
    assert answer.verdict not in CLOCK_ONLY
    if answer.verdict is Verdict.LINGERING:
        assert any(one.kind is NewsKind.FAILED_TO_REMOVE for one in told)
    assert answer.flag is not FlagKind.REQUEST_LOST
    assert "memory since" not in answer.reason


@given(CODES, st.lists(st.one_of(NEWS, READS), max_size=8), HEALTHS, MINUTES)
def test_nothing_is_called_good_that_is_not_known(
    code: Code, happenings: list[Told | Asked], lock: Health, minute: float
) -> None:
    past = [one for one in happenings if one.minute <= minute]
    known = fold(code, past)
    answer = assess(known.code, known.signals, known.reads, lock, at(minute), POLICY)
    facts = gather(known.code, known.signals, known.reads, lock)
    if answer.verdict is Verdict.VERIFIED:
        assert facts.is_on
        assert not facts.is_blind or known.code.starts_at is None or known.code.starts_at > at(minute)
        assert facts.wrong_pin_since is None
        assert code.end_asked_at is None
    if answer.verdict is Verdict.REMOVED:
        assert not facts.is_on or known.code.is_one_time_use or known.code.ends_at is not None


@given(CODES, st.lists(st.one_of(NEWS, READS), max_size=8), HEALTHS, MINUTES)
def test_between_two_checks_the_clock_changes_nothing(
    code: Code, happenings: list[Told | Asked], lock: Health, minute: float
) -> None:
    known = fold(code, [one for one in happenings if one.minute <= minute])
    first = assess(known.code, known.signals, known.reads, lock, at(minute), POLICY)
    if first.next_check_at is None:
        return
    middle = at(minute) + (first.next_check_at - at(minute)) / 2
    later = assess(known.code, known.signals, known.reads, lock, middle, POLICY)
    assert (later.verdict, later.flag, later.reason) == (first.verdict, first.flag, first.reason)
    assert later.needs_read == first.needs_read


@pytest.mark.parametrize("read", [None, shows_on, shows_setting, shows_unset, absent, unreadable])
def test_assess_is_total_over_every_combination(read: Any) -> None:
    """Codes, moments, newest news and health, each with each, for every kind of read: nothing raises."""
    codes = [ongoing(), stay(60, 120), stay(60, 120, is_offline=True), ongoing(end_asked_at=at(61))]
    locks = [Health(), health((30, AccountFacet.CONNECTION, "disconnected"))]
    seen = set()
    for code, kind, lock, minute, told in itertools.product(
        codes, (None, *NewsKind), locks, (1, 30, 61, 63, 121, 151, 4000), (0.5, 62)
    ):
        happenings: list[Told | Asked] = [] if kind is None else [news(told, kind, pin=PIN)]
        if read is not None:
            happenings.append(read(minute))
        answer = judge(code, happenings, lock, minute)
        assert answer.is_terminal == (answer.next_check_at is None)
        seen.add(answer.verdict)
    assert len(seen) >= 8


def test_an_answer_of_seam_that_arrives_late_changes_nothing() -> None:
    known = fold(ongoing(), (shows_on(5),))
    late = fold(ongoing(), (shows_setting(4),))
    assert late.reads.last is not None
    assert after_read(known.reads, late.reads.last, known.code, known.signals) == known.reads
