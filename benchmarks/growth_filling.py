"""Making the databases of ``growth.py`` quickly, and such as they would be if they had been filled slowly.

Indexes and triggers are taken away, the rows are made by the database itself, and then everything is made again by its
own definition: a schema that is not what it was before voids the run. What makes this quick and less than durable (no
journal on SQLite, few checkpoints on PostgreSQL) is over before anything is measured.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.databases import Postgres, carry_out, shipped_settings
from benchmarks.growth_data import Size, Stage, stages_of
from benchmarks.tracked import migrate_only

Say = Callable[[str], None]

_TELL_EVERY_SECONDS = 5

_SQLITE_QUICK = (
    "PRAGMA journal_mode=DELETE",  # on the way from WAL to none: what a broken build leaves is thrown away
    "PRAGMA journal_mode=OFF",
    "PRAGMA synchronous=OFF",
    "PRAGMA cache_size=-524288",
)
_POSTGRES_QUICK = (
    "SET session_replication_role = replica",  # no triggers: the counts come last
    "SET synchronous_commit = off",
    "SET maintenance_work_mem = '512MB'",
)
_SERVER_QUICK = {"max_wal_size": "16GB", "checkpoint_timeout": "1h"}

_SQLITE_TAKEN = """
    SELECT type, name, sql FROM sqlite_master
    WHERE type IN ('index', 'trigger') AND sql IS NOT NULL AND tbl_name = ? ORDER BY type, name"""
# The keys that foreign keys lead to stay.
_POSTGRES_TAKEN = """
    SELECT conname AS name, format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS gone,
        format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) AS again
    FROM pg_constraint
    WHERE conrelid = $1::text::regclass AND contype IN ('p', 'u')
        AND conindid NOT IN (SELECT conindid FROM pg_constraint WHERE contype = 'f')
    UNION ALL
    SELECT relname, format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = $1::text::regclass AND indexrelid NOT IN (SELECT conindid FROM pg_constraint)
    ORDER BY again"""
_SQLITE_SCHEMA = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY sql"
_POSTGRES_SCHEMA = """
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1"""


def make_sqlite(folder: Path, size: Size, base: Size | None, say: Say) -> None:
    """A file of this size; its codes are those of the file ``base``, where there is one."""
    path = folder / f"{size.name}.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    if base is not None:
        shutil.copyfile(folder / f"{base.name}.db", path)
    else:
        migrate_only(f"sqlite:///{path}")
    stages = stages_of("sqlite", size, datetime.now(UTC), on_base=base is not None)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in _SQLITE_QUICK:
            connection.execute(pragma)
        before = connection.execute(_SQLITE_SCHEMA).fetchall()
        for stage in stages:
            _fill_sqlite(connection, stage, say)
        _hold(before, connection.execute(_SQLITE_SCHEMA).fetchall())
    _write_through(path)


def _fill_sqlite(connection: sqlite3.Connection, stage: Stage, say: Say) -> None:
    progress = _Progress(stage, say)
    taken = [row for table in stage.tables for row in connection.execute(_SQLITE_TAKEN, (table,)).fetchall()]
    connection.execute("BEGIN IMMEDIATE")
    for kind, name, _ in taken:
        connection.execute(f"DROP {kind} {name}")
    for statement in stage.statements:
        connection.execute(statement)
        progress.filled()
    for _, name, sql in taken:
        connection.execute(sql)
        progress.made(name)
    connection.execute("COMMIT")


def _write_through(path: Path) -> None:
    """What was written without waiting for the disk is there before anything is measured."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def make_postgres(postgres: Postgres, size: Size, base: Size | None, say: Say) -> None:
    """A database of this size; its codes are those of the database ``base``, where there is one."""
    carry_out(postgres.url, f"DROP DATABASE IF EXISTS {size.name}")
    if base is not None:
        # As files: the copy does not go through the log.
        carry_out(postgres.url, f"CREATE DATABASE {size.name} TEMPLATE {base.name} STRATEGY file_copy")
    else:
        migrate_only(postgres.create(size.name))
    stages = stages_of("postgresql", size, datetime.now(UTC), on_base=base is not None)
    asyncio.run(_fill_postgres(postgres.url.replace("/postgres?", f"/{size.name}?"), stages, say))


async def _fill_postgres(url: str, stages: Sequence[Stage], say: Say) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in _POSTGRES_QUICK:
            await connection.execute(statement)
        await _configure(connection, _SERVER_QUICK)
        before = await connection.fetch(_POSTGRES_SCHEMA)
        for stage in stages:
            await _fill_stage(connection, stage, say)
        _hold(before, await connection.fetch(_POSTGRES_SCHEMA))
        # As time would: what is not in use any more is cleared away, and PostgreSQL knows what it has.
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _fill_stage(connection: Any, stage: Stage, say: Say) -> None:
    progress = _Progress(stage, say)
    taken = [row for table in stage.tables for row in await connection.fetch(_POSTGRES_TAKEN, table)]
    for row in taken:
        await connection.execute(row["gone"])
    for statement in stage.statements:
        await connection.execute(statement)
        progress.filled()
    for row in taken:
        await connection.execute(row["again"])
        progress.made(row["name"])


async def _configure(connection: Any, settings: Mapping[str, str]) -> None:
    """For the whole server."""
    for name, value in settings.items():
        await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    await connection.execute("SELECT pg_reload_conf()")


def as_shipped(postgres: Postgres) -> None:
    """Back to the settings of every other run, also where a build broke off: nothing is measured before this."""
    asyncio.run(_reset(postgres.url))


async def _reset(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        shipped = shipped_settings()
        await _configure(connection, {name: shipped[name] for name in _SERVER_QUICK})
    finally:
        await connection.close()


def _hold(before: object, after: object) -> None:
    if before != after:
        raise RuntimeError("the schema is not what it was before the rows were made")


class _Progress:
    """A line every few seconds, on what is done by then."""

    def __init__(self, stage: Stage, say: Say) -> None:
        self._stage, self._say = stage, say
        self._told_at = self._began = time.monotonic()
        self._filled = 0

    def filled(self) -> None:
        self._filled += 1
        self.made(f"part {self._filled} of {len(self._stage.statements)}")

    def made(self, what: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_SECONDS:
            self._told_at = now
            self._say(f"  {self._stage.name}: {what} after {now - self._began:.0f} s")
