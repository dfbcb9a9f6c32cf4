"""The append-only log of acts that touch PINs, tokens, flags or codes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.tables import audit_log


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
    await conn.execute(
        insert(audit_log).values(
            at=at, actor=actor, action=action, code_id=code_id, details=dict(details) if details else None
        )
    )
