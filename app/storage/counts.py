"""Counting without counting: how many codes have which verdict, and how many flags are open.

Triggers (migration 0003) note every change of ``access_codes`` and ``flags`` as a row of its own in ``count_changes``,
in the transaction that makes it: writers never wait for each other, and no writer can forget it. ``fold`` adds what
gathered to ``counts``. Both together are the truth at any moment, so every reader adds them up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Executable, FromClause, Select, delete, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.dialects import insert_into
from app.storage.engine import Database
from app.storage.figure_tables import count_changes, counts

Subject = Literal["watched", "untracked", "open_flags"]
ALL_LOCKS = ""
FOLD_FROM = 1_000
"""So many changes are read as quickly as none."""
_FOLD_AT_ONCE = 5_000

_CHANGED = [column for column in count_changes.c if column.name != "id"]


@dataclass(frozen=True, slots=True)
class Count:
    """``name``: the verdict, or the kind of flag."""

    subject: str
    name: str
    was_verified: bool
    count: int


async def count_all(conn: AsyncConnection, subject: Subject) -> Mapping[str, int]:
    """How many there are by name, on all locks together; names without any are left out."""
    folded = select(counts.c.name, counts.c.count).where(counts.c.subject == subject, counts.c.device_id == ALL_LOCKS)
    fresh = select(count_changes.c.name, count_changes.c.change).where(count_changes.c.subject == subject)
    both = union_all(folded, fresh).subquery()
    name, number = both.c
    total = func.sum(number)
    rows = await conn.execute(select(name, total).group_by(name).having(total != 0))
    return {name: int(count) for name, count in rows}


async def count_on_locks(conn: AsyncConnection, device_ids: Sequence[str]) -> Mapping[str, Sequence[Count]]:
    """The codes of each of these locks; locks without any are left out."""
    known = _on_locks(counts.c, counts.c.count, device_ids)
    fresh = _on_locks(count_changes.c, count_changes.c.change, device_ids)
    both = union_all(known, fresh).subquery().c
    key, total = (both.device_id, both.subject, both.name, both.was_verified), func.sum(both.number)
    found: dict[str, list[Count]] = defaultdict(list)
    for row in await conn.execute(select(*key, total.label("total")).group_by(*key).having(total != 0)):
        found[row.device_id].append(Count(row.subject, row.name, row.was_verified, int(row.total)))
    return found


def _on_locks(columns: Any, number: ColumnElement[int], device_ids: Sequence[str]) -> Select[Any]:
    key = (columns.device_id, columns.subject, columns.name, columns.was_verified)
    # With the subject, so that the primary key of the counts is used.
    of_codes = columns.subject.in_(("watched", "untracked"))
    return select(*key, number.label("number")).where(of_codes, columns.device_id.in_(device_ids))


async def fold(db: Database) -> bool:
    """Add the oldest changes to the counts, in one transaction. False: too few have gathered to be worth it.

    Only this writes ``counts``, in the order of the keys; changes that another process is folding are left to it.
    Raises ``StorageError``.
    """
    async with db.read() as conn:
        if not await _have_gathered(conn):
            return False
    async with db.write() as conn:
        await (_fold_here if db.dialect == "sqlite" else _fold_beside_others)(conn)
    return True


async def _have_gathered(conn: AsyncConnection) -> bool:
    at_least = select(literal(1)).select_from(count_changes).offset(FOLD_FROM - 1).limit(1)
    return (await conn.execute(at_least)).first() is not None


async def _fold_here(conn: AsyncConnection) -> None:
    """Nobody else writes meanwhile."""
    oldest = select(count_changes.c.id).order_by(count_changes.c.id).limit(_FOLD_AT_ONCE).subquery()
    last = (await conn.execute(select(func.max(oldest.c.id)))).scalar_one()
    if last is None:
        return  # somebody was quicker
    taken = count_changes.c.id <= last
    await conn.execute(_add(conn, select(*_CHANGED).where(taken).subquery()))
    await conn.execute(delete(count_changes).where(taken))


async def _fold_beside_others(conn: AsyncConnection) -> None:
    oldest = select(count_changes.c.id).order_by(count_changes.c.id).limit(_FOLD_AT_ONCE)
    # As an array: it is made once, and its members are looked up one by one. When statistics were last gathered, this
    # table may have been empty; a join planned for so few compares each row with every other.
    ids = func.array(oldest.with_for_update(skip_locked=True).scalar_subquery())
    taken = delete(count_changes).where(count_changes.c.id == func.any(ids)).returning(*_CHANGED).cte("taken")
    await conn.execute(_add(conn, taken))


def _add(conn: AsyncConnection, taken: FromClause) -> Executable:
    """Each change counts for its lock, and for all together."""
    row = taken.c
    of_lock = select(row.subject, row.device_id, row.name, row.was_verified, row.change).where(row.device_id != "")
    of_all = select(row.subject, literal(ALL_LOCKS).label("device_id"), row.name, row.was_verified, row.change)
    *key, change = union_all(of_lock, of_all).subquery().c
    total = func.sum(change)
    sums = select(*key, total).group_by(*key).having(total != 0).order_by(*key)
    statement = insert_into(conn, counts).from_select([*counts.primary_key.columns.keys(), "count"], sums)
    return statement.on_conflict_do_update(
        index_elements=list(counts.primary_key), set_={"count": counts.c.count + statement.excluded.count}
    )
