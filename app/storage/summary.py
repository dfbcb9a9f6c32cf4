"""Figures: how many codes have which verdict, what is flagged, what arrives soon, how long locks take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, case, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import Verdict
from app.storage.tables import access_codes, flags, intake, transitions

ARRIVALS_WITHIN = timedelta(hours=24)
# Durations are taken from so many of the newest transitions: enough for a percentile, whatever else is stored.
NEWEST = 10_000
_NOT_ON = (Verdict.MISSED, Verdict.STUCK, Verdict.FAILED, Verdict.LOST, Verdict.MISMATCHED)

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Durations:
    """Nearest-rank percentiles in seconds of ``count`` codes; ``None`` when there are none."""

    count: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Intake:
    last_delivery_at: datetime | None
    proven_until: datetime | None
    backfilled: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Only watched codes are counted. ``arrivals`` start within ``ARRIVALS_WITHIN``."""

    codes: Counts
    flags: Counts
    arrivals: Counts
    seconds_to_set: Durations
    intake: Intake


@dataclass(frozen=True, slots=True)
class DeviceFigures:
    """``success_rate``: of the codes that should have been on this lock, the share that was ever verified there."""

    codes: Counts
    success_rate: float | None
    seconds_to_set: Durations
    seconds_to_remove: Durations


async def summarize(conn: AsyncConnection, now: datetime) -> Summary:
    watched = access_codes.c.untracked_at.is_(None)
    soon = access_codes.c.starts_at.between(now, now + ARRIVALS_WITHIN)
    durations = await _seconds_to_set(conn, None)
    return Summary(
        codes=await _count(conn, access_codes.c.verdict, watched),
        flags=await _count(conn, flags.c.kind, flags.c.closed_at.is_(None)),
        arrivals=await _count(conn, access_codes.c.verdict, watched, soon),
        seconds_to_set=percentiles([seconds for all_of_one in durations.values() for seconds in all_of_one]),
        intake=await _intake(conn),
    )


async def device_figures(conn: AsyncConnection, device_ids: Sequence[str]) -> dict[str, DeviceFigures]:
    """The figures of each of these locks."""
    counts = await _verdicts_by_device(conn, device_ids)
    rates = await _success_rates(conn, device_ids)
    to_set = await _seconds_to_set(conn, device_ids)
    to_remove = await _seconds_to_remove(conn, device_ids)
    return {
        device_id: DeviceFigures(
            codes=counts.get(device_id, {}),
            success_rate=rates.get(device_id),
            seconds_to_set=percentiles(to_set.get(device_id, [])),
            seconds_to_remove=percentiles(to_remove.get(device_id, [])),
        )
        for device_id in device_ids
    }


def percentiles(seconds: Sequence[float]) -> Durations:
    ordered = sorted(seconds)
    if not ordered:
        return Durations(count=0, p50=None, p95=None)
    return Durations(count=len(ordered), p50=_nearest_rank(ordered, 50), p95=_nearest_rank(ordered, 95))


def _nearest_rank(ordered: Sequence[float], percent: int) -> float:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


async def _count(conn: AsyncConnection, by: ColumnElement[str], *where: ColumnElement[bool]) -> Counts:
    rows = await conn.execute(select(by, func.count()).where(*where).group_by(by))
    return {row[0]: row[1] for row in rows}


async def _intake(conn: AsyncConnection) -> Intake:
    columns = intake.c
    row = (await conn.execute(select(columns.last_delivery_at, columns.proven_until, columns.backfilled))).first()
    return Intake(*row) if row is not None else Intake(None, None, 0)


async def _verdicts_by_device(conn: AsyncConnection, device_ids: Sequence[str]) -> dict[str, Counts]:
    columns = access_codes.c
    rows = await conn.execute(
        select(columns.device_id, columns.verdict, func.count())
        .where(columns.device_id.in_(device_ids), columns.untracked_at.is_(None))
        .group_by(columns.device_id, columns.verdict)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for device_id, verdict, count in rows:
        found[device_id][verdict] = count
    return dict(found)


async def _success_rates(conn: AsyncConnection, device_ids: Sequence[str]) -> dict[str, float]:
    columns = access_codes.c
    was_verified = _became(Verdict.VERIFIED)
    was_judged = was_verified | columns.verdict.in_(_NOT_ON)
    rows = await conn.execute(
        select(columns.device_id, func.sum(case((was_verified, 1), else_=0)), func.count())
        .where(columns.device_id.in_(device_ids), was_judged)
        .group_by(columns.device_id)
    )
    return {device_id: verified / judged for device_id, verified, judged in rows}


def _became(verdict: Verdict) -> ColumnElement[bool]:
    then = transitions.c
    return exists(select(then.id).where(then.code_id == access_codes.c.id, then.to_verdict == verdict))


async def _seconds_to_set(conn: AsyncConnection, device_ids: Sequence[str] | None) -> dict[str, list[float]]:
    """From when a code could have been set (asked for, and started) until the lock said so."""
    rows = await conn.execute(_first_time(Verdict.VERIFIED, device_ids))
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        began = max(row.requested_at, row.starts_at or row.requested_at)
        found[row.device_id].append(_seconds(began, row.since))
    return dict(found)


async def _seconds_to_remove(conn: AsyncConnection, device_ids: Sequence[str]) -> dict[str, list[float]]:
    """From the end, asked for or of the window, until the lock said that the code is gone."""
    rows = await conn.execute(_first_time(Verdict.REMOVED, device_ids))
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        ends = [moment for moment in (row.end_asked_at, row.ends_at) if moment is not None]
        if ends:
            found[row.device_id].append(_seconds(min(ends), row.since))
    return dict(found)


def _first_time(verdict: Verdict, device_ids: Sequence[str] | None) -> Select[Any]:
    """The newest codes that reached this verdict for the first time. Of codes made elsewhere nobody knows the start."""
    earlier = transitions.alias("earlier")
    columns = access_codes.c
    query = (
        select(
            columns.device_id,
            columns.requested_at,
            columns.starts_at,
            columns.ends_at,
            columns.end_asked_at,
            transitions.c.since,
        )
        .join(transitions, transitions.c.code_id == columns.id)
        .where(
            transitions.c.to_verdict == verdict,
            columns.origin == "created",
            ~exists(
                select(earlier.c.id).where(
                    earlier.c.code_id == transitions.c.code_id,
                    earlier.c.to_verdict == verdict,
                    earlier.c.id < transitions.c.id,
                )
            ),
        )
    )
    if device_ids is not None:
        query = query.where(columns.device_id.in_(device_ids))
    return query.order_by(transitions.c.id.desc()).limit(NEWEST)


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())
