"""The queue: a code is due from ``due_at`` on, and as soon as its signals are marked. The rows are the queue; nothing
is handed to a second store.

A claim takes a lease, so that replicas do not do the same work, and leaves ``due_at``: a code stays due until a step
is saved, so a process that dies loses nothing. Correctness rests on the revision, and on the version of the signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.codes import due_by, held_in_order
from app.storage.dialects import dialect_of
from app.storage.driver import Statement, fetch, run, statement_of
from app.storage.engine import Dialect
from app.storage.event_order import newest_first
from app.storage.inbox_sql import bind_list, one_of
from app.storage.tables import access_codes, signals
from app.storage.types import bound

_MANY = 500
_TAKEN_FOR_EACH = 10
# Never waits for ingest or a binding that holds the row: such a mark is taken up next time.
_TAKE_MARKS = """
    WITH marked AS (
        SELECT access_code_id FROM signals WHERE marked_at IS NOT NULL ORDER BY marked_at LIMIT :most {held}
    )
    UPDATE signals SET marked_at = NULL WHERE access_code_id IN (SELECT access_code_id FROM marked)
    RETURNING access_code_id"""
# After the marks are held: so a code that was bound before is seen, and one that is bound later has read the news
# (contract, section 2.7). Rows are locked in the order of their ids, as everywhere: nobody waits in a circle. Seam's
# access code does not name the account that it hangs on; its events do.
_LEASE_MARKED = """
    WITH marked AS (
        SELECT id FROM access_codes WHERE {named} AND untracked_at IS NULL ORDER BY id {held}
    )
    UPDATE access_codes SET
        due_at = CASE WHEN due_at <= :now THEN due_at ELSE :now END,
        leased_until = CASE WHEN leased_until > :now THEN leased_until ELSE :until END,
        revision = revision + 1,
        connected_account_id = coalesce(connected_account_id, (
            SELECT events.connected_account_id FROM events WHERE events.access_code_id = access_codes.access_code_id
            AND events.connected_account_id IS NOT NULL ORDER BY {newest} LIMIT 1))
    WHERE id IN (SELECT id FROM marked)
    RETURNING id, leased_until = :until"""
_due_at, _leased_until = access_codes.c.due_at, access_codes.c.leased_until


@dataclass(frozen=True, slots=True)
class Claimed:
    """Our ids of codes that are leased. ``is_last``: nothing else was there to be claimed."""

    ids: list[str]
    is_last: bool


@dataclass(frozen=True, slots=True)
class Named:
    """One code that somebody named: our id, and whether its step is due."""

    id: str
    is_due: bool


async def look_up(conn: AsyncConnection, idents: Sequence[str], now: datetime) -> dict[str, Named]:
    """The codes that go by these ids, ours or Seam's: ``{ident: …}``. What nobody has is left out."""
    found: dict[str, Named] = {}
    # Not as a join, for which PostgreSQL may read all signals.
    has_mark = (signals.c.access_code_id == access_codes.c.access_code_id, signals.c.marked_at.is_not(None))
    is_marked = exists().where(*has_mark).label("is_marked")
    columns = (access_codes.c.id, access_codes.c.access_code_id, _due_at, access_codes.c.untracked_at, is_marked)
    for start in range(0, len(idents), _MANY):
        part = idents[start : start + _MANY]
        named = or_(access_codes.c.id.in_(part), access_codes.c.access_code_id.in_(part))
        for row in await conn.execute(select(*columns).where(named)):
            is_due = row.untracked_at is None and (row.is_marked or (row.due_at is not None and row.due_at <= now))
            found.setdefault(row.access_code_id, Named(row.id, is_due))
            found[row.id] = Named(row.id, is_due)
    return {ident: found[ident] for ident in idents if ident in found}


async def claim(conn: AsyncConnection, now: datetime, lease: timedelta, limit: int) -> Claimed:
    """Lease up to ``limit`` due codes that nobody else has, the longest waiting first. Half of the room at least is for
    those that wait for the clock, if there are so many: news that comes without end does not keep them out.

    PostgreSQL steps over rows that another transaction holds; SQLite has one writer at a time.
    """
    until = now + lease
    marked = await _claim_marked(conn, now, until, max(limit // 2, 1))
    due = await _claim_due(conn, now, until, limit - len(marked.ids)) if len(marked.ids) < limit else []
    ids = marked.ids + due
    if not marked.is_last and len(ids) < limit:
        ids += (await _claim_marked(conn, now, until, limit - len(ids))).ids
    return Claimed(ids, is_last=marked.is_last and not due)


async def _claim_marked(conn: AsyncConnection, now: datetime, until: datetime, most: int) -> Claimed:
    """Take marks up, until that has leased ``most`` codes or ten times as many marks are through: one may be of a code
    that nobody watches, or that somebody else is working on. Due it is in any case."""
    dialect, ids = dialect_of(conn), list[str]()
    for turn in range(_TAKEN_FOR_EACH):
        taken = await run(conn, (_take_marks(dialect), {"most": most - len(ids)}))
        if not taken:
            return Claimed(ids, is_last=turn == 0)
        codes = bind_list(dialect, sorted(taken))
        values = {"codes": codes, "now": bound(dialect, now), "until": bound(dialect, until)}
        ids += [code_id for code_id, is_ours in await fetch(conn, (_lease_marked(dialect), values)) if is_ours]
        if len(ids) >= most:
            break
    return Claimed(ids, is_last=False)


@cache
def _take_marks(dialect: Dialect) -> Statement:
    held = "FOR UPDATE SKIP LOCKED" if dialect == "postgresql" else ""
    return statement_of(dialect, _TAKE_MARKS.format(held=held))


@cache
def _lease_marked(dialect: Dialect) -> Statement:
    held = "FOR UPDATE" if dialect == "postgresql" else ""
    named = one_of(dialect, "access_code_id", "codes")
    return statement_of(dialect, _LEASE_MARKED.format(named=named, held=held, newest=newest_first(dialect)))


async def _claim_due(conn: AsyncConnection, now: datetime, until: datetime, limit: int) -> list[str]:
    due = (
        select(access_codes.c.id)
        .where(_due_at <= now, or_(_leased_until.is_(None), _leased_until <= now))
        .order_by(_due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        # A CTE is run once; as a plain subquery PostgreSQL may run it again and lock more than the limit.
        .cte("due")
    )
    claimed = await conn.execute(
        update(access_codes)
        .where(access_codes.c.id.in_(select(due.c.id)))
        .values(leased_until=until, revision=access_codes.c.revision + 1)
        .returning(access_codes.c.id)
    )
    return list(claimed.scalars())


async def mark_starting(conn: AsyncConnection, device_id: str, now: datetime, until: datetime) -> None:
    """Have the codes of this lock that start between now and ``until`` looked at."""
    starts_at = access_codes.c.starts_at
    starting = held_in_order(
        access_codes.c.device_id == device_id,
        starts_at > now,
        starts_at <= until,
        access_codes.c.untracked_at.is_(None),
        access_codes.c.is_terminal.is_(False),
    )
    await conn.execute(
        update(access_codes).where(starting).values(due_at=due_by(now), revision=access_codes.c.revision + 1)
    )


async def release(conn: AsyncConnection, ids: Sequence[str], leased_until: datetime) -> None:
    """Give back what a claim leased until then and could not work on."""
    await conn.execute(
        update(access_codes)
        .where(held_in_order(access_codes.c.id.in_(sorted(ids)), _leased_until == leased_until))
        .values(leased_until=None, revision=access_codes.c.revision + 1)
    )


async def earliest_due(conn: AsyncConnection, now: datetime) -> datetime | None:
    """When there is something to claim next: the oldest mark, the earliest ``due_at``, or the end of a lease on what is
    due already."""
    free = (
        select(_due_at)
        .where(_due_at.is_not(None), or_(_leased_until.is_(None), _leased_until <= now))
        .order_by(_due_at)
        .limit(1)
    )
    leased = select(func.min(_leased_until)).where(_due_at <= now, _leased_until > now)
    moments = [(await conn.execute(query)).scalar_one_or_none() for query in (free, leased)]
    marked = select(func.min(signals.c.marked_at)).where(signals.c.marked_at.is_not(None))
    since = (await conn.execute(marked)).scalar_one()
    if since is not None:  # due by whatever clock: that of another replica may be ahead of this one
        moments.append(min(since, now))
    return min((moment for moment in moments if moment is not None), default=None)


async def failures_of(conn: AsyncConnection, code_id: str) -> int:
    """How often in a row the step of this code did not get through; zero for one that is gone."""
    found = await conn.execute(select(access_codes.c.failures).where(access_codes.c.id == code_id))
    return found.scalar_one_or_none() or 0


async def decide_again(conn: AsyncConnection, now: datetime) -> None:
    """The clock was set back: what was decided while it was ahead, and waits until then, is looked at now. Reads every
    queued row, which a clock that is set back is worth."""
    await conn.execute(
        update(access_codes)
        .where(held_in_order(_due_at > now, access_codes.c.updated_at > now))
        .values(due_at=now, leased_until=None, updated_at=now, revision=access_codes.c.revision + 1)
    )


async def postpone(conn: AsyncConnection, code_id: str, error: str, now: datetime, until: datetime) -> None:
    """The step of this code raised ``error``: try again later, and leave the others alone."""
    await conn.execute(
        update(access_codes)
        .where(access_codes.c.id == code_id, _due_at.is_not(None))
        .values(
            postponed_error=error,
            failures=access_codes.c.failures + 1,
            due_at=until,
            leased_until=None,
            revision=access_codes.c.revision + 1,
            updated_at=now,
        )
    )
