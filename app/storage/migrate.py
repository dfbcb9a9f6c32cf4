"""Brings the schema up to date, and tells whether it is. One tree of revisions (``migrations/``) for both databases."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.engine import Database
from app.storage.errors import SchemaAhead
from app.storage.figure_tables import metadata

_TREE = Path(__file__).resolve().parents[2] / "migrations"
_LOCK = 0x4C61746368  # "Latch": the advisory lock of everybody who migrates
ALEMBIC_OPTIONS: dict[str, Any] = {
    "target_metadata": metadata,
    "render_as_batch": True,  # SQLite changes a table by building it anew
    "transactional_ddl": True,  # both databases roll back a migration that fails half-way
    "compare_type": True,
}


class SchemaState(StrEnum):
    CURRENT = "current"
    BEHIND = "behind"
    AHEAD = "ahead"  # of a newer Latchwatch: its revision is unknown here
    EMPTY = "empty"


async def schema_state(db: Database) -> SchemaState:
    """Compare the database's revision with ours. Raises ``StorageUnavailable``."""
    async with db.read() as connection:
        return _state(await connection.run_sync(_revision))


async def migrate(db: Database) -> None:
    """Bring the schema to the newest revision; all or nothing. Replicas that start together queue.

    Raises ``SchemaAhead`` and ``StorageUnavailable`` (a lock that was not had in time among its causes).
    """
    async with db.maintain() as connection:
        await _lock(connection)
        revision = await connection.run_sync(_revision)
        match _state(revision):
            case SchemaState.AHEAD:
                raise SchemaAhead(str(revision))
            case SchemaState.CURRENT:
                return
            case SchemaState.BEHIND | SchemaState.EMPTY:
                await connection.run_sync(lambda bound: command.upgrade(alembic_config(bound), "head"))


async def downgrade(db: Database, revision: str) -> None:
    """Take the schema back to an older revision, or to nothing (``base``)."""
    async with db.maintain() as connection:
        await _lock(connection)
        await connection.run_sync(lambda bound: command.downgrade(alembic_config(bound), revision))


async def _lock(connection: AsyncConnection) -> None:
    if connection.dialect.name == "sqlite":
        return  # BEGIN IMMEDIATE has it already
    await connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    # A migration that waits for a table makes every query behind it wait too: give up early instead.
    await connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    await connection.execute(text("SET LOCAL statement_timeout = '15min'"))


def _state(revision: str | None) -> SchemaState:
    scripts = _scripts()
    if revision is None:
        return SchemaState.EMPTY
    if revision == scripts.get_current_head():
        return SchemaState.CURRENT
    known = {script.revision for script in scripts.walk_revisions()}
    return SchemaState.BEHIND if revision in known else SchemaState.AHEAD


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_TREE))


def alembic_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_TREE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
