"""Two receivers and three that reconcile on one PostgreSQL: nothing is done twice, and half of them suffices."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.services import deliver, event, serving, serving_beside_a_sandbox, working

CODES = 12
OTHERS = 188


def test_processes_that_get_every_event_twice_do_everything_once_and_half_of_them_goes_on(
    tmp_path: Path, postgres_url: str, record_property: Callable[[str, object], None]
) -> None:
    """One only receives, one receives and reconciles, two only reconcile. Each event is sent to both receivers.

    Lists show what is stored, so what they show here was found by those that reconcile.
    """
    access = {"SEAM_API_KEY": "seam_test_key"}
    with serving_beside_a_sandbox(tmp_path, postgres_url, "--no-background") as (first, seam):
        access["SEAM_ENDPOINT"] = seam.url
        with (
            serving(tmp_path, postgres_url, port=0, **access) as second,
            working(tmp_path, postgres_url, **access) as worker,
            working(tmp_path, postgres_url, **access),
        ):
            made = [first.post("/v1/access-codes", device_id="lock_silent").json() for _ in range(CODES)]
            payloads = [event(CODES + number) for number in range(OTHERS)]
            for number, code in enumerate(made):
                failure = {"event_type": "access_code.failed_to_set_on_device"}
                payloads.insert(10 * number, event(number, **failure, access_code_id=code["access_code_id"]))
            answers = asyncio.run(deliver([first.url, second.url], payloads, on_ack=lambda _: None))
            assert {status for _, status in answers} == {204}

            first.until("/v1/flags?state=open&limit=500", lambda page: len(page["items"]) == CODES)
            assert states(first, made) == [(["pending", "failed"], ["opened"])] * CODES
            for code in made:
                seen = second.get(f"/v1/access-codes/{code['id']}")
                assert (seen["verdict"], [flag["kind"] for flag in seen["flags"]]) == ("failed", ["failed"])
            sent = {payload["event_id"] for payload in payloads}
            stored = [item["event_id"] for item in second.all("/v1/events") if item["event_id"] in sent]
            assert len(stored) == len(set(stored)) == len(payloads)

            second.process.signal(signal.SIGKILL)
            worker.signal(signal.SIGKILL)
            freed = seam.post("/sandbox/devices/lock_silent", behaviour="sets_at_once")
            assert freed.status_code == 200
            first.until("/v1/flags?state=closed&limit=500", lambda page: len(page["items"]) == CODES)
            ends = [(["pending", "failed", "verified"], ["opened", "closed"])] * CODES
            assert states(first, made) == ends
            flags = first.all("/v1/flags")
    assert len(flags) == len({flag["code_id"] for flag in flags}) == CODES
    record_property("sent to both", len(payloads))
    record_property("acked", len(answers))
    record_property("stored", len(stored))
    record_property("flagged", len(flags))


def states(service: Any, made: list[dict[str, Any]]) -> list[tuple[list[str], list[str]]]:
    """Of each code, its verdicts in turn and what people were told."""
    found = []
    for code in made:
        timeline = service.get(f"/v1/access-codes/{code['id']}/timeline", limit=500)["items"]
        verdicts = [entry["to_verdict"] for entry in timeline if entry["kind"] == "transition"]
        found.append((verdicts, [entry["change"] for entry in timeline if entry["kind"] == "alert"]))
    return found
