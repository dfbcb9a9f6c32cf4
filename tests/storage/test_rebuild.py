"""Signals, and the reports of locks and accounts, are rebuilt from the stored events to the byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Table, delete, select, text, update

from app.domain.events import Event
from app.domain.health import DeviceFacet
from app.domain.news import Issue, IssueSource, News, NewsKind
from app.storage.engine import Database, open_database
from app.storage.inbox import store_batch
from app.storage.rebuild import Rebuilt, count_rows, rebuild
from app.storage.tables import accounts, devices, events, signals
from tests.storage.arrivals import NOW, account_news, after, code_news, deliveries, device_news, event
from tests.storage.made import rows_of
from tests.storage.tracked import claimed, load, row, track
from tests.storage.waiting import until_waiting

TABLES = (signals, devices, accounts)
ISSUE = Issue("device_offline", "It is »offline«.", IssueSource.DEVICE, is_error=True, created_at=NOW)


def full_news(event_id: str, at: float, kind: NewsKind, code: str) -> Event:
    said = News(after(at), event_id, pin="key:4821", backup_access_code_id="backup", issues=(ISSUE,))
    return event(event_id, at, news=(kind, said), access_code_id=code)


def many_events(codes: int) -> list[Event]:
    """Of each kind two for each code, the earlier one arriving later; locks and accounts as well; one of no news."""
    told: list[Event] = [event("nothing")]
    for number in range(codes):
        for order, kind in enumerate(NewsKind):
            told += [
                full_news(f"{kind}-{number}-late", 100 + order, kind, f"seam_c{number}"),
                full_news(f"{kind}-{number}-soon", order, kind, f"seam_c{number}"),
            ]
        for facet in DeviceFacet:
            told += [
                device_news(f"{facet}-{number}-{at}", at, facet, f"value-{at}", device_id=f"lock{number}")
                for at in (9, 1)
            ]
        told.append(account_news(f"account-{number}", number, connected_account_id=f"owner{number}"))
    return told


async def everything(db: Database) -> dict[str, list[dict[str, Any]]]:
    """Every row, but for when what it says came: neither its version nor its mark."""
    found = {table.name: await rows_of(db, table) for table in TABLES}
    for each in found["signals"]:
        del each["version"], each["marked_at"]
    return found


async def versions(db: Database) -> dict[str, int]:
    return {each["access_code_id"]: each["version"] for each in await rows_of(db, signals)}


async def run(db: Database) -> dict[str, int]:
    """How many rows of each table were mended."""
    rebuilt = await rebuild(db, lambda: after(1000), lambda _: None)
    return {name: told.mended for name, told in rebuilt.items()}


async def write(db: Database, *statements: Any) -> None:
    async with db.write() as conn:
        for statement in statements:
            await conn.execute(statement)


NOTHING = {"signals": 0, "devices": 0, "accounts": 0}


async def test_what_is_right_is_left_alone(db: Database) -> None:
    await store_batch(db, deliveries(*many_events(3)))
    before, versions_before = await everything(db), await versions(db)
    assert await run(db) == NOTHING
    assert (await everything(db), await versions(db)) == (before, versions_before)


async def test_rows_that_are_gone_come_back_to_the_byte(db: Database) -> None:
    """More of them than are compared at once."""
    await store_batch(db, deliveries(*many_events(5)))
    await store_batch(
        db, deliveries(*[code_news(f"e{number}", access_code_id=f"z{number:03}") for number in range(400)])
    )
    before, versions_before = await everything(db), await versions(db)
    await write(db, delete(signals).where(signals.c.access_code_id < "z300"), delete(devices), delete(accounts))
    seen: list[int] = []
    rebuilt = await rebuild(db, lambda: after(1000), seen.append)
    assert rebuilt == {"signals": Rebuilt(406, 305), "devices": Rebuilt(6, 5), "accounts": Rebuilt(5, 5)}
    assert sum(seen) == 417  # with the code and the lock that only an event of no news names
    assert await count_rows(db) == 415
    assert await everything(db) == before
    assert all(number >= 1 for number in (await versions(db)).values()), versions_before
    assert await run(db) == NOTHING


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "nonsense",
        "2026-08-01T12:00:00.000000+00:00\x1fset-0-soon\x1f{}",  # an earlier event that is stored
        "2099-01-01T00:00:00.000000+00:00\x1fset-0-late\x1f{}",  # the right event, another time
        "2099-01-01T00:00:00.000000+00:00\x1ffailed-1-late\x1f{}",  # an event of another code
    ],
)
async def test_a_column_that_is_wrong_or_missing_is_mended(db: Database, wrong: str | None) -> None:
    await store_batch(db, deliveries(*many_events(2)))
    before, versions_before = await everything(db), await versions(db)
    code = signals.c.access_code_id == "seam_c0"
    await write(db, update(signals).where(code).values(set=wrong))
    assert await run(db) == {"signals": 1, "devices": 0, "accounts": 0}
    assert await everything(db) == before
    assert await versions(db) == {**versions_before, "seam_c0": versions_before["seam_c0"] + 1}


async def test_a_column_without_an_event_of_its_kind_is_emptied(db: Database) -> None:
    await store_batch(db, deliveries(code_news("e1", kind=NewsKind.SET, access_code_id="a")))
    before = await everything(db)
    await write(db, update(signals).values(failed=signals.c.set))
    assert (await run(db))["signals"] == 1
    assert await everything(db) == before


@pytest.mark.parametrize(("table", "column"), [(devices, "battery"), (accounts, "connection")])
async def test_reports_of_locks_and_accounts_are_mended(db: Database, table: Table, column: str) -> None:
    await store_batch(db, deliveries(*many_events(2)))
    before = await everything(db)
    await write(db, update(table).values({column: None}))
    assert await run(db) == {**NOTHING, table.name: 2}
    assert await everything(db) == before


async def test_what_retention_deleted_the_event_of_is_kept(db: Database) -> None:
    """As long as no later event of its kind is stored."""
    told = [code_news("old", 0, NewsKind.SET), code_news("new", 5, NewsKind.FAILED), device_news("lock", 1)]
    await store_batch(db, deliveries(*told))
    before = await everything(db)
    await write(db, delete(events).where(events.c.event_id.in_(["old", "lock"])))
    assert await run(db) == NOTHING
    assert await everything(db) == before
    await store_batch(db, deliveries(code_news("later", 9, NewsKind.SET)))
    current = await everything(db)
    await write(db, update(signals).values(set=before["signals"][0]["set"]))
    assert (await run(db))["signals"] == 1
    assert await everything(db) == current


async def test_whom_a_mended_row_concerns_is_marked_due(db: Database) -> None:
    """The codes of mended signals; those of mended locks and accounts, unless they are terminal."""
    await track(
        db,
        row("c0"),
        row("c1", is_terminal=True),
        row("on_lock", device_id="lock0"),
        row("ended", device_id="lock0", is_terminal=True),
        row("of_owner", device_id="elsewhere", connected_account_id="owner1"),
        row("untouched", device_id="lock9"),
        row("untracked", device_id="lock0", untracked_at=NOW),
    )
    await store_batch(db, deliveries(*many_events(3)))
    await claimed(db)
    await write(db, text("UPDATE access_codes SET due_at = NULL, leased_until = NULL"))
    codes = signals.c.access_code_id.in_(["seam_c0", "seam_c1"])
    lock, owner = devices.c.device_id == "lock0", accounts.c.connected_account_id == "owner1"
    await write(db, delete(signals).where(codes), delete(devices).where(lock), delete(accounts).where(owner))
    assert await run(db) == {"signals": 2, "devices": 1, "accounts": 1}
    await claimed(db, after(1000))
    due = {ident: (await load(db, ident))["due_at"] for ident in ("c0", "c1", "on_lock", "of_owner")}
    assert set(due.values()) == {after(1000)}
    for ident in ("ended", "untouched", "untracked"):
        assert (await load(db, ident))["due_at"] is None, ident


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """Another process on the same database."""
    database = open_database(database_url)
    yield database
    await database.close()


async def test_news_that_is_being_stored_while_a_row_is_mended_is_not_lost(postgres_url: str) -> None:
    """It has merged its news and not committed yet: the rebuild waits for it and sees its event."""
    db, ingest = open_database(postgres_url), open_database(postgres_url)
    await store_batch(db, deliveries(code_news("e1", 0)))
    await write(db, update(signals).values(set=None))
    rebuilding = None
    late = code_news("e2", 9)
    async with ingest.write() as conn:
        await conn.execute(text("SELECT 1 FROM signals WHERE access_code_id = 'code' FOR UPDATE"))
        rebuilding = asyncio.create_task(run(db))
        await until_waiting(db)
    storing = asyncio.create_task(store_batch(ingest, deliveries(late)))
    await asyncio.gather(rebuilding, storing)
    (found,) = await rows_of(db, signals)
    assert found["set"].split("\x1f")[1] == "e2"
    await db.close()
    await ingest.close()


async def test_a_rebuild_beside_ingest_loses_nothing(db: Database, other: Database) -> None:
    """Columns are wiped again and again while news comes in; in the end a rebuild finds what a fresh merge would."""
    codes = [f"c{number}" for number in range(8)]
    batches = [
        [code_news(f"e{at}-{code}", at % 40, list(NewsKind)[at % 5], access_code_id=code) for code in codes]
        for at in range(60)
    ]

    async def ingest() -> None:
        for batch in batches:
            await store_batch(other, deliveries(*batch))

    # In the order in which ingest locks them: two that wait for each other would not be the rebuild's fault.
    held = select(signals.c.access_code_id).order_by(signals.c.access_code_id).with_for_update()

    async def spoil_and_mend() -> None:
        for _ in range(12):
            await write(db, held, update(signals).values(set=None, failed=None))
            await run(db)

    await asyncio.gather(ingest(), spoil_and_mend())
    await run(db)
    mended = await everything(db)
    await write(db, delete(signals))
    await run(db)
    fresh = await everything(db)
    assert mended == fresh
    latest = max(at % 40 for at in range(60) if at % 5 == list(NewsKind).index(NewsKind.SET))
    async with db.read() as conn:
        sets = (await conn.execute(select(signals.c.set))).scalars().all()
    assert {each.split("\x1f")[0] for each in sets} == {after(latest).isoformat(timespec="microseconds")}
