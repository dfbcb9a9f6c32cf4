"""Webhooks: genuine signatures, at least once, and faults that a seed repeats."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from svix.webhooks import Webhook, WebhookVerificationError

from app.sandbox import Faults, Sandbox, SandboxError, SandboxSettings
from tests.sandbox.worlds import HOOK, SECRET, START, Bench, Json


def verify(request: httpx.Request, secret: str = SECRET) -> Any:
    return Webhook(secret).verify(request.content, dict(request.headers))


def ids(requests: list[httpx.Request]) -> list[str]:
    return [request.headers["svix-id"] for request in requests]


async def log(bench: Bench, **query: Any) -> list[Json]:
    answer = (await bench.http.get("/sandbox/deliveries", params=query)).json()
    found: list[Json] = answer["deliveries"]
    return found


async def test_svix_itself_verifies_every_delivery() -> None:
    bench = Bench(start=datetime.now(UTC))
    await bench.create("lock_fails_then_sets", code="4821", name="Zoë's key")
    await bench.until(seconds=150)
    assert [verify(request)["event_type"] for request in bench.deliveries] == [
        "access_code.created",
        "access_code.failed_to_set_on_device",
        "access_code.set_on_device",
    ]
    tampered = httpx.Request("POST", HOOK, headers=bench.deliveries[0].headers, content=bench.deliveries[1].content)
    with pytest.raises(WebhookVerificationError):
        verify(tampered)
    await bench.close()


async def test_a_delivery_looks_like_one_of_seams(bench: Bench) -> None:
    await bench.create("lock_silent")
    await bench.until(seconds=0)
    (request,) = bench.deliveries
    assert (request.method, str(request.url)) == ("POST", HOOK)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["svix-id"].startswith("msg_")
    assert request.headers["svix-timestamp"] == str(int(bench.start.timestamp()))
    assert json.loads(request.content)["event_type"] == "access_code.created"


async def test_each_webhook_gets_its_own_delivery_of_the_events_it_wants(bench: Bench) -> None:
    created = await bench.call("/webhooks/create", url=HOOK, event_types=["access_code.set_on_device"])
    await bench.create("lock_sets_at_once")
    await bench.until(seconds=1)
    assert bench.received_types == ["created", "set_on_device", "set_on_device"]
    first, second = bench.received[1:]
    assert first == second
    assert len(set(ids(bench.deliveries))) == 3
    assert (await log(bench))[0]["webhook_id"] == created["webhook"]["webhook_id"]


async def test_a_failed_attempt_is_repeated_on_svix_schedule_with_the_same_id(bench: Bench) -> None:
    bench.answers.extend([500, 302, httpx.ReadTimeout("too slow"), 204])
    await bench.create("lock_silent")
    await bench.until(hours=1)
    assert len(set(ids(bench.deliveries))) == 1
    stamps = [int(request.headers["svix-timestamp"]) for request in bench.deliveries]
    assert [stamp - stamps[0] for stamp in stamps] == [0, 5, 305, 2_105]
    (entry,) = await log(bench)
    assert entry["state"] == "delivered"
    assert [attempt["status_code"] or attempt["error"] for attempt in entry["attempts"]] == [
        500,
        302,
        "ReadTimeout",
        204,
    ]


async def test_eight_failed_attempts_are_the_end() -> None:
    bench = Bench(speed=1_000)
    bench.answers.extend([500] * 20)
    await bench.create("lock_silent")
    await bench.until(hours=1)
    assert len(bench.deliveries) == 8
    (entry,) = await log(bench, state="failed")
    assert len(entry["attempts"]) == 8
    await bench.close()


async def test_an_endpoint_that_is_not_there_yet_is_tried_every_second_at_no_cost(bench: Bench) -> None:
    bench.answers.extend([httpx.ConnectError("refused")] * 30)
    await bench.create("lock_silent")
    await bench.until(seconds=29)
    assert [entry["state"] for entry in await log(bench)] == ["pending"]
    await bench.until(seconds=30)
    assert [entry["state"] for entry in await log(bench)] == ["delivered"]
    assert len(bench.deliveries) == 31


async def test_an_endpoint_that_never_comes_is_given_up(bench: Bench) -> None:
    bench.answers.extend([httpx.ConnectError("refused")] * 1_000)
    await bench.create("lock_silent")
    await bench.until(hours=1)
    assert bench.sandbox.courier.log[0].state == "failed"


# Faults.


async def test_without_faults_every_event_comes_once_and_in_order(bench: Bench) -> None:
    await bench.create("lock_fails_then_sets")
    await bench.until(minutes=5)
    assert [body["event_id"] for body in bench.received] == [event.event_id for event in bench.events]


async def faulty(**faults: float) -> Bench:
    bench = Bench(seed=7, faults=Faults(**faults))
    await bench.create("lock_fails_then_sets")
    await bench.until(minutes=10)
    return bench


async def test_a_dropped_event_is_never_sent_but_listed() -> None:
    bench = await faulty(drop=1)
    assert bench.deliveries == []
    assert [entry["state"] for entry in await log(bench)] == ["dropped"] * 3
    listed = await bench.call("/events/list", since="2026-08-03T11:00:00Z")
    assert len(listed["events"]) == 3
    await bench.close()


async def test_a_duplicate_is_the_same_delivery_twice() -> None:
    bench = await faulty(duplicate=1)
    assert set(Counter(ids(bench.deliveries)).values()) == {2}
    assert len(bench.deliveries) == 6
    await bench.close()


async def test_a_reordered_delivery_comes_after_the_next_one() -> None:
    bench = Bench(seed=7, faults=Faults(reorder=1))
    await bench.create("lock_sets_at_once")
    await bench.call("/sandbox/faults", reorder=0)
    await bench.until(minutes=1)
    assert bench.received_types == ["set_on_device", "created"]
    await bench.close()


async def test_a_reordered_delivery_that_nothing_follows_comes_all_the_same() -> None:
    bench = Bench(seed=7, faults=Faults(reorder=1))
    await bench.create("lock_silent")
    await bench.until(seconds=4)
    assert bench.received_types == []
    await bench.until(seconds=6)
    assert bench.received_types == ["created"]
    await bench.close()


async def test_a_delayed_delivery_comes_within_its_delay() -> None:
    bench = Bench(seed=7, faults=Faults(delay=1, delay_seconds=100))
    await bench.create("lock_silent")
    await bench.until(seconds=0)
    assert bench.received_types == []
    await bench.until(seconds=100)
    assert bench.received_types == ["created"]
    await bench.close()


async def test_a_wrong_signature_is_followed_by_a_right_one() -> None:
    bench = Bench(start=datetime.now(UTC), faults=Faults(wrong_signature=1))
    bench.answers.append(401)
    await bench.create("lock_silent")
    await bench.until(seconds=5)
    forged, genuine = bench.deliveries
    with pytest.raises(WebhookVerificationError):
        verify(forged)
    assert verify(genuine)["event_type"] == "access_code.created"
    (entry,) = await log(bench)
    assert [attempt["signature"] for attempt in entry["attempts"]] == ["wrong", "valid"]
    await bench.close()


async def test_a_seed_repeats_the_faults() -> None:
    async def luck(seed: int) -> list[list[str]]:
        bench = Bench(seed=seed, faults=Faults(drop=0.3, duplicate=0.3, reorder=0.3, delay=0.3))
        for _ in range(10):
            await bench.create("lock_fails_then_sets")
        await bench.until(minutes=10)
        faults = [sorted(entry.faults) for entry in bench.sandbox.courier.log]
        await bench.close()
        return faults

    first = await luck(1)
    assert first == await luck(1)
    assert first != await luck(2)
    assert {fault for faults in first for fault in faults} == {"drop", "duplicate", "reorder", "delay"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook_url": HOOK},
        {"webhook_secret": SECRET},
        {"webhook_url": HOOK, "webhook_secret": "changeme"},
        {"webhook_url": HOOK, "webhook_secret": "whsec_?"},
        {"webhook_url": HOOK, "webhook_secret": "whsec_c2hvcnQ="},
        {"speed": 0},
        {"speed": float("inf")},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SandboxError):
        SandboxSettings(**wrong)


@pytest.mark.parametrize("wrong", [{"drop": 1.1}, {"duplicate": -0.1}, {"delay_seconds": -1}])
def test_faults_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SandboxError):
        Faults(**wrong)


async def test_closing_gives_up_deliveries_that_are_under_way() -> None:
    reached = asyncio.Event()

    async def hang(_: httpx.Request) -> httpx.Response:
        reached.set()
        await asyncio.Event().wait()
        return httpx.Response(204)

    settings = SandboxSettings(manual_time=True, webhook_url=HOOK, webhook_secret=SECRET)
    sandbox = Sandbox(settings, lambda: START, httpx.MockTransport(hang))
    sandbox.world.emit("device.connected", {})
    sandbox.catch_up()
    (task,) = sandbox.courier.start_due()
    await reached.wait()
    await sandbox.close()
    assert task.cancelled()
