"""Pulling a backup code: one of the lock's own pool, which works at once, in the place of a code that does not.

The call goes out once. Pulling again hands out the code that was pulled, whoever pulled it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import structlog

from app.api.auth import Principal
from app.api.changing import ACCEPTED, forget_change, settled, write
from app.api.context import found, gateway_of
from app.api.problems import CannotChange, ChangeUnanswered, NoBackup, NotAtSeamYet, NotTracked, of_seam
from app.api.services import Services
from app.domain.changes import Change
from app.domain.codes import CodeType, Snapshot
from app.domain.facts import last_snapshot
from app.domain.health import DeviceRead
from app.reconciler.steps import refresh
from app.seam.errors import SeamError, SeamRefused, SeamUnauthorized
from app.seam.gateway import Gateway
from app.storage import audit
from app.storage.changes import before_change, change_own
from app.storage.codes import Case, CodeRow
from app.storage.engine import Connection
from app.storage.health import load_device, save_device_read
from app.storage.mentions import adopt_backup

log = structlog.get_logger(__name__)

PULLED, HANDED_OUT = 201, 200
_PULL = Change(pulls_backup=True)


@dataclass(frozen=True, slots=True)
class Backup:
    """``case`` is the backup code; with 202, when Seam's answer is not known, the code that it is pulled for."""

    status: int
    case: Case
    pin: str | None = field(default=None, repr=False)


async def pull_backup(services: Services, principal: Principal, ident: str) -> Backup:
    """Have the guest open the door with another PIN. Raises ``ApiError`` or ``SeamError``.

    Must not be cancelled half-way: run it by ``Background.complete``.
    """
    gateway = gateway_of(services)
    case = found(await refresh(services.db, ident, services.policy, services.clock))
    if case.row.replaced_by is not None:
        return await _hand_out(services, principal, gateway, case, case.row.replaced_by)
    _refuse(case)
    await _refuse_without_pool(services, gateway, case)
    await _open(services, principal, case.row.id)
    try:
        answer = await gateway.pull_backup(case.row.access_code_id or "")
    except SeamError as error:
        return await _after_error(services, principal, gateway, case, error)
    backup = await _record(services, principal, case, answer.value.snapshot, answer.at)
    log.info("backup_pulled", code_id=case.row.id, backup_id=backup.row.id)
    return Backup(PULLED, backup, answer.value.pin)


def _refuse(case: Case) -> None:
    row = case.row
    if row.access_code_id is None:
        raise NotAtSeamYet("A backup code can be pulled once Seam has confirmed the code.")
    if row.untracked_at is not None:
        raise NotTracked("Track it again first.")
    if row.end_asked_at is not None or row.is_terminal:
        raise CannotChange("It has come to its end. Create a new one.")
    if row.type != CodeType.TIME_BOUND or row.is_offline:
        raise NoBackup("Only time-bound codes that the lock is programmed with have one. Create another code.")


async def _refuse_without_pool(services: Services, gateway: Gateway, case: Case) -> None:
    """Raises ``NoBackup`` if Seam has said that neither code nor lock has one. Where it has not, it may say so now."""
    snapshot = last_snapshot(case.row.reads())
    available = snapshot.is_backup_available if snapshot is not None else None
    device = await _device(services, gateway, case.row.device_id)
    pool = device.supports_backup_pool if device is not None else None
    if True not in {available, pool} and False in {available, pool}:
        raise NoBackup("Seam says that this lock has no pool of backup codes. Change the PIN, or create another code.")


async def _device(services: Services, gateway: Gateway, device_id: str | None) -> DeviceRead | None:
    if device_id is None:
        return None
    async with services.db.read() as conn:
        known = await load_device(conn, device_id)
    if known is not None:
        return known
    try:
        read = await gateway.get_device(device_id)
    except SeamError:
        return None
    async with services.db.write() as conn:
        await save_device_read(conn, read)
    return read


async def _open(services: Services, principal: Principal, code_id: str) -> None:
    now = services.clock()

    async def step(conn: Connection, case: Case) -> CodeRow | None:
        _refuse(case)
        unanswered = case.row.unanswered()
        if unanswered is not None and unanswered.change != _PULL:
            raise ChangeUnanswered
        await audit.record(conn, at=now, actor=principal.name, action="backup_asked", code_id=code_id)
        return await before_change(conn, case, _PULL, now)

    await write(services, code_id, step)


async def _after_error(
    services: Services, principal: Principal, gateway: Gateway, case: Case, error: SeamError
) -> Backup:
    if error.was_done is None:
        return Backup(ACCEPTED, await settled(services, case.row.id))
    await forget_change(services, principal, case.row.id, _PULL, error)
    if isinstance(error, SeamRefused) and not isinstance(error, SeamUnauthorized):
        # Somebody may have pulled it already.
        read = await gateway.get_code(case.row.access_code_id or "", workspace_id=case.row.workspace_id)
        pulled = read.snapshot.pulled_backup_access_code_id if read.snapshot is not None else None
        if pulled is not None:
            return await _hand_out(services, principal, gateway, case, pulled)
        raise NoBackup(f"Seam said: {error.message}", seam_type=error.seam_type) from error
    raise of_seam(error) from error


async def _hand_out(
    services: Services, principal: Principal, gateway: Gateway, case: Case, access_code_id: str
) -> Backup:
    """The backup code that was pulled before, with its PIN read live from Seam."""
    read = await gateway.get_code(access_code_id, workspace_id=case.row.workspace_id)
    if read.snapshot is None:
        raise NoBackup("The backup code that was pulled is gone at Seam. Change the PIN, or create another code.")
    backup = await _record(services, principal, case, read.snapshot, read.at)
    pin = await gateway.read_pin(access_code_id)
    async with services.db.write() as conn:
        now = services.clock()
        await audit.record(conn, at=now, actor=principal.name, action="pin_read", code_id=backup.row.id)
    return Backup(HANDED_OUT, backup, pin)


async def _record(services: Services, principal: Principal, case: Case, snapshot: Snapshot, at: datetime) -> Case:
    """Watch the backup code, and link it. Idempotent."""
    now = services.clock()
    made: CodeRow | None = None

    async def step(conn: Connection, replaced: Case) -> CodeRow | None:
        nonlocal made
        made = await adopt_backup(conn, replaced.row, snapshot, at, now)
        if replaced.row.replaced_by == snapshot.access_code_id:
            return replaced.row
        details = {"backup_access_code_id": snapshot.access_code_id}
        await audit.record(
            conn, at=now, actor=principal.name, action="backup_pulled", code_id=replaced.row.id, details=details
        )
        linked = {"replaced_by": snapshot.access_code_id, "unanswered_change": None}
        return await change_own(conn, replaced, linked, now)

    await write(services, case.row.id, step)
    await refresh(services.db, case.row.id, services.policy, services.clock)
    return await settled(services, made.id if made is not None else snapshot.access_code_id)
