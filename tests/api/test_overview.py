"""Figures: the summary and the locks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.domain.events import Unreadable
from app.domain.news import NewsKind
from app.storage.inbox import Delivery, store_batch
from app.storage.summary import percentiles
from tests.api.test_reading import event
from tests.api.worlds import DEVICE, NOON, World


async def verified(world: World, access_code_id: str, after_seconds: int) -> None:
    at = world.clock() + timedelta(seconds=after_seconds)
    await store_batch(world.db, [event(NewsKind.SET, access_code_id, f"set-{access_code_id}", at)])
    world.clock.advance(seconds=after_seconds)
    assert (await world.get(f"/v1/access-codes/{access_code_id}")).json()["verdict"] == "verified"


async def test_a_summary_of_nothing_has_every_key(world: World) -> None:
    answer = (await world.get("/v1/summary")).json()
    assert len(answer["codes"]) == 20
    assert set(answer["codes"].values()) == {0}
    assert answer["flags"]["stuck"] == 0
    assert answer["seconds_to_set"] == {"count": 0, "p50": None, "p95": None}
    assert answer["ingest"] == {
        "last_delivery_at": None,
        "proven_until": None,
        "gap_seconds": None,
        "backfilled": 0,
        "lost": 0,
        "compared_at": None,
        "compare_failure": None,
    }


async def test_a_summary_counts_what_is_watched(world: World) -> None:
    await world.create()
    await verified(world, "ac-1", 8)
    await world.create(starts_at="2026-08-04T11:00:00Z", ends_at="2026-08-06T10:00:00Z")
    await world.create(starts_at="2026-08-05T11:00:00Z", ends_at="2026-08-06T10:00:00Z")
    gone = (await world.create()).json()
    await world.client.post(f"/v1/access-codes/{gone['id']}/untrack")
    answer = (await world.get("/v1/summary")).json()
    assert {verdict: count for verdict, count in answer["codes"].items() if count} == {"verified": 1, "upcoming": 2}
    assert {verdict: count for verdict, count in answer["arrivals"].items() if count} == {"upcoming": 1}
    assert answer["seconds_to_set"] == {"count": 1, "p50": 8.0, "p95": 8.0}
    assert answer["ingest"]["last_delivery_at"] == "2026-08-03T12:00:08Z"


async def test_a_lock_is_known_by_its_codes_and_its_health(world: World) -> None:
    world.seam.add_device("lock-2", name="Room 12", online=True, battery_level=0.8)
    await world.create(device_id="lock-2")
    await verified(world, "ac-1", 20)
    await world.create(device_id="lock-2")
    device = (await world.get("/v1/devices/lock-2")).json()
    assert (device["name"], device["health"]["online"], device["health"]["battery_level"]) == ("Room 12", True, 0.8)
    assert device["codes"] == {"verified": 1, "pending": 1}
    assert device["success_rate"] == 1.0
    assert device["seconds_to_set"] == {"count": 1, "p50": 20.0, "p95": 20.0}
    assert device["seconds_to_remove"] == {"count": 0, "p50": None, "p95": None}


async def test_locks_are_listed_by_id_in_pages(world: World) -> None:
    for device_id in ("b", "a", "c"):
        world.seam.add_device(device_id)
        await world.create(device_id=device_id)
    first = (await world.get("/v1/devices", limit=2)).json()
    rest = (await world.get("/v1/devices", limit=2, cursor=first["next_cursor"])).json()
    assert [device["device_id"] for device in first["items"] + rest["items"]] == ["a", "b", "c"]
    assert rest["next_cursor"] is None


async def test_unreadable_payloads_are_listed_without_their_bodies(world: World) -> None:
    delivery = Delivery("msg-1", NOON, 17, lambda: "digest", Unreadable("not JSON"), "webhook")
    await store_batch(world.db, [delivery])
    (item,) = (await world.get("/v1/unreadable")).json()["items"]
    assert item == {
        "id": item["id"],
        "delivery_id": "msg-1",
        "received_at": "2026-08-03T12:00:00Z",
        "size": 17,
        "digest": "digest",
        "reason": "not JSON",
    }


@pytest.mark.parametrize(
    ("seconds", "p50", "p95"),
    [
        ([], None, None),
        ([3.0], 3.0, 3.0),
        ([4.0, 1.0], 1.0, 4.0),
        ([float(number) for number in range(1, 101)], 50.0, 95.0),
        ([float(number) for number in range(1, 21)], 10.0, 19.0),
    ],
)
def test_percentiles_are_of_the_nearest_rank(seconds: list[float], p50: float | None, p95: float | None) -> None:
    found = percentiles(seconds)
    assert (found.count, found.p50, found.p95) == (len(seconds), p50, p95)


def test_the_device_of_the_tests_is_the_default_one() -> None:
    assert DEVICE == "device-1"
