"""Asking and telling Seam what a batch of due codes needs: reads, ends, and codes of lost create calls."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from app.domain.assessment import Policy
from app.domain.codes import Binding, Read
from app.reconciler.decisions import Seen, asked_about
from app.reconciler.ends import send_end
from app.reconciler.reading import Unread, read_codes
from app.reconciler.requests import Shelf, list_locks, match
from app.seam.gateway import Gateway
from app.storage.binding import bind_found, held_codes
from app.storage.codes import Case, CodeRow
from app.storage.engine import Database


async def ask_seam(
    db: Database,
    gateway: Gateway | None,
    cases: Sequence[Case],
    policy: Policy,
    now: datetime,
    limit: asyncio.Semaphore,
) -> dict[str, Seen]:
    """``{our id: what was seen}`` for each of these cases. No transaction is open while Seam is called.

    What Seam does not answer comes back as such; raises only what storage raises.
    """
    requests = [case for case in cases if case.row.binding == Binding.REQUESTED]
    bound = [case for case in cases if case.row.access_code_id is not None]
    ends = [case for case in bound if case.row.must_send_end]
    reads = [case for case in bound if not case.row.must_send_end]
    parts = await asyncio.gather(
        _look_for(db, gateway, requests, policy, now, limit),
        _read(gateway, reads, limit),
        _end(gateway, ends, limit),
    )
    return {code_id: seen for part in parts for code_id, seen in part.items()}


async def _read(gateway: Gateway | None, cases: Sequence[Case], limit: asyncio.Semaphore) -> dict[str, Seen]:
    wanted = {case.row.access_code_id or "": case.row.workspace_id for case in cases}
    readings = await read_codes(gateway, wanted, limit)
    return {case.row.id: replace(asked_about(case), reading=readings[case.row.access_code_id or ""]) for case in cases}


async def _end(gateway: Gateway | None, cases: Sequence[Case], limit: asyncio.Semaphore) -> dict[str, Seen]:
    seen = await asyncio.gather(*(send_end(gateway, case.row, asked_about(case), limit) for case in cases))
    return {case.row.id: one for case, one in zip(cases, seen, strict=True)}


async def _look_for(
    db: Database,
    gateway: Gateway | None,
    cases: Sequence[Case],
    policy: Policy,
    now: datetime,
    limit: asyncio.Semaphore,
) -> dict[str, Seen]:
    """Look on their locks for the codes of create calls without an answer, and bind what is found."""
    by_lock: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_lock[case.row.device_id or ""].append(case)
    shelves = await list_locks(gateway, by_lock.keys(), limit)
    seen: dict[str, Seen] = {}
    for device_id, waiting in by_lock.items():
        seen |= await _look_on(db, shelves[device_id], waiting, policy, now)
    return seen


async def _look_on(
    db: Database, shelf: Shelf | Unread, waiting: Sequence[Case], policy: Policy, now: datetime
) -> dict[str, Seen]:
    if isinstance(shelf, Unread):
        return {case.row.id: replace(asked_about(case), reading=shelf) for case in waiting}
    async with db.read() as conn:
        held = await held_codes(conn, [code.access_code_id for code in shelf.codes])
    found = match([case.row for case in waiting], shelf.codes, held)
    for code_id, snapshot in found.items():
        async with db.write() as conn:
            await bind_found(conn, code_id, snapshot, shelf.at, now)
    return {case.row.id: _not_found(case, shelf, policy) for case in waiting if case.row.id not in found}


def _not_found(case: Case, shelf: Shelf, policy: Policy) -> Seen:
    """Too early, Seam's not having it means nothing: the call may still be on its way."""
    is_late = shelf.at >= _lost_at(case.row, policy)
    return replace(asked_about(case), reading=Read(shelf.at, None) if is_late else None)


def _lost_at(row: CodeRow, policy: Policy) -> datetime:
    return row.requested_at + policy.request_within
