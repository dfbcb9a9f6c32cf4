"""A PostgreSQL server with the settings of ``docker-compose.yml``, which leave ``fsync``, ``synchronous_commit`` and
``full_page_writes`` on; and single questions to databases, from outside of the services."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import yaml

from benchmarks.processes import cpu_of_family
from tests.postgres import start_postgres

COMPOSE = Path(__file__).parent.parent / "docker-compose.yml"


@dataclass(frozen=True, slots=True)
class Postgres:
    url: str  # of the database "postgres"
    folder: Path

    def create(self, name: str, template: str = "template1") -> str:
        """An empty database, or a copy of another one that nobody is connected to."""
        carry_out(self.url, f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url.replace("/postgres?", f"/{name}?")

    def wal_bytes(self) -> int:
        """Written so far, of all databases."""
        return ask(self.url, "SELECT pg_current_wal_insert_lsn() - '0/0'")

    def cpu_seconds(self) -> float:
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        return cpu_of_family(pid)


def shipped_settings() -> dict[str, str]:
    """Of the server that ``docker-compose.yml`` starts."""
    command: list[str] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]["db"]["command"]
    pairs = (option.removeprefix("--").partition("=") for option in command[1:])
    return {name: value for name, _, value in pairs}


@contextmanager
def postgres_in(folder: Path) -> Iterator[Postgres]:
    folder.mkdir(mode=0o755, exist_ok=True)
    server = start_postgres(folder)
    for name, value in shipped_settings().items():
        carry_out(server.get_uri(database="postgres"), f"ALTER SYSTEM SET {name} = '{value}'")
    server.cleanup()  # some of them hold from the next start on
    server = start_postgres(folder)
    try:
        yield Postgres(server.get_uri(database="postgres"), folder)
    finally:
        server.cleanup()


@contextmanager
def postgres_in_kept(folder: Path) -> Iterator[Postgres]:
    """A server on the data of the run before, if it was kept."""
    shutil.rmtree(folder / "runtime", ignore_errors=True)
    with postgres_in(folder) as postgres:
        yield postgres


def ask(url: str, query: str, *values: object) -> int:
    """The number that one query answers; its parameters are $1, $2, …, on SQLite as well."""
    if not url.startswith("postgresql"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            number: int = connection.execute(query.replace("$", "?"), values).fetchone()[0]
            return number

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query, *values)
        finally:
            await connection.close()

    return int(asyncio.run(run()))


def carry_out(url: str, statement: str) -> None:
    """One statement on PostgreSQL, outside of any transaction."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())
