"""Putting codes that exist at Seam under watch, taking them off again, and looking at one right now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog

from app.api.auth import Principal
from app.api.bodies import TrackAccessCodes
from app.api.context import found, gateway_of
from app.api.problems import NotFound
from app.api.services import Services
from app.domain.codes import Snapshot
from app.reconciler.steps import refresh
from app.seam.gateway import Gateway
from app.storage import audit
from app.storage.binding import adopt
from app.storage.codes import Case, load_case, untrack

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tracked:
    cases: list[Case]
    not_found: list[str]


async def track_codes(services: Services, principal: Principal, body: TrackAccessCodes) -> Tracked:
    """Watch these codes, or all of a device. Idempotent. Raises ``NotFound`` if Seam has none of the named ones."""
    gateway = gateway_of(services)
    at, snapshots, missing = await _read(gateway, body)
    if missing and not snapshots:
        raise NotFound("Seam manages none of these access codes.", not_found=missing)
    cases = [await _adopt(services, principal, snapshot, at, body.reference) for snapshot in snapshots]
    services.wake()
    log.info("codes_tracked", codes=len(cases), not_found=len(missing))
    return Tracked(cases, missing)


async def untrack_code(services: Services, principal: Principal, ident: str) -> Case:
    """Stop watching, and leave the lock alone. Idempotent."""
    now = services.clock()
    async with services.db.write() as conn:
        case = found(await load_case(conn, ident))
        if case.row.untracked_at is None:
            await untrack(conn, case.row.id, now)
            await audit.record(
                conn, at=now, actor=principal.name, action="code_untracked", code_id=case.row.id, details=None
            )
        return found(await load_case(conn, case.row.id))


async def _read(gateway: Gateway, body: TrackAccessCodes) -> tuple[datetime, list[Snapshot], list[str]]:
    """When Seam answered, the codes to watch, and the ids that it does not have or does not manage."""
    if body.device_id is not None:
        of_device = await gateway.list_device_codes(body.device_id)
        return of_device.at, [code for code in of_device.value if code.is_managed], []
    wanted = list(dict.fromkeys(body.access_code_ids or ()))
    listed = await gateway.list_codes(wanted)
    known = {ident: code for ident, code in listed.value.items() if code.is_managed}
    at = listed.at
    for ident in wanted:
        # A list may leave out what a single read finds.
        if ident not in known:
            read = await gateway.get_code(ident)
            if read.snapshot is not None and read.snapshot.is_managed:
                known[ident], at = read.snapshot, min(at, read.at)
    return at, list(known.values()), [ident for ident in wanted if ident not in known]


async def _adopt(
    services: Services, principal: Principal, snapshot: Snapshot, at: datetime, reference: str | None
) -> Case:
    now = services.clock()
    async with services.db.write() as conn:
        row, is_new = await adopt(conn, snapshot, at, reference, "tracked", now)
        details = {"reference": reference, "is_new": is_new}
        await audit.record(conn, at=now, actor=principal.name, action="code_tracked", code_id=row.id, details=details)
    return found(await refresh(services.db, row.id, services.policy, services.clock))
