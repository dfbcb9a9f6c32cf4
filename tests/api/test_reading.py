"""What is answered about codes: one, many, and what happened to them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from app.domain.events import Event
from app.domain.news import News, NewsKind
from app.storage.inbox import Delivery, store_batch
from tests.api.worlds import DEVICE, NOON, World

DAY = timedelta(days=1)


def event(kind: NewsKind, access_code_id: str, event_id: str, at: datetime = NOON, **said: Any) -> Delivery:
    name = f"access_code.{kind.value}"
    reading = Event(
        event_id=event_id,
        event_type=name,
        occurred_at=at,
        created_at=at,
        workspace_id=None,
        access_code_id=access_code_id,
        device_id=DEVICE,
        connected_account_id=None,
        payload=f'{{"event_id":"{event_id}","event_type":"{name}"}}',
        news=(kind, News(at, event_id, **said)),
        device_state=None,
        account_state=None,
    )
    return Delivery(f"msg-{event_id}", at, 100, lambda: "digest", reading, "webhook")


async def ids(world: World, **params: Any) -> list[str]:
    """The references that a list answers, in order."""
    answer = await world.client.get(f"/v1/access-codes?{urlencode(params, doseq=True)}")
    assert answer.status_code == 200, answer.text
    return [item["reference"] for item in answer.json()["items"]]


async def test_a_code_has_exactly_the_fields_of_the_contract(world: World) -> None:
    made = (await world.create(code="4821")).json()
    code = (await world.get(f"/v1/access-codes/{made['id']}")).json()
    assert set(code) == {
        *("id", "access_code_id", "device_id", "workspace_id", "name", "type", "starts_at", "ends_at", "reference"),
        *("metadata", "verdict", "reason", "since", "deadline", "next_check_at", "safe_to_share", "replaced_by"),
        *("problem", "signals", "seam", "flags", "untracked_at", "created_at", "updated_at"),
    }
    assert set(code["signals"]) == {
        *("created_at", "scheduled_at", "set_at", "delayed_at", "failed_at", "removed_at", "failed_to_remove_at"),
        *("deleted_at", "modified_externally_at", "deleted_externally_at", "code_changed_at"),
        *("time_frame_changed_at", "used_at"),
    }
    assert set(code["seam"]) == {"status", "errors", "warnings", "checked_at"}


async def test_times_are_utc_with_z(world: World) -> None:
    await world.create(starts_at="2026-08-04T17:00:00+02:00", ends_at="2026-08-06T10:00:00.5Z")
    (code,) = (await world.get("/v1/access-codes")).json()["items"]
    assert (code["starts_at"], code["ends_at"]) == ("2026-08-04T15:00:00Z", "2026-08-06T10:00:00.500000Z")


async def test_a_code_is_found_by_our_id_and_by_seams(world: World) -> None:
    made = (await world.create()).json()
    assert (await world.get(f"/v1/access-codes/{made['access_code_id']}")).json()["id"] == made["id"]


async def test_news_is_seen_at_once_by_who_asks_for_the_code(world: World) -> None:
    made = (await world.create()).json()
    assert made["verdict"] == "pending"
    world.clock.advance(seconds=5)
    await store_batch(world.db, [event(NewsKind.SET, "ac-1", "e1", world.clock())])
    calls = list(world.seam.calls)
    code = (await world.get(f"/v1/access-codes/{made['id']}")).json()
    assert (code["verdict"], code["safe_to_share"]) == ("verified", True)
    assert code["signals"]["set_at"] == "2026-08-03T12:00:05Z"
    assert world.seam.calls == calls


async def test_nothing_that_leaves_holds_a_fingerprint(world: World) -> None:
    made = (await world.create(code="4821")).json()
    for path in ("", f"/{made['id']}", f"/{made['id']}/timeline"):
        text = (await world.get(f"/v1/access-codes{path}")).text
        assert "4821" not in text
        assert world.services.fingerprinter.pin(DEVICE, "4821").split(":")[1] not in text


async def test_lists_are_filtered(world: World) -> None:
    """One row for each filter: the parameters, and who is found."""
    world.seam.add_device("lock-2")
    window = {"starts_at": "2026-08-04T15:00:00Z", "ends_at": "2026-08-06T10:00:00Z"}
    await world.create(reference="a", name="Ada Lovelace")
    world.clock.advance(seconds=1)
    await world.create(reference="b", device_id="lock-2", **window)
    world.clock.advance(seconds=1)
    made = (await world.create(reference="c_1", name="100%")).json()
    await world.client.post(f"/v1/access-codes/{made['id']}/untrack")
    world.clock.advance(seconds=1)
    await world.create(reference="cx1")
    table: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["cx1", "b", "a"]),
        ({"tracked": "false"}, ["c_1"]),
        ({"verdict": "pending"}, ["cx1", "a"]),
        ({"verdict": ["pending", "upcoming"]}, ["cx1", "b", "a"]),
        ({"flagged": "true"}, []),
        ({"flagged": "false"}, ["cx1", "b", "a"]),
        ({"device_id": "lock-2"}, ["b"]),
        ({"reference": "a"}, ["a"]),
        ({"starts_before": "2026-08-04T15:00:00Z"}, []),
        ({"starts_before": "2026-08-04T15:00:01Z"}, ["b"]),
        ({"starts_after": "2026-08-04T15:00:00Z"}, ["b"]),
        ({"starts_after": "2026-08-04T15:00:01Z"}, []),
        ({"q": "lovelace"}, ["a"]),
        ({"q": "C_1", "tracked": "false"}, ["c_1"]),
        ({"q": "c_1"}, []),
        ({"q": "%"}, []),
        ({"q": "ac-1"}, ["a"]),
        ({"q": made["id"], "tracked": "false"}, ["c_1"]),
        ({"q": "lovelace", "device_id": "lock-2"}, []),
    ]
    for params, expected in table:
        assert await ids(world, **params) == expected, params


async def test_a_list_comes_in_pages_that_miss_nothing_and_repeat_nothing(world: World) -> None:
    """Three codes of each moment: the id decides among them. A code made meanwhile does not shift the pages."""
    for number in range(9):
        await world.create(reference=str(number))
        if number % 3 == 2:
            world.clock.advance(seconds=1)
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await world.get("/v1/access-codes", **params)).json()
        seen += [item["reference"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        if len(seen) == 2:
            world.clock.advance(seconds=5)
            await world.create(reference="late")
    assert sorted(seen) == [str(number) for number in range(9)]
    assert [int(reference) // 3 for reference in seen] == [2, 2, 2, 1, 1, 1, 0, 0, 0]


async def test_the_last_full_page_names_no_next_one(world: World) -> None:
    await world.create()
    await world.create()
    page = (await world.get("/v1/access-codes", limit=2)).json()
    assert (len(page["items"]), page["next_cursor"]) == (2, None)


async def test_a_timeline_tells_all_kinds_oldest_first(world: World) -> None:
    made = (await world.create(code="4821")).json()
    ident = made["id"]
    await store_batch(world.db, [event(NewsKind.FAILED, "ac-1", "e1", NOON + timedelta(seconds=5))])
    world.clock.advance(seconds=10)
    await world.get(f"/v1/access-codes/{ident}")
    await store_batch(world.db, [event(NewsKind.SET, "ac-1", "e2", NOON + timedelta(seconds=20))])
    world.clock.advance(seconds=20)
    items = (await world.get(f"/v1/access-codes/{ident}/timeline")).json()["items"]
    told = [item["kind"] for item in items]
    assert {"action", "event", "transition", "flag_opened", "flag_closed", "alert"} <= set(told)
    assert [item["at"] for item in items] == sorted(item["at"] for item in items)
    assert [item["event_type"] for item in items if item["kind"] == "event"] == [
        "access_code.failed",
        "access_code.set",
    ]
    assert [item["to_verdict"] for item in items if item["kind"] == "transition"] == ["pending", "failed", "verified"]
    assert next(item for item in items if item["kind"] == "action")["actor"] == "admin token"


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
async def test_a_timeline_in_pages_is_the_same_timeline(world: World, limit: int) -> None:
    made = (await world.create()).json()
    at_once = [event(NewsKind.FAILED, "ac-1", f"e{number}", NOON) for number in range(4)]
    await store_batch(world.db, at_once)
    world.clock.advance(seconds=1)
    whole = (await world.get(f"/v1/access-codes/{made['id']}/timeline", limit=500)).json()["items"]
    assert len(whole) > 6
    seen, cursor = [], None
    while True:
        params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = (await world.get(f"/v1/access-codes/{made['id']}/timeline", **params)).json()
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == whole


async def test_events_are_listed_by_arrival_and_filtered(world: World) -> None:
    await world.create()
    await store_batch(
        world.db,
        [
            event(NewsKind.SET, "ac-1", "e1", NOON),
            event(NewsKind.FAILED, "other", "e2", NOON - DAY),
            event(NewsKind.SET, "other", "e3", NOON + DAY),
        ],
    )
    table: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["e3", "e2", "e1"]),
        ({"access_code_id": "other"}, ["e3", "e2"]),
        ({"device_id": DEVICE}, ["e3", "e2", "e1"]),
        ({"device_id": "none"}, []),
        ({"event_type": "access_code.set"}, ["e3", "e1"]),
        ({"since": "2026-08-03T12:00:00Z"}, ["e3", "e1"]),
        ({"until": "2026-08-03T12:00:00Z"}, ["e2"]),
        ({"source": "webhook"}, ["e3", "e2", "e1"]),
        ({"source": "backfill"}, []),
        ({"tracked": "true"}, ["e1"]),
        ({"tracked": "false"}, ["e3", "e2"]),
        ({"limit": "1"}, ["e3"]),
    ]
    for params, expected in table:
        page = (await world.get("/v1/events", **params)).json()
        assert [item["event_id"] for item in page["items"]] == expected, params
    first = (await world.get("/v1/events", limit=2)).json()
    rest = (await world.get("/v1/events", limit=2, cursor=first["next_cursor"])).json()
    assert [item["event_id"] for item in rest["items"]] == ["e1"]
    assert rest["next_cursor"] is None


async def test_one_event_shows_what_seam_sent(world: World) -> None:
    await store_batch(world.db, [event(NewsKind.SET, "ac-1", "e1")])
    answer = (await world.get("/v1/events/e1")).json()
    assert answer["payload"] == {"event_id": "e1", "event_type": "access_code.set"}
    assert (answer["received_at"], answer["source"]) == ("2026-08-03T12:00:00Z", "webhook")
    assert "news" not in answer
