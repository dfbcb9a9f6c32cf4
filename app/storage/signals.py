"""What events said about access codes: the ``signals`` rows."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.news import NewsKind, Signals
from app.storage.codec import decode_news
from app.storage.dialects import insert_into
from app.storage.rows import fetch_by
from app.storage.tables import signals

_KINDS = tuple(NewsKind)
_COLUMNS = ("access_code_id", "version", *(kind.value for kind in _KINDS))


async def load_signals(conn: AsyncConnection, access_code_ids: Sequence[str]) -> dict[str, Signals]:
    """The signals of these codes; codes that no event mentioned are left out."""
    rows = await fetch_by(conn, signals, _COLUMNS, "access_code_id", access_code_ids)
    return {ident: _signals(version, news) for ident, version, *news in rows}


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
        ).returning(*[signals.c[name] for name in _COLUMNS])
    )
    _, version, *news = held.one()
    return _signals(version, news)


def _signals(version: int, news: Sequence[str | None]) -> Signals:
    """``news``: what the columns of the kinds hold, in their order."""
    latest = {kind: decode_news(text) for kind, text in zip(_KINDS, news, strict=True) if text is not None}
    return Signals(latest=MappingProxyType(latest), version=version)
