"""Webhooks that never come, and a service that was down: everything is there afterwards, and nobody is accused."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.services import SETTINGS, Service, free_port, serving, serving_beside_a_sandbox, working
from tests.processes import SECRET, latchwatch, started

SOON = {
    "LATCHWATCH_SET_WITHIN": "600",
    "LATCHWATCH_BACKFILL_EVERY": "1",
    "LATCHWATCH_RECHECK_AFTER": "1",
}
GOOD, FAILING = 14, 6


def create(service: Service, device_id: str) -> dict[str, Any]:
    answer = service.post("/v1/access-codes", device_id=device_id)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def verdicts_of(service: Service, code: dict[str, Any]) -> list[str]:
    timeline = service.get(f"/v1/access-codes/{code['id']}/timeline", limit=500)["items"]
    return [entry["to_verdict"] for entry in timeline if entry["kind"] == "transition"]


def settle(service: Service, codes: list[dict[str, Any]], verdict: str) -> None:
    for code in codes:
        service.until(f"/v1/access-codes/{code['id']}", lambda found: found["verdict"] == verdict)


def test_with_a_fifth_of_the_webhooks_dropped_every_code_ends_with_the_right_verdict(
    tmp_path: Path, database_url: str, record_property: Callable[[str, object], None]
) -> None:
    """No read helps here: the deadlines lie far beyond this test."""
    with serving_beside_a_sandbox(tmp_path, database_url, **SOON) as (service, seam):
        assert seam.post("/sandbox/faults", drop=0.2).status_code == 200
        began = time.monotonic()
        good = [create(service, "lock_sets_at_once") for _ in range(GOOD)]
        failing = [create(service, "lock_fails") for _ in range(FAILING)]
        settle(service, good, "verified")
        settle(service, failing, "failed")
        record_property("seconds until all were right", round(time.monotonic() - began, 1))
        dropped = until_all_fetched(service, seam)
        # Some were set before anybody looked.
        told = {tuple(verdicts_of(service, code)) for code in good}
        assert told <= {("pending", "verified"), ("verified",)}
        assert service.get("/v1/summary")["ingest"]["backfilled"] >= len(dropped)
        record_property("events", len(deliveries(seam)))
        record_property("dropped", len(dropped))


def deliveries(seam: Service, **which: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = seam.get("/sandbox/deliveries", limit=1000, **which)["deliveries"]
    return found


def until_all_fetched(service: Service, seam: Service) -> set[str]:
    """The events whose webhooks were never sent: each has come by the backfill."""
    deadline = time.monotonic() + 60
    while True:
        dropped = {each["event_id"] for each in deliveries(seam, state="dropped")}
        sources = {event["event_id"]: event["source"] for event in service.all("/v1/events")}
        if dropped and {sources.get(event_id) for event_id in dropped} == {"backfill"}:
            return dropped
        assert time.monotonic() < deadline, dropped - set(sources)
        time.sleep(0.2)


def test_what_happened_while_the_service_was_down_is_there_after_its_start_and_accuses_nobody(
    tmp_path: Path, database_url: str
) -> None:
    """Killed, its codes set meanwhile, their webhooks lost for good, and their deadlines past at its start."""
    port = free_port()
    hook = f"http://127.0.0.1:{port}/webhooks/seam"
    arguments = ("--port", "0", "--webhook-url", hook, "--secret", SECRET, "--speed", "40")
    with started("sandbox", *arguments, folder=tmp_path) as sandbox:
        url = sandbox.wait_for("A simulated Seam listens on").split()[5].rstrip(";")
        seam = Service(url, sandbox)
        access = {"SEAM_API_KEY": "seam_test_key", "SEAM_ENDPOINT": url}
        with serving(tmp_path, database_url, port=port, **access, **SOON) as service:
            codes = [create(service, "lock_silent") for _ in range(8)]
            settle(service, codes, "pending")
            assert seam.post("/sandbox/faults", drop=1.0).status_code == 200
            service.process.signal(signal.SIGKILL)
            service.process.wait()
        assert seam.post("/sandbox/devices/lock_silent", behaviour="sets_at_once").status_code == 200
        until_set(seam, 8)
        hurried = {**SOON, "LATCHWATCH_SET_WITHIN": "1"}
        with serving(tmp_path, database_url, port=port, **access, **hurried) as service:
            settle(service, codes, "verified")
            assert {tuple(verdicts_of(service, code)) for code in codes} == {("pending", "verified")}
            assert service.all("/v1/flags") == []
            ingest = service.get("/v1/summary")["ingest"]
            assert ingest["backfilled"] >= 8
            assert ingest["lost"] == 0
            assert ingest["proven_until"] is not None
            ready = {check["name"]: check for check in service.get("/readyz")["checks"]}
            assert ready["intake"]["ok"], ready
            metrics = service._call("GET", "/metrics").text
            assert "latchwatch_intake_proven_until_timestamp_seconds 1." in metrics
            assert service.process.stop() == 0


def until_set(seam: Service, number: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        told = [each["event_type"] for each in deliveries(seam, state="dropped")]
        if told.count("access_code.set_on_device") >= number:
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_command_fetches_the_past_and_tells_what_nobody_had_brought(tmp_path: Path, database_url: str) -> None:
    with started("sandbox", "--port", "0", folder=tmp_path) as sandbox:
        url = sandbox.wait_for("A simulated Seam listens on").split()[5].rstrip(";")
        for _ in range(7):
            assert Service(url, sandbox).post("/sandbox/events", event_type="device.connected").status_code == 200
        settings = {**SETTINGS, "DATABASE_URL": database_url, "SEAM_API_KEY": "seam_test_key", "SEAM_ENDPOINT": url}
        found = 0
        deadline = time.monotonic() + 60
        while found < 7:  # the youngest are left to webhooks for a few seconds
            ended = latchwatch("backfill", "--since", "1h", folder=tmp_path, **settings)
            assert ended.returncode == 0, ended.stderr
            found += new_events(ended.stdout)
            assert time.monotonic() < deadline
        assert found == 7
        again = latchwatch("backfill", "--since", "2026-01-01T00:00:00Z", folder=tmp_path, **settings)
        assert "Seam listed 7 events; nobody had brought 0 of them" in again.stdout, again.stderr
    gone = latchwatch("backfill", "--since", "2d", folder=tmp_path, **settings)
    assert gone.returncode == 1
    assert "Seam cannot be reached" in gone.stderr
    assert "Traceback" not in gone.stderr
    wrong = latchwatch("backfill", "--since", "yesterday", folder=tmp_path, **settings)
    assert wrong.returncode == 2


def new_events(said: str) -> int:
    found = re.search(r"nobody had brought (\d+) of them", said)
    assert found is not None, said
    return int(found[1])


@pytest.mark.parametrize("who", ["serve", "work"])
def test_both_kinds_of_process_compare(tmp_path: Path, postgres_url: str, who: str) -> None:
    """A receiver that leaves the background to others shows what those have proven."""
    options = ("--no-background",) if who == "work" else ()
    with serving_beside_a_sandbox(tmp_path, postgres_url, *options, **SOON) as (service, seam), ExitStack() as stack:
        if who == "work":
            access = {"SEAM_API_KEY": "seam_test_key", "SEAM_ENDPOINT": seam.url}
            stack.enter_context(working(tmp_path, postgres_url, **access, **SOON))
        service.until("/v1/summary", lambda summary: summary["ingest"]["proven_until"] is not None)
