"""What retention deletes, what it never does, and that a look costs the same however much is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import insert, select

from app.domain.events import Event, Unreadable
from app.reconciler.retention import PASS_EVERY, Retention
from app.storage.engine import Database, open_database
from app.storage.inbox import Delivery, store_batch
from app.storage.leases import take_lease
from app.storage.retention import AT_ONCE
from app.storage.tables import (
    alert_deliveries,
    alert_messages,
    alerts,
    events,
    flags,
    leases,
    receipts,
    signals,
    transitions,
    unreadable,
)
from tests.api.worlds import Clock
from tests.storage.arrivals import NOW, code_news, delivery, event
from tests.storage.made import rows_of
from tests.storage.tracked import row, track

DAY = timedelta(days=1)
KEEP = 30 * DAY
OLD = NOW - KEEP - DAY


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def retention(db: Database, clock: Clock) -> Retention:
    return Retention(db=db, clock=clock, keep=KEEP)


def arrived(reading: Event | Unreadable, at: datetime, delivery_id: str | None = None) -> Delivery:
    return delivery(reading, delivery_id, received_at=at)


async def finish(retention: Retention) -> int:
    """How many batches it took."""
    batches = 1
    while await retention.run_once():
        batches += 1
    return batches


async def stored(db: Database) -> list[str]:
    async with db.read() as conn:
        return list((await conn.execute(select(events.c.event_id).order_by(events.c.id))).scalars())


async def test_old_events_are_deleted_but_never_those_of_an_open_code(db: Database, retention: Retention) -> None:
    """One row for each event: its code, and whether it stays. What signals took from it stays in any case."""
    await track(
        db,
        row("open", due_at=None),
        row("ended", is_terminal=True),
        row("left", untracked_at=NOW),
    )
    table: list[tuple[str, datetime, dict[str, Any], bool]] = [
        ("of an open code", OLD, {"access_code_id": "seam_open"}, True),
        ("of a terminal code", OLD, {"access_code_id": "seam_ended"}, False),
        ("of a code that is not watched any more", OLD, {"access_code_id": "seam_left"}, False),
        ("of a code that never was", OLD, {"access_code_id": "seam_other"}, False),
        ("of a lock", OLD, {"access_code_id": None}, False),
        ("just too young", NOW - KEEP, {"access_code_id": "seam_other"}, True),
        ("young", NOW, {"access_code_id": "seam_ended"}, True),
    ]
    await store_batch(db, [arrived(code_news(name, **fields), at) for name, at, fields, _ in table])
    before = await rows_of(db, signals)
    await finish(retention)
    assert set(await stored(db)) == {name for name, _, _, stays in table if stays}
    assert await rows_of(db, signals) == before


async def test_what_could_not_be_read_and_old_receipts_go_as_well(db: Database, retention: Retention) -> None:
    bad = Unreadable("not_json")
    await store_batch(db, [arrived(bad, OLD, "old"), arrived(bad, NOW, "young")])
    told = [("verified", "first", OLD), ("rejected", "bad_signature", NOW)]
    async with db.write() as conn:
        for outcome, detail, at in told:
            await conn.execute(insert(receipts).values(outcome=outcome, detail=detail, count=1, last_at=at))
    await finish(retention)
    assert [each["delivery_id"] for each in await rows_of(db, unreadable)] == ["young"]
    assert [each["detail"] for each in await rows_of(db, receipts)] == ["bad_signature"]


async def test_old_transitions_go_unless_their_code_is_open(db: Database, retention: Retention) -> None:
    await track(db, row("open", due_at=None), row("ended", is_terminal=True))
    async with db.write() as conn:
        for code_id, at in [("open", OLD), ("ended", OLD), ("ended", NOW)]:
            values = {"code_id": code_id, "at": at, "to_verdict": "removed", "since": at, "reason": "It is off."}
            await conn.execute(insert(transitions).values(**values))
    await finish(retention)
    assert [(each["code_id"], each["at"]) for each in await rows_of(db, transitions)] == [("open", OLD), ("ended", NOW)]


async def test_old_alerts_go_with_their_messages_unless_they_are_still_to_be_told(
    db: Database, retention: Retention
) -> None:
    """One row for each alert: its age, its state, its message with the state of its one delivery, and whether it
    stays."""
    table: list[tuple[str, datetime, str, tuple[str, str] | None, bool]] = [
        ("sent", OLD, "sent", ("m1", "sent"), False),
        ("sent with it, but young", NOW, "sent", ("m2", "sent"), True),
        ("sent with a young one", OLD, "sent", ("m2", "sent"), False),
        ("given up", OLD, "dead", ("m3", "dead"), False),
        ("given up elsewhere", OLD, "dead", ("m4", "pending"), True),
        ("on its way", OLD, "sending", ("m5", "pending"), True),
        ("not composed", OLD, "pending", None, True),
        ("told to nobody", OLD, "skipped", None, False),
        ("young", NOW, "skipped", None, True),
    ]
    await flag_with_alerts(db, table)
    await finish(retention)
    assert {each["id"] for each in await rows_of(db, alerts)} == {name for name, *_, stays in table if stays}
    left = {"m2", "m4", "m5"}
    assert {each["id"] for each in await rows_of(db, alert_messages)} == left
    assert {each["message_id"] for each in await rows_of(db, alert_deliveries)} == left


async def flag_with_alerts(db: Database, table: list[tuple[str, datetime, str, tuple[str, str] | None, bool]]) -> None:
    messages = {told: at for _, at, _, told, _ in table if told is not None}
    flag = {"id": "flag_1", "kind": "webhook_silent", "severity": "critical", "reason": "…"}
    async with db.write() as conn:
        await conn.execute(insert(flags).values(**flag, opened_at=OLD, created_at=OLD))
        for (message_id, state), at in messages.items():
            await conn.execute(insert(alert_messages).values(id=message_id, content={}, created_at=at))
            sent = {"message_id": message_id, "channel": "webhook", "state": state, "created_at": at}
            await conn.execute(insert(alert_deliveries).values(**sent))
        for name, at, state, told, _ in table:
            alert = {"id": name, "flag_id": "flag_1", "change": "opened", "state": state, "created_at": at}
            await conn.execute(insert(alerts).values(**alert, message_id=told[0] if told is not None else None))


async def test_deleting_goes_on_in_batches_and_what_comes_later_is_found_by_the_next_pass(
    db: Database, retention: Retention, clock: Clock
) -> None:
    await track(db, row("open"))
    kept = [arrived(event(f"kept-{number}", access_code_id="seam_open"), OLD) for number in range(5)]
    old = [arrived(event(f"old-{number}"), OLD) for number in range(2 * AT_ONCE)]
    await store_batch(db, [*kept, *old, arrived(event("young"), NOW - DAY)])
    assert await finish(retention) == 3
    assert await stored(db) == [*(each.reading.event_id for each in kept if isinstance(each.reading, Event)), "young"]
    clock.advance(days=KEEP.days)
    await finish(retention)
    assert "young" not in await stored(db)


async def test_an_event_that_an_open_code_needed_goes_once_the_code_is_terminal(
    db: Database, retention: Retention, clock: Clock
) -> None:
    """Within a day: until then a pass begins behind it."""
    await track(db, row("open"))
    await store_batch(db, [arrived(event("e1", access_code_id="seam_open"), OLD)])
    await finish(retention)
    async with db.write() as conn:
        await conn.exec_driver_sql("UPDATE access_codes SET is_terminal = true")
    await finish(retention)
    assert await stored(db) == ["e1"]
    clock.advance(days=1)
    await finish(retention)
    assert await stored(db) == []


@contextmanager
def rows_fetched(db: Database) -> Iterator[list[str]]:
    """The statements of writers meanwhile."""
    seen: list[str] = []
    engine = db._writers.sync_engine

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sqlalchemy_event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sqlalchemy_event.remove(engine, "before_cursor_execute", note)


async def test_a_pass_with_nothing_to_do_deletes_nothing_and_looks_at_one_batch(
    db: Database, retention: Retention
) -> None:
    await store_batch(db, [arrived(event(f"e{number}"), NOW) for number in range(3)])
    with rows_fetched(db) as seen:
        assert await finish(retention) == 1
    deleting = {each.split()[2] for each in seen if each.startswith("DELETE")}
    assert deleting == {"receipts", "leases"}, "few rows, whatever happens"
    assert len(seen) <= 8, "one look at each of four tables, and what is around them"


async def test_only_one_process_at_a_time_deletes(db: Database, retention: Retention, clock: Clock) -> None:
    await store_batch(db, [arrived(event("e1"), OLD)])
    async with db.write() as conn:
        assert await take_lease(conn, "retention", "another", NOW, timedelta(minutes=1))
    assert await retention.run_once() is False
    assert await stored(db) == ["e1"]
    clock.advance(minutes=2)
    await finish(retention)
    assert await stored(db) == []
    assert await rows_of(db, leases) == []


async def test_the_loop_ends_at_once_and_has_worked_before(db: Database, retention: Retention) -> None:
    await store_batch(db, [arrived(event("e1"), OLD)])
    stop = asyncio.Event()
    task = asyncio.create_task(retention.run(stop))
    async with asyncio.timeout(20):
        while await stored(db):  # noqa: ASYNC110 - the loop tells nobody
            await asyncio.sleep(0.01)
        stop.set()
        await task
    assert retention.last_pass_at == NOW
    assert timedelta(minutes=1) < PASS_EVERY


async def test_a_storm_of_ingest_beside_it_loses_nothing_young(db: Database, clock: Clock, database_url: str) -> None:
    other = open_database(database_url)
    await store_batch(db, [arrived(event(f"old-{number}"), OLD) for number in range(500)])
    retention = Retention(db=db, clock=clock, keep=KEEP)

    async def ingest() -> None:
        for number in range(30):
            await store_batch(other, [arrived(event(f"new-{number}-{each}"), NOW) for each in range(10)])

    await asyncio.gather(ingest(), finish(retention))
    await finish(retention)
    assert set(await stored(db)) == {f"new-{number}-{each}" for number in range(30) for each in range(10)}
    await other.close()
