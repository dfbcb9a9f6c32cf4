"""Seam's own SDK against the sandbox: in memory, and over a real server that follows the real clock.

The SDK is ``Any`` here: its answers are unions of a hundred classes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import uvicorn
from seam.exceptions import SeamHttpApiError, SeamHttpInvalidInputError
from seam.seam import AsyncSeam
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from svix.webhooks import Webhook

from app.clock import utc_now
from app.sandbox import SandboxSettings, create_sandbox
from tests.sandbox.worlds import SECRET, Bench, later

LOCK = "lock_sets_at_once"


@pytest.fixture
async def sdk(bench: Bench) -> AsyncIterator[Any]:
    transport = httpx.ASGITransport(bench.app)
    seam = AsyncSeam(api_key="seam_test_key", endpoint="http://127.0.0.1", httpx_options={"transport": transport})
    yield seam
    await seam.client.aclose()


async def test_the_sdk_leads_a_code_through_its_life(bench: Bench, sdk: Any) -> None:
    pin = (await sdk.access_codes.generate_code(device_id=LOCK)).code
    made = await sdk.access_codes.create(device_id=LOCK, name="Ada", code=pin)
    assert (made.code, made.type, made.pending_mutations[0].mutation_code) == (pin, "ongoing", "creating")
    await bench.until(seconds=1)
    read = await sdk.access_codes.get(access_code_id=made.access_code_id)
    assert (read.status, read.pending_mutations) == ("set", [])
    await sdk.access_codes.update(access_code_id=made.access_code_id, code="7777")
    (pending,) = (await sdk.access_codes.get(access_code_id=made.access_code_id)).pending_mutations
    assert (pending.mutation_code, pending.to.code) == ("updating_code", "7777")
    await bench.until(seconds=2)
    await sdk.access_codes.delete(access_code_id=made.access_code_id)
    await bench.until(minutes=1)
    with pytest.raises(SeamHttpApiError) as gone:
        await sdk.access_codes.get(access_code_id=made.access_code_id)
    assert (gone.value.status_code, gone.value.code) == (404, "access_code_not_found")


async def test_the_sdk_lists_codes_and_pages_through_them(sdk: Any) -> None:
    made = [(await sdk.access_codes.create(device_id=LOCK)).access_code_id for _ in range(3)]
    assert [code.access_code_id for code in await sdk.access_codes.list(access_code_ids=made[:2])] == made[:2]
    pages = sdk.create_paginator(sdk.access_codes.list, {"device_id": LOCK, "limit": 2})
    assert [code.access_code_id for code in await pages.flatten_to_list()] == made


async def test_the_sdk_reads_every_event_of_the_story(bench: Bench, sdk: Any) -> None:
    made = await sdk.access_codes.create(device_id="lock_fails", code="4821")
    await bench.until(minutes=1)
    failed, created = await sdk.events.list(since=later(hours=-1), access_code_ids=[made.access_code_id])
    assert created.event_type == "access_code.created"
    assert [error.error_code for error in failed.access_code_errors] == [
        "failed_to_set_on_device",
        "no_space_for_access_code_on_device",
    ]
    assert len(await sdk.events.list(between=[later(hours=-1), later(seconds=30)], limit=10)) == 1
    assert (await sdk.events.get(event_id=failed.event_id)).event_type == failed.event_type


async def test_the_sdk_manages_webhooks_devices_and_the_workspace(sdk: Any) -> None:
    hook = await sdk.webhooks.create(url="https://example.com/hook", event_types=["device.connected"])
    await sdk.webhooks.update(webhook_id=hook.webhook_id, event_types=["*"])
    assert (await sdk.webhooks.get(webhook_id=hook.webhook_id)).event_types == ["*"]
    await sdk.webhooks.delete(webhook_id=hook.webhook_id)
    assert hook.webhook_id not in [kept.webhook_id for kept in await sdk.webhooks.list()]
    device = await sdk.devices.get(device_id="lock_offline")
    assert (device.properties.online, device.errors[0].error_code) == (False, "device_disconnected")
    assert len(await sdk.devices.list()) > 10
    assert (await sdk.workspaces.get()).is_sandbox is True


async def test_the_sdk_reads_foreign_codes_and_backups(sdk: Any) -> None:
    foreign = await sdk.access_codes.simulate.create_unmanaged_access_code(device_id=LOCK, code="9999", name="Cleaner")
    assert [code.name for code in await sdk.access_codes.unmanaged.list(device_id=LOCK)] == ["Cleaner"]
    assert (await sdk.access_codes.unmanaged.get(access_code_id=foreign.access_code_id)).code == "9999"
    window = {"starts_at": later(minutes=1), "ends_at": later(hours=1)}
    made = await sdk.access_codes.create(device_id=LOCK, use_backup_access_code_pool=True, **window)
    assert (await sdk.access_codes.pull_backup_access_code(access_code_id=made.access_code_id)).is_backup is True


async def test_the_sdk_understands_refusals(sdk: Any) -> None:
    with pytest.raises(SeamHttpInvalidInputError) as invalid:
        await sdk.access_codes.create(device_id=LOCK, code="12")
    assert [error.parameter_name for error in invalid.value.validation_errors] == ["code"]
    await sdk.access_codes.create(device_id=LOCK, code="4821")
    with pytest.raises(SeamHttpApiError) as duplicate:
        await sdk.access_codes.create(device_id=LOCK, code="4821")
    assert (duplicate.value.status_code, duplicate.value.code) == (409, "duplicate_access_code")


# Over the wire.


@asynccontextmanager
async def serving(app: Starlette, port: int = 0) -> AsyncIterator[str]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        running = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


class Endpoint:
    """Takes webhooks, checks them with svix, and lets a test wait for an event type."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[str] = asyncio.Queue()
        self.app = Starlette(routes=[Route("/hook", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        event = Webhook(SECRET).verify(await request.body(), dict(request.headers))
        self.seen.put_nowait(event["event_type"])
        return Response(status_code=204)


async def test_over_the_wire_the_sandbox_follows_the_clock_by_itself() -> None:
    endpoint = Endpoint()
    async with serving(endpoint.app) as hook:
        settings = SandboxSettings(webhook_url=f"{hook}/hook", webhook_secret=SECRET, speed=1_000)
        async with serving(create_sandbox(settings, clock=utc_now)) as address:
            seam = AsyncSeam(api_key="seam_test_key", endpoint=address)
            async with asyncio.timeout(10):
                made = await seam.access_codes.create(device_id="lock_delays_then_sets")
                told = [await endpoint.seen.get() for _ in range(3)]
                read = await seam.access_codes.get(access_code_id=made.access_code_id)
            await seam.client.aclose()
    assert told == ["access_code.created", "access_code.delay_in_setting_on_device", "access_code.set_on_device"]
    assert read.status == "set"
    assert abs(datetime.fromisoformat(read.created_at) - datetime.now(UTC)).total_seconds() < 60


class Watchful(httpx.AsyncHTTPTransport):
    """The network, telling when nobody listened."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectError:
            self.refused.set()
            raise


async def test_a_service_that_starts_after_the_sandbox_misses_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    endpoint, network = Endpoint(), Watchful()
    settings = SandboxSettings(webhook_url=f"http://127.0.0.1:{port}/hook", webhook_secret=SECRET)
    app = create_sandbox(settings, clock=utc_now, transport=network)
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as http:
        await http.post("/sandbox/events", json={"event_type": "device.connected"})
        async with asyncio.timeout(10):
            await network.refused.wait()
            async with serving(endpoint.app, port):
                assert await endpoint.seen.get() == "device.connected"
