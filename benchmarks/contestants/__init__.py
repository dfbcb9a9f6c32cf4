"""Who takes part: how each is started, and where its rows are."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.databases import Postgres, ask
from benchmarks.deliveries import SECRET
from benchmarks.processes import Server, free_port, serving
from benchmarks.tracked import make_database

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TOKEN = "benchmark-admin-token-benchmark"
_BIN = Path(sys.executable).parent
_COUNT_EVENTS = "SELECT count(*) FROM events WHERE event_id LIKE"
_COUNT_DUE = """
    SELECT count(*) FROM access_codes LEFT JOIN signals USING (access_code_id)
    WHERE (due_at <= $1 OR marked_at IS NOT NULL) AND updated_at <= $2"""


@dataclass(frozen=True, slots=True)
class Contestant:
    """``url`` is that of its database, if it has one."""

    name: str
    command: Callable[[int], list[str]]
    url: str | None = None
    log: Path = Path("/dev/null")

    @property
    def is_postgres(self) -> bool:
        return self.url is not None and self.url.startswith("postgresql")

    @contextmanager
    def running(self, **settings: str) -> Iterator[Server]:
        with self.running_at(free_port(), **settings) as server:
            yield server

    @contextmanager
    def running_at(self, port: int, **settings: str) -> Iterator[Server]:
        environment = {"PORT": str(port), **self.environment(), **settings}
        with serving(self.command(port), port, ROOT, self.log, environment) as server:
            yield server

    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.url or "",
            "SEAM_WEBHOOK_SECRET": SECRET,
            "LATCHWATCH_SECRET_KEY": "0123456789abcdef" * 4,
            "LATCHWATCH_ADMIN_TOKEN": TOKEN,
        }

    def rows(self, mark: str) -> int | None:
        """How many events with this mark in their ids are kept. ``None``: it keeps nothing."""
        # With what stands before it: alone it is found by chance in one of 65 536 other ids as well.
        return None if self.url is None else ask(self.url, f"{_COUNT_EVENTS} $1", f"%-4___{mark}%")

    def due(self, now: datetime, since: datetime) -> int:
        """How many codes wait to be assessed, and were not since that moment. Those that only Seam can tell more about
        come due again and again."""
        assert self.url is not None
        moments = [each if self.is_postgres else int(each.timestamp() * 1_000_000) for each in (now, since)]
        return ask(self.url, _COUNT_DUE, *moments)


def everyone(folder: Path, postgres: Postgres) -> Iterator[Contestant]:
    """All that can take part here, in the order of their turns."""

    def make(name: str, command: Callable[[int], list[str]], url: str | None = None) -> Contestant:
        return Contestant(name, command, url, folder / f"{name.replace(' ', '-')}.log")

    yield make("ASGI no-op", uvicorn("benchmarks.contestants.nothing:bare"))
    yield make("FastAPI no-op", uvicorn("benchmarks.contestants.nothing:fastapi"))
    naive = uvicorn("benchmarks.contestants.naive:app")
    yield make("naive SQLite", naive, f"sqlite:///{folder / 'naive.db'}")
    yield make("naive PostgreSQL", naive, postgres.create("naive"))
    if fastify_obstacle() is None:
        node = [shutil.which("node") or "node", str(HERE / "fastify" / "server.mjs")]
        yield make("Fastify PostgreSQL", lambda _port: node, postgres.create("fastify"))
    for engine, url in (("SQLite", f"sqlite:///{folder / 'latchwatch.db'}"), ("PostgreSQL", postgres.create("ours"))):
        make_database(url)
        yield make(f"Latchwatch {engine}", latchwatch("serve"), url)


def fastify_obstacle() -> str | None:
    """Why Fastify cannot take part here."""
    if shutil.which("node") is None:
        return "there is no node"
    if not (HERE / "fastify" / "node_modules").is_dir():
        return "npm ci --prefix benchmarks/contestants/fastify was not run"
    return None


def latchwatch(*arguments: str) -> Callable[[int], list[str]]:
    return lambda port: [str(_BIN / "latchwatch"), *arguments, "--port", str(port)]


def uvicorn(app: str) -> Callable[[int], list[str]]:
    """With the same parser and loop as the service's own server."""
    options = ["--http", "httptools", "--loop", "uvloop", "--ws", "none", "--no-access-log", "--no-server-header"]
    return lambda port: [str(_BIN / "uvicorn"), app, "--port", str(port), *options, "--log-level", "warning"]
