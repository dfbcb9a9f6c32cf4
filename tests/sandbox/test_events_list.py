"""``/events/list``: exclusive bounds, filters, limits."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.worlds import Bench, later, short


async def listed(bench: Bench, **params: Any) -> list[str]:
    answer = (await bench.http.get("/events/list", params=params)).json()
    return [short(event) for event in answer["events"]]


@pytest.fixture
async def story(bench: Bench) -> Bench:
    """created at 0 s, failed at 30 s, set at 150 s."""
    await bench.create("lock_fails_then_sets")
    await bench.until(minutes=5)
    return bench


FAILED, SET = "failed_to_set_on_device", "set_on_device"


@pytest.mark.parametrize(
    ("since", "found"),
    [(-1, [SET, FAILED, "created"]), (0, [SET, FAILED]), (29.999, [SET, FAILED]), (30, [SET]), (150, [])],
)
async def test_since_is_exclusive_and_the_newest_comes_first(story: Bench, since: float, found: list[str]) -> None:
    assert await listed(story, since=later(seconds=since)) == found


@pytest.mark.parametrize(
    ("between", "found"),
    [((-1, 200), [SET, FAILED, "created"]), ((0, 150), [FAILED]), ((0, 151), [SET, FAILED]), ((30, 150), [])],
)
async def test_between_is_exclusive_at_both_ends(story: Bench, between: tuple[float, float], found: list[str]) -> None:
    bounds = [later(seconds=seconds) for seconds in between]
    assert await listed(story, between=bounds) == found
    by_post = await story.call("/events/list", between=bounds)
    assert [short(event) for event in by_post["events"]] == found


async def test_the_limit_keeps_the_newest(story: Bench) -> None:
    assert await listed(story, since=later(hours=-1), limit=2) == [SET, FAILED]


async def test_the_limit_is_five_hundred_unless_told(bench: Bench) -> None:
    for _ in range(501):
        await bench.call("/sandbox/events", event_type="device.connected")
    assert len(await listed(bench, since=later(hours=-1))) == 500
    assert len(await listed(bench, since=later(hours=-1), limit=1_000)) == 501


async def test_filters_narrow_the_list(story: Bench) -> None:
    other = await story.create("lock_silent")
    everything = {"since": later(hours=-1)}
    event_id = story.events[1].event_id
    assert await listed(story, **everything, access_code_ids=other) == ["created"]
    assert await listed(story, **everything, access_code_id=other) == ["created"]
    assert await listed(story, **everything, access_code_ids=[other, "nothing"]) == ["created"]
    assert await listed(story, **everything, device_ids="lock_fails_then_sets") == [SET, FAILED, "created"]
    types = ["access_code.created", "access_code.set_on_device"]
    assert await listed(story, **everything, event_types=types) == ["created", SET, "created"]
    assert await listed(story, **everything, event_type="access_code.set_on_device") == [SET]
    assert await listed(story, **everything, event_ids=event_id) == [FAILED]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"since": "yesterday"},
        {"between": later(hours=1)},
        {"between": [later(hours=1), later(hours=0)]},
        {"between": [later(hours=0), later(hours=1), later(hours=2)]},
        {"since": later(hours=0), "limit": 1_001},
    ],
)
async def test_a_span_that_cannot_be_is_refused(bench: Bench, params: dict[str, Any]) -> None:
    status, error = await bench.refused("/events/list", **params)
    assert (status, error["type"]) == (400, "invalid_input")


async def test_events_of_one_instant_can_be_told_apart_by_their_times(bench: Bench) -> None:
    for _ in range(3):
        await bench.create("lock_silent")
    assert [event.body["created_at"] for event in bench.events] == [
        "2026-08-03T12:00:00.000Z",
        "2026-08-03T12:00:00.001Z",
        "2026-08-03T12:00:00.002Z",
    ]


async def test_one_event_is_read_by_its_id(story: Bench) -> None:
    event = story.events[0]
    assert (await story.call("/events/get", event_id=event.event_id))["event"] == event.body
