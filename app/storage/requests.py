"""What a create request writes to its row on the way to Seam."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import Verdict
from app.domain.codes import Binding
from app.domain.health import DeviceRead
from app.storage.codes import LOOK_AFTER, CodeRow, change_code
from app.storage.tables import access_codes


async def before_call(
    conn: AsyncConnection,
    code_id: str,
    *,
    pin: str | None,
    schedules_natively: bool | None,
    device: DeviceRead | None,
    sent_at: datetime,
    now: datetime,
) -> CodeRow | None:
    """The create call is about to leave: with which PIN (its fingerprint), and to what kind of lock.

    Committed before the call, it is what a lost answer is found again by. ``sent_at`` is when the first call with this
    PIN left. ``None``: the code is not ``requested`` any more.
    """
    values = {
        "pin": pin,
        "requested_at": now,
        "call_sent_at": sent_at,
        "due_at": now + LOOK_AFTER,
        "schedules_natively": schedules_natively,
    }
    if device is not None:
        values |= {"connected_account_id": device.connected_account_id, "workspace_id": device.workspace_id}
    return await change_code(conn, code_id, values, now, access_codes.c.binding == Binding.REQUESTED.value)


async def reopen(conn: AsyncConnection, code_id: str, now: datetime) -> CodeRow | None:
    """Ask Seam again for a code whose first call was refused. ``None``: it is not refused."""
    values = {
        "binding": Binding.REQUESTED.value,
        "refusal": None,
        "requested_at": now,
        "call_sent_at": None,
        "verdict": Verdict.REQUESTED.value,
        "reason": "Seam has not answered the create call yet.",
        "since": now,
        "deadline": None,
        "next_check_at": None,
        "is_settled": False,
        "is_terminal": False,
        "due_at": now + LOOK_AFTER,
        "leased_until": None,
    }
    return await change_code(conn, code_id, values, now, access_codes.c.binding == Binding.REFUSED.value)
