"""The webhooks made at Seam, and what the receivers wrote down."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, select

from app.domain.rotation import Hook
from app.domain.silence import Receipt
from app.storage.engine import Database
from app.storage.receipts import list_receipts
from app.storage.tables import audit_log, receipts
from app.storage.webhooks import add_hook, list_hooks, note_deleted, reinstate_hook, retire_hook

NOW = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
URL = "https://latch.example/webhooks/seam"
HOOK = Hook("hook-1", URL, "aaaa", NOW)


async def listed(db: Database, url: str = URL) -> list[Hook]:
    async with db.read() as conn:
        return await list_hooks(conn, url)


async def acts(db: Database) -> list[str]:
    async with db.read() as conn:
        return list((await conn.execute(select(audit_log.c.action).order_by(audit_log.c.id))).scalars())


async def test_a_webhook_is_remembered_once_and_every_step_of_its_life_is_audited(db: Database) -> None:
    async with db.write() as conn:
        await add_hook(conn, HOOK, action="webhook_registered")
        await add_hook(conn, HOOK, action="webhook_adopted")
    assert await listed(db) == [HOOK]
    assert await listed(db, "https://elsewhere.example") == []
    async with db.write() as conn:
        assert await retire_hook(conn, "hook-1", NOW)
        await note_deleted(conn, "hook-1", NOW)
        await note_deleted(conn, "hook-1", NOW + timedelta(hours=1))
    assert await listed(db) == [Hook("hook-1", URL, "aaaa", NOW, NOW, NOW)]
    assert await acts(db) == ["webhook_registered", "webhook_retired", "webhook_deleted"]


async def test_of_two_who_retire_a_webhook_one_does(db: Database) -> None:
    async with db.write() as conn:
        await add_hook(conn, HOOK, action="webhook_registered")

    async def retire() -> bool:
        async with db.write() as conn:
            return await retire_hook(conn, "hook-1", NOW)

    assert sorted(await asyncio.gather(retire(), retire())) == [False, True]


async def test_a_webhook_can_be_retired_again_after_its_successor_went(db: Database) -> None:
    async with db.write() as conn:
        await add_hook(conn, HOOK, action="webhook_registered")
        assert await retire_hook(conn, "hook-1", NOW)
        await reinstate_hook(conn, "hook-1")
    assert await listed(db) == [HOOK]
    async with db.write() as conn:
        assert await retire_hook(conn, "hook-1", NOW)
        assert not await retire_hook(conn, "no-such-hook", NOW)


async def test_receipts_come_latest_first(db: Database) -> None:
    kept = [Receipt("verified", "aaaa", 3, NOW), Receipt("rejected", "too_old", 1, NOW + timedelta(seconds=1))]
    async with db.write() as conn:
        for each in kept:
            await conn.execute(
                insert(receipts).values(
                    outcome=each.outcome, detail=each.detail, count=each.count, last_at=each.last_at
                )
            )
    async with db.read() as conn:
        assert await list_receipts(conn) == list(reversed(kept))
