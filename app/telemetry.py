"""Logs and metrics: one structured line per unit of work on standard error, and a registry for Prometheus.

Whoever logs passes ids. Should a PIN or a secret slip through all the same, it is cut out here.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO

import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from structlog.typing import EventDict, Processor, WrappedLogger

from app.domain.redaction import redact_text
from app.setting_values import LogFormat

REMOVED = "[removed]"
_SECRET_KEY = re.compile(
    r"(^|_)(pins?|secrets?|tokens?|passwords?|authorization|cookie|signatures?|payload|body|headers|api_key|secret_key)$"
    r"|^code$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"whsec_[A-Za-z0-9+/=]+|\bseam_(?=\w*\d)\w{8,}|(?<=Bearer )\S+|(?<=://)[^/@\s]*:[^/@\s]*(?=@)"
)


def configure_logging(log_format: LogFormat | None, stream: TextIO | None = None, level: str = "INFO") -> None:
    """Send every log line of the process, also those of libraries, to ``stream`` (standard error) in one format."""
    stream = stream or sys.stderr
    chosen = log_format or ("console" if stream.isatty() else "json")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        cut_secrets,
    ]
    renderer, lines = _renderer(chosen, stream), _Lines(stream)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # A line for each call to Seam would drown the rest, and its address may name a code.
    for noisy in ("httpx", "httpcore", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # What Apprise and its HTTP library say may hold addresses with secrets in them; what matters of it is told by us.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    apprise = logging.getLogger("apprise")
    apprise.addHandler(logging.NullHandler())
    apprise.propagate = False
    # Our own lines do not pass through the standard library's logging, which would cost more than all the rest of them.
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=lambda *_: lines,
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )


class _Lines:
    """Writes a line, if it can be written. A log whose disk is full must stop nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


def create_registry() -> CollectorRegistry:
    """A registry of its own for each process and test, with the process's memory, files and garbage collection."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def cut_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Remove values under secret names, secrets inside texts, and in tracebacks whatever looks like a PIN."""
    cut: EventDict = {key: _cut(key, value) for key, value in event.items()}
    if isinstance(cut.get("exception"), str):
        cut["exception"] = redact_text(cut["exception"])
    return cut


def _cut(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key):
        return REMOVED
    match value:
        case str():
            return _SECRET_TEXT.sub(REMOVED, value) if _may_hold_a_secret(value) else value
        case Mapping():
            return {inner: _cut(str(inner), each) for inner, each in value.items()}
        case list() | tuple():
            return [_cut("", each) for each in value]
        case _:
            return value


def _may_hold_a_secret(text: str) -> bool:
    """No match of the pattern is without one of these. Most texts are ids, and this costs a fraction of the pattern."""
    return "whsec_" in text or "seam_" in text or "Bearer " in text or "://" in text


def _renderer(log_format: LogFormat, stream: TextIO) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=stream.isatty())
