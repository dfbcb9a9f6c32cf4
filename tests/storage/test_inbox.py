from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Table, select

from app.domain.events import Event, Unreadable
from app.domain.health import DeviceFacet
from app.domain.news import Issue, IssueSource, News, NewsKind
from app.storage import inbox
from app.storage.codec import decode_news, decode_state
from app.storage.engine import Database, open_database
from app.storage.inbox import Delivery, Outcome, store_batch
from app.storage.tables import accounts, devices, events, intake, signals, unreadable
from tests.storage.arrivals import NOW, account_news, after, code_news, deliveries, delivery, device_news, event
from tests.storage.waiting import until_waiting

STORED, DUPLICATE, UNREADABLE = Outcome.STORED, Outcome.DUPLICATE, Outcome.UNREADABLE


async def rows(db: Database, table: Table) -> list[dict[str, Any]]:
    async with db.read() as connection:
        found = await connection.execute(select(table).order_by(table.c[0]))
        return [dict(row) for row in found.mappings()]


async def only_row(db: Database, table: Table) -> dict[str, Any]:
    (row,) = await rows(db, table)
    return row


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """Another process on the same database."""
    database = open_database(database_url)
    yield database
    await database.close()


async def test_an_event_is_kept_as_it_was_read(db: Database) -> None:
    arrived = event("e1", 3, payload='{"message": "caf\u00e9 \\u0000 \u2615"}', created_at=after(4))
    assert await store_batch(db, [delivery(arrived, received_at=after(5))]) == [STORED]
    assert await only_row(db, events) == {
        "id": 1,
        "event_id": "e1",
        "event_type": "access_code.something",
        "access_code_id": "code",
        "device_id": "device",
        "connected_account_id": "account",
        "workspace_id": "workspace",
        "occurred_at": after(3),
        "created_at": after(4),
        "received_at": after(5),
        "source": "webhook",
        "news": None,
        "payload": '{"message": "caf\u00e9 \\u0000 \u2615"}',
    }


async def test_an_event_without_any_id_is_kept(db: Database) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("workspace_id", "access_code_id", "device_id", "connected_account_id"))
    assert await store_batch(db, deliveries(event("svix:msg_1", **nothing))) == [STORED]
    assert (await only_row(db, events))["device_id"] is None


async def test_no_delivery_makes_no_outcome(db: Database) -> None:
    assert await store_batch(db, []) == []


@pytest.mark.parametrize(
    ("readings", "outcomes"),
    [
        (["e1", "e1"], [STORED, DUPLICATE]),
        (["e2", "e1", "e2", "e3", "e1"], [STORED, STORED, DUPLICATE, STORED, DUPLICATE]),
        (["e1", Unreadable("not_json"), "e1"], [STORED, UNREADABLE, DUPLICATE]),
    ],
)
async def test_an_event_that_comes_twice_in_a_batch_is_stored_once(
    db: Database, readings: list[str | Unreadable], outcomes: list[Outcome]
) -> None:
    """Also under two svix-ids, as happens while a secret is rotated."""
    batch = [
        delivery(reading if isinstance(reading, Unreadable) else code_news(reading), f"msg_{number}")
        for number, reading in enumerate(readings)
    ]
    assert await store_batch(db, batch) == outcomes
    assert len(await rows(db, events)) == outcomes.count(STORED)
    assert (await only_row(db, signals))["version"] == 1


async def test_an_event_that_comes_again_later_is_stored_once(db: Database) -> None:
    await store_batch(db, deliveries(code_news("e1"), code_news("e2")))
    again = [delivery(code_news("e2"), "msg_other"), delivery(code_news("e3"), source="backfill")]
    assert await store_batch(db, again) == [DUPLICATE, STORED]
    assert [row["source"] for row in await rows(db, events)] == ["webhook", "webhook", "backfill"]


async def test_events_that_come_to_two_processes_at_once_are_stored_once(db: Database, other: Database) -> None:
    names = [f"e{number}" for number in range(60)]

    def send(to: Database, order: list[str]) -> Awaitable[list[Outcome]]:
        return store_batch(to, deliveries(*(code_news(name, access_code_id=name) for name in order)))

    outcomes = await asyncio.gather(*(send(to, order) for to, order in 4 * [(db, names), (other, names[::-1])]))
    assert sum(outcome.count(STORED) for outcome in outcomes) == 60
    assert len(await rows(db, events)) == 60
    assert {row["version"] for row in await rows(db, signals)} == {1}


@pytest.fixture
async def undecided(postgres_url: str) -> AsyncIterator[asyncpg.transaction.Transaction]:
    """A transaction that has inserted the event "e5" and is neither committed nor rolled back."""
    connection = await asyncpg.connect(postgres_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(
        "INSERT INTO events (event_id, event_type, occurred_at, created_at, received_at, source, payload)"
        " VALUES ('e5', 'type', now(), now(), now(), 'webhook', '{}')"
    )
    yield transaction
    await connection.close()


async def test_a_duplicate_waits_until_the_first_is_certain(
    postgres_url: str, undecided: asyncpg.transaction.Transaction
) -> None:
    """Acking the second while the commit of the first is open would lose the event if the first rolled back."""
    db = open_database(postgres_url)
    second = asyncio.create_task(store_batch(db, deliveries(code_news("e5"))))
    await until_waiting(db, 1)
    assert not second.done()
    await undecided.rollback()
    assert await second == [STORED]
    await db.close()


async def test_batches_with_the_same_events_never_wait_in_a_circle(
    postgres_url: str, undecided: asyncpg.transaction.Transaction
) -> None:
    """Two processes, opposite orders, both held up in the middle. A deadlock would be raised here, not retried."""
    db = open_database(postgres_url)
    names = [f"e{number}" for number in range(10)]
    batches = [deliveries(*(code_news(name, access_code_id=name) for name in order)) for order in (names, names[::-1])]
    both = [asyncio.create_task(inbox._store(db, batch)) for batch in batches]
    await until_waiting(db, 2)
    await undecided.rollback()
    outcomes = await asyncio.gather(*both)
    assert sorted(outcome.count(STORED) for outcome in outcomes) == [0, 10]
    await db.close()


async def test_news_is_kept_by_its_kind_with_all_that_it_says(db: Database) -> None:
    issue = Issue("failed_to_set_on_device", "caf\u00e9", IssueSource.ACCESS_CODE, is_error=True, created_at=after(1))
    news = News(after(2), "e1", pin="key:hash", backup_access_code_id="backup", issues=(issue,))
    await store_batch(db, deliveries(event("e1", 2, news=(NewsKind.FAILED, news))))
    row = await only_row(db, signals)
    assert (row["access_code_id"], row["version"]) == ("code", 1)
    assert {kind: row[kind.value] for kind in NewsKind if row[kind.value]}.keys() == {NewsKind.FAILED}
    assert decode_news(row["failed"]) == news


async def test_what_signals_and_locks_took_from_an_event_is_kept_with_it(db: Database) -> None:
    """So that they can be rebuilt from the events."""
    news = (NewsKind.SET, News(NOW, "e1", pin="key:hash"))
    await store_batch(db, deliveries(event("e1", news=news), device_news("e2"), account_news("e3"), event("e4")))
    taken = {row["event_id"]: row["news"] for row in await rows(db, events)}
    assert taken == {
        "e1": '{"kind":"set","pin":"key:hash"}',
        "e2": '{"device":"connection","value":"connected"}',
        "e3": '{"account":"connection","value":"disconnected"}',
        "e4": None,
    }


async def test_news_about_no_code_changes_no_signals(db: Database) -> None:
    assert await store_batch(db, deliveries(code_news("e1", access_code_id=None))) == [STORED]
    assert await rows(db, signals) == []


async def test_locks_keep_the_latest_report_of_each_facet(db: Database) -> None:
    await store_batch(
        db,
        deliveries(
            device_news("e2", 2, value="disconnected"),
            device_news("e1", 1, value="connected", workspace_id=None),
            device_news("e3", 0, DeviceFacet.BATTERY, "low", connected_account_id=None),
        ),
    )
    await store_batch(db, deliveries(device_news("e4", 1.5, value="connected", connected_account_id=None)))
    row = await only_row(db, devices)
    assert (row["device_id"], row["connected_account_id"], row["workspace_id"]) == ("device", "account", "workspace")
    assert decode_state(row["connection"]).value == "disconnected"
    assert decode_state(row["battery"]).value == "low"
    assert row["keypad"] is None


async def test_accounts_keep_their_latest_report(db: Database) -> None:
    await store_batch(db, deliveries(account_news("e2", 2, "disconnected"), account_news("e1", 1, "connected")))
    await store_batch(db, deliveries(account_news("e3", 3, "connected"), account_news("e0", 0, "deleted")))
    row = await only_row(db, accounts)
    assert decode_state(row["connection"]).value == "connected"


async def test_an_unreadable_payload_is_kept_once_for_each_delivery(db: Database) -> None:
    first = delivery(Unreadable("not_json"), "msg_1", size=7, digest=lambda: "key:one", received_at=after(1))
    second = delivery(Unreadable("no_event_type"), "msg_2")
    assert await store_batch(db, [first, second, first]) == [UNREADABLE] * 3
    assert await store_batch(db, [first]) == [UNREADABLE]
    one, two = await rows(db, unreadable)
    assert {**one, "id": 0} == {
        "id": 0,
        "delivery_id": "msg_1",
        "received_at": after(1),
        "size": 7,
        "digest": "key:one",
        "reason": "not_json",
    }
    assert two["reason"] == "no_event_type"


async def test_only_what_is_unreadable_needs_the_digest_of_its_body(db: Database) -> None:
    def refuse() -> str:
        raise AssertionError

    assert await store_batch(db, [delivery(code_news("e1"), digest=refuse)]) == [STORED]


async def test_the_last_delivery_is_known_to_the_second(db: Database) -> None:
    async def arrive(at: float, reading: Event | Unreadable, **fields: Any) -> Any:
        await store_batch(db, [delivery(reading, f"msg_{at}", received_at=after(at), **fields)])
        return (await only_row(db, intake))["last_delivery_at"]

    assert await arrive(0, event("e1")) == after(0)
    assert await arrive(0.5, event("e2")) == after(0)
    assert await arrive(2, event("e2")) == after(2), "a duplicate arrived as well"
    assert await arrive(4, Unreadable("not_json")) == after(4)
    assert await arrive(6, event("e3"), source="backfill") == after(4), "nobody delivered that"
    assert await arrive(7, event("e5", event_type="latchwatch.probe")) == after(4), "our own probe is no word of Seam's"
    assert await arrive(1, event("e4")) == after(4), "never backwards"


async def test_what_only_the_backfill_found_is_counted(db: Database) -> None:
    await store_batch(db, deliveries(event("e1")))
    found: list[Delivery] = [delivery(event(name), source="backfill") for name in ("e1", "e2", "e3", "e3")]
    assert await store_batch(db, found) == [DUPLICATE, STORED, STORED, DUPLICATE]
    assert (await only_row(db, intake))["backfilled"] == 2
