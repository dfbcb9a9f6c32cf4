"""What events said about access codes: the ``signals`` rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.news import NewsKind, Signals
from app.storage.codec import decode_news
from app.storage.dialects import dialect_of, insert_into
from app.storage.driver import run, statement_of
from app.storage.engine import Dialect
from app.storage.inbox_sql import rows_of
from app.storage.rows import fetch_by
from app.storage.sets import Bulk, steps_of
from app.storage.tables import signals

_KINDS = tuple(NewsKind)
_COLUMNS = ("access_code_id", "version", *(kind.value for kind in _KINDS))
HAS_VERSION = """coalesce((SELECT signals.version FROM signals
        WHERE signals.access_code_id = access_codes.access_code_id), 0) = {version}"""
"""SQL for: no news about the code of ``access_codes`` has been merged since its signals had this version."""
# Never waits: whoever holds the row is merging more news into it, or binding a code to it, and then the mark stays.
_UNMARK = """
    UPDATE signals SET marked_at = NULL WHERE access_code_id IN (
        SELECT signals.access_code_id FROM {rows} JOIN signals ON signals.access_code_id = given.access_code_id
        WHERE signals.version = given.version {held}
    )"""


@dataclass(frozen=True, slots=True)
class Told:
    """What events said about one code. ``is_marked``: there is news in it that no claim or step has taken up."""

    signals: Signals
    is_marked: bool


async def load_signals(conn: AsyncConnection, access_code_ids: Sequence[str]) -> dict[str, Told]:
    """What was told about these codes; codes that no event mentioned are left out."""
    rows = await fetch_by(conn, signals, ("marked_at", *_COLUMNS), "access_code_id", access_code_ids)
    return {ident: Told(_signals(version, news), at is not None) for at, ident, version, *news in rows}


async def unmark(conn: AsyncConnection, taken_up: Collection[tuple[str, int]]) -> None:
    """A step has looked at the news of these codes: (access_code_id, version of the signals that it saw). Where more
    has come since, the mark stays."""
    await run(conn, *steps_of(_unmark(dialect_of(conn)), sorted(taken_up)))


@cache
def _unmark(dialect: Dialect) -> Bulk:
    text = _UNMARK.format(
        rows=rows_of(dialect, signals, ("access_code_id", "version")),
        held="FOR UPDATE OF signals SKIP LOCKED" if dialect == "postgresql" else "",
    )
    return Bulk(dialect, statement_of(dialect, text), 2)


async def lock_signals(conn: AsyncConnection, access_code_id: str) -> Signals:
    """Make sure that the row exists and hold it until this transaction ends.

    Ingest merges into this row and marks it. So while it is held, either that ingest is over and its news is in the
    answer, or it waits, and whoever takes up its mark will see the code that this transaction binds (contract, 2.7).
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
