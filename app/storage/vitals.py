"""How the service itself is: its intake, its alerts and its queue. For ``latchwatch status`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, FromClause, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.silence import Receipt
from app.storage.receipts import list_receipts
from app.storage.tables import access_codes, alert_deliveries, alerts, intake


@dataclass(frozen=True, slots=True)
class IntakeVitals:
    """As the one row of ``intake`` has it; see ``app.storage.tables``."""

    proven_until: datetime | None = None
    last_delivery_at: datetime | None = None
    backfilled: int = 0
    lost: int = 0
    lost_at: datetime | None = None
    compared_at: datetime | None = None
    compare_failure: str | None = None
    seam_event_at: datetime | None = None

    def gap(self, now: datetime) -> timedelta | None:
        """For how long nothing is proven."""
        return None if self.proven_until is None else max(now - self.proven_until, timedelta())


@dataclass(frozen=True, slots=True)
class Backlog:
    """``count`` things wait, the oldest ``since`` then."""

    count: int
    since: datetime | None

    def lag(self, now: datetime) -> timedelta:
        return timedelta() if self.since is None else max(now - self.since, timedelta())


@dataclass(frozen=True, slots=True)
class Vitals:
    """``unsent``: alerts that are not told on every channel yet; ``dead``: deliveries of alerts that were given up.
    ``due``: watched codes whose time has come."""

    intake: IntakeVitals
    receipts: Sequence[Receipt]
    unsent: Backlog
    dead: int
    due: Backlog


async def read_vitals(conn: AsyncConnection, now: datetime) -> Vitals:
    unsent = alerts.c.state.in_(("pending", "sending"))
    is_dead = alert_deliveries.c.state == "dead"
    return Vitals(
        intake=await _intake(conn),
        receipts=await list_receipts(conn),
        unsent=await _backlog(conn, alerts, alerts.c.created_at, unsent),
        dead=(await conn.execute(select(func.count()).select_from(alert_deliveries).where(is_dead))).scalar_one(),
        due=await _backlog(conn, access_codes, access_codes.c.due_at, access_codes.c.due_at <= now),
    )


async def _intake(conn: AsyncConnection) -> IntakeVitals:
    columns = [intake.c[name] for name in IntakeVitals.__dataclass_fields__]
    row = (await conn.execute(select(*columns))).mappings().first()
    return IntakeVitals() if row is None else IntakeVitals(**row)


async def _backlog(
    conn: AsyncConnection, table: FromClause, since: ColumnElement[datetime], where: ColumnElement[bool]
) -> Backlog:
    row = (await conn.execute(select(func.count(), func.min(since)).select_from(table).where(where))).one()
    return Backlog(row[0], row[1])
