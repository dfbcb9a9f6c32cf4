"""The row that tells of our own intake: what is proven, what was lost, who receives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, case, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.intake import Intake, Window, is_lost, unbroken_since
from app.storage.tables import events, intake
from app.storage.types import UtcDateTime

_COLUMNS = [intake.c[field.name] for field in fields(Intake)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a batch of the backfill says besides its events.

    ``proves`` (``None``: nothing yet, more is to come): what Seam made between these moments is in this batch or was
    stored before. ``losses`` is where an event that only the backfill found counts as lost, ``newest`` when the newest
    event of the answer was made. All of it on Seam's clock.
    """

    proves: Window | None
    losses: Window | None
    newest: datetime | None


async def load_intake(conn: AsyncConnection) -> Intake:
    row = (await conn.execute(select(*_COLUMNS))).mappings().first()
    return Intake(**row) if row is not None else Intake()


async def begin_proof(conn: AsyncConnection, at: datetime) -> None:
    """Where nothing is proven yet, begin there."""
    await conn.execute(update(intake).where(intake.c.proven_until.is_(None)).values(proven_until=at))


async def note_compared(conn: AsyncConnection, comparison: Comparison, found: Sequence[datetime]) -> None:
    """Count what the backfill found (when each event was made), and move the proof, in the commit that holds them.

    The proof only moves on, and only if the piece joins what is proven: another replica may have moved it meanwhile.
    """
    lost = sorted(created_at for created_at in found if is_lost(created_at, comparison.losses))
    values: dict[str, Any] = {}
    if comparison.proves is not None:
        start, until = comparison.proves
        joins = and_(intake.c.proven_until >= start, intake.c.proven_until < until)
        values["proven_until"] = case((joins, _given(until)), else_=intake.c.proven_until)
    if comparison.newest is not None:
        values["seam_event_at"] = _later(intake.c.seam_event_at, comparison.newest)
    values |= _losses(lost)
    if values:
        await conn.execute(update(intake).values(values))


async def note_lost(conn: AsyncConnection, suspects: Iterable[str]) -> int:
    """Count those of these events, all of them old enough now, that no webhook has brought since the backfill did."""
    query = select(events.c.created_at).where(events.c.event_id.in_(sorted(suspects)), events.c.source == "backfill")
    lost = sorted((await conn.execute(query)).scalars())
    if lost:
        await conn.execute(update(intake).values(_losses(lost)))
    return len(lost)


def _losses(lost: Sequence[datetime]) -> dict[str, Any]:
    """``lost``: when each of the events was made, in order."""
    values: dict[str, Any] = {}
    if lost:
        values["lost"] = intake.c.lost + len(lost)
        values["lost_in_a_row"] = intake.c.lost_in_a_row + len(lost)
        values["lost_at"] = _later(intake.c.lost_at, lost[-1])
        began = (intake.c.lost_since.is_not(None), intake.c.lost_since)
        values["lost_since"] = case(began, else_=_given(lost[0]))
    return values


async def note_caught_up(conn: AsyncConnection, at: datetime, *, shows_life: bool) -> None:
    """A comparison that began ``at`` (our clock, which may have been ahead the last time) got through."""
    values: dict[str, Any] = {"compared_at": at, "compare_failure": None, "compare_failed_at": None}
    if shows_life:
        values |= {"lost_in_a_row": 0, "lost_since": None}
    await conn.execute(update(intake).values(values))


async def note_failure(conn: AsyncConnection, failure: str, at: datetime) -> None:
    """A comparison did not get through (our clock). ``failure`` says why, without a PIN."""
    await conn.execute(update(intake).values(compare_failure=failure, compare_failed_at=at))


async def note_receiving(conn: AsyncConnection, since: datetime, now: datetime) -> None:
    """A process that receives webhooks says that it does, and that it has without a break from ``since`` on."""
    known = await load_intake(conn)
    began = unbroken_since(known, since, now)
    await conn.execute(_receiving(known).values(receiving_since=began, receiving_at=now))


def _receiving(known: Intake) -> Update:
    """Of two that say so at once one is enough: it must not undo what the other has just found out."""
    before = known.receiving_at
    unchanged = intake.c.receiving_at.is_(None) if before is None else intake.c.receiving_at == before
    return update(intake).where(unchanged)


def _later(column: ColumnElement[Any], moment: datetime) -> ColumnElement[Any]:
    return case((column > moment, column), else_=_given(moment))


def _given(moment: datetime) -> ColumnElement[datetime]:
    return literal(moment, UtcDateTime)
