"""Carrying out ends that were asked for: telling Seam to remove a code from its lock."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from app.reconciler.decisions import Seen
from app.reconciler.reading import NO_KEY, Unread, unread
from app.seam.errors import SeamError
from app.seam.gateway import Gateway
from app.storage.codes import CodeRow


async def send_end(gateway: Gateway | None, row: CodeRow, seen: Seen, limiter: asyncio.Semaphore) -> Seen:
    """Make the delete call, and add to ``seen`` what came of it. Repeating it is harmless.

    Where Seam says that it has no such code, a read follows: only that tells an absence for certain.
    """
    if gateway is None or row.access_code_id is None:
        return replace(seen, end_failure=Unread(NO_KEY))
    async with limiter:
        try:
            answer = await gateway.delete_code(row.access_code_id)
            if answer.value:
                return replace(seen, end_sent_at=answer.at)
            read = await gateway.get_code(row.access_code_id, workspace_id=row.workspace_id)
        except SeamError as error:
            return replace(seen, end_failure=unread(error))
    # Seam has it after all: the delete call is made again, after a while.
    return replace(seen, reading=read, end_sent_at=answer.at if read.snapshot is None else None)
