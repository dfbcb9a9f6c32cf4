"""API tokens: random, hashed at rest, scoped, expiring, revocable."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.domain.scopes import EVERY_SCOPE, Scope
from app.storage.engine import Database, open_database
from app.storage.tables import api_tokens, audit_log
from app.storage.tokens import (
    create_token,
    ensure_first_token,
    find_live_token,
    list_tokens,
    revoke_token,
    touch_token,
)

NOW = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)


async def make(db: Database, **given: Any) -> str:
    return await create_token(db, **{"name": "desk", "scopes": [Scope.READ], "now": NOW, **given})


async def test_a_token_is_recognised_by_its_secret(db: Database) -> None:
    token = await make(db)
    found = await find_live_token(db, token, NOW)
    assert found is not None
    assert token.startswith(f"lw_{found.id}_")
    assert (found.name, found.scopes) == ("desk", frozenset({Scope.READ}))


async def test_two_tokens_are_never_alike(db: Database) -> None:
    assert len({await make(db) for _ in range(5)}) == 5


async def test_the_secret_is_not_kept(db: Database) -> None:
    token = await make(db)
    async with db.read() as conn:
        kept = [*(await conn.execute(select(api_tokens))), *(await conn.execute(select(audit_log)))]
    assert token.split("_")[2] not in str(kept)


@pytest.mark.parametrize(
    "shape",
    [
        "",
        "lw",
        "__",
        "lw_{id}_{secret}0",
        "lw_{id}_{cut}",
        "lw_{id}_{upper}",
        "lx_{id}_{secret}",
        "lw-{id}-{secret}",
        "lw_000000000000_{secret}",
        "lw_{id}_",
        "lw_\0_\0",
        "lw_ä_\udcff",
    ],
)
async def test_anything_else_is_not_a_token(db: Database, shape: str) -> None:
    _, token_id, secret = (await make(db)).split("_")
    spoiled = shape.format(id=token_id, secret=secret, cut=secret[:-1], upper=f"A{secret[1:]}")
    assert await find_live_token(db, spoiled, NOW) is None


async def test_a_token_ends_when_it_expires(db: Database) -> None:
    token = await make(db, expires_at=NOW + timedelta(days=1))
    assert await find_live_token(db, token, NOW + timedelta(hours=23)) is not None
    assert await find_live_token(db, token, NOW + timedelta(days=1)) is None


async def test_a_revoked_token_ends_at_once_and_only_once(db: Database) -> None:
    token = await make(db)
    token_id = token.split("_")[1]
    assert await revoke_token(db, token_id, now=NOW)
    assert await find_live_token(db, token, NOW) is None
    assert not await revoke_token(db, token_id, now=NOW)
    assert not await revoke_token(db, "nothing", now=NOW)


async def test_tokens_are_listed_oldest_first_with_their_last_use(db: Database) -> None:
    await make(db, name="second", now=NOW + timedelta(seconds=1))
    first = await make(db, name="first")
    await touch_token(db, first.split("_")[1], NOW + timedelta(hours=1))
    listed = await list_tokens(db)
    assert [(row.name, row.last_used_at) for row in listed] == [("first", NOW + timedelta(hours=1)), ("second", None)]


async def test_making_and_revoking_stand_in_the_audit_log(db: Database) -> None:
    token = await make(db, actor="cli")
    await revoke_token(db, token.split("_")[1], now=NOW, actor="cli")
    async with db.read() as conn:
        acts = (await conn.execute(select(audit_log.c.actor, audit_log.c.action).order_by(audit_log.c.id))).all()
    assert [tuple(act) for act in acts] == [("cli", "token_created"), ("cli", "token_revoked")]


class TestTheFirstToken:
    async def test_is_made_once_with_every_scope(self, db: Database) -> None:
        token = await ensure_first_token(db, now=NOW)
        assert token is not None
        found = await find_live_token(db, token, NOW)
        assert found is not None
        assert found.scopes == EVERY_SCOPE
        assert await ensure_first_token(db, now=NOW) is None

    async def test_is_not_made_beside_another_one(self, db: Database) -> None:
        await make(db)
        assert await ensure_first_token(db, now=NOW) is None

    async def test_does_not_come_back_when_it_was_revoked(self, db: Database) -> None:
        token = await ensure_first_token(db, now=NOW)
        assert token is not None
        await revoke_token(db, token.split("_")[1], now=NOW)
        assert await ensure_first_token(db, now=NOW) is None

    async def test_is_printed_by_one_of_many_that_start_together(self, database_url: str) -> None:
        replicas = [open_database(database_url) for _ in range(4)]
        try:
            tokens = await asyncio.gather(*(ensure_first_token(replica, now=NOW) for replica in replicas))
        finally:
            for replica in replicas:
                await replica.close()
        assert sum(token is not None for token in tokens) == 1
