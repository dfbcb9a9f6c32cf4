"""Which news makes which codes due."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.events import Event
from app.storage import inbox
from app.storage.codes import load_cases
from app.storage.driver import Statement
from app.storage.engine import Database, open_database
from app.storage.inbox import store_batch
from app.storage.inbox_arrival import arrival
from app.storage.inbox_marks import mark_statements
from app.storage.tables import devices, signals
from tests.storage.arrivals import NOW, account_news, after, code_news, deliveries, delivery, device_news, event
from tests.storage.made import rows_of
from tests.storage.tracked import claimed, load, row, track

OWN = code_news("e1", access_code_id="seam_a")
OTHER = code_news("e1", access_code_id="seam_other")
LOCK = device_news("e1")
OTHER_LOCK = device_news("e1", device_id="other")
ACCOUNT = account_news("e1")
OTHER_ACCOUNT = account_news("e1", connected_account_id="other")
NO_NEWS = event("e1", access_code_id="seam_a")
TERMINAL = {"is_terminal": True}
UNTRACKED = {"untracked_at": NOW}


@pytest.mark.parametrize(
    ("columns", "arrived", "due"),
    [
        ({}, OWN, True),
        ({}, LOCK, True),
        ({}, ACCOUNT, True),
        ({}, OTHER, False),
        ({}, OTHER_LOCK, False),
        ({}, OTHER_ACCOUNT, False),
        ({}, NO_NEWS, False),
        (TERMINAL, OWN, True),
        (TERMINAL, LOCK, False),
        (TERMINAL, ACCOUNT, False),
        (UNTRACKED, OWN, False),
        (UNTRACKED, LOCK, False),
        (UNTRACKED, ACCOUNT, False),
        ({"connected_account_id": None}, ACCOUNT, False),
        ({"access_code_id": None}, LOCK, True),
    ],
)
async def test_whose_news_makes_a_code_due(db: Database, columns: dict[str, Any], arrived: Event, due: bool) -> None:
    await track(db, row("a", **columns))
    await store_batch(db, deliveries(arrived))
    assert await claimed(db) == (["a"] if due else [])
    assert (await load(db, "a"))["due_at"] == (NOW if due else None)


@pytest.mark.parametrize("access_code_id", ["seam_a", None], ids=["bound", "requested"])
@pytest.mark.parametrize("arrived", [LOCK, ACCOUNT], ids=["lock", "account"])
@pytest.mark.parametrize(
    ("before", "after_it"),
    [(None, after(10)), (after(5), after(5)), (after(10), after(10)), (after(3600), after(10))],
)
async def test_news_of_a_place_never_postpones(
    db: Database, arrived: Event, access_code_id: str | None, before: datetime | None, after_it: datetime
) -> None:
    await track(db, row("a", access_code_id=access_code_id, due_at=before))
    await store_batch(db, [delivery(arrived, received_at=after(10))])
    assert await claimed(db, after(10)) == ["a"]
    assert (await load(db, "a"))["due_at"] == after_it


@pytest.mark.parametrize("arrived", [LOCK, ACCOUNT], ids=["lock", "account"])
async def test_what_was_decided_without_news_of_a_place_is_decided_again(db: Database, arrived: Event) -> None:
    await track(db, row("bound"), row("requested", access_code_id=None))
    await store_batch(db, [delivery(arrived)])
    async with db.read() as connection:
        cases = await load_cases(connection, ["bound", "requested"])
    assert [(case.row.revision, case.signals.version, case.has_news) for case in cases] == [(1, 1, True), (2, 0, False)]


async def test_old_news_of_a_place_makes_nothing_due(db: Database) -> None:
    await store_batch(db, deliveries(device_news("e2", 9), account_news("e3", 9)))
    await track(db, row("a"))
    await store_batch(db, deliveries(device_news("e1", 8), account_news("e0", 8)))
    assert await claimed(db) == ([] if db.dialect == "postgresql" else ["a"]), "SQLite marks by what is new alone"


async def test_a_duplicate_makes_nothing_due(db: Database) -> None:
    await store_batch(db, deliveries(OWN))
    await track(db, row("a"))
    await claimed(db)
    await store_batch(db, deliveries(OWN))
    assert [row["marked_at"] for row in await rows_of(db, signals)] == [None]


async def test_news_that_is_older_than_what_is_known_makes_nothing_due(db: Database) -> None:
    """No verdict can rest on it."""
    await store_batch(db, deliveries(code_news("e2", access_code_id="seam_a", occurred_at=after(9))))
    assert await claimed(db) == []
    await track(db, row("a"))
    await store_batch(db, deliveries(code_news("e1", access_code_id="seam_a", occurred_at=after(8))))
    assert await claimed(db) == []


async def test_one_batch_marks_the_codes_of_a_place_once(db: Database) -> None:
    await track(db, row("a"), row("b"))
    await store_batch(db, deliveries(device_news("e6"), account_news("e7")))
    assert [row["version"] for row in await rows_of(db, signals)] == [1, 1]


async def test_account_news_reaches_codes_whose_account_only_their_lock_knows(db: Database) -> None:
    await track(db, row("a", connected_account_id=None))
    async with db.write() as connection:
        await connection.execute(insert(devices).values(device_id="device", connected_account_id="account"))
    await store_batch(db, deliveries(ACCOUNT))
    assert await claimed(db) == ["a"]


async def test_a_code_that_comes_under_watch_while_news_of_its_lock_is_merged_is_marked(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two commits that PostgreSQL needs for such a batch."""
    db = open_database(postgres_url)
    arrive = inbox._arrive

    async def arrive_late(*given: Any) -> Any:
        await track(db, row("a"), row("requested", access_code_id=None))
        return await arrive(*given)

    monkeypatch.setattr(inbox, "_arrive", arrive_late)
    await store_batch(db, deliveries(LOCK))
    assert sorted(await claimed(db)) == ["a", "requested"]
    await db.close()


async def test_batches_that_concern_the_same_codes_never_wait_in_a_circle(database_url: str) -> None:
    """Two processes, codes of one lock, each naming them in another order. A deadlock would be raised, not retried."""
    one, two = open_database(database_url), open_database(database_url)
    names = [f"{number:03}" for number in range(40)]
    await track(one, *(row(name) for name in names))

    async def send(db: Database, sender: str, order: list[str]) -> None:
        for turn in range(4):
            own = [code_news(f"{sender}{turn}{name}", access_code_id=f"seam_{name}") for name in order]
            await inbox._store(db, deliveries(*own, device_news(f"{sender}{turn}")))

    await asyncio.gather(send(one, "one", names), send(two, "two", names[::-1]))
    async with one.read() as connection:
        versions = (await connection.execute(select(signals.c.version))).scalars().all()
    assert len(versions) == len(names)
    assert min(versions) > 4, "each was marked by the news of its lock, and by some of its own"
    await one.close()
    await two.close()


@pytest.mark.parametrize(("devices", "accounts"), [(True, False), (False, True), (True, True)])
async def test_marking_uses_indexes(fresh_db: Database, devices: bool, accounts: bool) -> None:
    """However many codes are tracked, only those that are concerned are touched; also by the plan that PostgreSQL keeps
    for all parameters. Of so many that reading them all is never the cheaper way, however the estimates fall."""
    await track(
        fresh_db, *(row(f"{n:05}", device_id=f"d{n}", connected_account_id=f"a{n % 15_000}") for n in range(30_000))
    )
    async with fresh_db.write() as connection:
        await connection.execute(text("ANALYZE"))
        plan = await explain(fresh_db, connection, devices=devices, accounts=accounts)
    assert "Seq Scan on access_codes" not in plan
    assert "SCAN access_codes" not in plan
    assert fresh_db.dialect == "sqlite" or "LockRows" in plan, "rows are locked in order, before any is changed"
    assert fresh_db.dialect == "sqlite" or re.search(r"Sort Key: \S*access_code_id", plan), "in order as well"
    assert "SCAN devices" not in plan
    # SQLite finds the locks of the accounts on its way; PostgreSQL is told them.
    assert ("ix_access_codes_device_id" in plan) == (devices or fresh_db.dialect == "sqlite")
    assert ("ix_access_codes_connected_account_id" in plan) == accounts


async def explain(db: Database, connection: AsyncConnection, **places: bool) -> str:
    statements = [*mark_statements(db.dialect, **places)]
    if db.dialect == "postgresql":
        statements.append(arrival(**places))
    return "\n".join([await _explain(db, connection, statement) for statement in statements])


async def _explain(db: Database, connection: AsyncConnection, statement: Statement) -> str:
    if db.dialect == "sqlite":
        bound: dict[str, Any] = {"devices": "[]", "accounts": "[]", "now": 0}
        lines = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.sql}", bound)
    else:
        values = {"devices": "'{d7}'", "accounts": "'{a7}'", "now": "now()", "quiet_since": "now()"}
        given = ", ".join(values.get(name, "''") for name in statement.names)
        await connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.exec_driver_sql(f"PREPARE mark AS {statement.sql}")
        lines = await connection.exec_driver_sql(f"EXPLAIN EXECUTE mark ({given})")
        explained = "\n".join(" ".join(map(str, line)) for line in lines)
        await connection.exec_driver_sql("DEALLOCATE mark")
        return explained
    return "\n".join(" ".join(map(str, line)) for line in lines)
