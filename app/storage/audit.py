"""The append-only log of acts that touch PINs, tokens, flags or codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.dialects import dialect_of
from app.storage.driver import run
from app.storage.sets import as_json, insertion, steps_of
from app.storage.tables import audit_log

_COLUMNS = ("at", "code_id", "actor", "action", "details")


@dataclass(frozen=True, slots=True)
class Act:
    """``details`` holds ids and settings, never a PIN or a secret."""

    action: str
    code_id: str | None = None
    details: Mapping[str, Any] | None = None


async def record(
    conn: AsyncConnection,
    *,
    at: datetime,
    actor: str,
    action: str,
    code_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Note one act in the caller's transaction. ``details`` holds ids and settings, never a PIN or a secret."""
    await record_all(conn, [Act(action, code_id, details)], at=at, actor=actor)


async def record_all(conn: AsyncConnection, acts: Sequence[Act], *, at: datetime, actor: str) -> None:
    """Note these acts of one actor in the caller's transaction."""
    rows = [(at, act.code_id, actor, act.action, as_json(dict(act.details)) if act.details else None) for act in acts]
    await run(conn, *steps_of(insertion(dialect_of(conn), audit_log, _COLUMNS), rows))
