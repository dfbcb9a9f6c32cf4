"""The queue: a code is due from ``due_at`` on. The row is the queue; nothing is handed to a second store.

A claim takes a lease, so that replicas do not do the same work, and leaves ``due_at``: a code stays due until a step
is saved, so a process that dies loses nothing. Correctness rests on the revision alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.codes import due_by
from app.storage.tables import access_codes

_MANY = 500
_due_at, _leased_until = access_codes.c.due_at, access_codes.c.leased_until


@dataclass(frozen=True, slots=True)
class Named:
    """One code that somebody named: our id, and whether its step is due."""

    id: str
    is_due: bool


async def look_up(conn: AsyncConnection, idents: Sequence[str], now: datetime) -> dict[str, Named]:
    """The codes that go by these ids, ours or Seam's: ``{ident: …}``. What nobody has is left out."""
    found: dict[str, Named] = {}
    columns = (access_codes.c.id, access_codes.c.access_code_id, _due_at, access_codes.c.untracked_at)
    for start in range(0, len(idents), _MANY):
        part = idents[start : start + _MANY]
        named = or_(access_codes.c.id.in_(part), access_codes.c.access_code_id.in_(part))
        for row in await conn.execute(select(*columns).where(named)):
            is_due = row.untracked_at is None and row.due_at is not None and row.due_at <= now
            found.setdefault(row.access_code_id, Named(row.id, is_due))
            found[row.id] = Named(row.id, is_due)
    return {ident: found[ident] for ident in idents if ident in found}


async def claim_due(conn: AsyncConnection, now: datetime, lease: timedelta, limit: int) -> list[str]:
    """Lease up to ``limit`` due codes that nobody else has, the longest waiting first. Their ids come back.

    PostgreSQL steps over rows that another transaction holds; SQLite has one writer at a time.
    """
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
        .values(leased_until=now + lease, revision=access_codes.c.revision + 1)
        .returning(access_codes.c.id)
    )
    return list(claimed.scalars())


async def mark_starting(conn: AsyncConnection, device_id: str, now: datetime, until: datetime) -> None:
    """Have the codes of this lock that start between now and ``until`` looked at."""
    starts_at = access_codes.c.starts_at
    await conn.execute(
        update(access_codes)
        .where(
            access_codes.c.device_id == device_id,
            starts_at > now,
            starts_at <= until,
            access_codes.c.untracked_at.is_(None),
            access_codes.c.is_terminal.is_(False),
        )
        .values(due_at=due_by(now), revision=access_codes.c.revision + 1)
    )


async def release(conn: AsyncConnection, ids: Sequence[str], leased_until: datetime) -> None:
    """Give back what a claim leased until then and could not work on."""
    await conn.execute(
        update(access_codes)
        .where(access_codes.c.id.in_(sorted(ids)), _leased_until == leased_until)
        .values(leased_until=None, revision=access_codes.c.revision + 1)
    )


async def earliest_due(conn: AsyncConnection, now: datetime) -> datetime | None:
    """When there is something to claim next: the earliest ``due_at``, or the end of a lease on what is due already."""
    free = (
        select(_due_at)
        .where(_due_at.is_not(None), or_(_leased_until.is_(None), _leased_until <= now))
        .order_by(_due_at)
        .limit(1)
    )
    leased = select(func.min(_leased_until)).where(_due_at <= now, _leased_until > now)
    moments = [(await conn.execute(query)).scalar_one_or_none() for query in (free, leased)]
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
        .where(_due_at > now, access_codes.c.updated_at > now)
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
