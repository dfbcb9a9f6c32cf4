"""Asking for the end of a code. The reconciler tells Seam, now or once the code is found there."""

from __future__ import annotations

import structlog

from app.api.auth import Principal
from app.api.context import found, gateway_of
from app.api.problems import NotTracked, OfflineCode
from app.api.services import Services
from app.reconciler.steps import refresh
from app.storage import audit
from app.storage.codes import Case, ask_end, load_case

log = structlog.get_logger(__name__)


async def end_code(services: Services, principal: Principal, ident: str) -> Case:
    """Have this code removed from its lock. Idempotent. Raises ``NotFound``, ``OfflineCode`` or ``NotTracked``."""
    gateway_of(services)
    now = services.clock()
    async with services.db.write() as conn:
        case = found(await load_case(conn, ident))
        _refuse_unendable(case)
        code_id = case.row.id
        if case.row.end_asked_at is None and not case.row.is_terminal:
            await ask_end(conn, code_id, now)
            await audit.record(conn, at=now, actor=principal.name, action="end_asked", code_id=code_id)
            log.info("end_asked", code_id=code_id)
    ended = found(await refresh(services.db, code_id, services.policy, services.clock))
    services.wake()
    return ended


def _refuse_unendable(case: Case) -> None:
    if case.row.is_offline:
        raise OfflineCode("The lock checks an offline code by itself: it works until its window ends. Change the lock.")
    if case.row.untracked_at is not None:
        raise NotTracked("Track it again first: what is not watched cannot be confirmed as removed.")
