"""Figures: how many codes have which verdict, what is flagged, what arrives soon, how long locks take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import Verdict
from app.domain.intake import Intake
from app.storage.counts import Count, count_all, count_on_locks
from app.storage.durations import newest_durations, newest_durations_of
from app.storage.intake import load_intake
from app.storage.tables import access_codes

ARRIVALS_WITHIN = timedelta(hours=24)
_NOT_ON = (Verdict.MISSED, Verdict.STUCK, Verdict.FAILED, Verdict.LOST, Verdict.MISMATCHED)

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Durations:
    """Nearest-rank percentiles in seconds of the newest ``count`` codes; ``None`` when there are none."""

    count: int
    p50: float | None
    p95: float | None


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
    return Summary(
        codes=await count_all(conn, "watched"),
        flags=await count_all(conn, "open_flags"),
        arrivals=await _arrivals(conn, now),
        seconds_to_set=percentiles(await newest_durations(conn, "set")),
        intake=await load_intake(conn),
    )


async def device_figures(conn: AsyncConnection, device_ids: Sequence[str]) -> dict[str, DeviceFigures]:
    """The figures of each of these locks."""
    counts = await count_on_locks(conn, device_ids)
    to_set = await newest_durations_of(conn, device_ids, "set")
    to_remove = await newest_durations_of(conn, device_ids, "removed")
    return {
        device_id: DeviceFigures(
            codes=_by_verdict(counts.get(device_id, ())),
            success_rate=_success_rate(counts.get(device_id, ())),
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


async def _arrivals(conn: AsyncConnection, now: datetime) -> Counts:
    rows = await conn.execute(arrivals_query(now))
    return {row[0]: row[1] for row in rows}


def arrivals_query(now: datetime) -> Select[Any]:
    """Read from the index alone: what it costs is the number of those who arrive, not of the codes that are stored."""
    columns = access_codes.c
    soon = columns.starts_at.between(now, now + ARRIVALS_WITHIN)
    return select(columns.verdict, func.count()).where(columns.untracked_at.is_(None), soon).group_by(columns.verdict)


def _by_verdict(counts: Sequence[Count]) -> Counts:
    found: dict[str, int] = defaultdict(int)
    for each in counts:
        if each.subject == "watched":
            found[each.name] += each.count
    return dict(found)


def _success_rate(counts: Sequence[Count]) -> float | None:
    verified = sum(each.count for each in counts if each.was_verified)
    never_on = sum(each.count for each in counts if not each.was_verified and each.name in _NOT_ON)
    return verified / (verified + never_on) if verified + never_on else None
