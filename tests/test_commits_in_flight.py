"""How many commits a whole service lets run at a time."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from app.storage.engine import Connection, open_database
from tests.test_waking import deliver, served

_WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'events'::regclass")


async def test_on_postgresql_the_next_commit_is_sent_while_another_is_under_way(postgres_url: str) -> None:
    """Both are seen to wait for a table that somebody holds."""
    other = open_database(postgres_url)
    async with served(postgres_url, background=False) as client:
        async with other.write() as holder:
            await holder.execute(text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
            first = asyncio.create_task(deliver(client, 1))
            await _until_waiting(holder, 1)
            second = asyncio.create_task(deliver(client, 2))
            await _until_waiting(holder, 2)
        await asyncio.gather(first, second)
    await other.close()


async def _until_waiting(holder: Connection, commits: int) -> None:
    async with asyncio.timeout(30):
        while (await holder.execute(_WAITING)).scalar_one() < commits:  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(0.01)
