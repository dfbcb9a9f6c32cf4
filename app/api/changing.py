"""Changing a code: what changes is written down first, then Seam is asked, then its answer is kept.

only our own fields    nothing is asked of Seam
Seam refuses           nothing changes
no answer              202: the reconciler reads the code soon and finds out whether the change was taken
we die after the call  the same: what was asked for was committed before it
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog

from app.api.auth import Principal
from app.api.bodies import ChangeAccessCode
from app.api.changes_wanted import change_wanted, refuse_leaked_pin, refuse_unchangeable
from app.api.context import found, gateway_of
from app.api.problems import ApiError, CannotChange, ChangeUnanswered, SeamSaidNo, of_seam
from app.api.services import Services
from app.domain.changes import Change
from app.domain.codes import CodeType
from app.reconciler.steps import refresh
from app.seam.errors import SeamConflict, SeamError, SeamNotFound
from app.seam.values import UpdateRequest
from app.storage import audit
from app.storage.changes import accept_change, before_change, change_own, drop_change
from app.storage.codes import Case, CodeRow, load_case
from app.storage.engine import Connection
from app.storage.errors import StorageConflict, StorageUnavailable

log = structlog.get_logger(__name__)

CHANGED, ACCEPTED = 200, 202
_ATTEMPTS = 20

Write = Callable[[Connection, Case], Awaitable[CodeRow | None]]


class _Overtaken(Exception):
    """Undoes what the step wrote besides."""


@dataclass(frozen=True, slots=True)
class Changed:
    """``status`` is 200, or 202 when Seam's answer is not known."""

    status: int
    case: Case


async def change_code(services: Services, principal: Principal, ident: str, body: ChangeAccessCode) -> Changed:
    """Change this code. Raises ``ApiError``: then nothing was changed.

    Must not be cancelled half-way: run it by ``Background.complete``.
    """
    # What may be changed hangs on the verdict, which news may have overtaken.
    await refresh(services.db, ident, services.policy, services.clock)
    case, change = await _open(services, principal, ident, body)
    if change == Change():
        return Changed(CHANGED, await settled(services, case.row.id))
    try:
        answer = await gateway_of(services).update_code(_request(case.row, body, change))
    except SeamError as error:
        if error.was_done is None:
            await _keep_own(services, principal, case.row.id, body)
            return Changed(ACCEPTED, await settled(services, case.row.id))
        await forget_change(services, principal, case.row.id, change, error)
        raise _refusal(error, change) from error
    await _accept(services, principal, case.row.id, change, answer.at, body)
    log.info("code_changed", code_id=case.row.id, fields=sorted(body.model_fields_set))
    return Changed(CHANGED, await settled(services, case.row.id))


async def write(services: Services, ident: str, step: Write) -> Case:
    """The code as it was when ``step`` wrote to it; taken again if somebody else was faster. Raises ``NotFound``."""
    for _ in range(_ATTEMPTS):
        try:
            async with services.db.write() as conn:
                case = found(await load_case(conn, ident))
                if await step(conn, case) is None:
                    raise _Overtaken
                return case
        except (_Overtaken, StorageConflict):
            continue
    raise StorageUnavailable(f"the code {ident} changed faster than it could be written to; ask again")


async def settled(services: Services, code_id: str) -> Case:
    case = found(await refresh(services.db, code_id, services.policy, services.clock))
    services.wake()
    return case


async def forget_change(
    services: Services, principal: Principal, code_id: str, change: Change, error: SeamError
) -> None:
    """Seam certainly did not take it."""
    now = services.clock()

    async def step(conn: Connection, case: Case) -> CodeRow | None:
        row = await drop_change(conn, case, change, now)
        if row is not None:
            details = {"seam_type": error.seam_type, "type": error.type}
            await _note(conn, principal, "change_refused", code_id, details, now)
        return row

    await write(services, code_id, step)


async def _open(services: Services, principal: Principal, ident: str, body: ChangeAccessCode) -> tuple[Case, Change]:
    """Write down what Seam is about to be asked for, or what changes without Seam. Raises ``ApiError``."""
    now = services.clock()
    wanted = Change()

    async def step(conn: Connection, case: Case) -> CodeRow | None:
        nonlocal wanted
        row = case.row
        refuse_leaked_pin(services.fingerprinter, row, body)
        wanted = Change()
        if body.asked_of_seam():
            gateway_of(services)
            refuse_unchangeable(case, body)
            wanted = change_wanted(services.fingerprinter, row, body, now)
            unanswered = row.unanswered()
            if unanswered is not None and unanswered.change != wanted:
                raise ChangeUnanswered
        details = {"fields": sorted(body.model_fields_set)}
        if wanted == Change():
            await _note(conn, principal, "code_changed", row.id, details, now)
            return await change_own(conn, case, body.own(), now)
        await _note(conn, principal, "change_asked", row.id, details, now)
        return await before_change(conn, case, wanted, now)

    return await write(services, ident, step), wanted


async def _accept(
    services: Services,
    principal: Principal,
    code_id: str,
    change: Change,
    at: datetime,
    body: ChangeAccessCode,
) -> None:
    now = services.clock()

    async def step(conn: Connection, case: Case) -> CodeRow | None:
        await _note(conn, principal, "change_accepted", code_id, None, now)
        return await accept_change(conn, case, change, at, body.own(), now)

    await write(services, code_id, step)


async def _keep_own(services: Services, principal: Principal, code_id: str, body: ChangeAccessCode) -> None:
    now = services.clock()

    async def step(conn: Connection, case: Case) -> CodeRow | None:
        await _note(conn, principal, "change_unanswered", code_id, None, now)
        return await change_own(conn, case, body.own(), now)

    await write(services, code_id, step)


async def _note(
    conn: Connection,
    principal: Principal,
    action: str,
    code_id: str,
    details: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    await audit.record(conn, at=now, actor=principal.name, action=action, code_id=code_id, details=details)


def _request(row: CodeRow, body: ChangeAccessCode, change: Change) -> UpdateRequest:
    request = UpdateRequest(
        access_code_id=row.access_code_id or "",
        name=change.name,
        code=body.code if change.pin is not None else None,
    )
    window = change.window
    if window is None:
        return request
    return replace(request, type=CodeType(window.type), starts_at=window.starts_at, ends_at=window.ends_at)


def _refusal(error: SeamError, change: Change) -> ApiError:
    match error:
        case SeamNotFound():
            return CannotChange("Seam does not have this code any more. Create a new one.", seam_type=error.seam_type)
        case SeamConflict() if change.pin is None:
            return SeamSaidNo(f"Seam said: {error.message}", seam_type=error.seam_type)
        case _:
            return of_seam(error)
