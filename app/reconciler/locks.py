"""Reading the lock of a code whose start is near: one that went offline without a word is noticed all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from app.domain.assessment import Policy
from app.domain.codes import Binding
from app.domain.health import DeviceRead
from app.seam.errors import SeamError
from app.seam.gateway import Gateway
from app.storage.claims import mark_starting
from app.storage.codes import Case, CodeRow
from app.storage.engine import Database
from app.storage.health import save_device_read

READ_EVERY = timedelta(minutes=5)
"""How old what is known of a lock may be. Seam itself looks about every ten minutes."""

_log = structlog.get_logger(__name__)

Locks = Mapping[str, DeviceRead | None]
"""Ids of locks, with what was known of each."""


def locks_to_read(cases: Sequence[Case], policy: Policy, now: datetime) -> Locks:
    """The locks of those of these codes that start soon, where what is known of the lock is old."""
    near = [case for case in cases if _starts_soon(case.row, policy, now)]
    return {case.row.device_id or "": case.health.device_read for case in near if _is_old(case, now)}


def _starts_soon(row: CodeRow, policy: Policy, now: datetime) -> bool:
    is_watched = (
        row.binding == Binding.BOUND and row.untracked_at is None and row.end_asked_at is None and not row.is_terminal
    )
    if not is_watched or row.is_offline or row.starts_at is None or row.device_id is None:
        return False
    return row.starts_at - policy.at_risk_before <= now < row.starts_at


def _is_old(case: Case, now: datetime) -> bool:
    read = case.health.device_read
    return read is None or now - read.at >= READ_EVERY


async def read_locks(
    db: Database, gateway: Gateway, locks: Locks, policy: Policy, now: datetime, limiter: asyncio.Semaphore
) -> None:
    """Read each lock once. Where its health has changed, every code on it that starts soon is looked at again.

    A lock that cannot be read stays as it is known: that alone is no risk. Raises what storage raises.
    """
    reads = await asyncio.gather(*(_read(gateway, device_id, limiter) for device_id in sorted(locks)))
    for read in reads:
        if read is None:
            continue
        async with db.write() as conn:
            await save_device_read(conn, read)
            if _health(locks[read.device_id]) != _health(read):
                await mark_starting(conn, read.device_id, now, now + policy.at_risk_before)


async def _read(gateway: Gateway, device_id: str, limiter: asyncio.Semaphore) -> DeviceRead | None:
    async with limiter:
        try:
            return await gateway.get_device(device_id)
        except SeamError as error:
            _log.info("lock_not_read", device_id=device_id, error=error.type)
            return None


def _health(read: DeviceRead | None) -> object:
    if read is None:
        return None
    return read.online, read.battery_status, [issue.code for issue in (*read.errors, *read.warnings)]
