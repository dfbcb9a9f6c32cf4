"""Whether storage takes writes: reading still works on a disk that is full and on a standby."""

from __future__ import annotations

from sqlalchemy import update

from app.storage.engine import Database
from app.storage.tables import intake

# It changes nothing, but has to go to the disk all the same.
_TOUCH = update(intake).values(id=intake.c.id)


async def probe_write(db: Database) -> None:
    """Raises ``StorageUnavailable`` if nothing can be written now."""
    async with db.write() as conn:
        await conn.execute(_TOUCH)
