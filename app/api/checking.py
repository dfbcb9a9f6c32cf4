"""Asking Seam about one code now, for somebody who waits for the answer."""

from __future__ import annotations

from dataclasses import replace

from app.api.auth import Principal
from app.api.context import gateway_of, stored_case
from app.api.finding import find_on_lock
from app.api.problems import NotAtSeamYet, NotTracked, of_seam
from app.api.services import Services
from app.domain.assessment import Problem
from app.domain.codes import Binding
from app.reconciler.decisions import NOTHING_SEEN, Seen, asked_about
from app.reconciler.reading import unread
from app.reconciler.steps import assess_and_save
from app.seam.errors import SeamError, SeamUnauthorized
from app.seam.gateway import Gateway
from app.storage import audit
from app.storage.binding import bind_found
from app.storage.codes import Case


async def check_code(services: Services, principal: Principal, ident: str) -> tuple[Case, Problem | None]:
    """The code as it is now, and why Seam could not be read, if it could not. Raises ``NotFound`` or ``NotTracked``."""
    gateway = gateway_of(services)
    case = await stored_case(services, ident)
    if case.row.untracked_at is not None:
        raise NotTracked("Track it again first: the verdict of a code that is not watched says nothing.")
    try:
        seen = await _ask(services, gateway, case)
        problem = None
    except SeamError as error:
        seen, problem = replace(asked_about(case), reading=unread(error)), _problem(error)
    await assess_and_save(services.db, case.row.id, services.policy, services.clock, seen)
    services.wake()
    await _note(services, principal, case)
    return await stored_case(services, case.row.id), problem


async def read_pin(services: Services, principal: Principal, ident: str) -> tuple[str, str | None]:
    """Seam's id of the code, and its PIN as Seam holds it now. It is in the audit log before the answer goes out.

    Raises ``NotFound``, ``NotAtSeamYet`` or ``SeamError``.
    """
    gateway = gateway_of(services)
    case = await stored_case(services, ident)
    access_code_id = case.row.access_code_id
    if access_code_id is None:
        raise NotAtSeamYet("Its PIN can be read once Seam has confirmed the code.")
    pin = await gateway.read_pin(access_code_id)
    now = services.clock()
    async with services.db.write() as conn:
        await audit.record(conn, at=now, actor=principal.name, action="pin_read", code_id=case.row.id)
    return access_code_id, pin


async def _ask(services: Services, gateway: Gateway, case: Case) -> Seen:
    """What Seam says now. A request without an answer is looked for on its lock. Raises ``SeamError``."""
    row, seen = case.row, asked_about(case)
    if row.access_code_id is not None:
        read = await gateway.get_code(row.access_code_id, workspace_id=row.workspace_id)
        return replace(seen, reading=read)
    if row.binding == Binding.REQUESTED and row.call_sent_at is not None:
        lost = await find_on_lock(services, gateway, row)
        if lost is not None:
            async with services.db.write() as conn:
                await bind_found(conn, row.id, *lost, services.clock())
    return NOTHING_SEEN


async def _note(services: Services, principal: Principal, case: Case) -> None:
    now = services.clock()
    async with services.db.write() as conn:
        await audit.record(conn, at=now, actor=principal.name, action="code_checked", code_id=case.row.id)


def _problem(error: SeamError) -> Problem:
    told = of_seam(error)
    return Problem(
        kind="seam",
        code=told.type,
        message=f"{told.title}: {error.message}",
        temporary=not error.is_permanent,
        remedy="Check SEAM_API_KEY." if isinstance(error, SeamUnauthorized) else "Ask again later.",
    )
