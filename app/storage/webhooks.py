"""The webhooks that were made at Seam from here.

Secrets themselves are never kept, only the labels that tell them apart.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.rotation import Hook
from app.storage import audit
from app.storage.dialects import insert_into
from app.storage.tables import webhooks

_ACTOR = "command line"


async def list_hooks(conn: AsyncConnection, url: str) -> list[Hook]:
    """Every webhook of this address that is known here, deleted ones too, oldest first."""
    order = (webhooks.c.created_at, webhooks.c.webhook_id)
    rows = await conn.execute(select(webhooks).where(webhooks.c.url == url).order_by(*order))
    return [Hook(**row) for row in rows.mappings()]


async def add_hook(conn: AsyncConnection, hook: Hook, *, action: str) -> None:
    """Remember a webhook; one that is known already stays as it is."""
    values = {
        "webhook_id": hook.webhook_id,
        "url": hook.url,
        "secret_label": hook.secret_label,
        "created_at": hook.created_at,
    }
    added = await conn.execute(
        insert_into(conn, webhooks).values(**values).on_conflict_do_nothing().returning(webhooks.c.webhook_id)
    )
    if added.first() is not None:
        await _audit(conn, hook.created_at, action, hook.webhook_id, hook.url)


async def retire_hook(conn: AsyncConnection, webhook_id: str, now: datetime) -> bool:
    """Another webhook takes its place. ``False``: somebody else was first."""
    retired = await conn.execute(
        update(webhooks)
        .where(webhooks.c.webhook_id == webhook_id, webhooks.c.retired_at.is_(None), webhooks.c.deleted_at.is_(None))
        .values(retired_at=now)
        .returning(webhooks.c.url)
    )
    row = retired.first()
    if row is not None:
        await _audit(conn, now, "webhook_retired", webhook_id, row.url)
    return row is not None


async def reinstate_hook(conn: AsyncConnection, webhook_id: str) -> None:
    """What took its place is gone."""
    await conn.execute(update(webhooks).where(webhooks.c.webhook_id == webhook_id).values(retired_at=None))


async def note_deleted(conn: AsyncConnection, webhook_id: str, now: datetime) -> None:
    """Seam does not have it any more."""
    deleted = await conn.execute(
        update(webhooks)
        .where(webhooks.c.webhook_id == webhook_id, webhooks.c.deleted_at.is_(None))
        .values(deleted_at=now)
        .returning(webhooks.c.url)
    )
    row = deleted.first()
    if row is not None:
        await _audit(conn, now, "webhook_deleted", webhook_id, row.url)


async def _audit(conn: AsyncConnection, at: datetime, action: str, webhook_id: str, url: str) -> None:
    await audit.record(conn, at=at, actor=_ACTOR, action=action, details={"webhook_id": webhook_id, "url": url})
