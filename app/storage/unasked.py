"""Finding the codes that wait for something which only a restart brings, such as a Seam key: by their error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.tables import access_codes

LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True)
class Unasked:
    """Our ids of those among the next ``LOOKED_AT`` codes. ``after`` is the id behind which the next part begins;
    ``None``: there is no more."""

    ids: Sequence[str]
    after: str | None


async def find_unasked(conn: AsyncConnection, error: str, after: str, now: datetime) -> Unasked:
    """The next codes with this ``postponed_error`` that are not due at ``now`` anyway.

    Along the primary key: no index is kept for what is looked for at a start, and a part costs the same whatever is
    stored.
    """
    code_id, due_at = access_codes.c.id, access_codes.c.due_at
    last = select(code_id).where(code_id > after).order_by(code_id).offset(LOOKED_AT - 1).limit(1)
    end = (await conn.execute(last)).scalar_one_or_none()
    query = select(code_id).where(
        code_id > after,
        access_codes.c.postponed_error == error,
        or_(due_at.is_(None), due_at > now),
        access_codes.c.untracked_at.is_(None),
    )
    if end is not None:
        query = query.where(code_id <= end)
    return Unasked(list((await conn.execute(query)).scalars()), end)
