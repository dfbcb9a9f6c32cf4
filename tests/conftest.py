"""Databases for the tests: a PostgreSQL server of their own, and databases made by the real migrations.

``db`` runs a test once on SQLite and once on PostgreSQL. ``database_url`` is the same as a URL, for tests that open it
themselves; ``sqlite_url`` and ``postgres_url`` are one of the two. Every test gets a fresh, migrated database.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from app.storage.engine import Database, open_database
from tests.postgres import run_apart, start_postgres
from tests.postgres_databases import PostgresDatabases, migrate_at
from tests.scheduling import ProcessesOnOneWorker

# How long an example takes tells of the machine and who else is busy on it, not of what is tested.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return ProcessesOnOneWorker(config, log)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of the database "postgres" on a server with its default settings, durability among them."""
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        try:
            server = start_postgres(Path(folder))
        except (ImportError, OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no PostgreSQL server could be started here: {error!r}")
        yield server.get_uri(database="postgres")
        server.cleanup()


@pytest.fixture(scope="session")
def _postgres_databases(postgres_server: str) -> PostgresDatabases:
    return PostgresDatabases(postgres_server)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "migrated.db"
    run_apart(migrate_at(f"sqlite:///{path}"))
    return path


@pytest.fixture
def empty_postgres_url(_postgres_databases: PostgresDatabases) -> Iterator[str]:
    """A database without any table."""
    url = _postgres_databases.create()
    yield url
    _postgres_databases.drop(url)


@pytest.fixture
def postgres_url(_postgres_databases: PostgresDatabases) -> Iterator[str]:
    url = _postgres_databases.take()
    yield url
    _postgres_databases.give_back(url)


@pytest.fixture
def fresh_postgres_url(_postgres_databases: PostgresDatabases) -> Iterator[str]:
    """A migrated database that no test has used before."""
    url = _postgres_databases.create_migrated()
    yield url
    _postgres_databases.drop(url)


@pytest.fixture
def sqlite_url(tmp_path: Path, _sqlite_template: Path) -> str:
    path = tmp_path / "latchwatch.db"
    shutil.copyfile(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Indirect: parametrise it with "sqlite" or "postgresql"."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url)
    yield database
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def fresh_db(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """For tests on plans."""
    database = open_database(
        request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "fresh_postgres_url")
    )
    yield database
    await database.close()
