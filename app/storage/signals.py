"""What events said about access codes: the ``signals`` rows."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.news import NewsKind, Signals
from app.storage.codec import decode_news
from app.storage.dialects import insert_into
from app.storage.tables import signals

_MANY = 500


async def load_signals(conn: AsyncConnection, access_code_ids: Sequence[str]) -> dict[str, Signals]:
    """The signals of these codes; codes that no event mentioned are left out."""
    found: dict[str, Signals] = {}
    for start in range(0, len(access_code_ids), _MANY):
        part = access_code_ids[start : start + _MANY]
        rows = await conn.execute(select(signals).where(signals.c.access_code_id.in_(part)))
        found |= {row["access_code_id"]: _to_signals(row) for row in rows.mappings()}
    return found


async def lock_signals(conn: AsyncConnection, access_code_id: str) -> Signals:
    """Make sure that the row exists and hold it until this transaction ends.

    Ingest merges into this row before it marks tracked codes due. So while it is held, either that ingest is over and
    its news is in the answer, or it waits and will then see the code that this transaction binds (contract, 2.7).
    """
    statement = insert_into(conn, signals).values(access_code_id=access_code_id, version=0)
    held = await conn.execute(
        # An update that changes nothing: unlike DO NOTHING it takes the row lock, and RETURNING shows the latest row.
        statement.on_conflict_do_update(
            index_elements=[signals.c.access_code_id], set_={"version": signals.c.version}
        ).returning(signals)
    )
    return _to_signals(held.mappings().one())


def _to_signals(row: RowMapping) -> Signals:
    latest = {kind: decode_news(row[kind.value]) for kind in NewsKind if row[kind.value] is not None}
    return Signals(latest=MappingProxyType(latest), version=row["version"])
