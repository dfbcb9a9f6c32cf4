"""What holds the layout together: the arrows between packages, and one owner for each outside thing."""

from __future__ import annotations

import ast
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "app"
FILES = sorted(APP.rglob("*.py"))

# An outside thing, and the only places that may touch it.
OWNERS = {
    "svix": ("app/sandbox/", "app/alerts/"),
    "apprise": ("app/alerts/",),
    "standardwebhooks": (),
    "sqlalchemy": ("app/storage/",),
    "alembic": ("app/storage/",),
    "aiosqlite": ("app/storage/",),
    "asyncpg": ("app/storage/",),
    "sqlite3": ("app/storage/",),
    "seam": ("app/seam/",),
    "httpx_retries": ("app/seam/",),
    "httpx": ("app/seam/", "app/sandbox/", "app/alerts/", "app/demo.py", "app/doctor/probe.py"),
    "dotenv": ("app/config.py",),
    "fastapi": ("app/api/",),
    "uvicorn": ("app/server.py", "app/receiver/protocol.py"),
    "uvloop": ("app/server.py",),
    "click": ("app/cli", "app/main.py", "app/demo.py"),
}

# A function or attribute that reaches outside, and the only places that may name it.
REACHES = {
    "os.environ": ("app/config.py",),
    "os.getenv": ("app/config.py",),
    "datetime.now": ("app/clock.py",),
    "datetime.utcnow": (),
    "datetime.today": (),
    "date.today": (),
    "time.time": (),
    "time.time_ns": (),
}

# What decides must not ask: the domain is given every value that it uses.
IMPURE = {
    "asyncio",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "tempfile",
    "time",
    "uuid",
}


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def dotted_names_of(source: str) -> Iterator[str]:
    """Every ``module.name`` that the source uses, also when it was imported by ``from module import name``."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield f"{last_name(node.value)}.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
        case _:
            return ""


def trespassers(name: str, owners: tuple[str, ...]) -> list[str]:
    return [
        name_of(file)
        for file in FILES
        if not name_of(file).startswith(owners) and any(each.split(".")[0] == name for each in imports_of(file))
    ]


def test_imports_follow_the_arrows_of_the_layout() -> None:
    checked = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(("name", "owners"), OWNERS.items(), ids=OWNERS)
def test_one_place_owns_each_outside_library(name: str, owners: tuple[str, ...]) -> None:
    assert trespassers(name, owners) == []


@pytest.mark.parametrize(("name", "owners"), REACHES.items(), ids=REACHES)
def test_one_place_asks_for_the_environment_and_for_the_time(name: str, owners: tuple[str, ...]) -> None:
    found = [
        name_of(file)
        for file in FILES
        if name_of(file) not in owners and name in set(dotted_names_of(file.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os\nos.environ['A']", "os.environ"),
        ("from os import environ", "os.environ"),
        ("import datetime\ndatetime.datetime.now()", "datetime.now"),
        ("from time import time", "time.time"),
    ],
)
def test_every_way_to_reach_outside_is_seen(source: str, found: str) -> None:
    assert found in set(dotted_names_of(source))


def test_the_domain_knows_the_standard_library_and_itself() -> None:
    foreign = {
        f"{name_of(file)}: {each}"
        for file in (APP / "domain").rglob("*.py")
        for each in imports_of(file)
        if each.split(".")[0] not in sys.stdlib_module_names and not each.startswith("app.domain")
    }
    assert foreign == set()


def test_the_domain_does_no_input_or_output() -> None:
    impure = {
        f"{name_of(file)}: {each}"
        for file in (APP / "domain").rglob("*.py")
        for each in imports_of(file)
        if each.split(".")[0] in IMPURE
    }
    assert impure == set()


def test_every_import_of_the_service_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {line.split(">")[0].split("[")[0] for line in project["dependencies"]}
    # They come with FastAPI and the SDK by contract: their classes are part of those packages' own interfaces.
    declared |= {"starlette", "httpx-retries"}
    roots = {each.split(".")[0] for file in FILES for each in imports_of(file)} - {"app"} - set(sys.stdlib_module_names)
    assert {"python-dotenv" if root == "dotenv" else root.replace("_", "-") for root in roots} <= declared


def test_no_file_grows_beyond_what_one_can_hold_in_mind() -> None:
    tables = {"app/domain/problem_table.py"}  # data, looked up and not read
    long = [name_of(file) for file in FILES if len(file.read_text(encoding="utf-8").splitlines()) > 420]
    assert set(long) - tables == set()
