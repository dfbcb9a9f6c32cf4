"""Acked means kept: what is refused goes to unreadable, and what is not certain is not acked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any

import asyncpg
import pytest
from sqlalchemy import func, select, text

from app.domain.events import Event, Unreadable
from app.domain.news import Issue, IssueSource, News, NewsKind
from app.storage import inbox
from app.storage.engine import Database, open_database
from app.storage.errors import StorageUnavailable
from app.storage.health import load_health
from app.storage.inbox import REFUSED_BY_DATABASE, Outcome, store_batch
from app.storage.limits import Limits
from app.storage.tables import access_codes, events, signals, unreadable
from tests.storage.arrivals import NOW, account_news, code_news, deliveries, delivery, device_news, event
from tests.storage.tracked import claimed, row, track

STORED, DUPLICATE, UNREADABLE = Outcome.STORED, Outcome.DUPLICATE, Outcome.UNREADABLE
TERMINAL = {"is_terminal": True}
FAR_EAST = timezone(timedelta(hours=14))


async def ids(db: Database) -> list[str]:
    async with db.read() as connection:
        return list((await connection.execute(select(events.c.event_id).order_by(events.c.event_id))).scalars())


async def kept_unreadable(db: Database) -> list[tuple[str, str]]:
    async with db.read() as connection:
        found = await connection.execute(select(unreadable.c.delivery_id, unreadable.c.reason))
        return [tuple(found_row) for found_row in found]


def issue_saying(message: str) -> Event:
    issue = Issue("code", message, IssueSource.ACCESS_CODE, is_error=True)
    return event("poison", news=(NewsKind.FAILED, News(NOW, "poison", issues=(issue,))))


@pytest.mark.parametrize(
    "poison",
    [
        code_news("poi\x00son"),
        code_news("poi\ud800son"),
        code_news("poi\x1fson"),
        code_news("p" * 3000),
        code_news("poison", access_code_id="code\x00"),
        code_news("poison", access_code_id="c" * 3000),
        device_news("poison", device_id="\udfff"),
        event("poison", event_type="a\x00b"),
        event("poison", workspace_id="\ud83d"),
        event("poison", payload="\x00"),
        event("poison", payload="\ud83d"),
        issue_saying("\ud800"),
        code_news("poison", occurred_at=datetime(1, 1, 1, tzinfo=FAR_EAST)),
        code_news("poison", created_at=datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14)))),
        code_news("poison", created_at=NOW.replace(tzinfo=None)),
    ],
)
async def test_what_no_database_can_hold_is_kept_as_unreadable_and_harms_nobody(db: Database, poison: Event) -> None:
    batch = [delivery(code_news("e1")), delivery(poison, "msg_poison"), delivery(code_news("e2"))]
    assert await store_batch(db, batch) == [STORED, UNREADABLE, STORED]
    assert await ids(db) == ["e1", "e2"]
    assert await kept_unreadable(db) == [("msg_poison", REFUSED_BY_DATABASE)]
    assert await store_batch(db, batch) == [DUPLICATE, UNREADABLE, DUPLICATE]


@pytest.mark.parametrize(
    "strange",
    [
        code_news("e", occurred_at=datetime(1, 1, 2, tzinfo=FAR_EAST)),
        code_news("e", created_at=datetime(9999, 12, 31, tzinfo=FAR_EAST)),
        code_news("\u2615\U0001f511"),
        code_news("", access_code_id="", device_id=""),
        issue_saying("\x00 and \x1f and '; DROP TABLE events; --"),
        code_news("e", access_code_id="c" * 500),
    ],
)
async def test_what_is_only_strange_is_stored(db: Database, strange: Event) -> None:
    assert await store_batch(db, deliveries(strange)) == [STORED]
    assert await ids(db) == [strange.event_id]


@pytest.mark.parametrize(
    ("known_by", "kept"), [("msg\x00", "msg\\x00"), ("\ud800", "\\ud800"), ("m" * 3000, "m" * 500)]
)
async def test_an_unreadable_delivery_is_kept_whatever_its_id(db: Database, known_by: str, kept: str) -> None:
    assert await store_batch(db, [delivery(Unreadable("not_json"), known_by)]) == [UNREADABLE]
    assert await kept_unreadable(db) == [(kept, "not_json")]


@pytest.fixture
async def picky(db: Database) -> Database:
    """A database that refuses one event for a reason that nobody could foresee."""
    async with db.write() as connection:
        if db.dialect == "sqlite":
            await connection.execute(
                text(
                    "CREATE TRIGGER picky BEFORE INSERT ON events WHEN NEW.event_id = 'refused'"
                    " BEGIN SELECT RAISE(ABORT, 'not this one'); END"
                )
            )
        else:
            await connection.execute(text("ALTER TABLE events ADD CONSTRAINT picky CHECK (event_id != 'refused')"))
    return db


async def test_a_row_that_the_database_refuses_is_kept_as_unreadable_and_the_others_are_stored(picky: Database) -> None:
    await track(picky, row("a"))
    names = ("e1", "refused", "e2", "refused", "e1")
    batch = [delivery(code_news(name, access_code_id="seam_a"), f"msg_{n}") for n, name in enumerate(names)]
    assert await store_batch(picky, batch) == [STORED, UNREADABLE, STORED, UNREADABLE, DUPLICATE]
    assert await ids(picky) == ["e1", "e2"]
    assert await kept_unreadable(picky) == [("msg_1", REFUSED_BY_DATABASE), ("msg_3", REFUSED_BY_DATABASE)]
    async with picky.read() as connection:
        told = await connection.execute(select(signals.c.access_code_id, signals.c.version, signals.c.marked_at))
        assert [tuple(each) for each in told] == [("seam_a", 2, NOW)]


@pytest.fixture
async def impatient(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url, Limits(connect=2, queue=0.2, lock=0.2, statement=0.3, silence=0.6))
    yield database
    await database.close()


async def test_while_another_holds_the_database_nothing_is_acked_and_then_all_is(
    impatient: Database, database_url: str
) -> None:
    other = open_database(database_url)
    await store_batch(other, deliveries(code_news("e1")))
    async with other.write() as connection:
        await connection.execute(signals.update().values(version=7))
        with pytest.raises(StorageUnavailable):
            await store_batch(impatient, deliveries(code_news("e2")))
    assert await ids(impatient) == ["e1"]
    assert await store_batch(impatient, deliveries(code_news("e2"))) == [STORED]
    await other.close()


async def test_a_backend_that_dies_while_a_batch_is_written_gives_no_ack(postgres_url: str) -> None:
    db = open_database(postgres_url)
    await store_batch(db, deliveries(code_news("e1")))
    blocker = await asyncpg.connect(postgres_url)
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("UPDATE signals SET version = 7")
    batch = asyncio.create_task(store_batch(db, deliveries(code_news("e2"))))
    async with asyncio.timeout(10):
        while not await blocker.fetchval(_KILL_WHO_WAITS):
            pass
    with pytest.raises(StorageUnavailable):
        await batch
    await transaction.rollback()
    assert await ids(db) == ["e1"]
    assert await store_batch(db, deliveries(code_news("e2"))) == [STORED]
    await blocker.close()
    await db.close()


_KILL_WHO_WAITS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""


async def test_a_deadlock_with_somebody_else_is_tried_again(postgres_url: str) -> None:
    """Another transaction takes the signals first and an event after them. PostgreSQL ends one of the two."""
    db = open_database(postgres_url)
    await track(db, row("a"))
    await store_batch(db, deliveries(code_news("e1", access_code_id="seam_a"), device_news("e0")))
    other = await asyncpg.connect(postgres_url)
    transaction = other.transaction()
    await transaction.start()
    # So that it is the batch that finds the deadlock and ends.
    await other.execute("SET LOCAL deadlock_timeout = '1min'")
    await other.execute("UPDATE signals SET version = version + 10")
    news = deliveries(code_news("e2", 1, access_code_id="seam_a"), device_news("e3"))
    batch = asyncio.create_task(store_batch(db, news))
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(10):
        while not await other.fetchval(waiting):
            pass
    await other.execute(_SAME_EVENT, "e2")
    await transaction.commit()
    assert await batch == [DUPLICATE, STORED]
    async with db.read() as connection:
        assert (await connection.execute(select(signals.c.version))).scalar_one() == 12
    await other.close()
    await db.close()


_SAME_EVENT = """
    INSERT INTO events (event_id, event_type, occurred_at, created_at, received_at, source, payload)
    VALUES ($1, 'access_code.something', now(), now(), now(), 'webhook', '{}')"""


@pytest.mark.parametrize(
    ("news", "was_known", "due"),
    [
        (device_news("e1"), None, ["bound", "requested"]),
        (device_news("e1", 5), device_news("e0", 4), ["bound", "requested"]),
        (device_news("e1", 5), device_news("e0", 6), []),
        (account_news("e1"), None, ["bound", "owned", "requested"]),
        (code_news("e1", access_code_id="seam_bound"), None, ["bound"]),
    ],
    ids=["lock", "later", "earlier", "account", "code"],
)
async def test_news_that_was_merged_before_the_process_was_killed_marks_its_codes_once_it_is_delivered_again(
    db: Database, monkeypatch: pytest.MonkeyPatch, news: Event, was_known: Event | None, due: list[str]
) -> None:
    """PostgreSQL merges news of a place before it stores the event, and marks the codes together with that."""
    await store_batch(db, deliveries(was_known) if was_known else [])
    await track(
        db, row("bound"), row("requested", access_code_id=None), row("owned", device_id="d2"), row("done", **TERMINAL)
    )
    with monkeypatch.context() as patch:
        patch.setattr(inbox, "_keep" if db.dialect == "sqlite" else "_arrive", _killed)
        with pytest.raises(StorageUnavailable):
            await store_batch(db, deliveries(news))
    assert await ids(db) == (["e0"] if was_known else [])
    assert await claimed(db) == [], "what is not stored marks nothing"
    assert await store_batch(db, deliveries(news)) == [STORED]
    if db.dialect == "postgresql" or not was_known or news.occurred_at > was_known.occurred_at:
        assert sorted(await claimed(db)) == due
    async with db.read() as connection:
        health = (await load_health(connection, [("device", "account")]))["device", "account"]
    assert bool(health.device or health.account) == (news.news is None)
    before = await marks(db)
    assert await store_batch(db, deliveries(news)) == [DUPLICATE]
    assert await marks(db) == before, "and neither does a duplicate"


async def marks(db: Database) -> list[list[tuple[Any, ...]]]:
    columns = (signals.c.access_code_id, signals.c.version, signals.c.marked_at)
    queries = (select(*columns).order_by(columns[0]), select(access_codes.c.revision).order_by(access_codes.c.id))
    async with db.read() as connection:
        return [[tuple(found) for found in await connection.execute(query)] for query in queries]


async def _killed(*_: object) -> None:
    raise StorageUnavailable("gone")


async def test_a_batch_that_is_cancelled_is_stored_by_the_next_attempt(db: Database) -> None:
    batch = deliveries(*(code_news(f"e{number}") for number in range(50)))
    task = asyncio.create_task(store_batch(db, batch))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    outcomes = await store_batch(db, batch)
    assert UNREADABLE not in outcomes
    assert len(await ids(db)) == 50


async def test_a_schema_that_is_behind_gives_no_ack(db: Database) -> None:
    """Nothing is wrong with the event."""
    async with db.write() as connection:
        await connection.execute(text("ALTER TABLE signals RENAME TO old_signals"))
    with pytest.raises(StorageUnavailable):
        await store_batch(db, deliveries(code_news("e1")))
    async with db.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(events))).scalar_one() == 0
