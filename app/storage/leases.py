"""Work that one replica does at a time: whoever holds its lease.

A lease runs out by itself, so a replica that dies blocks the others no longer than that. It keeps them from doing the
same work; correctness must not rest on it, for a holder that was stopped may wake up after its end. Work that takes
longer than a lease keeps it between its units, and stops when it cannot.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, or_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.dialects import insert_into
from app.storage.tables import leases


async def take_lease(conn: AsyncConnection, name: str, holder: str, now: datetime, lease: timedelta) -> bool:
    """Hold the lease ``name`` from ``now`` for so long. ``False``: another holder has it. ``holder`` is one process (or
    one run of a command); it may take again what it holds already."""
    statement = insert_into(conn, leases).values(name=name, holder=holder, leased_until=now + lease)
    taken = await conn.execute(
        statement.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={"holder": statement.excluded.holder, "leased_until": statement.excluded.leased_until},
            where=or_(leases.c.holder == holder, leases.c.leased_until <= now),
        ).returning(leases.c.name)
    )
    return taken.first() is not None


async def keep_lease(conn: AsyncConnection, name: str, holder: str, now: datetime, lease: timedelta) -> bool:
    """Go on holding it, from ``now`` for so long. ``False``: it was given back, or it ran out and another took it."""
    kept = await conn.execute(
        update(leases)
        .where(leases.c.name == name, leases.c.holder == holder)
        .values(leased_until=now + lease)
        .returning(leases.c.name)
    )
    return kept.first() is not None


async def release_lease(conn: AsyncConnection, name: str, holder: str) -> None:
    """Give it back before its end. Harmless if it is not held any more."""
    await conn.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))
