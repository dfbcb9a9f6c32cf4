"""Flags: opened and closed with the verdict, told through the outbox, acknowledged by people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import SEVERITIES, FlagKind, Problem
from app.storage.dialects import dialect_of
from app.storage.driver import Step, run
from app.storage.engine import Dialect
from app.storage.rows import fetch_by
from app.storage.sets import as_json, correction, insertion, steps_of
from app.storage.tables import access_codes, alerts, flags
from app.storage.values import encode_problem

_OPENED = (
    *("id", "kind", "severity", "code_id", "access_code_id", "device_id"),
    *("opened_at", "reason", "problem", "created_at"),
)
_TOLD = ("id", "flag_id", "change", "state", "next_attempt_at", "created_at")


@dataclass(frozen=True, slots=True)
class FlagRow:
    """One row of ``flags``. ``opened_at`` is when its cause began, ``created_at`` when we wrote it."""

    id: str
    kind: str
    severity: str
    code_id: str | None
    access_code_id: str | None
    device_id: str | None
    opened_at: datetime
    closed_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    snoozed_until: datetime | None
    reason: str
    problem: dict[str, Any] | None
    created_at: datetime
    remind_at: datetime | None
    reminders: int


_COLUMNS = tuple(FlagRow.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class NewFlag:
    """A flag to be opened. ``code_id`` is ``None`` for a flag of the service itself. ``id`` will be the row's."""

    kind: FlagKind
    code_id: str | None
    access_code_id: str | None
    device_id: str | None
    opened_at: datetime
    reason: str
    problem: Problem | None
    id: str = field(default_factory=lambda: f"flag_{uuid4().hex}")


async def open_flags_of(conn: AsyncConnection, code_ids: Sequence[str]) -> dict[str, list[FlagRow]]:
    """The open flags of these codes, by code; codes without one are left out."""
    found: dict[str, list[FlagRow]] = defaultdict(list)
    for row in await fetch_by(conn, flags, _COLUMNS, "code_id", code_ids, " AND closed_at IS NULL"):
        flag = FlagRow(*row)
        found[flag.code_id or ""].append(flag)
    return dict(found)


async def load_flag(conn: AsyncConnection, flag_id: str) -> FlagRow | None:
    row = (await conn.execute(select(flags).where(flags.c.id == flag_id))).mappings().one_or_none()
    return FlagRow(**row) if row is not None else None


async def open_flag_of_service(conn: AsyncConnection, kind: FlagKind, *, lock: bool = False) -> FlagRow | None:
    """The open flag of the service itself. ``lock``: so that of several replicas one alone closes it."""
    is_it = (flags.c.kind == kind.value, flags.c.code_id.is_(None), flags.c.closed_at.is_(None))
    query = select(flags).where(*is_it)
    found = await conn.execute(query.with_for_update() if lock else query)
    row = found.mappings().one_or_none()
    return FlagRow(**row) if row is not None else None


async def correct_flag(conn: AsyncConnection, flag_id: str, reason: str, problem: Problem) -> None:
    """Another cause has come to light. Nobody is told of that: the flag is the same."""
    values = {"reason": reason, "problem": encode_problem(problem)}
    await conn.execute(update(flags).where(flags.c.id == flag_id).values(**values))


async def open_flag(
    conn: AsyncConnection,
    *,
    kind: FlagKind,
    code_id: str | None,
    access_code_id: str | None,
    device_id: str | None,
    opened_at: datetime,
    reason: str,
    problem: Problem | None,
    now: datetime,
) -> str:
    """Open a flag and put the news of it into the outbox. Its id comes back.

    ``code_id`` is ``None`` for a flag of the service itself. Raises ``RefusedByDatabase`` where one like it is open.
    """
    flag = NewFlag(kind, code_id, access_code_id, device_id, opened_at, reason, problem)
    await run(conn, *opening(dialect_of(conn), [flag], now))
    return flag.id


async def close_flags(conn: AsyncConnection, rows: Iterable[FlagRow], now: datetime) -> None:
    """Close these open flags and put the news of it into the outbox."""
    await run(conn, *closing(dialect_of(conn), rows, now))


def opening(dialect: Dialect, new: Sequence[NewFlag], now: datetime) -> list[Step]:
    """Open these flags and put the news of it into the outbox."""
    rows = [
        (
            *(flag.id, flag.kind.value, SEVERITIES[flag.kind].value, flag.code_id, flag.access_code_id),
            *(flag.device_id, flag.opened_at, flag.reason, _problem(flag.problem), now),
        )
        for flag in new
    ]
    told = _tell(dialect, [flag.id for flag in new], "opened", now)
    return [*steps_of(insertion(dialect, flags, _OPENED), rows), *told]


def closing(dialect: Dialect, rows: Iterable[FlagRow], now: datetime) -> list[Step]:
    """Close these open flags and put the news of it into the outbox."""
    ids = [row.id for row in rows]
    closed = correction(dialect, flags, ("id", "closed_at", "remind_at"))
    return [*steps_of(closed, [(ident, now, None) for ident in ids]), *_tell(dialect, ids, "closed", now)]


def correcting(dialect: Dialect, told: Sequence[tuple[FlagRow, str, Problem | None]]) -> list[Step]:
    """Have these open flags tell this reason and problem. That is no news: nobody is told again."""
    rows = [
        (flag.id, reason, _problem(problem))
        for flag, reason, problem in told
        if (flag.reason, flag.problem) != (reason, encode_problem(problem) if problem is not None else None)
    ]
    return steps_of(correction(dialect, flags, ("id", "reason", "problem")), rows)


def _problem(problem: Problem | None) -> str | None:
    return as_json(encode_problem(problem)) if problem is not None else None


async def acknowledge(
    conn: AsyncConnection, flag_id: str, by: str, until: datetime | None, now: datetime
) -> FlagRow | None:
    """Somebody knows of it: it is not told again, or with ``until`` (a snooze) not before then. A ``missed`` flag,
    which nothing heals, closes with that.

    Acknowledging again keeps the first time and name, and takes the new ``until``. ``None``: no such flag.
    """
    code_id = (await conn.execute(select(flags.c.code_id).where(flags.c.id == flag_id))).scalar_one_or_none()
    if code_id is not None:
        # First of all, so that it waits for a step that is about to close the same flag, and a step waits for it.
        await conn.execute(
            update(access_codes)
            .where(access_codes.c.id == code_id)
            .values(revision=access_codes.c.revision + 1, updated_at=now)
        )
    flag = await load_flag(conn, flag_id)
    if flag is None:
        return None
    values = {
        "acknowledged_at": flag.acknowledged_at or now,
        "acknowledged_by": flag.acknowledged_by or by,
        "snoozed_until": until,
        "remind_at": until if flag.closed_at is None else None,
    }
    changed = await conn.execute(update(flags).where(flags.c.id == flag_id).values(**values).returning(flags))
    flag = FlagRow(**changed.mappings().one())
    if flag.kind != FlagKind.MISSED or flag.closed_at is not None:
        return flag
    await close_flags(conn, [flag], now)
    if flag.code_id is not None:
        await _note_whether_flagged(conn, flag.code_id)
    return replace(flag, closed_at=now)


async def _note_whether_flagged(conn: AsyncConnection, code_id: str) -> None:
    """Write on the code whether it still has an open flag. Its revision has moved in this transaction already."""
    has_flag = exists(select(flags.c.id).where(flags.c.code_id == code_id, flags.c.closed_at.is_(None)))
    await conn.execute(update(access_codes).where(access_codes.c.id == code_id).values(is_flagged=has_flag))


def _tell(dialect: Dialect, flag_ids: Sequence[str], change: str, now: datetime) -> list[Step]:
    """One alert for one change of one flag: its id is the same however often that change is written or sent."""
    rows = [(f"{flag_id}:{change}", flag_id, change, "pending", now, now) for flag_id in flag_ids]
    return steps_of(insertion(dialect, alerts, _TOLD), rows)
