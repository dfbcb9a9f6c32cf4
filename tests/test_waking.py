"""Who is told when a webhook made something due: a process without a reconciler tells those of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from prometheus_client import CollectorRegistry

from app.clock import utc_now
from app.config import Purpose, load_settings
from app.main import Service, open_storage
from app.storage.engine import open_database
from app.storage.notices import Listener
from tests.e2e.services import SETTINGS, event, signed


@asynccontextmanager
async def served(url: str, *, background: bool) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings({**SETTINGS, "DATABASE_URL": url}, Purpose.SERVE)
    db = open_storage(settings)
    service = Service(settings, db, utc_now, CollectorRegistry())
    await service.start(background=background)
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://latchwatch.test") as client:
        yield client
    await service.stop()
    await db.close()


@asynccontextmanager
async def ear(url: str) -> AsyncIterator[asyncio.Queue[None]]:
    """What another process hears of due codes; the first is the beginning itself."""
    heard: asyncio.Queue[None] = asyncio.Queue()
    db, stop = open_database(url), asyncio.Event()
    task = asyncio.create_task(Listener(db, utc_now, on_due=lambda: heard.put_nowait(None)).run(stop))
    async with asyncio.timeout(10):
        await heard.get()
    yield heard
    stop.set()
    await task
    await db.close()


async def deliver(client: httpx.AsyncClient, number: int) -> None:
    headers, body = signed(event(number), f"msg-{number}")
    assert (await client.post("/webhooks/seam", content=body, headers=headers)).status_code == 204


@pytest.mark.parametrize("background", [True, False])
async def test_only_a_process_without_a_reconciler_tells_the_others_of_each_batch(
    postgres_url: str, background: bool
) -> None:
    """One that has its own would cost them a look for each batch, for nothing."""
    async with ear(postgres_url) as heard, served(postgres_url, background=background) as client:
        await deliver(client, 1)
        if background:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(heard.get(), 0.5)
        else:
            await asyncio.wait_for(heard.get(), 10)
