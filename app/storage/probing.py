"""Whether storage takes writes: reading still works on a disk that is full and on a standby."""

from __future__ import annotations

import asyncio

from sqlalchemy import update

from app.storage.engine import Database
from app.storage.sqlite_batch import SqliteBatch
from app.storage.tables import intake

# It changes nothing, but has to go to the disk all the same.
_TOUCH = update(intake).values(id=intake.c.id)
_TOUCH_SQLITE = SqliteBatch(None, [("UPDATE intake SET id = id", {})])
_HOLDS_SECONDS = 2.0


class WriteProbe:
    """A success holds for two seconds, and who asks during a probe waits for it: anybody may ask ``/readyz``, and must
    not be able to make it write as often as he likes."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._holds_until = 0.0  # on the loop's clock
        self._probing = asyncio.Lock()

    async def check(self) -> None:
        """Raises ``StorageUnavailable`` if nothing can be written now."""
        time = asyncio.get_running_loop().time
        async with self._probing:
            if time() < self._holds_until:
                return
            if self._db.dialect == "sqlite":
                await self._db.write_batch(_TOUCH_SQLITE)  # the way that deliveries go
            else:
                async with self._db.write() as conn:
                    await conn.execute(_TOUCH)
            self._holds_until = time() + _HOLDS_SECONDS
