"""Idempotency keys: one key of one token is taken once, carried by one, and forgotten after seven days."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from app.domain.codes import CodeType
from app.storage.codes import NewCode, insert_requested
from app.storage.engine import Database
from app.storage.idempotency import (
    KEPT_FOR,
    KeyRef,
    KeyRow,
    find_key,
    finish_key,
    forget_expired_keys,
    release_key,
    reserve_key,
    take_over_key,
)

NOW = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=2)
REF = KeyRef("token", "key")


async def reserve(db: Database, ref: KeyRef = REF, now: datetime = NOW) -> bool:
    async with db.write() as conn:
        row = await insert_requested(conn, NewCode(device_id="d", type=CodeType.ONGOING), now)
        until = now + timedelta(minutes=2)
        return await reserve_key(conn, ref, body_digest="digest", code_id=row.id, until=until, now=now)


async def found(db: Database, ref: KeyRef = REF) -> KeyRow | None:
    async with db.read() as conn:
        return await find_key(conn, ref)


async def stored(db: Database) -> KeyRow:
    row = await found(db)
    assert row is not None
    return row


async def take_over(db: Database, seen: KeyRow, until: datetime) -> bool:
    async with db.write() as conn:
        return await take_over_key(conn, seen, until)


async def test_a_key_is_taken_once_for_each_token(db: Database) -> None:
    assert await reserve(db)
    assert not await reserve(db)
    assert await reserve(db, KeyRef("other", "key"))
    assert await reserve(db, KeyRef("token", "other"))


async def test_of_many_at_once_one_takes_it(db: Database) -> None:
    taken = await asyncio.gather(*(reserve(db) for _ in range(6)))
    assert sorted(taken) == [False] * 5 + [True]


async def test_a_key_is_in_flight_until_its_time_or_its_end(db: Database) -> None:
    await reserve(db)
    assert (await stored(db)).is_in_flight(LATER - timedelta(seconds=1))
    assert not (await stored(db)).is_in_flight(LATER)
    async with db.write() as conn:
        await finish_key(conn, REF, status=409, problem={"detail": "no"})
    row = await stored(db)
    assert (row.status, row.problem, row.is_in_flight(NOW)) == (409, {"detail": "no"}, False)


async def test_a_key_that_was_let_go_is_not_in_flight(db: Database) -> None:
    await reserve(db)
    async with db.write() as conn:
        await release_key(conn, REF, NOW)
    row = await stored(db)
    assert (row.status, row.is_in_flight(NOW)) == (None, False)


async def test_of_many_one_takes_over(db: Database) -> None:
    await reserve(db)
    seen = await stored(db)
    until = LATER + timedelta(minutes=2)
    taken = await asyncio.gather(*(take_over(db, seen, until) for _ in range(6)))
    assert sorted(taken) == [False] * 5 + [True]
    assert (await stored(db)).in_flight_until == until


async def test_a_finished_key_can_be_taken_over_once(db: Database) -> None:
    await reserve(db)
    async with db.write() as conn:
        await finish_key(conn, REF, status=202)
    seen = await stored(db)
    assert await take_over(db, seen, LATER)
    assert not await take_over(db, seen, LATER + timedelta(seconds=1))


async def test_keys_are_forgotten_after_seven_days(db: Database) -> None:
    await reserve(db)
    await reserve(db, KeyRef("token", "young"), NOW + timedelta(days=1))
    async with db.write() as conn:
        await forget_expired_keys(conn, NOW + KEPT_FOR + timedelta(seconds=1))
    assert await found(db) is None
    assert await found(db, KeyRef("token", "young")) is not None
