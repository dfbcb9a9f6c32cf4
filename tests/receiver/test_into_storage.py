"""From a signed request to the rows, on both databases: what is acknowledged is there, and storage may come and go."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import func, select, text

from app.receiver.committer import CommitLimits
from app.storage.engine import Database, open_database
from app.storage.inbox import Delivery, Outcome, store_batch
from app.storage.tables import events, unreadable
from tests.receiver.deliveries import changed, headers_for, sign_bytes
from tests.receiver.exchanges import Exchange
from tests.receiver.inboxes import Station, until
from tests.receiver.posts import Post


class RealPost(Post):
    """The endpoint over the real inbox. ``commits`` counts the batches, ``most_at_once`` those in flight together."""

    def __init__(self, db: Database, limits: CommitLimits | None = None) -> None:
        self.commits = self.most_at_once = 0
        store = partial(store_batch, db)
        running = 0

        async def counted(deliveries: Sequence[Delivery]) -> list[Outcome]:
            nonlocal running
            self.commits += 1
            running += 1
            self.most_at_once = max(self.most_at_once, running)
            try:
                return await store(deliveries)
            finally:
                running -= 1

        super().__init__(Station(counted, limits=limits))


@asynccontextmanager
async def open_post(db: Database, limits: CommitLimits | None = None) -> AsyncIterator[RealPost]:
    post = RealPost(db, limits)
    post.station.committer.start()
    try:
        yield post
    finally:
        await post.station.committer.close()


def event_body(event_id: str) -> bytes:
    payload = {
        "event_id": event_id,
        "event_type": "access_code.set_on_device",
        "access_code_id": f"ac_{event_id}",
        "device_id": "d1",
        "workspace_id": "w1",
        "created_at": "2026-03-01T11:59:58Z",
        "occurred_at": "2026-03-01T11:59:57Z",
        "code": "4711",
    }
    return json.dumps(payload).encode()


def of_event(event_id: str, delivery_id: str | None = None) -> Exchange:
    body = event_body(event_id)
    return Exchange(headers_for(body, delivery_id=delivery_id or f"msg_{event_id}"), [body])


async def stored(db: Database) -> list[str]:
    async with db.read() as connection:
        return sorted((await connection.execute(select(events.c.event_id))).scalars())


async def test_everything_acknowledged_is_stored_once_and_many_share_a_commit(db: Database) -> None:
    """Six hundred events, each sent twice at once: the second time under another delivery id, as in a rotation."""
    ids = [f"e{number:03}" for number in range(600)]
    async with open_post(db) as post:
        exchanges = [of_event(each) for each in ids] + [of_event(each, f"again_{each}") for each in ids]
        await asyncio.gather(*[exchange.run(post.endpoint) for exchange in exchanges])

    assert Counter(exchange.status for exchange in exchanges) == {204: 1200}
    assert await stored(db) == ids
    assert (post.station.count("stored"), post.station.count("duplicate")) == (600, 600)
    assert post.commits <= 5


async def test_an_event_in_two_commits_at_once_is_stored_by_one_and_a_duplicate_in_the_other(db: Database) -> None:
    """Seam delivers twice: each event comes in one commit, and the other way round in the one beside it."""
    ids = [f"e{number:03}" for number in range(400)]
    limits = CommitLimits(batch=50, in_flight=2)
    async with open_post(db, limits) as post:
        exchanges = []
        for start in range(0, len(ids), limits.batch):
            part = ids[start : start + limits.batch]
            exchanges += [of_event(each) for each in part] + [of_event(each, f"again_{each}") for each in part[::-1]]
        await asyncio.gather(*[exchange.run(post.endpoint) for exchange in exchanges])

    assert Counter(exchange.status for exchange in exchanges) == {204: 800}
    assert await stored(db) == ids
    assert (post.station.count("stored"), post.station.count("duplicate")) == (400, 400)
    assert post.most_at_once == 2
    assert post.commits >= 16  # what gathered while none was in flight is shared out, so there may be more


async def test_genuine_bytes_that_are_no_event_are_kept_apart(db: Database) -> None:
    body = b"\xff not text"
    headers = changed(headers_for(b""), b"svix-signature", sign_bytes(body))
    async with open_post(db) as post:
        exchange = await Exchange(headers, [body]).run(post.endpoint)

    assert exchange.status == 204
    async with db.read() as connection:
        row = (await connection.execute(select(unreadable))).one()
    assert (row.delivery_id, row.size, row.digest) == (
        "msg_1",
        len(body),
        post.endpoint.examiner._fingerprinter.digest(body),
    )
    assert await stored(db) == []


async def test_what_is_not_genuine_leaves_no_trace(db: Database) -> None:
    async with open_post(db) as post:
        exchange = of_event("e1")
        exchange.headers = changed(exchange.headers, b"svix-signature", b"v1,AAAA")
        await exchange.run(post.endpoint)

    assert exchange.status == 401
    assert await stored(db) == []
    async with db.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(unreadable))).scalar_one() == 0


async def test_while_the_table_is_gone_the_sender_is_asked_to_come_again(db: Database) -> None:
    async with open_post(db) as post:
        assert (await of_event("e1").run(post.endpoint)).status == 204
        await _rename(db, "events", "events_away")
        away = await of_event("e2").run(post.endpoint)
        await _rename(db, "events_away", "events")
        statuses = [(await of_event("e2").run(post.endpoint)).status for _ in range(3)]

    assert (away.status, away.answered["retry-after"]) == (503, "5")
    assert statuses[-1] == 204
    assert await stored(db) == ["e1", "e2"]


async def test_a_commit_that_hangs_behind_a_lock_is_answered_503_and_the_next_one_works(
    db: Database, database_url: str
) -> None:
    release = asyncio.Event()
    async with open_post(db, CommitLimits(commit_seconds=0.1)) as post, _locked(database_url, release):
        waiting = [of_event("e1"), of_event("e2")]
        asyncio.get_running_loop().call_later(1, release.set)
        await asyncio.gather(*[exchange.run(post.endpoint) for exchange in waiting])
        assert [exchange.status for exchange in waiting] == [503, 503]
    async with open_post(db) as post:
        statuses = [(await of_event(each).run(post.endpoint)).status for each in ("e1", "e2", "e3")]

    assert statuses == [204, 204, 204]
    assert await stored(db) == ["e1", "e2", "e3"]


async def test_a_shutdown_stores_what_was_accepted(db: Database) -> None:
    async with open_post(db) as post:
        exchanges = [of_event(f"e{number}") for number in range(50)]
        requests = [asyncio.create_task(exchange.run(post.endpoint)) for exchange in exchanges]
        await until(lambda: post.station.waiting == 50)  # each has been accepted, none is answered
    await asyncio.gather(*requests)

    assert Counter(exchange.status for exchange in exchanges) == {204: 50}
    assert len(await stored(db)) == 50


async def _rename(db: Database, old: str, new: str) -> None:
    async with db.write() as connection:
        await connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


@asynccontextmanager
async def _locked(url: str, release: asyncio.Event) -> AsyncIterator[None]:
    """Until ``release``, somebody else holds what every commit needs."""
    other = open_database(url)
    locked = asyncio.Event()

    async def hold() -> None:
        async with other.write() as connection:
            if other.dialect == "postgresql":
                await connection.execute(text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
            locked.set()
            await release.wait()

    holder = asyncio.create_task(hold())
    try:
        await locked.wait()
        yield
    finally:
        release.set()
        await holder
        await other.close()
