"""The image and the compose file: nobody is root, nothing is writable that need not be, every secret is a file.

That the image builds and its process starts is shown by ``scripts/container-check``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config import SETTINGS, Purpose, load_settings

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
OURS = ["migrate", "app"]
SETTING_NAMES = {setting.name for setting in SETTINGS}
SECRETS = {setting.name for setting in SETTINGS if setting.is_secret}


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.partition(" ")[2].strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


def environment_of(service: str) -> dict[str, str]:
    found: dict[str, str] = COMPOSE["services"][service].get("environment", {})
    return found


def test_the_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    user, _, group = instructions("USER")[-1].partition(":")
    assert user.isdigit()
    assert int(user) > 0
    assert int(group) > 0


def test_everything_installed_is_checked_against_a_hash() -> None:
    installs = [line for line in instructions("RUN") if "pip" in line and "install" in line]
    assert len(installs) >= 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def test_the_image_starts_the_service_and_asks_it_for_its_health() -> None:
    assert instructions("CMD")[-1] == '["latchwatch", "serve"]'
    assert "/healthz" in instructions("HEALTHCHECK")[-1]
    assert instructions("VOLUME") == ["/data"]


def test_what_the_image_sets_are_settings_that_hold() -> None:
    found = dict(re.findall(r"(\w+)=(\S+)", instructions("ENV")[-1]))
    chosen = {name: value for name, value in found.items() if name in SETTING_NAMES or name.startswith("LATCHWATCH_")}
    settings = load_settings(chosen, Purpose.DATABASE)
    assert settings.warnings == ()
    assert settings.host == "0.0.0.0"
    assert str(settings.sqlite_path) == "/data/latchwatch.db"


@pytest.mark.parametrize("service", OURS)
def test_a_service_of_ours_can_write_nothing_and_gain_nothing(service: str) -> None:
    found = COMPOSE["services"][service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["tmpfs"] == ["/tmp"]


@pytest.mark.parametrize("service", OURS)
def test_every_secret_is_a_file_that_the_service_is_given(service: str) -> None:
    given = {f"/run/secrets/{name}" for name in COMPOSE["services"][service]["secrets"]}
    named = {value for name, value in environment_of(service).items() if name.endswith("_FILE")}
    assert named == given
    assert not {name for name, value in environment_of(service).items() if name in SECRETS and value}
    assert {path.removeprefix("/run/secrets/") for path in given} <= set(COMPOSE["secrets"])


@pytest.mark.parametrize(("service", "purpose"), [("migrate", Purpose.DATABASE), ("app", Purpose.SERVE)])
def test_the_settings_of_the_compose_file_hold(service: str, purpose: Purpose, tmp_path: Path) -> None:
    contents = {
        "database_url": "postgresql://latchwatch:abc@db/latchwatch",
        "seam_api_key": "seam_test_1234",
        "seam_webhook_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "latchwatch_secret_key": "0123456789abcdef" * 4,
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content + "\n")
    environ = {
        name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value).replace("/run/secrets", str(tmp_path))
        for name, value in environment_of(service).items()
    }
    assert load_settings(environ, purpose).warnings == ()


def test_the_database_is_postgresql_17_or_newer_with_a_volume_and_a_health_check() -> None:
    db = COMPOSE["services"]["db"]
    assert int(db["image"].removeprefix("postgres:").split(".")[0]) >= 17
    assert db["volumes"][0].split(":")[0] in COMPOSE["volumes"]
    assert "pg_isready" in db["healthcheck"]["test"]


def test_the_database_keeps_what_it_has_committed() -> None:
    command = COMPOSE["services"]["db"]["command"]
    assert command[0] == "postgres"
    names = {option.removeprefix("--").partition("=")[0] for option in command[1:]}
    assert "max_wal_size" in names
    assert not names & {"fsync", "synchronous_commit", "full_page_writes", "wal_level"}


def test_the_service_waits_for_the_migration_and_that_for_the_database() -> None:
    services = COMPOSE["services"]
    assert services["app"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"


def test_the_service_can_be_scaled() -> None:
    app = COMPOSE["services"]["app"]
    assert "container_name" not in app
    assert "-8009}:8000" in app["ports"][0]


def test_what_is_not_needed_stays_out_of_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {name.removeprefix("./") for line in instructions("COPY") for name in line.split()[:-1] if "=" not in name}
    assert kept == copied - {"/opt/latchwatch"}
