"""A PostgreSQL server with its default settings, ``fsync`` and ``synchronous_commit`` among them; and single questions
to databases, from outside of the services."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.processes import cpu_of_family
from tests.postgres import start_postgres


@dataclass(frozen=True, slots=True)
class Postgres:
    url: str  # of the database "postgres"
    folder: Path

    def create(self, name: str) -> str:
        """An empty database."""
        carry_out(self.url, f"CREATE DATABASE {name}")
        return self.url.replace("/postgres?", f"/{name}?")

    def cpu_seconds(self) -> float:
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        return cpu_of_family(pid)


@contextmanager
def postgres_in(folder: Path) -> Iterator[Postgres]:
    folder.mkdir(mode=0o755, exist_ok=True)
    server = start_postgres(folder)
    try:
        yield Postgres(server.get_uri(database="postgres"), folder)
    finally:
        server.cleanup()


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
