"""API tokens: random, hashed at rest, scoped, expiring, revocable.

A token reads ``lw_<id>_<secret>``. Only the SHA-256 of the secret is kept: it is random, so it needs no salt.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.scopes import EVERY_SCOPE, Scope
from app.storage import audit
from app.storage.dialects import insert_into
from app.storage.engine import Database
from app.storage.tables import api_tokens, intake

_PREFIX = "lw"
# Compared against when no token has that id, so that the answer takes as long.
_NO_DIGEST = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token without its secret."""

    id: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


async def create_token(
    db: Database,
    *,
    name: str,
    scopes: Iterable[Scope],
    now: datetime,
    expires_at: datetime | None = None,
    actor: str = "latchwatch",
) -> str:
    """Make a token and return it in clear: the one time it can be read."""
    async with db.write() as conn:
        return await _insert(conn, name=name, scopes=scopes, now=now, expires_at=expires_at, actor=actor)


async def list_tokens(db: Database) -> list[TokenRow]:
    """Every token ever made, oldest first."""
    async with db.read() as conn:
        rows = await conn.execute(select(api_tokens).order_by(api_tokens.c.created_at, api_tokens.c.id))
        return [_token_row(row) for row in rows]


async def revoke_token(db: Database, token_id: str, *, now: datetime, actor: str = "latchwatch") -> bool:
    """End a token at once. ``False``: there is no such token that is not revoked already."""
    async with db.write() as conn:
        ended = await conn.execute(
            update(api_tokens)
            .where(api_tokens.c.id == token_id, api_tokens.c.revoked_at.is_(None))
            .values(revoked_at=now)
            .returning(api_tokens.c.id)
        )
        if ended.first() is None:
            return False
        await audit.record(conn, at=now, actor=actor, action="token_revoked", details={"token_id": token_id})
        return True


async def ensure_first_token(db: Database, *, now: datetime) -> str | None:
    """A token with every scope, once in the life of a database, if it has none yet. ``None``: not needed.

    Replicas that start together race on the one ``intake`` row; one of them wins and prints the token.
    """
    async with db.write() as conn:
        if not await _win_first_print(conn):
            return None
        return await _insert(conn, name="first start", scopes=EVERY_SCOPE, now=now, expires_at=None, actor="latchwatch")


async def find_live_token(db: Database, token: str, now: datetime) -> TokenRow | None:
    """The token's row if it is genuine and neither expired nor revoked."""
    prefix, _, rest = token.partition("_")
    token_id, _, secret = rest.partition("_")
    async with db.read() as conn:
        row = (await conn.execute(select(api_tokens).where(api_tokens.c.id == _storable(token_id)))).first()
    genuine = hmac.compare_digest(row.digest if row else _NO_DIGEST, _digest(secret))
    if row is None or not genuine or prefix != _PREFIX:
        return None
    found = _token_row(row)
    return found if found.is_live(now) else None


async def touch_token(db: Database, token_id: str, now: datetime) -> None:
    """Remember that the token was used."""
    async with db.write() as conn:
        await conn.execute(update(api_tokens).where(api_tokens.c.id == token_id).values(last_used_at=now))


async def _win_first_print(conn: AsyncConnection) -> bool:
    await conn.execute(insert_into(conn, intake).values(id=1).on_conflict_do_nothing())
    won = await conn.execute(
        update(intake)
        .where(
            intake.c.id == 1,
            intake.c.first_token_printed.is_(False),
            ~exists(select(api_tokens.c.id)),
        )
        .values(first_token_printed=True)
        .returning(intake.c.id)
    )
    return won.first() is not None


async def _insert(
    conn: AsyncConnection,
    *,
    name: str,
    scopes: Iterable[Scope],
    now: datetime,
    expires_at: datetime | None,
    actor: str,
) -> str:
    token_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    names = sorted(scope.value for scope in scopes)
    await conn.execute(
        insert(api_tokens).values(
            id=token_id, name=name, digest=_digest(secret), scopes=names, created_at=now, expires_at=expires_at
        )
    )
    details = {"token_id": token_id, "name": name, "scopes": names}
    await audit.record(conn, at=now, actor=actor, action="token_created", details=details)
    return f"{_PREFIX}_{token_id}_{secret}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _storable(token_id: str) -> str:
    # PostgreSQL refuses NUL in a text parameter; no token id has one.
    return token_id.replace("\0", "")


def _token_row(row: Row[Any]) -> TokenRow:
    return TokenRow(
        id=row.id,
        name=row.name,
        scopes=frozenset(Scope(name) for name in row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
