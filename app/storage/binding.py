"""Recording Seam's ``access_code_id`` of a code: after a create, or because somebody tells us to track it.

Each of these first takes the ``signals`` row of that id, and only then writes codes. Ingest marks the same row, and a
claim takes it before it looks for the codes. So whichever commits second sees the other, and an event that arrives
before, after or in the same instant as Seam's answer is matched all the same (contract, section 2.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import Verdict
from app.domain.codes import Binding, Read, Reads, Snapshot
from app.domain.news import Signals
from app.domain.reads import after_read
from app.storage.codes import CodeRow, change_code, insert_code, new_code_id, read_columns, to_row
from app.storage.dialects import insert_into
from app.storage.flags import close_flags, open_flags_of
from app.storage.health import load_device
from app.storage.notices import announce
from app.storage.signals import lock_signals
from app.storage.tables import access_codes, audit_log, devices, flags, idempotency_keys, transitions

CLOCKS_APART = timedelta(minutes=2)
"""By how much our clock and Seam's may differ."""

TRACKED, MENTIONED, BACKUP = "tracked", "mentioned", "backup"
"""Origins of rows that were made for codes which existed at Seam already: somebody named it, Seam's news did, or it is
a backup code that was pulled for another one."""

ADOPTED = frozenset({TRACKED, MENTIONED})
"""Of these, one may turn out to be the code of a create call whose answer was lost."""

Columns = dict[str, Any]
_MANY = 500

_OURS = ("name", "pin", "device_id", "connected_account_id", "workspace_id")


async def bind(
    conn: AsyncConnection,
    code_id: str,
    snapshot: Snapshot,
    asked_at: datetime,
    now: datetime,
    *,
    read_at: datetime | None = None,
) -> CodeRow:
    """Record what Seam made for a code of ours, and mark it due. Idempotent.

    ``asked_at`` is on Seam's clock: the ``Date`` of the answer to the create call. ``read_at`` is when the snapshot
    was read, if that was later. The window is kept as Seam accepted it. If the same access code was put under watch
    meanwhile, that row is merged into this one and goes away. The stored verdict stays as it was: refresh it after the
    commit (``app.reconciler.steps.refresh``). Raises ``LookupError`` if there is no such row.
    """
    signals = await hold_news(conn, snapshot)
    row = await _hold(conn, access_codes.c.id == code_id)
    if row is None:
        raise LookupError(f"there is no code {code_id}")
    if row.binding == Binding.BOUND and row.access_code_id == snapshot.access_code_id:
        return row
    twin = await _hold(conn, access_codes.c.access_code_id == snapshot.access_code_id)
    inherited = await _take_over(conn, row, twin, now) if twin is not None else {}
    bound = {**_as_accepted(snapshot), **inherited, "asked_at": _began(snapshot, asked_at), "refusal": None}
    # What the caller asked for is the intent; Seam's answer only fills in what was left open.
    kept = {name: value for name in _OURS if (value := getattr(row, name)) is not None}
    reads = twin.reads() if twin is not None else Reads()
    read = Read(at=read_at or asked_at, snapshot=snapshot)
    return await _write_bound(conn, row, {**bound, **kept}, reads, read, signals, now)


def _began(snapshot: Snapshot, answered_at: datetime) -> datetime:
    """When the intent began: a lock can be quicker than the answer to the create call, and its news must count."""
    made_at = snapshot.created_at
    return made_at if made_at is not None and answered_at - CLOCKS_APART <= made_at < answered_at else answered_at


async def bind_found(
    conn: AsyncConnection, code_id: str, snapshot: Snapshot, read_at: datetime, now: datetime
) -> CodeRow | None:
    """Bind a request whose answer was lost to the code that was found on its lock by a read at ``read_at``.

    ``None``: the request got its answer meanwhile, or the code turned out to be another request's; nothing changed.
    """
    await hold_news(conn, snapshot)
    row = await _hold(conn, access_codes.c.id == code_id)
    holder = await _hold(conn, access_codes.c.access_code_id == snapshot.access_code_id)
    if row is None or row.binding != Binding.REQUESTED or (holder is not None and holder.origin not in ADOPTED):
        return None
    return await bind(conn, code_id, snapshot, snapshot.created_at or read_at, now, read_at=read_at)


async def held_codes(conn: AsyncConnection, access_code_ids: Sequence[str]) -> dict[str, str]:
    """Which of these codes a row has already, untracked ones too: ``{access_code_id: origin}``."""
    held: dict[str, str] = {}
    for start in range(0, len(access_code_ids), _MANY):
        part = access_code_ids[start : start + _MANY]
        query = select(access_codes.c.access_code_id, access_codes.c.origin)
        rows = await conn.execute(query.where(access_codes.c.access_code_id.in_(part)))
        held |= {row.access_code_id: row.origin for row in rows}
    return held


async def adopt(
    conn: AsyncConnection,
    snapshot: Snapshot,
    asked_at: datetime,
    reference: str | None,
    origin: str,
    now: datetime,
) -> tuple[CodeRow, bool]:
    """Watch a code that exists at Seam, as a read at ``asked_at`` showed it, and mark it due. True: a row was made.

    Idempotent: a code that is watched already only gets the ``reference``, if one is given. One that was untracked is
    watched again. One that Seam made for a create call whose answer we still miss is bound to that request.
    """
    signals = await hold_news(conn, snapshot)
    row = await _hold(conn, access_codes.c.access_code_id == snapshot.access_code_id)
    if row is not None:
        return await _watch_again(conn, row, snapshot, asked_at, reference, signals, now), False
    waiting = await _waiting_request(conn, snapshot)
    if waiting is not None:
        bound = await bind(conn, waiting, snapshot, snapshot.created_at or asked_at, now, read_at=asked_at)
        return await _refer(conn, bound, reference, now), False
    values = {
        **_as_accepted(snapshot),
        "id": new_code_id(),
        "origin": origin,
        "binding": Binding.BOUND.value,
        "is_offline": snapshot.is_offline,
        "is_one_time_use": snapshot.is_one_time_use,
        "schedules_natively": await _schedules_natively(conn, snapshot),
        "reference": reference,
        "requested_at": now,
        "asked_at": asked_at,
        "verdict": Verdict.PENDING.value,
        "reason": "It was just put under watch.",
        "since": asked_at,
        "created_at": now,
        "updated_at": now,
    }
    made = await insert_code(conn, values)
    return await _write_bound(conn, made, {}, Reads(), Read(asked_at, snapshot), signals, now), True


async def _watch_again(
    conn: AsyncConnection,
    row: CodeRow,
    snapshot: Snapshot,
    asked_at: datetime,
    reference: str | None,
    signals: Signals,
    now: datetime,
) -> CodeRow:
    row = await _refer(conn, row, reference, now)
    if row.untracked_at is None:
        return row
    values = {**_as_accepted(snapshot), "asked_at": asked_at, "pin_changed": False, "window_changed": False}
    row = replace(row, untracked_at=None)
    return await _write_bound(conn, row, values, row.reads(), Read(asked_at, snapshot), signals, now)


async def _refer(conn: AsyncConnection, row: CodeRow, reference: str | None, now: datetime) -> CodeRow:
    if reference is None or reference == row.reference:
        return row
    return await change_code(conn, row.id, {"reference": reference}, now) or row


async def _write_bound(
    conn: AsyncConnection, row: CodeRow, values: Columns, reads: Reads, read: Read, signals: Signals, now: datetime
) -> CodeRow:
    bound = replace(row, **values, binding=Binding.BOUND.value)
    columns = {
        **values,
        "binding": bound.binding,
        "untracked_at": bound.untracked_at,
        "due_at": now if bound.untracked_at is None else None,
        **read_columns(after_read(reads, read, bound.intent(), signals)),
    }
    written = await change_code(conn, row.id, columns, now)
    if written is None:
        raise LookupError(f"there is no code {row.id}")
    return written


def _as_accepted(snapshot: Snapshot) -> Columns:
    return {
        "access_code_id": snapshot.access_code_id,
        "device_id": snapshot.device_id,
        "connected_account_id": snapshot.connected_account_id,
        "workspace_id": snapshot.workspace_id,
        "name": snapshot.name,
        "type": snapshot.type.value,
        "starts_at": snapshot.starts_at,
        "ends_at": snapshot.ends_at,
        "pin": snapshot.pin,
    }


async def _waiting_request(conn: AsyncConnection, snapshot: Snapshot) -> str | None:
    """The request on the same lock that waits for a code with this PIN. Only one create call with a PIN can succeed on
    a lock, so the oldest is it; a code made before the call left is somebody else's."""
    if snapshot.pin is None or snapshot.device_id is None:
        return None
    asked_for = and_(
        access_codes.c.binding == Binding.REQUESTED.value,
        access_codes.c.device_id == snapshot.device_id,
        access_codes.c.pin == snapshot.pin,
        access_codes.c.call_sent_at.is_not(None),
    )
    found = await conn.execute(
        select(access_codes.c.id, access_codes.c.call_sent_at).where(asked_for).order_by(access_codes.c.requested_at)
    )
    for code_id, call_sent_at in found:
        if could_be_made_by(snapshot, call_sent_at):
            return str(code_id)
    return None


def could_be_made_by(snapshot: Snapshot, call_sent_at: datetime) -> bool:
    """Whether Seam made this code after that create call left, as far as two clocks can tell."""
    return snapshot.created_at is None or snapshot.created_at >= call_sent_at - CLOCKS_APART


async def _schedules_natively(conn: AsyncConnection, snapshot: Snapshot) -> bool | None:
    device = await load_device(conn, snapshot.device_id) if snapshot.device_id else None
    return device.schedules_natively if device is not None else None


async def hold_news(conn: AsyncConnection, snapshot: Snapshot) -> Signals:
    """Take what news of the lock takes, and in its order: then nobody waits for anybody in a circle. From now on the
    lock is listed, also before anything is known of it."""
    if snapshot.device_id is not None:
        lock = insert_into(conn, devices).values(device_id=snapshot.device_id)
        # An update that changes nothing: it waits for news of the lock that is being written, whose codes are looked
        # for once it is.
        same = {"device_id": devices.c.device_id}
        await conn.execute(lock.on_conflict_do_update(index_elements=[devices.c.device_id], set_=same))
    return await lock_signals(conn, snapshot.access_code_id)


async def _hold(conn: AsyncConnection, which: ColumnElement[bool]) -> CodeRow | None:
    row = (await conn.execute(select(access_codes).where(which).with_for_update())).mappings().one_or_none()
    return to_row(row) if row is not None else None


async def _take_over(conn: AsyncConnection, row: CodeRow, twin: CodeRow, now: datetime) -> Columns:
    """Move everything that hangs on ``twin`` to ``row``, delete it, and say what of it ``row`` must keep."""
    opened = await open_flags_of(conn, [row.id, twin.id])
    ours = {flag.kind for flag in opened.get(row.id, ())}
    await close_flags(conn, [flag for flag in opened.get(twin.id, ()) if flag.kind in ours], now)
    for table in (transitions, flags, audit_log, idempotency_keys):
        await conn.execute(update(table).where(table.c.code_id == twin.id).values(code_id=row.id))
    await conn.execute(delete(access_codes).where(access_codes.c.id == twin.id))
    await announce(conn, [twin.id])
    inherited = {
        "reference": row.reference or twin.reference,
        "metadata": row.metadata if row.metadata is not None else twin.metadata,
        "end_asked_at": row.end_asked_at or twin.end_asked_at,
        "end_sent_at": twin.end_sent_at,
        "replaced_by": twin.replaced_by,
        "was_verified": row.was_verified or twin.was_verified,
        "is_flagged": bool(opened),
    }
    return {name: value for name, value in inherited.items() if value is not None}
