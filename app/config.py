"""Settings: read once, strictly, from the environment, a ``.env`` file and ``NAME_FILE`` files (contract, section 5).

The only place that looks at the environment. A start with wrong settings ends with one line for each of them; every
line names the setting and says what it should be, and none repeats a secret.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from app.domain.alerting import AlertPolicy
from app.domain.assessment import Policy
from app.domain.errors import LatchwatchError
from app.receiver.signature import Secret
from app.setting_values import (
    LogFormat,
    Track,
    parse_alert_secret,
    parse_alert_urls,
    parse_api_key,
    parse_database_url,
    parse_days,
    parse_grace,
    parse_host,
    parse_log_format,
    parse_port,
    parse_seconds,
    parse_secret_key,
    parse_token,
    parse_track,
    parse_url,
    parse_webhook_secrets,
    sqlite_path,
)


class SettingsError(LatchwatchError):
    """What an operator must put right before a start: one line for each problem."""

    type = "settings"
    title = "A setting is missing or wrong"

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class Purpose(Enum):
    """What a command needs of the settings. Whatever is set is checked for all of them."""

    SERVE = "receives webhooks"
    WORK = "assesses codes"
    DATABASE = "touches the database alone"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: ``name`` in the environment, ``field`` of ``Settings``, ``meaning`` for the documentation."""

    name: str
    field: str
    parse: Callable[[str], Any]
    meaning: str
    default: str | None = None
    is_secret: bool = False


_LEAST_LENGTHS = {"LATCHWATCH_SECRET_KEY": 32, "LATCHWATCH_ADMIN_TOKEN": 20, "LATCHWATCH_METRICS_TOKEN": 20}


def _seconds(name: str, default: int, meaning: str, parse: Callable[[str], timedelta] = parse_seconds) -> Setting:
    return Setting(f"LATCHWATCH_{name}", name.lower(), parse, meaning, default=str(default))


SETTINGS = (
    Setting(
        "DATABASE_URL",
        "database_url",
        parse_database_url,
        "where everything is kept: `sqlite:///path/to/file.db`, or `postgresql://user:password@host/name`",
        default="sqlite:///data/latchwatch.db",
        is_secret=True,
    ),
    Setting(
        "SEAM_API_KEY",
        "seam_api_key",
        parse_api_key,
        "the API key of one Seam workspace; without it nothing is created, and nothing can be confirmed by a read",
        is_secret=True,
    ),
    Setting("SEAM_ENDPOINT", "seam_endpoint", parse_url, "another address of Seam's API, for example a sandbox"),
    Setting(
        "SEAM_WEBHOOK_SECRET",
        "webhook_secrets",
        parse_webhook_secrets,
        "the signing secret that Seam showed for the webhook (`whsec_…`); while it changes several, comma-separated",
        is_secret=True,
    ),
    Setting(
        "LATCHWATCH_SECRET_KEY",
        "secret_key",
        parse_secret_key,
        "the key of the PIN fingerprints, best 32 random characters or more; required with PostgreSQL, otherwise made "
        "once and kept in `secret.key` beside the SQLite file. Under another key, earlier fingerprints cannot be "
        "compared",
        is_secret=True,
    ),
    Setting(
        "LATCHWATCH_ADMIN_TOKEN",
        "admin_token",
        parse_token,
        "a token with every scope, best 20 random characters or more; without it the first start prints one, once",
        is_secret=True,
    ),
    Setting(
        "LATCHWATCH_METRICS_TOKEN",
        "metrics_token",
        parse_token,
        "with it, `/metrics` asks for this bearer token; without it, `/metrics` is open",
        is_secret=True,
    ),
    Setting(
        "LATCHWATCH_HOST", "host", parse_host, "the address to listen on; the container sets `0.0.0.0`", "127.0.0.1"
    ),
    Setting("LATCHWATCH_PORT", "port", parse_port, "the port to listen on", "8000"),
    Setting(
        "LATCHWATCH_PUBLIC_URL",
        "public_url",
        parse_url,
        "the address under which Seam reaches this service; the start names the webhook URL to register from it",
    ),
    _seconds("SET_WITHIN", 600, "a code has to be on its lock so long after it was asked for, else it is `stuck`"),
    _seconds("START_GRACE", 120, "a time-bound code may still be missing so long after its start", parse_grace),
    _seconds("REMOVE_WITHIN", 1800, "a code has to be off its lock so long after its end, else it is `lingering`"),
    _seconds("REQUEST_WITHIN", 60, "a create call without an answer is looked for so long, then it is `request_lost`"),
    _seconds("RECHECK_AFTER", 120, "how far apart the two reads are that call a code `lost`"),
    _seconds("SEAM_TIMEOUT", 5, "how long one call to Seam may take"),
    _seconds(
        "PRELOAD_BY",
        86400,
        "a lock that schedules by itself has to hold the code so long before its start",
        parse_grace,
    ),
    _seconds(
        "AT_RISK_BEFORE", 3600, "from so long before a start, a bad lock or account makes a code `at_risk`", parse_grace
    ),
    _seconds("SIGNATURE_TOLERANCE", 300, "how far a webhook's timestamp may be from this machine's clock"),
    _seconds("BACKFILL_EVERY", 600, "how often Seam's list of events is compared with what webhooks brought"),
    _seconds(
        "SILENCE_AFTER", 900, "when no webhook came for so long while Seam has events, `webhook_silent` is flagged"
    ),
    Setting(
        "LATCHWATCH_RETAIN_EVENTS_DAYS",
        "retain_events",
        parse_days,
        "how many days events, transitions and alerts are kept; those that a code under watch still needs stay longer",
        "400",
    ),
    Setting(
        "LATCHWATCH_TRACK",
        "track",
        parse_track,
        "`created`: watch the codes that were created here or put under watch; `all`: watch every managed code that "
        "Seam mentions",
        "created",
    ),
    Setting(
        "LATCHWATCH_ALERT_URLS",
        "alert_urls",
        parse_alert_urls,
        "where alerts go: Apprise URLs (Slack, e-mail, PagerDuty, ntfy, …), separated by spaces or line breaks",
        is_secret=True,
    ),
    Setting(
        "LATCHWATCH_ALERT_WEBHOOK_URL",
        "alert_webhook_url",
        parse_url,
        "where alerts go as signed webhooks, see `docs/alerts.md`",
    ),
    Setting(
        "LATCHWATCH_ALERT_WEBHOOK_SECRET",
        "alert_webhook_secret",
        parse_alert_secret,
        "the secret that signs them (`whsec_…`); required with `LATCHWATCH_ALERT_WEBHOOK_URL`",
        is_secret=True,
    ),
    _seconds("ALERT_AFTER", 0, "a flag that closes within so long is not told at all; 0 tells every one", parse_grace),
    _seconds(
        "ALERT_GROUP_WITHIN",
        5,
        "flags with one cause on one lock or account that come within so long are told as one alert",
        parse_grace,
    ),
    _seconds(
        "ALERT_REPEAT", 14400, "an open flag that nobody acknowledged is told again so often; 0 never", parse_grace
    ),
    Setting(
        "LATCHWATCH_LOG_FORMAT",
        "log_format",
        parse_log_format,
        "`json` or `console`; without it, `console` on a terminal and `json` elsewhere",
    ),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, checked. Secrets stay out of the representation. ``warnings`` are for the log of the start."""

    database_url: str = field(repr=False)
    host: str
    port: int
    set_within: timedelta
    start_grace: timedelta
    remove_within: timedelta
    request_within: timedelta
    recheck_after: timedelta
    seam_timeout: timedelta
    preload_by: timedelta
    at_risk_before: timedelta
    signature_tolerance: timedelta
    backfill_every: timedelta
    silence_after: timedelta
    retain_events: timedelta
    track: Track
    alert_after: timedelta
    alert_group_within: timedelta
    alert_repeat: timedelta
    seam_api_key: str | None = field(default=None, repr=False)
    seam_endpoint: str | None = None
    webhook_secrets: tuple[Secret, ...] = field(default=(), repr=False)
    secret_key: str | None = field(default=None, repr=False)
    admin_token: str | None = field(default=None, repr=False)
    metrics_token: str | None = field(default=None, repr=False)
    public_url: str | None = None
    log_format: LogFormat | None = None
    alert_urls: tuple[str, ...] = field(default=(), repr=False)
    alert_webhook_url: str | None = None
    alert_webhook_secret: str | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def sqlite_path(self) -> Path | None:
        """The file of the SQLite database; ``None`` with PostgreSQL."""
        return sqlite_path(self.database_url)

    @property
    def webhook_url(self) -> str | None:
        """Where Seam is to send webhooks, as far as the public address is known."""
        return None if self.public_url is None else f"{self.public_url}/webhooks/seam"

    def policy(self) -> Policy:
        return Policy(**{each.name: getattr(self, each.name) for each in fields(Policy)})

    def alert_policy(self) -> AlertPolicy:
        return AlertPolicy(after=self.alert_after, group_within=self.alert_group_within, repeat=self.alert_repeat)


def read_environment() -> dict[str, str]:
    """The settings of this process: ``.env`` in the current folder, overruled by the environment."""
    from_file = dotenv_values(".env", interpolate=False)
    return {name: value for name, value in from_file.items() if value is not None} | dict(os.environ)


def load_settings(environ: Mapping[str, str], purpose: Purpose) -> Settings:
    """Check ``environ`` and turn it into settings. Raises ``SettingsError`` with every problem at once."""
    problems: list[str] = []
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        text = _text_of(setting, environ, problems)
        if text is None:
            continue
        try:
            values[setting.field] = setting.parse(text)
        except ValueError as error:
            problems.append(f"{setting.name} {error}")
    problems.extend(_missing(values, problems, purpose))
    if problems:
        raise SettingsError(*problems)
    return Settings(**values, warnings=(*_warnings(environ), *_weak(values)))


def _text_of(setting: Setting, environ: Mapping[str, str], problems: list[str]) -> str | None:
    """What was set; the default for nothing or an empty text, which is what compose files leave behind."""
    text = environ.get(setting.name, "").strip()
    file = environ.get(f"{setting.name}_FILE", "").strip() if setting.is_secret else ""
    if text and file:
        problems.append(f"{setting.name} is set twice; keep either {setting.name} or {setting.name}_FILE")
        return None
    if file:
        return _read_file(setting, file, problems)
    return text or setting.default


def _read_file(setting: Setting, file: str, problems: list[str]) -> str | None:
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not text"
        problems.append(f"{setting.name}_FILE cannot be read ({cause}); it should be the path of a readable file")
        return None
    if not text:
        problems.append(f"{setting.name}_FILE is an empty file; it should hold {setting.name}")
        return None
    return text


def _missing(values: Mapping[str, Any], problems: list[str], purpose: Purpose) -> Iterable[str]:
    named = {problem.split(" ")[0].removesuffix("_FILE") for problem in problems}
    if purpose is Purpose.SERVE and "webhook_secrets" not in values and "SEAM_WEBHOOK_SECRET" not in named:
        yield (
            "SEAM_WEBHOOK_SECRET is not set or empty; it should be the secret that Seam showed for the webhook: whsec_…"
        )
    signs_nothing = "alert_webhook_secret" not in values and "LATCHWATCH_ALERT_WEBHOOK_SECRET" not in named
    if "alert_webhook_url" in values and signs_nothing:
        yield (
            "LATCHWATCH_ALERT_WEBHOOK_SECRET is not set; with LATCHWATCH_ALERT_WEBHOOK_URL it should be what signs the "
            "alerts: whsec_ and 32 random bytes in base64"
        )
    if purpose is Purpose.DATABASE or "LATCHWATCH_SECRET_KEY" in named:
        return
    if str(values.get("database_url", "")).startswith("postgresql:") and "secret_key" not in values:
        yield (
            "LATCHWATCH_SECRET_KEY is not set; with PostgreSQL it should be 32 random characters or more, the same for "
            "every replica, as from: openssl rand -hex 32"
        )


def _weak(values: Mapping[str, Any]) -> Iterable[str]:
    """Secrets that could be guessed. They are accepted: a trial has to be easy, and its log says what is amiss."""
    for setting in SETTINGS:
        least = _LEAST_LENGTHS.get(setting.name)
        if least is not None and 0 < len(values.get(setting.field) or "") < least:
            yield f"{setting.name} is short; make it {least} random characters or more, as from: openssl rand -hex 32"


def _warnings(environ: Mapping[str, str]) -> Iterable[str]:
    known = {setting.name for setting in SETTINGS}
    known |= {f"{setting.name}_FILE" for setting in SETTINGS if setting.is_secret}
    for name in sorted(environ):
        if name.startswith("LATCHWATCH_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            yield f"{name} is not a setting of Latchwatch" + (f"; did you mean {close[0]}?" if close else "")
