"""Errors of the service itself, and the routes for those who run it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from prometheus_client import CollectorRegistry, Counter

from app.api.app import create_api
from app.api.services import Check
from app.storage.engine import Database
from app.storage.errors import StorageUnavailable
from tests.api.worlds import Clock, FakeSeam, World, client_of, make_services


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nothing", 404, "no-such-route"),
        ("GET", "/v1/nothing", 404, "no-such-route"),
        ("GET", "/v1/access-codes/", 404, "no-such-route"),
        ("PUT", "/v1/access-codes", 405, "method-not-allowed"),
        ("GET", "/v1/access-codes/nothing", 404, "not-found"),
        ("GET", "/v1/access-codes/nothing/timeline", 404, "not-found"),
        ("GET", "/v1/access-codes/nothing/pin", 404, "not-found"),
        ("POST", "/v1/access-codes/nothing/check", 404, "not-found"),
        ("POST", "/v1/access-codes/nothing/untrack", 404, "not-found"),
        ("DELETE", "/v1/access-codes/nothing", 404, "not-found"),
        ("POST", "/v1/flags/nothing/acknowledge", 404, "not-found"),
        ("GET", "/v1/events/nothing", 404, "not-found"),
        ("GET", "/v1/devices/nothing", 404, "not-found"),
    ],
)
async def test_every_error_is_a_problem_document(world: World, method: str, path: str, status: int, slug: str) -> None:
    answer = await world.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["type"], problem["status"]) == (f"urn:latchwatch:problem:{slug}", status)
    assert problem["title"]
    assert problem["detail"]
    if status == 405:
        assert "POST" in answer.headers["allow"]


async def test_a_body_over_64_kib_is_refused_whether_it_tells_its_length_or_not(world: World) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b" " * 1024

    headers = {"content-type": "application/json"}
    bodies: list[bytes | AsyncIterator[bytes]] = [b" " * 70_000, chunks()]
    for content in bodies:
        answer = await world.client.post("/v1/access-codes", content=content, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:latchwatch:problem:body-too-large")


async def test_a_fault_of_ours_says_nothing_of_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the PIN is 4821")

    monkeypatch.setattr("app.api.present.summary", broken)
    answer = await world.get("/v1/summary")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:latchwatch:problem:internal")
    assert "4821" not in answer.text
    assert "Zero" not in answer.text


async def test_storage_that_is_away_is_a_503_with_retry_after(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise StorageUnavailable("no connection to 10.0.0.7")

    monkeypatch.setattr("app.api.routes.devices.summarize", away)
    answer = await world.get("/v1/summary")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["type"] == "urn:latchwatch:problem:storage-unavailable"
    assert "10.0.0.7" not in answer.text


async def test_alive_is_answered_without_a_token(world: World) -> None:
    async with client_of(world.api, None) as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_ready_when_every_check_holds(world: World) -> None:
    async with client_of(world.api, None) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["ready"] is True


async def test_not_ready_says_which_check_failed(db: Database, clock: Clock, seam: FakeSeam) -> None:
    async def ready() -> Sequence[Check]:
        return [Check("database", ok=True), Check("reconciler", ok=False, detail="it ended")]

    async with client_of(create_api(make_services(db, clock, seam, ready=ready)), None) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "checks": [
            {"name": "database", "ok": True, "detail": None},
            {"name": "reconciler", "ok": False, "detail": "it ended"},
        ],
    }


async def test_metrics_are_open_or_behind_their_own_token(db: Database, clock: Clock, seam: FakeSeam) -> None:
    registry = CollectorRegistry()
    Counter("things", "Things", registry=registry).inc()
    async with client_of(create_api(make_services(db, clock, seam, registry=registry)), None) as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert "things_total 1.0" in answer.text
    guarded = make_services(db, clock, seam, registry=registry, metrics_token="a-token-for-metrics")
    async with client_of(create_api(guarded), None) as client:
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/metrics", headers={"Authorization": "Bearer other"})).status_code == 401
        allowed = await client.get("/metrics", headers={"Authorization": "Bearer a-token-for-metrics"})
        assert allowed.status_code == 200


async def test_the_documentation_needs_no_other_host(world: World) -> None:
    async with client_of(world.api, None) as client:
        page = await client.get("/docs")
        assert page.status_code == 200
        assert "https://" not in page.text
        script = await client.get("/static-offline-docs/swagger-ui-bundle.js")
        assert script.status_code == 200
