"""Settings are read once and strictly; a wrong one ends the start with a line that names it and the remedy."""

from __future__ import annotations

import dataclasses
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from app.config import SETTINGS, Purpose, Settings, SettingsError, load_settings, read_environment
from app.data_folder import prepare_data_folder, secret_key_of
from app.domain.assessment import Policy

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = "0123456789abcdef" * 4
POSTGRESQL = "postgresql://latch:hunter2hunter2@db/latchwatch"


def load(purpose: Purpose = Purpose.SERVE, /, **environ: str) -> Settings:
    return load_settings({"SEAM_WEBHOOK_SECRET": SECRET} | environ, purpose)


def problems_of(purpose: Purpose = Purpose.SERVE, /, **environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load(purpose, **environ)
    return raised.value.problems


def test_a_webhook_secret_is_all_that_has_to_be_set() -> None:
    settings = load()
    assert settings.database_url == "sqlite:///data/latchwatch.db"
    assert settings.sqlite_path == Path("data/latchwatch.db")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.seam_api_key is None
    assert settings.policy() == Policy()
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SEAM_WEBHOOK_SECRET", "changeme"),
        ("SEAM_WEBHOOK_SECRET", "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("SEAM_WEBHOOK_SECRET", ""),
        ("SEAM_WEBHOOK_SECRET", "   "),
        ("SEAM_WEBHOOK_SECRET", f'"{SECRET}"'),
        ("SEAM_WEBHOOK_SECRET", f"'{SECRET}'"),
        ("SEAM_WEBHOOK_SECRET", "whsec_abc"),
        ("SEAM_WEBHOOK_SECRET", f"{SECRET},"),
        ("SEAM_API_KEY", '"seam_test1234"'),
        ("SEAM_API_KEY", "seam_test 1234"),
        ("SEAM_API_KEY", "sk_live_1234"),
        ("SEAM_API_KEY", "seam_cst1_1234"),
        ("SEAM_API_KEY", "seam_at1_1234"),
        ("SEAM_ENDPOINT", "connect.getseam.com"),
        ("DATABASE_URL", "mysql://root@db/latchwatch"),
        ("DATABASE_URL", "latchwatch.db"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "sqlite:///data/"),
        ("DATABASE_URL", "sqlite:latchwatch.db"),
        ("DATABASE_URL", "postgresql://latch:hunter2@db"),
        ("DATABASE_URL", "postgresql://latch:hunter2@db:port/latchwatch"),
        ("DATABASE_URL", "postgresql://latch:hun ter2@db/latchwatch"),
        ("LATCHWATCH_ADMIN_TOKEN", "twenty characters with spaces"),
        ("LATCHWATCH_HOST", "http://localhost"),
        ("LATCHWATCH_PORT", "0"),
        ("LATCHWATCH_PORT", "65536"),
        ("LATCHWATCH_PORT", "http"),
        ("LATCHWATCH_PORT", "tcp://10.0.0.1:8000"),
        ("LATCHWATCH_PUBLIC_URL", "latchwatch.example.com"),
        ("LATCHWATCH_PUBLIC_URL", "https://user:hunter2@latchwatch.example.com"),
        ("LATCHWATCH_SET_WITHIN", "10m"),
        ("LATCHWATCH_SET_WITHIN", "-1"),
        ("LATCHWATCH_SET_WITHIN", "0"),
        ("LATCHWATCH_SET_WITHIN", "nan"),
        ("LATCHWATCH_REMOVE_WITHIN", "99999999999"),
        ("LATCHWATCH_LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line_with_its_remedy(name: str, text: str) -> None:
    (problem,) = problems_of(**{name: text})
    assert problem.startswith(f"{name} ")
    assert "\n" not in problem
    assert any(word in problem for word in ("should", "without", "take the comma away", "enableServiceLinks"))


@pytest.mark.parametrize("name", ["LATCHWATCH_SECRET_KEY", "LATCHWATCH_ADMIN_TOKEN", "LATCHWATCH_METRICS_TOKEN"])
def test_a_secret_that_could_be_guessed_is_taken_with_a_warning(name: str) -> None:
    (warning,) = load(**{name: "short"}).warnings
    assert warning.startswith(f"{name} is short")


@pytest.mark.parametrize("name", ["START_GRACE", "PRELOAD_BY", "AT_RISK_BEFORE"])
def test_a_span_before_or_after_a_start_may_be_nothing(name: str) -> None:
    assert getattr(load(**{f"LATCHWATCH_{name}": "0"}), name.lower()) == timedelta(0)


def test_every_problem_is_told_at_once() -> None:
    found = problems_of(
        SEAM_WEBHOOK_SECRET="changeme",
        DATABASE_URL="mysql://db",
        LATCHWATCH_PORT="http",
        LATCHWATCH_SET_WITHIN="soon",
    )
    assert {line.split()[0] for line in found} == {
        "SEAM_WEBHOOK_SECRET",
        "DATABASE_URL",
        "LATCHWATCH_PORT",
        "LATCHWATCH_SET_WITHIN",
    }


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS if setting.is_secret])
def test_the_text_of_a_secret_is_never_repeated(name: str) -> None:
    told = " ".join(problems_of(**{name: "hunter2 '"}))
    assert name in told
    assert "hunter2" not in told


def test_secrets_stay_out_of_the_representation() -> None:
    settings = load(
        DATABASE_URL=POSTGRESQL,
        SEAM_API_KEY="seam_test_hunter2",
        LATCHWATCH_SECRET_KEY="hunter2" * 6,
        LATCHWATCH_ADMIN_TOKEN="hunter2" * 6,
        LATCHWATCH_METRICS_TOKEN="hunter2" * 6,
    )
    assert "hunter2" not in repr(settings)
    assert SECRET.removeprefix("whsec_") not in repr(settings)


@pytest.mark.parametrize(
    ("purpose", "environ", "named"),
    [
        (Purpose.SERVE, {}, {"SEAM_WEBHOOK_SECRET"}),
        (Purpose.SERVE, {"DATABASE_URL": POSTGRESQL}, {"SEAM_WEBHOOK_SECRET", "LATCHWATCH_SECRET_KEY"}),
        (Purpose.WORK, {"DATABASE_URL": POSTGRESQL}, {"LATCHWATCH_SECRET_KEY"}),
        (Purpose.WORK, {}, set()),
        (Purpose.DATABASE, {"DATABASE_URL": POSTGRESQL}, set()),
        (Purpose.DATABASE, {"SEAM_WEBHOOK_SECRET": "changeme"}, {"SEAM_WEBHOOK_SECRET"}),
    ],
)
def test_what_must_be_set_depends_on_the_command(purpose: Purpose, environ: dict[str, str], named: set[str]) -> None:
    try:
        load_settings(environ, purpose)
        missing = set[str]()
    except SettingsError as error:
        missing = {line.split()[0] for line in error.problems}
    assert missing == named


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("seam_test_1234\n")
    assert load(SEAM_API_KEY_FILE=str(tmp_path / "key")).seam_api_key == "seam_test_1234"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_secret_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    (problem,) = problems_of(SEAM_API_KEY_FILE=str(file))
    assert problem.startswith("SEAM_API_KEY_FILE ")
    assert "should" in problem


def test_a_webhook_secret_in_a_file_that_is_missing_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({"SEAM_WEBHOOK_SECRET_FILE": str(tmp_path / "none")}, Purpose.SERVE)
    assert len(raised.value.problems) == 1


def test_a_secret_set_directly_and_by_file_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(SEAM_API_KEY="seam_test_1234", SEAM_API_KEY_FILE=str(tmp_path / "key"))
    assert "SEAM_API_KEY is set twice" in problem


def test_two_webhook_secrets_are_both_live_while_they_change() -> None:
    other = "whsec_" + "QUJD" * 8
    assert len(load(SEAM_WEBHOOK_SECRET=f"{SECRET}, {other}").webhook_secrets) == 2


def test_an_empty_text_counts_as_not_set() -> None:
    settings = load(SEAM_API_KEY="", LATCHWATCH_PORT="", DATABASE_URL=" ")
    assert settings.seam_api_key is None
    assert settings.port == 8000
    assert settings.database_url == "sqlite:///data/latchwatch.db"


def test_postgres_is_taken_for_postgresql() -> None:
    url = load(DATABASE_URL="postgres://u:p@db:5432/latch?sslmode=require", LATCHWATCH_SECRET_KEY=KEY).database_url
    assert url == "postgresql://u:p@db:5432/latch?sslmode=require"


def test_seconds_become_the_policy() -> None:
    settings = load(LATCHWATCH_SET_WITHIN="2.5", LATCHWATCH_AT_RISK_BEFORE="60")
    assert settings.policy().set_within == timedelta(seconds=2.5)
    assert settings.policy().at_risk_before == timedelta(minutes=1)


def test_every_limit_of_the_policy_is_a_setting_with_the_same_default() -> None:
    defaults = {setting.field: setting.default for setting in SETTINGS}
    for limit in dataclasses.fields(Policy):
        assert defaults[limit.name] == str(int(getattr(Policy(), limit.name).total_seconds()))


def test_every_setting_has_its_field() -> None:
    assert {setting.field for setting in SETTINGS} == {each.name for each in dataclasses.fields(Settings)} - {
        "warnings"
    }


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("LATCHWATCH_PROT", "LATCHWATCH_PROT is not a setting of Latchwatch; did you mean LATCHWATCH_PORT?"),
        ("LATCHWATCH_XYZZY_QUUX_ABC", "LATCHWATCH_XYZZY_QUUX_ABC is not a setting of Latchwatch"),
    ],
)
def test_a_setting_without_effect_is_warned_about(name: str, warning: str) -> None:
    assert load(**{name: "1"}).warnings == (warning,)


def test_the_environment_overrules_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("LATCHWATCH_PORT=1111\nLATCHWATCH_HOST='127.0.0.2'\nSEAM_API_KEY=seam_$HOME\n")
    monkeypatch.setenv("LATCHWATCH_PORT", "2222")
    monkeypatch.delenv("LATCHWATCH_HOST", raising=False)
    monkeypatch.delenv("SEAM_API_KEY", raising=False)
    found = read_environment()
    assert (found["LATCHWATCH_PORT"], found["LATCHWATCH_HOST"]) == ("2222", "127.0.0.2")
    assert found["SEAM_API_KEY"] == "seam_$HOME"


def test_the_secret_key_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    settings = load(DATABASE_URL=f"sqlite:///{tmp_path}/new/latch.db")
    prepare_data_folder(settings)
    key = secret_key_of(settings)
    assert len(key) == 64
    assert secret_key_of(settings) == key
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["secret.key"]
    assert stat.S_IMODE((tmp_path / "new" / "secret.key").stat().st_mode) == 0o600


def test_a_key_that_is_set_leaves_no_file(tmp_path: Path) -> None:
    settings = load(DATABASE_URL=f"sqlite:///{tmp_path}/latch.db", LATCHWATCH_SECRET_KEY=KEY)
    assert secret_key_of(settings) == KEY.encode()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_key_file_is_not_replaced_silently(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_bytes(b"")
    settings = load(DATABASE_URL=f"sqlite:///{tmp_path}/latch.db")
    with pytest.raises(SettingsError, match=r"^LATCHWATCH_SECRET_KEY .* is not whole"):
        secret_key_of(settings)


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = load(DATABASE_URL=f"sqlite:///{tmp_path}/file/latch.db")
    with pytest.raises(SettingsError, match=r"^DATABASE_URL needs the folder .* it should name a file"):
        prepare_data_folder(settings)
