"""How the service itself is: its intake, its alerts and its queue. For ``latchwatch status`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, FromClause, and_, false, func, join, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.silence import Receipt
from app.storage.receipts import list_receipts
from app.storage.tables import access_codes, alert_deliveries, alerts, intake, signals


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
        due=await _due(conn, now),
    )


async def _intake(conn: AsyncConnection) -> IntakeVitals:
    columns = [intake.c[name] for name in IntakeVitals.__dataclass_fields__]
    row = (await conn.execute(select(*columns))).mappings().first()
    return IntakeVitals() if row is None else IntakeVitals(**row)


async def _due(conn: AsyncConnection, now: datetime) -> Backlog:
    """Once each, also where news has come about a code that waits for the clock."""
    by_clock = await _backlog(conn, access_codes, access_codes.c.due_at, access_codes.c.due_at <= now)
    of_watched = join(signals, access_codes, signals.c.access_code_id == access_codes.c.access_code_id)
    is_due_by_clock = func.coalesce(access_codes.c.due_at <= now, false())
    only_by_news = and_(signals.c.marked_at.is_not(None), access_codes.c.untracked_at.is_(None), ~is_due_by_clock)
    by_news = await _backlog(conn, of_watched, signals.c.marked_at, only_by_news)
    since = min((each.since for each in (by_clock, by_news) if each.since is not None), default=None)
    return Backlog(by_clock.count + by_news.count, since)


async def _backlog(
    conn: AsyncConnection, table: FromClause, since: ColumnElement[datetime], where: ColumnElement[bool]
) -> Backlog:
    row = (await conn.execute(select(func.count(), func.min(since)).select_from(table).where(where))).one()
    return Backlog(row[0], row[1])
