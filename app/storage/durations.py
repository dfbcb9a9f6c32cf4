"""How long codes took to reach their lock and to leave it: written once, by the step that saw it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import Assessment, Verdict
from app.storage.codes import CodeRow
from app.storage.driver import Row, Step
from app.storage.engine import Dialect
from app.storage.figure_tables import durations
from app.storage.sets import insertion, steps_of
from app.storage.tables import devices

Kind = Literal["set", "removed"]
NEWEST = 1_000
"""Percentiles of the whole service are those of so many of the newest codes: enough, and the same work forever."""
NEWEST_OF_LOCK = 100

_COLUMNS = ("code_id", "kind", "device_id", "seconds")
_KINDS: dict[Verdict, Kind] = {Verdict.VERIFIED: "set", Verdict.REMOVED: "removed"}


def note_durations(dialect: Dialect, changed: Iterable[tuple[CodeRow, Assessment]]) -> list[Step]:
    """Keep how long codes took whose verdict is the end of a duration, if they reached it for the first time."""
    ended = [_duration(row, assessment) for row, assessment in changed]
    rows = [row for row in ended if row is not None]
    return steps_of(insertion(dialect, durations, _COLUMNS, "ON CONFLICT DO NOTHING"), rows)


def _duration(row: CodeRow, assessment: Assessment) -> Row | None:
    kind = _KINDS.get(assessment.verdict)
    began = _began(row, kind)
    if kind is None or began is None:
        return None
    return row.id, kind, row.device_id, max(0.0, (assessment.since - began).total_seconds())


def _began(row: CodeRow, kind: Kind | None) -> datetime | None:
    """``set``: from when it could have been (asked for, and started). ``removed``: from its end, asked for or of the
    window. ``None``: nobody knows, as of codes made elsewhere."""
    if row.origin != "created":
        return None
    if kind == "set":
        return max(row.requested_at, row.starts_at or row.requested_at)
    return min((moment for moment in (row.end_asked_at, row.ends_at) if moment is not None), default=None)


async def newest_durations(conn: AsyncConnection, kind: Kind) -> list[float]:
    """Seconds of the ``NEWEST`` codes that reached this."""
    return [row.seconds for row in await conn.execute(newest_query(kind))]


def newest_query(kind: Kind) -> Select[Any]:
    columns = durations.c
    return select(columns.seconds).where(columns.kind == kind).order_by(columns.id.desc()).limit(NEWEST)


async def newest_durations_of(conn: AsyncConnection, device_ids: Sequence[str], kind: Kind) -> dict[str, list[float]]:
    """Seconds of the ``NEWEST_OF_LOCK`` codes of each of these locks; locks without any are left out."""
    columns = durations.c
    newest = (
        select(columns.seconds)
        .where(columns.device_id == devices.c.device_id, columns.kind == kind)
        .order_by(columns.id.desc())
        .limit(NEWEST_OF_LOCK)
        .correlate(devices)
        .subquery()
    )
    gather = func.json_group_array if conn.dialect.name == "sqlite" else func.json_agg
    gathered = select(gather(newest.c.seconds, type_=JSON)).scalar_subquery()
    rows = await conn.execute(select(devices.c.device_id, gathered).where(devices.c.device_id.in_(device_ids)))
    return {device_id: seconds for device_id, seconds in rows if seconds}
