"""Acked means kept: kill -9 in the middle of a load. And two processes on one database do nothing twice."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from tests.e2e.services import deliver, event, serving, serving_beside_a_sandbox

EVENTS = 600


def ignore(_: int) -> None:
    """Nobody wants to know."""


def test_what_was_acked_before_a_kill_is_there_after_the_restart(
    tmp_path: Path, database_url: str, record_property: Callable[[str, object], None]
) -> None:
    payloads = [event(number) for number in range(EVENTS)]
    with serving(tmp_path, database_url) as service:

        def kill(acked: int) -> None:
            if acked == EVENTS // 3:
                service.process.signal(signal.SIGKILL)

        answers = asyncio.run(deliver([service.url], payloads, on_ack=kill))
    acked = {event_id for event_id, status in answers if status == 204}
    assert EVENTS // 3 <= len(acked) < EVENTS, "the kill came too late to mean anything"
    with serving(tmp_path, database_url) as service:
        stored = {item["event_id"] for item in service.all("/v1/events")}
        assert acked <= stored
        again = asyncio.run(deliver([service.url], payloads, on_ack=ignore))
        assert {status for _, status in again} == {204}
        events = [item["event_id"] for item in service.all("/v1/events")]
    assert len(events) == len(set(events)) == EVENTS
    record_property("sent", EVENTS)
    record_property("acked before the kill", len(acked))
    record_property("stored", len(stored))


def test_two_processes_that_get_every_event_store_and_flag_it_once(tmp_path: Path, postgres_url: str) -> None:
    failed = [event(number, event_type="access_code.failed_to_set_on_device") for number in range(200)]
    with serving(tmp_path, postgres_url) as first, serving(tmp_path, postgres_url) as second:
        answers = asyncio.run(deliver([first.url, second.url], failed, on_ack=ignore))
        assert {status for _, status in answers} == {204}
        events = first.all("/v1/events")
        assert len(events) == len({item["event_id"] for item in events}) == 200


def test_two_processes_flag_each_code_once(tmp_path: Path, postgres_url: str) -> None:
    """Twenty codes made by one process, failing by events that both get."""
    with (
        serving_beside_a_sandbox(tmp_path, postgres_url) as (first, seam),
        serving(tmp_path, postgres_url, SEAM_API_KEY="seam_test_key", SEAM_ENDPOINT=seam.url) as second,
    ):
        made = [first.post("/v1/access-codes", device_id="lock_silent").json() for _ in range(20)]
        failures = [
            event(number, event_type="access_code.failed_to_set_on_device", access_code_id=code["access_code_id"])
            for number, code in enumerate(made)
        ]
        answers = asyncio.run(deliver([first.url, second.url], failures, on_ack=ignore))
        assert {status for _, status in answers} == {204}
        for code in made:
            found = second.until(f"/v1/access-codes/{code['id']}", lambda answer: answer["verdict"] == "failed")
            timeline = first.get(f"/v1/access-codes/{code['id']}/timeline")["items"]
            assert [flag["kind"] for flag in found["flags"]] == ["failed"]
            assert [entry["to_verdict"] for entry in timeline if entry["kind"] == "transition"] == ["pending", "failed"]
        flags = second.all("/v1/flags")
    assert len(flags) == len({flag["code_id"] for flag in flags}) == 20
