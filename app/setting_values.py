"""How the text of each setting is read. Every function raises ``ValueError`` with the rest of a sentence that begins
with the setting's name: what is wrong, and what it should be. Texts of secrets are never repeated."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from app.receiver.signature import Secret, parse_secrets

LogFormat = Literal["json", "console"]
Track = Literal["created", "all"]

_DATABASE_REMEDY = "it should be sqlite:///path/to/file.db or postgresql://user:password@host:5432/name"
_SQLITE = "sqlite:///"
_QUOTES = frozenset("\"'")
_LONGEST = timedelta(days=3660)


def parse_database_url(text: str) -> str:
    if text.startswith("sqlite:"):
        return _parse_sqlite_url(text)
    address = _split(text)
    if address is None or address.scheme not in {"postgresql", "postgres"}:
        raise ValueError(f"is not an address of a database that Latchwatch knows; {_DATABASE_REMEDY}")
    if not address.path.strip("/"):
        raise ValueError(f"names no database at its end; {_DATABASE_REMEDY}")
    return f"postgresql:{text.partition(':')[2]}"


def sqlite_path(database_url: str) -> Path | None:
    """The file that a checked ``DATABASE_URL`` names; ``None`` for another database."""
    return Path(database_url.removeprefix(_SQLITE)) if database_url.startswith(_SQLITE) else None


def parse_api_key(text: str) -> str:
    remedy = "it should be the API key of a Seam workspace (seam_…), as Seam's console shows it"
    if not re.fullmatch(r"[!-~]+", text) or text[0] in "\"'":
        raise ValueError(f"has quotes, spaces or other foreign characters; {remedy}")
    if not text.startswith("seam_") or text.startswith(("seam_at", "seam_cst", "seam_pk")):
        raise ValueError(f"is not an API key; {remedy}")
    return text


def parse_webhook_secrets(text: str) -> tuple[Secret, ...]:
    return parse_secrets(text)


def parse_secret_key(text: str) -> str:
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        raise ValueError("is in quotes; it should be without them, as from: openssl rand -hex 32")
    return text


def parse_token(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", text):
        raise ValueError(
            "cannot be sent as a bearer token; it should be random letters and digits, as from: openssl rand -hex 32"
        )
    return text


def parse_host(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", text):
            raise ValueError(f"is {text!r}; it should be an address such as 0.0.0.0 or 127.0.0.1") from None
    return text


def parse_port(text: str) -> int:
    if text.startswith("tcp://"):
        raise ValueError(
            f"is {text!r}: Kubernetes sets this for a service called latchwatch; "
            "set enableServiceLinks: false, or the port as a number"
        )
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"is {text!r}; it should be a port from 1 to 65535")
    return int(text)


def parse_url(text: str) -> str:
    address = _split(text)
    if address is None or address.scheme not in {"http", "https"} or not address.hostname:
        raise ValueError(f"is {text!r}; it should be an address such as https://latchwatch.example.com")
    if address.query or address.fragment or address.username:
        raise ValueError("has a log-in, a query or a fragment; it should be an address without them")
    return text.rstrip("/")


def parse_seconds(text: str) -> timedelta:
    seconds = parse_grace(text)
    if not seconds:
        raise ValueError("is 0; it should be a number of seconds, more than 0 and at most ten years, without a unit")
    return seconds


def parse_grace(text: str) -> timedelta:
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text) or float(text) > _LONGEST.total_seconds():
        raise ValueError(f"is {text!r}; it should be a number of seconds, at most ten years, without a unit")
    return timedelta(seconds=float(text))


def parse_days(text: str) -> timedelta:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= _LONGEST.days:
        raise ValueError(f"is {text!r}; it should be a whole number of days, from 1 to {_LONGEST.days}")
    return timedelta(days=int(text))


def parse_track(text: str) -> Track:
    match text:
        case "created" | "all":
            return text
        case _:
            raise ValueError(f"is {text!r}; it should be created or all")


def parse_alert_urls(text: str) -> tuple[str, ...]:
    urls = tuple(dict.fromkeys(text.split()))
    if not all(re.fullmatch(r"[a-z][a-z0-9+.-]*://\S+", url, re.IGNORECASE) for url in urls):
        raise ValueError(
            "is not a list of Apprise URLs; it should be addresses such as slack://… or mailto://…, separated by spaces"
        )
    return urls


def parse_alert_secret(text: str) -> str:
    if len(parse_secrets(text)) != 1:
        raise ValueError("holds several secrets; it should be one (whsec_…)")
    return text


def parse_log_format(text: str) -> LogFormat:
    match text:
        case "json" | "console":
            return text
        case _:
            raise ValueError(f"is {text!r}; it should be json or console")


def _parse_sqlite_url(text: str) -> str:
    path = text.removeprefix(_SQLITE)
    if not text.startswith(_SQLITE) or not path or path.endswith("/") or ":memory:" in path or "?" in path:
        raise ValueError(
            "does not name a file of SQLite; it should be sqlite:///data/latchwatch.db, "
            "or with four slashes for a path from the root: sqlite:////data/latchwatch.db"
        )
    return text


def _split(text: str) -> SplitResult | None:
    if re.search(r"\s", text):
        return None
    try:
        address = urlsplit(text)
        _ = address.port  # raises for what is no port
    except ValueError:
        return None
    return address
