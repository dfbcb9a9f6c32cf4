"""The pages for users: nothing that can be set, called or run is missing from them, and nothing in them is made up."""

from __future__ import annotations

import re
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click
import pytest
from prometheus_client import CollectorRegistry

from app.cli import main
from app.clock import utc_now
from app.config import SETTINGS, Purpose, Setting, load_settings
from app.domain.assessment import Verdict
from app.main import Service, bring_up_to_date, open_storage

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# Served beside the API's own description.
OUTSIDE_THE_DESCRIPTION = {"POST /webhooks/seam", "GET /docs", "GET /openapi.json"}


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def first_cells(text: str) -> set[str]:
    """What stands between backticks in the first cell of every table row."""
    return {
        found
        for line in text.splitlines()
        if line.startswith("| `")
        for found in re.findall(r"`([^`]+)`", cells(line)[0])
    }


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def commands(group: click.Group, prefix: str = "latchwatch") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


@pytest.fixture
async def described_routes(tmp_path: Path) -> AsyncIterator[set[str]]:
    """Every route of the API's own description, as ``METHOD /path``."""
    environ = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/latch.db",
        "SEAM_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }
    settings = load_settings(environ, Purpose.SERVE)
    db = open_storage(settings)
    await bring_up_to_date(db)
    service = Service(settings, db, utc_now, CollectorRegistry())
    yield {f"{method.upper()} {path}" for path, each in service.api.openapi()["paths"].items() for method in each}
    await service.stop()
    await db.close()


@pytest.mark.parametrize("setting", SETTINGS, ids=[setting.name for setting in SETTINGS])
def test_every_setting_is_told_with_its_default_and_meaning(setting: Setting) -> None:
    (row,) = [line for line in page("docs/settings.md").splitlines() if line.startswith(f"| `{setting.name}`")]
    name, default, meaning = cells(row)
    assert name.endswith("(file)") is setting.is_secret
    assert default == (f"`{setting.default}`" if setting.default else "")
    assert meaning == setting.meaning


@pytest.mark.parametrize("name", ["docs/settings.md", "README.md"])
def test_a_page_with_settings_names_all_of_them_and_no_other(name: str) -> None:
    told = set(re.findall(r"\b(?:LATCHWATCH|SEAM)_[A-Z_]+\b|\bDATABASE_URL\b", page(name)))
    known = {setting.name for setting in SETTINGS}
    assert known <= told
    assert told <= known | {f"{name}_FILE" for name in known}


async def test_every_route_is_told_and_no_other(described_routes: set[str]) -> None:
    assert first_cells(page("docs/api.md")) & {"GET /healthz", "POST /webhooks/seam"}
    told = {cell for cell in first_cells(page("docs/api.md")) if re.match(r"[A-Z]+ /", cell)}
    assert told == described_routes | OUTSIDE_THE_DESCRIPTION


def test_every_command_is_told_with_its_options_and_no_other() -> None:
    lines = {
        cells(line)[0].strip("`"): line for line in page("docs/operations.md").splitlines() if "| `latchwatch " in line
    }
    told = {re.sub(r"( [A-Z_]+)+$", "", name): line for name, line in lines.items()}
    known = dict(commands(main))
    assert set(told) == set(known)
    for name, command in known.items():
        options = [each for option in command.params if isinstance(option, click.Option) for each in option.opts]
        assert [each for each in options if each.startswith("--") and each not in told[name]] == [], name


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_is_told(verdict: Verdict) -> None:
    assert f"`{verdict}`" in page("docs/verdicts.md")


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(page("pyproject.toml"))
    declared = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[\[>=<]", line)[0] for line in declared}
    told = {
        name
        for line in page("docs/dependencies.md").splitlines()
        if line.startswith("| ")
        for name in cells(line)[0].split(", ")
    }
    assert names <= told
    assert told - names <= {"package", "---"}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_every_link_between_pages_leads_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", file.read_text(encoding="utf-8")):
        assert (file.parent / target).exists(), target


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_every_file_that_is_named_exists(file: Path) -> None:
    """Paths in backticks that begin with one of our folders."""
    named = re.findall(r"`((?:app|docs|tests|migrations|scripts)/[\w./-]*)`", file.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_make_targets_that_are_told_exist() -> None:
    told = {
        name
        for file in PAGES
        for name in re.findall(r"(?:^|`)make ([a-z]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert told <= set(re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_no_page_waits_for_something_to_be_filled_in(file: Path) -> None:
    assert re.findall(r"@[A-Z]+@|\bTBD\b|\bTODO\b", file.read_text(encoding="utf-8")) == []
