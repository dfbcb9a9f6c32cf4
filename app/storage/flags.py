"""Flags: opened and closed with the verdict, told through the outbox, acknowledged by people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import SEVERITIES, FlagKind, Problem
from app.storage.tables import access_codes, alerts, flags
from app.storage.values import encode_problem

_MANY = 500


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


async def open_flags_of(conn: AsyncConnection, code_ids: Sequence[str]) -> dict[str, list[FlagRow]]:
    """The open flags of these codes, by code; codes without one are left out."""
    found: dict[str, list[FlagRow]] = defaultdict(list)
    for start in range(0, len(code_ids), _MANY):
        part = code_ids[start : start + _MANY]
        rows = await conn.execute(select(flags).where(flags.c.code_id.in_(part), flags.c.closed_at.is_(None)))
        for row in rows.mappings():
            flag = FlagRow(**row)
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
    flag_id = f"flag_{uuid4().hex}"
    await conn.execute(
        insert(flags).values(
            id=flag_id,
            kind=kind.value,
            severity=SEVERITIES[kind].value,
            code_id=code_id,
            access_code_id=access_code_id,
            device_id=device_id,
            opened_at=opened_at,
            reason=reason,
            problem=encode_problem(problem) if problem is not None else None,
            created_at=now,
        )
    )
    await _tell(conn, [flag_id], "opened", now)
    return flag_id


async def close_flags(conn: AsyncConnection, rows: Iterable[FlagRow], now: datetime) -> None:
    """Close these open flags and put the news of it into the outbox."""
    ids = sorted(row.id for row in rows)
    if not ids:
        return
    await conn.execute(update(flags).where(flags.c.id.in_(ids)).values(closed_at=now, remind_at=None))
    await _tell(conn, ids, "closed", now)


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


async def _tell(conn: AsyncConnection, flag_ids: Sequence[str], change: str, now: datetime) -> None:
    """One alert for one change of one flag: its id is the same however often that change is written or sent."""
    await conn.execute(
        insert(alerts),
        [
            {
                "id": f"{flag_id}:{change}",
                "flag_id": flag_id,
                "change": change,
                "state": "pending",
                "next_attempt_at": now,
                "created_at": now,
            }
            for flag_id in flag_ids
        ],
    )
