"""Codes that Seam mentioned and that are not known here: each is read once, and then watched or forgotten.

They come from the news of events (with ``LATCHWATCH_TRACK=all``), and from backup codes that were pulled for watched
ones. Codes with a row are never among them for long: untracked ones stay untracked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import delete, exists, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.codes import Snapshot
from app.storage.binding import BACKUP, MENTIONED, adopt, hold_news
from app.storage.codes import CodeRow, change_code, to_row
from app.storage.dialects import insert_into
from app.storage.driver import Statement, Step, statement_of
from app.storage.engine import Dialect
from app.storage.inbox_sql import bind_rows, rows_of
from app.storage.tables import access_codes, mentions, signals
from app.storage.types import UtcDateTime, bound

READ_AFTER = timedelta(seconds=5)
"""News of a code may overtake the answer to our own create call: by then its row is bound."""

# Its text is the same for every batch, so it is prepared once.
_MENTION = """
    INSERT INTO mentions (access_code_id, due_at)
    SELECT given.access_code_id, CAST(:due_at AS {time}) FROM {rows}
    WHERE NOT EXISTS (SELECT 1 FROM access_codes WHERE access_codes.access_code_id = given.access_code_id)
    ON CONFLICT (access_code_id) DO NOTHING"""


def mention_steps(dialect: Dialect, access_code_ids: Iterable[str], now: datetime) -> list[Step]:
    """Note those of these codes that have no row. One statement, whatever their number."""
    rows = [(ident,) for ident in sorted(set(access_code_ids))]
    if not rows:
        return []
    return [(_mention(dialect), {"due_at": bound(dialect, now + READ_AFTER), **bind_rows(dialect, rows, width=1)})]


@cache
def _mention(dialect: Dialect) -> Statement:
    time = "bigint" if dialect == "sqlite" else "timestamptz"
    statement = _MENTION.format(rows=rows_of(dialect, mentions, ("access_code_id",)), time=time)
    return statement_of(dialect, statement)


async def mention(conn: AsyncConnection, access_code_ids: Sequence[str], now: datetime) -> None:
    """Have these few codes read at once."""
    if not access_code_ids:
        return
    values = [{"access_code_id": ident, "due_at": now} for ident in access_code_ids]
    await conn.execute(insert_into(conn, mentions).values(values).on_conflict_do_nothing())


async def mention_unknown(conn: AsyncConnection, now: datetime) -> int:
    """Note every code that events told of, that has no row, and that was not deleted. Says how many are new."""
    unknown = select(signals.c.access_code_id, literal(now, UtcDateTime())).where(
        signals.c.deleted.is_(None),
        ~exists().where(access_codes.c.access_code_id == signals.c.access_code_id),
    )
    insertion = insert_into(conn, mentions).from_select(["access_code_id", "due_at"], unknown)
    inserted = await conn.execute(insertion.on_conflict_do_nothing())
    return int(inserted.rowcount)


async def claim_mentions(conn: AsyncConnection, now: datetime, lease: timedelta, limit: int) -> dict[str, int]:
    """Take up to ``limit`` due ones that nobody else has: ``{access_code_id: failures}``. They are due again after the
    lease, so a process that dies loses none."""
    due = (
        select(mentions.c.access_code_id)
        .where(mentions.c.due_at <= now)
        .order_by(mentions.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    claimed = await conn.execute(
        update(mentions)
        .where(mentions.c.access_code_id.in_(select(due.c.access_code_id)))
        .values(due_at=now + lease)
        .returning(mentions.c.access_code_id, mentions.c.failures)
    )
    return {row.access_code_id: row.failures for row in claimed}


async def forget_mentions(conn: AsyncConnection, access_code_ids: Iterable[str]) -> None:
    await conn.execute(delete(mentions).where(mentions.c.access_code_id.in_(sorted(access_code_ids))))


async def postpone_mention(conn: AsyncConnection, access_code_id: str, until: datetime) -> None:
    """It could not be read: try again then."""
    await conn.execute(
        update(mentions)
        .where(mentions.c.access_code_id == access_code_id)
        .values(due_at=until, failures=mentions.c.failures + 1)
    )


async def adopt_mentioned(
    conn: AsyncConnection, snapshot: Snapshot, read_at: datetime, now: datetime
) -> CodeRow | None:
    """Watch a code that was mentioned, as a read at ``read_at`` showed it. ``None``: it has a row already, which stays
    as it is. A backup code gets the reference and metadata of the code that it stands in for."""
    # Whoever binds this id takes the same row first, so only one of us makes a row of the code.
    await hold_news(conn, snapshot)
    known = await conn.execute(
        select(access_codes.c.id).where(access_codes.c.access_code_id == snapshot.access_code_id)
    )
    if known.first() is not None:
        return None
    replaced = await _replaced_by(conn, snapshot.access_code_id)
    if replaced is not None:
        return await adopt_backup(conn, replaced, snapshot, read_at, now)
    row, _ = await adopt(conn, snapshot, read_at, None, MENTIONED, now)
    return row


async def adopt_backup(
    conn: AsyncConnection, replaced: CodeRow, snapshot: Snapshot, read_at: datetime, now: datetime
) -> CodeRow:
    """Watch the backup code that was pulled for ``replaced``, with its reference and metadata. Idempotent."""
    row, is_new = await adopt(conn, snapshot, read_at, replaced.reference, BACKUP, now)
    if is_new and replaced.metadata is not None:
        return await change_code(conn, row.id, {"metadata": replaced.metadata}, now) or row
    return row


async def _replaced_by(conn: AsyncConnection, access_code_id: str) -> CodeRow | None:
    found = await conn.execute(
        select(access_codes).where(access_codes.c.replaced_by == access_code_id).order_by(access_codes.c.id).limit(1)
    )
    row = found.mappings().one_or_none()
    return to_row(row) if row is not None else None
