"""The receiver as it is first written: verify with svix, insert, commit, answer. It merges and marks nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from sqlalchemy import Column, MetaData, String, Table, Text, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from svix.webhooks import Webhook, WebhookVerificationError

metadata = MetaData()
events = Table("events", metadata, Column("event_id", String, primary_key=True), Column("payload", Text))


def _engine() -> AsyncEngine:
    url = os.environ["DATABASE_URL"]
    if url.startswith("postgresql"):
        return create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    # One connection: several that write would fail with "database is locked" under this load.
    engine = create_async_engine(url.replace("sqlite://", "sqlite+aiosqlite://"), pool_size=1, max_overflow=0)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection, _record) -> None:  # type: ignore[no-untyped-def]
        # As durable as the others: a commit is on the disk when it returns.
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


engine = _engine()
webhook = Webhook(os.environ["SEAM_WEBHOOK_SECRET"])


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/webhooks/seam")
async def receive(request: Request) -> Response:
    body = await request.body()
    try:
        payload = webhook.verify(body, dict(request.headers))
    except WebhookVerificationError:
        return Response(status_code=401)
    async with engine.begin() as connection:
        await connection.execute(events.insert().values(event_id=payload["event_id"], payload=body.decode()))
    return Response(status_code=204)
