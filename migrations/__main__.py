"""``python -m migrations "what it changes"`` drafts the next revision: what tables.py has and the tree lacks.

Read it, tidy it (``make fmt``), and let the tests take it up, down and up again on both databases.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import Connection

from app.storage.engine import open_database
from app.storage.migrate import alembic_config, migrate
from app.storage.types import BigId, ByteString, Json, UtcDateTime

_NAMES = {id(BigId): "BigId", id(ByteString): "ByteString", id(Json): "Json"}


def _render(kind: str, item: Any, _context: object) -> str | bool:
    """Our own types by their names, everything else as Alembic does it."""
    if isinstance(item, UtcDateTime):
        return "UtcDateTime"
    return _NAMES.get(id(item), False) if kind == "type" else False


def _write(connection: Connection, message: str) -> None:
    config = alembic_config(connection)
    config.attributes["render_item"] = _render
    number = len(list((Path(__file__).parent / "versions").glob("[0-9]*.py"))) + 1
    command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")


async def _revise(message: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        db = open_database(f"sqlite:///{folder}/empty.db")
        try:
            await migrate(db)
            async with db.maintain() as connection:
                await connection.run_sync(_write, message)
        finally:
            await db.close()


if __name__ == "__main__":
    asyncio.run(_revise(sys.argv[1]))
