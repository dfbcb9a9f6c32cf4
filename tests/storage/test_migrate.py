from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select, text

from app.storage import migrate as module
from app.storage.counts import Count, count_all, count_on_locks
from app.storage.durations import newest_durations
from app.storage.engine import Database, open_database
from app.storage.errors import SchemaAhead, StorageUnavailable
from app.storage.migrate import ALEMBIC_OPTIONS, SchemaState, downgrade, migrate, schema_state
from app.storage.tables import metadata, transitions
from app.storage.types import ByteString
from tests.storage.arrivals import NOW, after
from tests.storage.tracked import row, track

_HAPPENED = ("inserted", "deleted", "left", "came")
BOTH = pytest.mark.parametrize("empty_database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncIterator[Database]:
    database = open_database(empty_database_url)
    yield database
    await database.close()


_OF_SQLITE = "SELECT tbl_name, name, sql FROM sqlite_master WHERE tbl_name != 'alembic_version'"
_OF_POSTGRESQL = """
    SELECT table_name, column_name, concat_ws(' ', data_type, collation_name, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name != 'alembic_version'
    UNION ALL SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename != 'alembic_version'
    UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text != 'alembic_version'"""


async def schema(db: Database) -> set[tuple[str, ...]]:
    """Every column, index and constraint: its table, its name, and how it is defined."""
    async with db.read() as connection:
        rows = await connection.execute(text(_OF_SQLITE if db.dialect == "sqlite" else _OF_POSTGRESQL))
        return {tuple(row) for row in rows}


@BOTH
async def test_up_and_down_and_up_again_gives_the_same_schema(empty: Database) -> None:
    await migrate(empty)
    first = await schema(empty)
    assert {table for table, *_ in first} == set(metadata.tables)
    await downgrade(empty, "base")
    assert await schema(empty) == set()
    await migrate(empty)
    assert await schema(empty) == first


# It can compare them on PostgreSQL, and no others are meant for SQLite.
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
async def test_the_migrations_build_what_the_tables_say(db: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        def concerns(it: Any, *_: object) -> bool:
            """Whether it is meant for this database."""
            only = getattr(it, "_ddl_if", None)
            return only is None or only.dialect == connection.dialect.name

        options = {**ALEMBIC_OPTIONS, "compare_server_default": True, "include_object": concerns}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with db.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_byte_strings_are_compared_byte_by_byte(postgres_url: str) -> None:
    """Alembic does not compare collations."""
    db = open_database(postgres_url)
    found = {(table, name) for table, name, definition in await schema(db) if definition.split()[2:3] == ["C"]}
    await db.close()
    columns = [column for table in metadata.sorted_tables for column in table.columns]
    assert found == {(column.table.name, column.name) for column in columns if column.type is ByteString}


@BOTH
async def test_the_state_of_a_schema(empty: Database) -> None:
    """empty → migrated → of a newer Latchwatch, which is left alone"""
    assert await schema_state(empty) is SchemaState.EMPTY
    await migrate(empty)
    assert await schema_state(empty) is SchemaState.CURRENT
    async with empty.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert await schema_state(empty) is SchemaState.AHEAD
    with pytest.raises(SchemaAhead, match=r"DATABASE_URL: the database has schema 9999.*newer version"):
        await migrate(empty)


async def test_migrating_what_is_current_changes_nothing(db: Database) -> None:
    before = await schema(db)
    await migrate(db)
    assert await schema(db) == before


@BOTH
async def test_tasks_that_migrate_at_once_queue(empty: Database, empty_database_url: str) -> None:
    others = [open_database(empty_database_url) for _ in range(3)]
    await asyncio.gather(*(migrate(db) for db in (empty, *others)))
    assert await schema_state(empty) is SchemaState.CURRENT
    for db in others:
        await db.close()


@BOTH
async def test_processes_that_migrate_at_once_queue(empty: Database, empty_database_url: str) -> None:
    script = (
        "import asyncio, sys\n"
        "from app.storage.engine import open_database\n"
        "from app.storage.migrate import migrate\n"
        "asyncio.run(migrate(open_database(sys.argv[1])))\n"
    )
    both = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, empty_database_url, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    answers = await asyncio.gather(*(process.communicate() for process in both))
    assert [(process.returncode, answer[1].decode()) for process, answer in zip(both, answers, strict=True)] == [
        (0, ""),
        (0, ""),
    ]
    assert await schema_state(empty) is SchemaState.CURRENT


@BOTH
async def test_a_migration_that_fails_half_way_leaves_nothing(empty: Database) -> None:
    async with empty.write() as connection:
        await connection.execute(text("CREATE TABLE alerts (in_the_way integer)"))
    before = await schema(empty)
    with pytest.raises(StorageUnavailable, match="alerts"):
        await migrate(empty)
    assert await schema(empty) == before
    assert await schema_state(empty) is SchemaState.EMPTY


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A tree with one revision more, which changes a table that others refer to."""
    tree = tmp_path / "migrations"
    shutil.copytree(module._TREE, tree)
    head = ScriptDirectory(str(tree)).get_current_head()
    (tree / "versions" / "next.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision = 'next', '{head}'\n"
        "def upgrade():\n"
        "    with op.batch_alter_table('access_codes', recreate='auto') as table:\n"
        "        table.add_column(sa.Column('more', sa.String))\n"
        "        table.alter_column('reason', nullable=True, existing_type=sa.Text)\n"
    )
    monkeypatch.setattr(module, "_TREE", tree)
    module._scripts.cache_clear()
    yield
    module._scripts.cache_clear()


async def test_a_database_of_the_last_release_is_behind_and_keeps_its_rows_when_migrated(
    db: Database, next_release: None
) -> None:
    """SQLite builds the table anew: nothing that refers to it may go with the old one."""
    await track(db, row("a"))
    async with db.write() as connection:
        await connection.execute(
            transitions.insert().values(code_id="a", at=NOW, to_verdict="v", since=NOW, reason="r")
        )
    assert await schema_state(db) is SchemaState.BEHIND
    await migrate(db)
    assert await schema_state(db) is SchemaState.CURRENT
    async with db.read() as connection:
        assert (await connection.execute(select(transitions.c.code_id))).scalar_one() == "a"
        assert (await connection.execute(text("SELECT id, more FROM access_codes"))).one() == ("a", None)


COUNTING = {f"count_{table}_{happened}" for table in ("access_codes", "flags") for happened in _HAPPENED}


async def test_the_newest_schema_counts(db: Database) -> None:
    """A migration that has SQLite build such a table anew has to make its triggers again."""
    of_sqlite = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    of_postgresql = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
    async with db.read() as connection:
        names = await connection.execute(text(of_sqlite if db.dialect == "sqlite" else of_postgresql))
        assert set(names.scalars()) == COUNTING


async def _fill_as_before_the_counters(db: Database) -> None:
    """Rows of schema 0002: verified after 8 seconds, untracked, and stuck with an open flag."""
    async with db.write() as connection:
        statement = insert(metadata.tables["access_codes"])
        made: dict[str, dict[str, Any]] = {
            "a": {"verdict": "verified", "requested_at": NOW, "starts_at": after(2)},
            "b": {"verdict": "verified", "untracked_at": NOW, "origin": "tracked"},
            "c": {"verdict": "stuck", "device_id": "other"},
            "d": {"verdict": "removed", "end_asked_at": after(30), "ends_at": after(99)},
        }
        for name, columns in made.items():
            await connection.execute(statement.values(row(name, **columns)))
        for code_id, verdict, since in (("a", "verified", 10), ("a", "verified", 50), ("b", "verified", 9)):
            values = {"code_id": code_id, "to_verdict": verdict, "at": NOW, "since": after(since), "reason": "r"}
            await connection.execute(insert(transitions).values(values))
        gone = {"code_id": "d", "to_verdict": "removed", "at": NOW, "since": after(34.5), "reason": "r"}
        await connection.execute(insert(transitions).values(gone))
        for name, code_id, closed_at in (("f", "c", None), ("g", "a", NOW)):
            told: dict[str, Any] = {
                "kind": "stuck",
                "severity": "critical",
                "opened_at": NOW,
                "reason": "r",
                "created_at": NOW,
            }
            values = {"id": name, "code_id": code_id, "closed_at": closed_at, **told}
            await connection.execute(insert(metadata.tables["flags"]).values(values))


async def test_counters_begin_with_what_is_stored(db: Database) -> None:
    await downgrade(db, "0002")
    await _fill_as_before_the_counters(db)
    for _ in range(2):
        await migrate(db)
        async with db.read() as connection:
            assert await count_all(connection, "watched") == {"verified": 1, "stuck": 1, "removed": 1}
            assert await count_all(connection, "open_flags") == {"stuck": 1}
            assert set((await count_on_locks(connection, ["device"]))["device"]) == {
                Count("watched", "verified", was_verified=True, count=1),
                Count("untracked", "verified", was_verified=True, count=1),
                Count("watched", "removed", was_verified=False, count=1),
            }
            assert await newest_durations(connection, "set") == [8.0]
            assert await newest_durations(connection, "removed") == [4.5]
            flagged = select(metadata.tables["access_codes"].c.id).where(text("is_flagged"))
            assert list((await connection.execute(flagged)).scalars()) == ["c"]
        await downgrade(db, "0002")
    await migrate(db)
