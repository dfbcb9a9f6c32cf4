"""Lists go to their place in an index and look at a bounded number of rows from there, however much is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Select, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.code_lists import CodeFilter, code_listings
from app.storage.durations import newest_query
from app.storage.engine import Database
from app.storage.pages import Listing
from app.storage.queries import EventFilter, FlagFilter, alert_listing, event_listing, flag_listing
from app.storage.summary import arrivals_query
from app.storage.tables import access_codes, alerts
from tests.storage.arrivals import NOW, after
from tests.storage.tracked import row

AFTER = (NOW, "code_x")
EVENT = (700,)


async def plan_of(conn: AsyncConnection, query: Select[Any], *, may_sort: bool = False) -> str:
    """What the database would do, given enough rows."""
    compiled = query.compile(dialect=conn.dialect, compile_kwargs={"literal_binds": True})
    if conn.dialect.name == "sqlite":
        rows = await conn.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))
        return "\n".join(row[3] for row in rows)
    # A small table is read whole unless that is forbidden, and so is sorting.
    for setting in ("enable_seqscan", *(() if may_sort else ("enable_sort", "enable_bitmapscan"))):
        await conn.execute(text(f"SET LOCAL {setting} = off"))
    return "\n".join(row[0] for row in await conn.execute(text(f"EXPLAIN {compiled}")))


def _codes(**wanted: Any) -> list[Listing]:
    return list(code_listings(CodeFilter(**wanted)))


LISTS: list[tuple[list[Listing], str, tuple[Any, ...]]] = [
    (_codes(), "ix_access_codes_created_at", AFTER),
    (_codes(verdicts=["stuck"]), "ix_access_codes_verdict", AFTER),
    (_codes(verdicts=["stuck", "lost"]), "ix_access_codes_verdict", AFTER),
    (_codes(flagged=True), "ix_access_codes_flagged", AFTER),
    (_codes(flagged=True, verdicts=["stuck"]), "ix_access_codes_flagged", AFTER),
    (_codes(flagged=False), "ix_access_codes_created_at", AFTER),
    (_codes(reference="r"), "ix_access_codes_reference", AFTER),
    (_codes(reference="r", verdicts=["stuck"], q="x"), "ix_access_codes_reference", AFTER),
    (_codes(starts_before=NOW), "ix_access_codes_starts_at", AFTER),
    (_codes(starts_after=NOW, starts_before=NOW, flagged=True), "ix_access_codes_starts_at", AFTER),
    (_codes(q="ada"), "ix_access_codes_created_at", AFTER),
    (_codes(q="ada", verdicts=["stuck"]), "ix_access_codes_verdict", AFTER),
    (_codes(tracked=False), "ix_access_codes_untracked", AFTER),
    (_codes(tracked=False, verdicts=["stuck"], flagged=False), "ix_access_codes_untracked", AFTER),
    ([flag_listing(FlagFilter())], "ix_flags_created_at", AFTER),
    ([flag_listing(FlagFilter(is_open=True, kind="stuck"))], "ix_flags_open", AFTER),
    ([flag_listing(FlagFilter(is_open=False, device_id="d"))], "ix_flags_created_at", AFTER),
    ([replace(alert_listing("dead"), query=select(alerts))], "ix_alerts_created_at", AFTER),
    ([event_listing(EventFilter(), "sqlite")], "events", EVENT),
    ([event_listing(EventFilter(event_type="t", source="backfill", since=NOW, until=NOW), "sqlite")], "events", EVENT),
    ([event_listing(EventFilter(device_id="d", tracked=True), "sqlite")], "ix_events_device_id", EVENT),
]


async def fill(db: Database) -> None:
    """PostgreSQL plans by what is there, so there is something: few of what lists are asked for."""
    codes = [
        row(
            f"c{number}",
            device_id=f"d{number % 500}",
            verdict="stuck" if number % 500 == 0 else "removed",
            reference=f"r{number}",
            created_at=after(number),
            starts_at=after(60 * number),
            is_flagged=number % 500 == 0,
            untracked_at=NOW if number % 300 == 0 else None,
        )
        for number in range(1, 3001)
    ]
    async with db.write() as conn:
        await conn.execute(insert(access_codes), codes)
    if db.dialect == "postgresql":  # Latchwatch has SQLite gather no statistics
        async with db.maintain() as conn:
            await conn.execute(text("ANALYZE"))


async def test_pages_are_read_from_their_place_in_an_index(fresh_db: Database) -> None:
    """The first page and the next one, and how the end of what is looked at is found."""
    await fill(fresh_db)
    async with fresh_db.read() as conn:
        for listings, index, place in LISTS:
            for listing in listings:
                for query in (listing.page(None, 50), listing.page(place, 50, place), listing.horizon(place)):
                    plan = await plan_of(conn, query)
                    assert index in plan
                    assert "TEMP B-TREE" not in plan
                    assert "Sort" not in plan
                plan = await plan_of(conn, listing.page(place, 50, place))
                assert ("Index Cond" if fresh_db.dialect == "postgresql" else "SEARCH") in plan


async def test_events_of_a_code_are_read_from_an_index(fresh_db: Database) -> None:
    """On PostgreSQL from the beginning of its block; no other block is put in order than those that are shown."""
    is_sqlite = fresh_db.dialect == "sqlite"
    listing = event_listing(EventFilter(access_code_id="a", device_id="d"), fresh_db.dialect)
    place, index = EVENT if is_sqlite else (0, *EVENT), "ix_events_access_code_id"
    async with fresh_db.read() as conn:
        for query in (listing.page(None, 50), listing.page(place, 50, place), listing.horizon(place)):
            plan = (await plan_of(conn, query)).replace("events.id", "id")
            assert (index if is_sqlite else f"{index}_block") in plan
            assert "TEMP B-TREE" not in plan
            assert is_sqlite or "Presorted Key: ((id >> 20))" in plan
        plan = (await plan_of(conn, listing.page(place, 50, place))).replace("events.id", "id")
        for sign in ["id<?"] if is_sqlite else ["((id >> 20) <= ", "((id >> 20) >= "]:
            assert sign in plan


async def test_the_codes_of_a_lock_are_found_by_its_index(fresh_db: Database) -> None:
    """They are few, so they are put in order afterwards."""
    await fill(fresh_db)
    (listing,) = _codes(device_id="d7", verdicts=["pending"], q="x")
    assert not listing.sift
    async with fresh_db.read() as conn:
        assert "ix_access_codes_device_id" in await plan_of(conn, listing.page(None, 50), may_sort=True)


@pytest.mark.parametrize(
    ("query", "index"),
    [(arrivals_query(NOW), "ix_access_codes_starts_at"), (newest_query("set"), "ix_durations_kind")],
    ids=["arrivals", "durations"],
)
async def test_figures_are_read_from_an_index_alone(fresh_db: Database, query: Select[Any], index: str) -> None:
    await fill(fresh_db)
    async with fresh_db.read() as conn:
        plan = await plan_of(conn, query)
    assert f"COVERING INDEX {index}" in plan or "Index Only Scan" in plan
    assert index in plan
