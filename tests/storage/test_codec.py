from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.health import State
from app.domain.news import Issue, IssueSource, News
from app.storage.codec import decode_news, decode_state, encode_news, encode_state, is_plain, spell_times

NOON = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
IDS = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), max_size=12)
TIMES = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ISSUES = st.builds(
    Issue,
    code=TEXTS,
    message=TEXTS,
    source=st.sampled_from(IssueSource),
    is_error=st.booleans(),
    created_at=st.none() | TIMES,
)
NEWS = st.builds(
    News,
    occurred_at=TIMES,
    event_id=IDS,
    pin=st.none() | TEXTS,
    backup_access_code_id=st.none() | TEXTS,
    issues=st.lists(ISSUES, max_size=3).map(tuple),
)


@given(NEWS)
def test_news_comes_back_as_it_went_in(news: News) -> None:
    assert decode_news(encode_news(news)) == news


@given(st.builds(State, value=TEXTS, occurred_at=TIMES, event_id=IDS))
def test_a_state_comes_back_as_it_went_in(state: State) -> None:
    assert decode_state(encode_state(state)) == state


@settings(max_examples=300)
@given(NEWS, NEWS, st.booleans())
def test_the_text_sorts_like_the_news_in_byte_order(first: News, second: News, same_time: bool) -> None:
    """Byte order is what both databases compare by."""
    if same_time:
        second = News(occurred_at=first.occurred_at, event_id=second.event_id)
    if first.order == second.order:
        return
    assert (first.order < second.order) == (encode_news(first).encode() < encode_news(second).encode())


def test_the_same_moment_in_another_zone_is_the_same_text() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=-7)))
    assert encode_news(News(there, "e")) == encode_news(News(NOON, "e"))


@pytest.mark.parametrize(
    ("news", "why"),
    [
        (News(NOON.replace(tzinfo=None), "e"), "zone"),
        (News(NOON, "a\x1fb"), "control character"),
        (News(NOON, "\x00"), "control character"),
        (News(NOON, "e", pin="\ud800"), "surrogate"),
    ],
)
def test_what_could_not_be_ordered_or_kept_is_refused(news: News, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        encode_news(news)


@given(st.lists(TIMES | TIMES.map(lambda moment: moment.replace(microsecond=0)), max_size=4))
def test_many_times_are_spelled_as_each_by_itself(moments: list[datetime]) -> None:
    assert spell_times(moments) == [moment.isoformat(timespec="microseconds") for moment in moments]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("", True),
        ("3f1a77c0-93a6 (~)", True),
        *(
            (f"a{sign}b", False)
            for sign in ("\x00", "\x1d", "\x1e", "\x1f", "\n", '"', "\\", "\u00e9", "\ud800", "\U0001f511")
        ),
    ],
)
def test_what_is_plain_has_nothing_to_look_at_more_closely(text: str, plain: bool) -> None:
    assert is_plain(text) is plain
