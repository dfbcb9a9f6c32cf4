"""Looking on its lock for the code of a create call whose answer nobody kept."""

from __future__ import annotations

from datetime import datetime

from app.api.services import Services
from app.domain.codes import Snapshot
from app.reconciler.requests import match
from app.seam.gateway import Gateway
from app.storage.binding import held_codes
from app.storage.codes import CodeRow


async def find_on_lock(services: Services, gateway: Gateway, row: CodeRow) -> tuple[Snapshot, datetime] | None:
    """The code that this request made, and when Seam showed it. ``None``: it is not there. Raises ``SeamError``."""
    if row.device_id is None:
        return None
    listed = await gateway.list_device_codes(row.device_id)
    async with services.db.read() as conn:
        held = await held_codes(conn, [code.access_code_id for code in listed.value])
    snapshot = match([row], listed.value, held).get(row.id)
    return (snapshot, listed.at) if snapshot is not None else None
