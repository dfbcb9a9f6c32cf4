"""Rebuilding what events said: codes' signals, and the reports of locks and accounts, from the stored events.

A row is right if each column is the latest of its kind among the stored events, to the byte. What retention has taken
the event of is kept. Rows are compared in a snapshot, which holds nobody up; a row that differs is locked, compared
again and mended. Ingest takes the same lock before it merges, so what comes in meanwhile is in the events, or is merged
into the mended row (contract, section 2.7).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Table, func, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.health import AccountFacet, DeviceFacet, State
from app.domain.news import NewsKind
from app.storage.codec import encode_news, encode_state, event_id_of, news_from_json
from app.storage.dialects import insert_into
from app.storage.driver import run
from app.storage.engine import Database
from app.storage.errors import StorageConflict
from app.storage.inbox_marks import mark_codes_of
from app.storage.inbox_rows import Places
from app.storage.tables import ACCOUNT_NEWS, accounts, devices, events, signals
from app.storage.types import UtcDateTime

_KEYS_AT_ONCE = 200
# Locked together, and on SQLite everybody waits so long.
_MENDED_AT_ONCE = 20
_ATTEMPTS = 5
# Each is looked up in the index: the events of one key may be thousands.
_KEYS_OF_EVENTS = """
    WITH RECURSIVE found(key) AS (
        SELECT min({key}) FROM events WHERE {key} > :after {among}
        UNION ALL SELECT (SELECT min({key}) FROM events WHERE {key} > found.key {among}) FROM found
        WHERE found.key IS NOT NULL
    )
    SELECT key FROM found WHERE key IS NOT NULL LIMIT :most"""

Columns = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A table whose columns hold the latest news of each kind; ``tag`` tells the events that it takes from."""

    table: Table
    key: str
    tag: str
    columns: frozenset[str]
    among: str = ""

    @property
    def key_column(self) -> ColumnElement[str]:
        return self.table.c[self.key]


_KINDS = (
    _Kind(signals, "access_code_id", "kind", frozenset(NewsKind)),
    _Kind(devices, "device_id", "device", frozenset(DeviceFacet)),
    _Kind(accounts, "connected_account_id", "account", frozenset(AccountFacet), f"AND {ACCOUNT_NEWS}"),
)


@dataclass(slots=True)
class Rebuilt:
    """How many rows of one table were looked at, and how many differed and were mended."""

    rows: int = 0
    mended: int = 0


async def count_rows(db: Database) -> int:
    """About how many rows there are to look at: those that are missing come on top."""
    async with db.read() as conn:
        counts = [(await conn.execute(select(func.count()).select_from(kind.table))).scalar_one() for kind in _KINDS]
    return sum(counts)


async def rebuild(
    db: Database, clock: Callable[[], datetime], on_progress: Callable[[int], None]
) -> dict[str, Rebuilt]:
    """Mend every row that differs from the stored events, and mark due whom it concerns: ``{table: Rebuilt}``.

    Safe beside running services. ``on_progress`` is told how many more rows were looked at. Raises ``StorageError``;
    what was mended by then stays so, and to begin again does no harm.
    """
    rebuilt = {kind.table.name: Rebuilt() for kind in _KINDS}
    for kind in _KINDS:
        told = rebuilt[kind.table.name]
        async for keys, differing in _compare(db, kind):
            for start in range(0, len(differing), _MENDED_AT_ONCE):
                part = differing[start : start + _MENDED_AT_ONCE]
                told.mended += await _mend_repeatedly(db, kind, part, clock)
            told.rows += len(keys)
            on_progress(len(keys))
    return rebuilt


async def _compare(db: Database, kind: _Kind) -> AsyncIterator[tuple[list[str], list[str]]]:
    """All keys in batches, and those of each batch whose row differs."""
    after = ""
    while True:
        async with db.read() as conn:
            keys = await _next_keys(conn, kind, after)
            differing = sorted(await _differences(conn, kind, keys))
        if not keys:
            return
        yield keys, differing
        after = keys[-1]


async def _next_keys(conn: AsyncConnection, kind: _Kind, after: str) -> list[str]:
    column = kind.key_column
    stored = await conn.execute(select(column).where(column > after).order_by(column).limit(_KEYS_AT_ONCE))
    query = text(_KEYS_OF_EVENTS.format(key=kind.key, among=kind.among))
    told = await conn.execute(query, {"after": after, "most": _KEYS_AT_ONCE})
    return sorted({*stored.scalars(), *told.scalars()})[:_KEYS_AT_ONCE]


async def _differences(conn: AsyncConnection, kind: _Kind, keys: Sequence[str]) -> dict[str, Columns]:
    """Of each row that is not right: the columns that differ, and what they should hold."""
    right = await _told(conn, kind, keys)
    rows = await conn.execute(select(kind.table).where(kind.key_column.in_(keys)))
    stored = defaultdict(dict, {row[kind.key]: dict(row) for row in rows.mappings()})
    differing = [
        (key, column, right[key].get(column), stored[key].get(column))
        for key in keys
        for column in sorted(kind.columns)
        if right[key].get(column) != stored[key].get(column)
    ]
    known = await _stored_events(conn, [has for _, _, _, has in differing])
    found: dict[str, Columns] = defaultdict(dict)
    for key, column, should, has in differing:
        if not _outlived_its_event(has, should, known):
            found[key][column] = should
    return dict(found)


async def _told(conn: AsyncConnection, kind: _Kind, keys: Sequence[str]) -> Mapping[str, dict[str, str]]:
    """What the stored events say: of each key the latest of each kind, as text that sorts like its time."""
    key = events.c[kind.key]
    query = select(key.label("key"), events.c.occurred_at, events.c.event_id, events.c.news)
    query = query.where(key.in_(keys), events.c.news.is_not(None))
    if kind.among:
        query = query.where(text(ACCOUNT_NEWS))
    latest: dict[str, dict[str, str]] = defaultdict(dict)
    # As a stream: one code may have more events than fit into memory, or than come within one statement's time.
    async for row in await conn.stream(query):
        column, encoded = _encode(kind, row.occurred_at, row.event_id, orjson.loads(row.news))
        if column in kind.columns and encoded > latest[row.key].get(column, ""):
            latest[row.key][column] = encoded
    return latest


def _encode(kind: _Kind, occurred_at: datetime, event_id: str, taken: dict[str, Any]) -> tuple[str, str]:
    """The column that takes from this event, and what it takes; nothing, if it is about something else."""
    column = taken.pop(kind.tag, "")
    if not column:
        return "", ""
    if kind.table is signals:
        return column, encode_news(news_from_json(taken, occurred_at, event_id))
    return column, encode_state(State(taken["value"], occurred_at, event_id))


async def _stored_events(conn: AsyncConnection, texts: Sequence[str | None]) -> set[str]:
    """The ids of events that these columns were taken from and that are stored (still)."""
    ids = sorted({ident for each in texts if each is not None and (ident := event_id_of(each)) is not None})
    found: set[str] = set()
    for start in range(0, len(ids), _KEYS_AT_ONCE):
        part = ids[start : start + _KEYS_AT_ONCE]
        found.update((await conn.execute(select(events.c.event_id).where(events.c.event_id.in_(part)))).scalars())
    return found


def _outlived_its_event(has: str | None, should: str | None, known: set[str]) -> bool:
    """Whether a column tells of an event that retention has deleted, and that is later than all that are stored."""
    event_id = event_id_of(has) if has is not None else None
    return has is not None and event_id is not None and event_id not in known and has > (should or "")


async def _mend_repeatedly(db: Database, kind: _Kind, keys: Sequence[str], clock: Callable[[], datetime]) -> int:
    for _ in range(_ATTEMPTS - 1):
        try:
            return await _mend(db, kind, keys, clock())
        except StorageConflict:
            continue
    return await _mend(db, kind, keys, clock())


async def _mend(db: Database, kind: _Kind, keys: Sequence[str], now: datetime) -> int:
    """How many of these rows still differed once they were held."""
    async with db.write() as conn:
        await _hold(conn, kind, keys)
        differing = await _differences(conn, kind, keys)
        for key, columns in differing.items():
            await conn.execute(update(kind.table).where(kind.key_column == key).values(**columns, **_news(kind, now)))
            if kind.table is devices:
                await conn.execute(_PLACES, {"device": key})
        await run(conn, *await mark_codes_of(conn, db.dialect, _places(kind, list(differing)), now))
    return len(differing)


async def _hold(conn: AsyncConnection, kind: _Kind, keys: Sequence[str]) -> None:
    """Make the rows that are missing, and lock all of them, in the order in which ingest does."""
    statement = insert_into(conn, kind.table).values([{kind.key: key} for key in sorted(keys)])
    # An update that changes nothing: unlike DO NOTHING it takes the row lock.
    same = {kind.key: statement.excluded[kind.key]}
    await conn.execute(statement.on_conflict_do_update(index_elements=[kind.key_column], set_=same))


def _news(kind: _Kind, now: datetime) -> dict[str, Any]:
    """What marks a mended row of signals as ingest would."""
    if kind.table is not signals:
        return {}
    return {
        "version": signals.c.version + 1,
        "marked_at": func.coalesce(signals.c.marked_at, literal(now, UtcDateTime())),
    }


def _places(kind: _Kind, keys: Sequence[str]) -> Places:
    return Places(
        devices=keys if kind.table is devices else (),
        accounts=keys if kind.table is accounts else (),
    )


# A row that was missing gets back where the lock is as well.
_PLACES = text("""
    UPDATE devices SET
        connected_account_id = coalesce(connected_account_id, (
            SELECT events.connected_account_id FROM events
            WHERE events.device_id = :device AND events.connected_account_id IS NOT NULL
            ORDER BY events.id DESC LIMIT 1)),
        workspace_id = coalesce(workspace_id, (
            SELECT events.workspace_id FROM events
            WHERE events.device_id = :device AND events.workspace_id IS NOT NULL
            ORDER BY events.id DESC LIMIT 1))
    WHERE device_id = :device""")
