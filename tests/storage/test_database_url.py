from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.storage.engine import Database, open_database
from app.storage.errors import DatabaseUrlInvalid
from app.storage.limits import Limits
from tests.postgres import execute, fetch

_NOBODY = 65534


@pytest.fixture
def folder_without_rights() -> Iterator[Path]:
    """A folder that may only be read. Root may write everywhere, so a test as root is nobody for the while."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        was_root = os.getuid() == 0
        if was_root:
            os.setresuid(_NOBODY, _NOBODY, 0)
        yield folder
        if was_root:
            os.setresuid(0, 0, 0)
        folder.chmod(0o755)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data/latchwatch.db",
        "mysql://user:secret@host/database",
        "postgresql+psycopg2://user:secret@host/database",
        "postgresql://user:secret@host:port/database",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:memory?mode=memory",
        "sqlite:///no/such/folder/latchwatch.db",
        "sqlite:////",
    ],
)
def test_a_wrong_url_ends_the_start_with_one_line_that_names_the_setting(url: str) -> None:
    with pytest.raises(DatabaseUrlInvalid) as error:
        open_database(url)
    assert_one_line(error.value)


def test_a_folder_that_cannot_be_written_ends_the_start(folder_without_rights: Path) -> None:
    with pytest.raises(DatabaseUrlInvalid, match="cannot be written"):
        open_database(f"sqlite:///{folder_without_rights}/latchwatch.db")


async def test_a_file_that_is_no_database_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    await assert_unusable(f"sqlite:///{tmp_path}/notes.txt", "not a database")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("postgres:@", "nobody:secret@"), "nobody"),
        (("/postgres?", "/nowhere?"), "nowhere"),
        (("host=", "host=/no/such/folder&was="), "No such file"),
    ],
)
async def test_a_server_that_turns_us_away_ends_the_start(
    postgres_server: str, change: tuple[str, str], why: str
) -> None:
    await assert_unusable(postgres_server.replace(*change), why)


async def test_a_server_that_cannot_be_reached_ends_the_start() -> None:
    await assert_unusable("postgresql://user:secret@127.0.0.1:1/latchwatch", "Connect")


async def test_a_wrong_password_ends_the_start_and_is_not_shown(postgres_server: str, guarded: str) -> None:
    await assert_unusable(postgres_server.replace("postgres:@", f"{guarded}:secret@"), "password")


@pytest.fixture
def guarded(postgres_server: str) -> Iterator[str]:
    """A role that needs a password."""
    rules = Path(fetch(postgres_server, "SHOW hba_file"))
    before = rules.read_text()
    execute(postgres_server, "CREATE ROLE guarded LOGIN PASSWORD 'right'")
    rules.write_text(f"local all guarded scram-sha-256\n{before}")
    execute(postgres_server, "SELECT pg_reload_conf()")
    yield "guarded"
    rules.write_text(before)
    execute(postgres_server, "SELECT pg_reload_conf()")
    execute(postgres_server, "DROP ROLE guarded")


async def test_what_can_be_used_passes_the_probe(db: Database) -> None:
    await db.probe()


async def assert_unusable(url: str, why: str) -> None:
    db = open_database(url, Limits(connect=2))
    with pytest.raises(DatabaseUrlInvalid, match=why) as error:
        await db.probe()
    assert_one_line(error.value)
    await db.close()


def assert_one_line(error: DatabaseUrlInvalid) -> None:
    line = str(error)
    assert line.startswith("DATABASE_URL: ")
    assert "\n" not in line
    assert "secret" not in line
