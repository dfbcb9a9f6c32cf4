"""What an event costs PostgreSQL: time, WAL, pages, locks and disk, for batches of different sizes."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import orjson

from app.domain.events import read_event
from app.domain.fingerprints import Fingerprinter
from app.storage.engine import Database, open_database
from app.storage.inbox import Delivery, Outcome, store_batch
from benchmarks.databases import Postgres, carry_out
from benchmarks.deliveries import make_event, some_kinds
from benchmarks.load import VoidRun

_SHARES = {1: 20, 10: 4, 100: 1}
"""Sizes of batches, and which part of all events is stored in such: small ones take longer."""
BATCHES = tuple(_SHARES)
DROPPED = "ix_events_device_id"
"""The index whose price is told: one database has it, the other one has not."""
PRELOAD = "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'"
"""Before the start of the server that ``measure_costs`` is given."""

_ROUNDS = 3
_UNKNOWN = "nobody-knows-this-code"
_CHANCE = random.Random(1)  # noqa: S311 - nothing secret
_FINGERPRINTER = Fingerprinter(b"0123456789abcdef" * 4)

_STATEMENTS = """
    SELECT query, calls, total_exec_time, shared_blks_hit, shared_blks_read, shared_blks_dirtied, shared_blks_written,
        wal_records, wal_fpi, wal_bytes
    FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND wal_bytes > 0 ORDER BY total_exec_time DESC"""
_WAL = """
    SELECT "resource_manager/record_type" AS kind, count, record_size, fpi_size
    FROM pg_get_wal_stats($1, $2, true) WHERE count > 0"""
_SIZES = """
    SELECT relname, pg_relation_size(oid) AS bytes FROM pg_class WHERE oid = 'events'::regclass
    UNION ALL SELECT 'toast', pg_total_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'events'::regclass
    UNION ALL SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes WHERE relname = 'events'"""
# An index counts as part of its table; "quick" are those that need no place in the shared table of locks.
_LOCKS = """
    SELECT concat_ws(' ', locktype, coalesce(indrelid, relation)::regclass) AS what, mode, count(*)::int AS count,
        (count(*) FILTER (WHERE fastpath))::int AS quick
    FROM pg_locks LEFT JOIN pg_index ON indexrelid = relation
    WHERE pid = $1 AND granted GROUP BY 1, 2 ORDER BY 1, 2"""
_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one event, in batches of ``batch``. ``without`` the index, or with all of them. ``page_images``: bytes of WAL
    that are whole pages, as the first change after a checkpoint writes them; ``wal_bytes`` is the rest."""

    batch: int
    without: str | None
    microseconds: float
    database_cpu_us: float
    wal_records: float
    wal_bytes: float
    page_images: float


@dataclass(slots=True)
class Costs:
    """``statements`` and ``wal`` are for one event in batches of the largest size; ``locks`` of one such batch;
    ``disk`` bytes of ``events`` for each event."""

    costs: list[Cost] = field(default_factory=list)
    statements: list[dict[str, Any]] = field(default_factory=list)
    wal: dict[str, float] = field(default_factory=dict)
    locks: list[dict[str, Any]] = field(default_factory=list)
    disk: dict[str, float] = field(default_factory=dict)
    events: int = 0


def measure_costs(postgres: Postgres, template: str, events: int) -> Costs:
    """``template`` is a database with the tracked codes; ``events`` are stored in each measurement with the largest
    batches, and fewer with smaller ones."""
    urls = {None: postgres.create("costs", template), DROPPED: postgres.create("costs_without", template)}
    carry_out(urls[DROPPED], f"DROP INDEX {DROPPED}")
    for extension in ("pg_stat_statements", "pg_walinspect"):
        carry_out(urls[None], f"CREATE EXTENSION {extension}")
    return asyncio.run(_measure(postgres, urls, events))


async def _measure(postgres: Postgres, urls: dict[str | None, str], events: int) -> Costs:
    costs = Costs()
    dbs = {without: open_database(url) for without, url in urls.items()}
    aside = await asyncpg.connect(urls[None])
    try:
        for number in range(_ROUNDS + 1):
            for batch in BATCHES:
                for without, db in dbs.items():
                    cost = await _store(postgres, db, aside, batch, without, events)
                    if number:  # the first round warms up
                        costs.costs.append(cost)
        await _break_down(costs, dbs[None], aside, events)
        costs.locks = await _locks(dbs[None], urls[None])
        costs.events = await aside.fetchval("SELECT count(*) FROM events")
        costs.disk = {row["relname"]: row["bytes"] / costs.events for row in await aside.fetch(_SIZES)}
    finally:
        await aside.close()
        for db in dbs.values():
            await db.close()
    return costs


async def _store(postgres: Postgres, db: Database, aside: Any, batch: int, without: str | None, events: int) -> Cost:
    batches = _batches(batch, events)
    stored = batch * len(batches)
    await aside.execute("CHECKPOINT")
    start = await aside.fetchval("SELECT pg_current_wal_insert_lsn()")
    cpu, began = await asyncio.to_thread(postgres.cpu_seconds), time.perf_counter()
    await _store_all(db, batches)
    took = time.perf_counter() - began
    cpu = await asyncio.to_thread(postgres.cpu_seconds) - cpu
    records = await _wal_since(aside, start)
    return Cost(
        batch,
        without,
        microseconds=took / stored * 1e6,
        database_cpu_us=cpu / stored * 1e6,
        wal_records=sum(row["count"] for row in records) / stored,
        wal_bytes=float(sum(row["record_size"] for row in records)) / stored,
        page_images=float(sum(row["fpi_size"] for row in records)) / stored,
    )


async def _store_all(db: Database, batches: Sequence[Sequence[Delivery]]) -> None:
    for each in batches:
        if set(await store_batch(db, each)) != {Outcome.STORED}:
            raise VoidRun("an event was not stored")


async def _wal_since(aside: Any, start: Any) -> list[Any]:
    end = await aside.fetchval("SELECT pg_current_wal_flush_lsn()")
    found: list[Any] = await aside.fetch(_WAL, start, end)
    return found


async def _break_down(costs: Costs, db: Database, aside: Any, events: int) -> None:
    batches = _batches(BATCHES[-1], events)
    stored = BATCHES[-1] * len(batches)
    await aside.execute("SELECT pg_stat_statements_reset()")
    start = await aside.fetchval("SELECT pg_current_wal_insert_lsn()")
    await _store_all(db, batches)
    costs.wal = {row["kind"]: float(row["record_size"]) / stored for row in await _wal_since(aside, start)}
    costs.statements = _by_target(await aside.fetch(_STATEMENTS), stored)


def _by_target(rows: Sequence[Any], stored: int) -> list[dict[str, Any]]:
    """What writes the same tables is one statement, of which there may be several texts."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        query, *figures = row.values()
        verbs = re.findall(r"(INSERT INTO|UPDATE|DELETE FROM) (?!SET\b|OF\b|SKIP\b)(\w+)", query)
        name = ", ".join(dict.fromkeys(" ".join(each) for each in verbs))
        mine = found.setdefault(name, {"statement": name, **dict.fromkeys(list(row.keys())[1:], 0.0)})
        for key, figure in zip(list(row.keys())[1:], figures, strict=True):
            mine[key] += float(figure) / stored
    return list(found.values())


async def _locks(db: Database, url: str | None) -> list[dict[str, Any]]:
    """Of a batch whose last statement waits for somebody else, who is about to mention the same unknown code."""
    holder, watcher = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        await holder.execute("BEGIN")
        await holder.execute("INSERT INTO mentions (access_code_id, due_at) VALUES ($1, now())", _UNKNOWN)
        batch = [*_deliveries(BATCHES[-1] - 1), _delivery("access_code.created", datetime.now(UTC), _UNKNOWN)]
        task = asyncio.create_task(store_batch(db, batch, track_all=True))
        while (pid := await watcher.fetchval(_WAITING)) is None:
            await asyncio.wait([task], timeout=0.01)
        rows = [dict(row) for row in await watcher.fetch(_LOCKS, pid)]
        await holder.execute("ROLLBACK")
        await task
        return rows
    finally:
        await holder.close()
        await watcher.close()


def _batches(batch: int, events: int) -> list[list[Delivery]]:
    return [_deliveries(batch) for _ in range(max(events // _SHARES[batch] // batch, 1))]


def _deliveries(count: int) -> list[Delivery]:
    now = datetime.now(UTC)
    return [_delivery(kind, now) for kind in some_kinds(_CHANCE, count)]


def _delivery(kind: str, now: datetime, access_code_id: str | None = None) -> Delivery:
    known_by = f"msg_{uuid4().hex}"
    event = make_event(str(uuid4()), kind, now, _CHANCE)
    body = orjson.dumps(event if access_code_id is None else event | {"access_code_id": access_code_id})
    reading = read_event(body, delivery_id=known_by, received_at=now, fingerprinter=_FINGERPRINTER)
    return Delivery(known_by, now, len(body), lambda: "key:digest", reading, "webhook")
