"""Databases on the tests' PostgreSQL server. Making one takes half a second, so a clean one goes to the next test."""

from __future__ import annotations

from itertools import count

import asyncpg

from app.storage.engine import open_database
from app.storage.migrate import migrate
from app.storage.tables import metadata
from tests.postgres import execute, run_apart

_TEMPLATE = "migrated_template"
# Whatever a test may change besides rows. It differs: the database is thrown away.
_SHAPE = """
    SELECT md5(string_agg(thing, ' ' ORDER BY thing)) FROM (
        SELECT concat_ws(',', attrelid::regclass, attname, atttypid, attnotnull, attisdropped) AS thing
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT setconfig::text FROM pg_db_role_setting
        UNION ALL SELECT version_num FROM alembic_version
    ) AS things"""
_LEFTOVERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != $1"
_COUNTERS = "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"
_ROWS = "".join(f"DELETE FROM {table.name};" for table in reversed(metadata.sorted_tables))  # noqa: S608 - our own names
_UNCOUNTED = "DELETE FROM count_changes; DELETE FROM counts;"  # what deleting the rows was noted as
_FIRST_ROWS = "INSERT INTO intake (id) VALUES (1)"  # as the migrations leave it


class PostgresDatabases:
    """Hands out freshly migrated databases of one server and takes them back."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._spare: list[str] = []
        self._numbers = count(1)
        execute(server, f"CREATE DATABASE {_TEMPLATE}")
        run_apart(migrate_at(self._url(_TEMPLATE)))
        self._shape = run_apart(_clean(self._url(_TEMPLATE)))

    def take(self) -> str:
        return self._spare.pop() if self._spare else self.create_migrated()

    def create_migrated(self) -> str:
        """One that no test has used: statistics and dead rows of others would be part of its plans."""
        return self.create(_TEMPLATE)

    def give_back(self, url: str) -> None:
        if run_apart(_clean(url)) == self._shape:
            self._spare.append(url)
        else:
            self.drop(url)

    def create(self, template: str = "template1") -> str:
        name = f"test_{next(self._numbers)}"
        execute(self._server, f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._url(name)

    def drop(self, url: str) -> None:
        name = url.partition("?")[0].rpartition("/")[2]
        execute(self._server, f"DROP DATABASE {name} WITH (FORCE)")

    def _url(self, name: str) -> str:
        return self._server.replace("/postgres?", f"/{name}?")


async def migrate_at(url: str) -> None:
    database = open_database(url)
    try:
        await migrate(database)
    finally:
        await database.close()


async def _clean(url: str) -> str | None:
    """Remove every row, and tell the shape of what is left: ``None`` if it cannot even be looked at."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_LEFTOVERS, connection.get_server_pid())
        shape: str = await connection.fetchval(_SHAPE)
        async with connection.transaction():
            await connection.execute(_ROWS + _UNCOUNTED + _FIRST_ROWS)
        await connection.execute(_COUNTERS)
    except asyncpg.PostgresError:
        return None
    else:
        return shape
    finally:
        await connection.close()
