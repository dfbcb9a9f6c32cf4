"""The commands, run as an operator runs them: processes with an environment of their own."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.cli import main
from tests.processes import SECRET, Process, get, latchwatch, started, taken_port

KEY = "0123456789abcdef" * 4
SEAM_COMMANDS = ["register-webhook", "rotate-secret", "doctor"]
UPKEEP_COMMANDS = ["backfill", "rebuild-signals"]
ALL_COMMANDS = [
    *("serve", "work", "migrate", "demo", "sandbox", "tokens", "alerts", "status"),
    *SEAM_COMMANDS,
    *UPKEEP_COMMANDS,
]


def serving_at(process: Process) -> str:
    return str(json.loads(process.wait_for('"event": "serving"'))["address"])


@pytest.mark.parametrize(
    "name", [*ALL_COMMANDS, "tokens create", "tokens list", "tokens revoke", "alerts list", "alerts retry"]
)
def test_every_command_explains_itself(name: str) -> None:
    told = CliRunner().invoke(main, [*name.split(), "--help"])
    assert told.exit_code == 0
    assert len(told.output.splitlines()) >= 4


def test_help_lists_every_command_with_its_purpose() -> None:
    told = CliRunner().invoke(main, ["--help"]).output
    assert set(main.commands) == set(ALL_COMMANDS)
    assert all(re.search(rf"^  {name}\s+\S", told, re.MULTILINE) for name in ALL_COMMANDS)
    assert all(isinstance(command, click.Command) for command in main.commands.values())


def first_words(lines: str) -> list[str]:
    return sorted(re.split(r"[ :]", line)[0] for line in lines.splitlines())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, ["SEAM_WEBHOOK_SECRET"]),
        ({"SEAM_WEBHOOK_SECRET": ""}, ["SEAM_WEBHOOK_SECRET"]),
        ({"SEAM_WEBHOOK_SECRET": "changeme"}, ["SEAM_WEBHOOK_SECRET"]),
        ({"SEAM_WEBHOOK_SECRET": "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, ["SEAM_WEBHOOK_SECRET"]),
        ({"SEAM_WEBHOOK_SECRET": f"'{SECRET}'"}, ["SEAM_WEBHOOK_SECRET"]),
        ({"SEAM_WEBHOOK_SECRET": SECRET, "DATABASE_URL": "mysql://db"}, ["DATABASE_URL"]),
        ({"SEAM_WEBHOOK_SECRET": SECRET, "DATABASE_URL": "postgresql://u:p@db/x"}, ["LATCHWATCH_SECRET_KEY"]),
        (
            {"DATABASE_URL": "mysql://db", "LATCHWATCH_PORT": "http"},
            ["DATABASE_URL", "LATCHWATCH_PORT", "SEAM_WEBHOOK_SECRET"],
        ),
    ],
)
def test_wrong_settings_end_the_start_with_a_line_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], named: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", settings)
    ended = CliRunner().invoke(main, ["serve", "--port", "0"])
    assert first_words(ended.stderr) == named, ended.stderr
    assert ended.stdout == ""
    assert ended.exit_code == 2


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x", "LATCHWATCH_SECRET_KEY": KEY}, "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite:////dev/null/latch.db"}, "DATABASE_URL"),
        ({"LATCHWATCH_HOST": "no.such.host.invalid"}, "LATCHWATCH_HOST"),
    ],
)
def test_a_place_that_cannot_be_used_ends_the_start_with_one_line(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    ended = latchwatch("serve", "--port", "0", folder=tmp_path, SEAM_WEBHOOK_SECRET=SECRET, **settings)
    assert first_words(ended.stderr) == [named], ended.stderr
    assert ended.stdout == ""
    assert ended.returncode == 2


def test_a_port_in_use_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    with taken_port() as port:
        ended = latchwatch("serve", "--port", str(port), folder=tmp_path, SEAM_WEBHOOK_SECRET=SECRET)
    assert re.fullmatch(rf"LATCHWATCH_PORT {port} is in use on 127\.0\.0\.1; .*--port.*\n", ended.stderr)
    assert ended.returncode == 2


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("work",), ("migrate",), ("status",)])
def test_a_schema_from_the_future_is_left_alone(tmp_path: Path, sqlite_url: str, command: tuple[str, ...]) -> None:
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    connection.close()
    ended = latchwatch(*command, folder=tmp_path, SEAM_WEBHOOK_SECRET=SECRET, DATABASE_URL=sqlite_url)
    assert ended.returncode == 2
    assert ended.stderr.startswith("DATABASE_URL")
    assert "newer" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_postgresql_is_migrated_on_command_only(tmp_path: Path, empty_postgres_url: str) -> None:
    settings = {
        "SEAM_WEBHOOK_SECRET": SECRET,
        "DATABASE_URL": empty_postgres_url,
        "LATCHWATCH_SECRET_KEY": KEY,
    }
    for command in (["serve", "--port", "0"], ["work"], ["status"]):
        refused = latchwatch(*command, folder=tmp_path, **settings)
        assert refused.returncode == 2
        assert re.fullmatch(r"DATABASE_URL .*run latchwatch migrate\n", refused.stderr)
    assert latchwatch("migrate", folder=tmp_path, DATABASE_URL=empty_postgres_url).returncode == 0
    assert latchwatch("status", folder=tmp_path, DATABASE_URL=empty_postgres_url).returncode == 0


def test_serve_starts_on_nothing_but_a_secret_and_ends_cleanly(tmp_path: Path) -> None:
    with started("serve", "--port", "0", folder=tmp_path, SEAM_WEBHOOK_SECRET=SECRET) as process:
        url = serving_at(process)
        assert get(f"{url}/healthz").status_code == 200
        ready = get(f"{url}/readyz")
        assert ready.status_code == 200, ready.text
        assert process.stop(signal.SIGTERM) == 0
    assert (tmp_path / "data" / "latchwatch.db").exists()
    assert (tmp_path / "data" / "secret.key").exists()
    assert "Traceback" not in "".join(process.lines)


def test_the_first_token_is_printed_once_and_works(tmp_path: Path) -> None:
    with started("serve", "--port", "0", folder=tmp_path, SEAM_WEBHOOK_SECRET=SECRET) as process:
        token = process.wait_for(" lw_").strip()
        url = serving_at(process)
        assert get(f"{url}/v1/summary", {"Authorization": f"Bearer {token}"}).status_code == 200
        assert get(f"{url}/v1/summary").status_code == 401
        assert process.stop(signal.SIGINT) == 0
    with started("serve", "--port", "0", folder=tmp_path, SEAM_WEBHOOK_SECRET=SECRET) as process:
        url = serving_at(process)
        assert get(f"{url}/v1/summary", {"Authorization": f"Bearer {token}"}).status_code == 200
        assert process.stop() == 0
    assert "lw_" not in "".join(process.lines)


def test_an_admin_token_takes_the_place_of_the_first_one(tmp_path: Path) -> None:
    settings = {"SEAM_WEBHOOK_SECRET": SECRET, "LATCHWATCH_ADMIN_TOKEN": KEY}
    with started("serve", "--port", "0", "--no-background", folder=tmp_path, **settings) as process:
        url = serving_at(process)
        assert get(f"{url}/v1/summary", {"Authorization": f"Bearer {KEY}"}).status_code == 200
        assert "no-background" in get(f"{url}/readyz").text
        assert process.stop() == 0
    told = "".join(process.lines)
    assert "First start" not in told
    assert KEY not in told


def test_settings_without_effect_are_told_at_the_start(tmp_path: Path) -> None:
    settings = {"SEAM_WEBHOOK_SECRET": SECRET, "LATCHWATCH_PROT": "1"}
    with started("serve", "--port", "0", folder=tmp_path, **settings) as process:
        assert "did you mean LATCHWATCH_PORT?" in process.wait_for("setting_ignored")
        assert process.stop() == 0


def test_work_ends_cleanly(tmp_path: Path) -> None:
    with started("work", folder=tmp_path) as process:
        process.wait_for('"event": "working"')
        assert process.stop() == 0


def test_tokens_are_made_listed_and_revoked(tmp_path: Path) -> None:
    made = latchwatch("tokens", "create", "front desk", "--scope", "read", "--days", "30", folder=tmp_path)
    token = made.stdout.strip()
    ident = token.split("_")[1]
    listed = latchwatch("tokens", "list", folder=tmp_path).stdout
    assert re.search(rf"^{ident}  until .*Z\s+read\s+front desk$", listed, re.MULTILINE)
    assert token not in listed
    assert latchwatch("tokens", "revoke", ident, folder=tmp_path).returncode == 0
    assert re.search(rf"^{ident}  revoked", latchwatch("tokens", "list", folder=tmp_path).stdout, re.MULTILINE)
    again = latchwatch("tokens", "revoke", ident, folder=tmp_path)
    assert again.returncode == 1
    assert "latchwatch tokens list" in again.stderr


def test_status_tells_the_same_to_people_and_programs(tmp_path: Path) -> None:
    told = latchwatch("status", folder=tmp_path)
    assert re.search(r"^codes +none$", told.stdout, re.MULTILINE)
    assert re.search(r"^last news +never$", told.stdout, re.MULTILINE)
    assert re.search(r"^proven +nothing yet$", told.stdout, re.MULTILINE)
    assert re.search(r"^lost +0 ", told.stdout, re.MULTILINE)
    assert re.search(r"^alerts +0 unsent, 0 deliveries given up$", told.stdout, re.MULTILINE)
    assert re.search(r"^due +0 codes$", told.stdout, re.MULTILINE)
    found = json.loads(latchwatch("status", "--json", folder=tmp_path).stdout)
    assert (found["intake"]["last_delivery_at"], found["intake"]["gap_seconds"], found["intake"]["lost"]) == (
        None,
        None,
        0,
    )
    assert found["due"] == {"count": 0, "since": None, "lag_seconds": 0}
    assert found["alerts"]["dead_deliveries"] == 0


@pytest.mark.parametrize(
    "arguments", [("--speed", "0"), ("--webhook-url", "http://127.0.0.1:1"), ("--webhook-url", "x", "--secret", "y")]
)
def test_a_sandbox_that_cannot_be_says_why(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = latchwatch("sandbox", "--port", "0", *arguments, folder=tmp_path)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1


def test_the_sandbox_answers_as_seam_does(tmp_path: Path) -> None:
    with started("sandbox", "--port", "0", folder=tmp_path) as process:
        url = process.wait_for("A simulated Seam listens on").split()[5].rstrip(";")
        devices = get(f"{url}/devices/list", {"Authorization": "Bearer seam_test"}).json()["devices"]
        assert "lock_fails" in {device["device_id"] for device in devices}
        assert process.stop() == 0


def test_the_demo_shows_every_kind_of_end_on_the_next_free_port(tmp_path: Path) -> None:
    """Nothing is needed, nothing is left behind, and in half a minute good and bad codes are told apart."""
    with taken_port() as port, started("demo", "--port", str(port), folder=tmp_path) as process:
        process.wait_for(f"Port {port} is in use")
        url = re.search(r"http://[\d.:]+", process.wait_for("Latchwatch listens on"))
        assert url is not None
        for ending in (
            "Ada .*→ verified",
            "Dan .*→ failed",
            "Eve .*failed → verified",
            "Finn .*→ mismatched",
            "Gus .*→ stuck",
            "Ivy .*→ lingering",
            "Jon .*→ missed",
            "Kim .*→ scheduled",
            "Mia .*→ removed",
            "Noa .*unverifiable",
        ):
            process.wait_for_match(ending)
        assert get(f"{url[0]}/readyz").status_code == 200
        assert process.stop(signal.SIGINT) == 0
    told = "".join(process.lines)
    assert told.count("  curl -s ") == 3
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_the_demo_ends_by_itself_when_told_so(tmp_path: Path) -> None:
    ended = latchwatch("demo", "--port", "0", "--exit-after", "1.5", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "The time is up." in ended.stdout
