"""Idempotency keys of create requests: one key of one token is one code, whatever happens in between.

A row is *in flight* until ``in_flight_until`` while it has no ``status``. When that time passed without one, the
process that carried it died, or let go of it since nothing had reached Seam: the next request with the key takes it
over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.dialects import insert_into
from app.storage.tables import idempotency_keys

KEPT_FOR = timedelta(days=7)
_FORGET_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key belongs to the token that used it."""

    token_id: str
    key: str


@dataclass(frozen=True, slots=True)
class KeyRow:
    token_id: str
    key: str
    body_digest: str
    code_id: str
    status: int | None
    problem: dict[str, Any] | None
    in_flight_until: datetime | None
    created_at: datetime

    def is_expired(self, now: datetime) -> bool:
        return self.created_at < now - KEPT_FOR

    def is_in_flight(self, now: datetime) -> bool:
        return self.status is None and self.in_flight_until is not None and self.in_flight_until > now


async def find_key(conn: AsyncConnection, ref: KeyRef) -> KeyRow | None:
    row = (await conn.execute(select(idempotency_keys).where(_is(ref)))).mappings().one_or_none()
    return KeyRow(**row) if row is not None else None


async def reserve_key(
    conn: AsyncConnection, ref: KeyRef, *, body_digest: str, code_id: str, until: datetime, now: datetime
) -> bool:
    """Take a key that nobody has. ``False``: somebody was faster; leave this transaction without a trace."""
    values = {"body_digest": body_digest, "code_id": code_id, "in_flight_until": until, "created_at": now}
    taken = await conn.execute(
        insert_into(conn, idempotency_keys)
        .values(token_id=ref.token_id, key=ref.key, **values)
        .on_conflict_do_nothing()
        .returning(idempotency_keys.c.code_id)
    )
    return taken.first() is not None


async def take_over_key(conn: AsyncConnection, seen: KeyRow, until: datetime) -> bool:
    """Carry on a request that nobody carries any more. ``False``: another one took it over first."""
    unchanged = (
        idempotency_keys.c.in_flight_until.is_(None)
        if seen.in_flight_until is None
        else idempotency_keys.c.in_flight_until == seen.in_flight_until
    )
    taken = await conn.execute(
        update(idempotency_keys)
        .where(_is(KeyRef(seen.token_id, seen.key)), unchanged)
        .values(in_flight_until=until, status=None, problem=None)
        .returning(idempotency_keys.c.code_id)
    )
    return taken.first() is not None


async def finish_key(
    conn: AsyncConnection, ref: KeyRef, *, status: int, problem: Mapping[str, Any] | None = None
) -> None:
    """From now on the same request gets the same answer; ``problem`` is the refusal to repeat."""
    await conn.execute(
        update(idempotency_keys)
        .where(_is(ref))
        .values(status=status, problem=dict(problem) if problem else None, in_flight_until=None)
    )


async def release_key(conn: AsyncConnection, ref: KeyRef, now: datetime) -> None:
    """Nothing reached Seam: the next request with the key carries it out."""
    await conn.execute(update(idempotency_keys).where(_is(ref)).values(in_flight_until=now))


async def forget_expired_keys(conn: AsyncConnection, now: datetime) -> None:
    """A few at a time, and none that another transaction is about to forget."""
    columns = idempotency_keys.c
    expired = (
        select(columns.token_id, columns.key)
        .where(columns.created_at < now - KEPT_FOR)
        .order_by(columns.created_at)
        .limit(_FORGET_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    await conn.execute(delete(idempotency_keys).where(tuple_(columns.token_id, columns.key).in_(expired)))


def _is(ref: KeyRef) -> ColumnElement[bool]:
    return and_(idempotency_keys.c.token_id == ref.token_id, idempotency_keys.c.key == ref.key)
