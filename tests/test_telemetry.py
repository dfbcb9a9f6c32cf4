"""Logs: one line each, in one format, without secrets and PINs, also those of libraries."""

from __future__ import annotations

import errno
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from app.telemetry import REMOVED, configure_logging, create_registry, cut_secrets


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("json", stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_verb_time_and_ids(output: io.StringIO) -> None:
    structlog.get_logger("app.x").info("event_stored", event_id="ev_1")
    (line,) = lines(output)
    assert line["event"] == "event_stored"
    assert line["event_id"] == "ev_1"
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_lines_of_libraries_come_out_the_same_way(output: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").warning("went %s", "wrong", extra={"token": "hunter2"})
    (line,) = lines(output)
    assert line["event"] == "went wrong"
    assert line["token"] == REMOVED


def test_calls_to_seam_are_not_logged_one_by_one(output: io.StringIO) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET https://example.com/access_codes/get")
    assert output.getvalue() == ""


def test_a_traceback_loses_every_run_of_digits_that_could_be_a_pin(output: io.StringIO) -> None:
    pin = "48151623"
    try:
        raise ValueError(f"code {pin} is refused")
    except ValueError:
        structlog.get_logger("app.x").exception("row_failed")
    assert pin not in output.getvalue()
    assert "ValueError" in lines(output)[0]["exception"]


@pytest.mark.parametrize(
    "key",
    [
        *("code", "pin", "pins", "old_pin", "secret", "webhook_secret", "token", "admin_token", "password"),
        *("authorization", "api_key", "seam_api_key", "secret_key", "payload", "body", "headers", "svix_signature"),
    ],
)
def test_a_value_under_a_secret_name_is_removed_at_any_depth(key: str) -> None:
    event = cut_secrets(None, "info", {"event": "x", key: "hunter2", "list": [{"deep": {key: "hunter2"}}]})
    assert "hunter2" not in repr(event)


@pytest.mark.parametrize(
    "text",
    [
        "signed with whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "Authorization: Bearer lw_0123_hunter2",
        "key seam_test_hunter2hunter2",
        "postgresql://latch:hunter2@db/latchwatch",
    ],
)
def test_a_secret_inside_a_text_is_removed(text: str) -> None:
    cut = cut_secrets(None, "info", {"event": text})["event"]
    assert REMOVED in cut
    assert "hunter2" not in cut
    assert "MfKQ9r8" not in cut


@pytest.mark.parametrize("key", ["code_id", "access_code_id", "error_code", "event_id", "revision", "reason"])
def test_ids_and_reasons_stay(key: str) -> None:
    assert cut_secrets(None, "info", {key: "kept"}) == {key: "kept"}


def test_every_process_has_a_registry_of_its_own() -> None:
    assert create_registry() is not create_registry()
    names = {metric.name for metric in create_registry().collect()}
    assert "process_resident_memory_bytes" in names


class Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.usefixtures("output")
def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    configure_logging("json", Full())

    structlog.get_logger().warning("event_stored", count=1)


@pytest.mark.usefixtures("output")
def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    configure_logging("json", stream, level="WARNING")

    structlog.get_logger().info("event_stored")
    structlog.get_logger().warning("batch_failed")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["batch_failed"]
