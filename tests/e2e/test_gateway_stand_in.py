"""The service against ``@seamapi/fake-seam-connect``, a Seam that others wrote: over REST, from make to gone.

The stand-in sends no webhooks of its own here; the test signs what Seam would send about the stand-in's code.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.services import Service, deliver, event, serving

FOLDER = Path(__file__).parents[1] / "seam" / "fake"
DEVICE, WORKSPACE = "august_device_1", "seed_workspace_1"
PIN = "84104962"
# The code has to be on the lock long after this test has ended: only news and reads decide here.
LIMITS = {"LATCHWATCH_SET_WITHIN": "600", "LATCHWATCH_RECHECK_AFTER": "1"}


def _missing() -> str | None:
    if shutil.which("node") is None:
        return "node is not installed"
    if not (FOLDER / "node_modules" / "@seamapi" / "fake-seam-connect").is_dir():
        return "the stand-in is not installed: npm install --prefix tests/seam/fake"
    return None


@pytest.fixture
def endpoint() -> Iterator[str]:
    if missing := _missing():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with subprocess.Popen(["node", "serve.mjs"], cwd=FOLDER, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("port "), line
        yield f"http://127.0.0.1:{line.split()[1]}"
        process.terminate()


@pytest.fixture
def service(tmp_path: Path, database_url: str, endpoint: str) -> Iterator[Service]:
    access = {"SEAM_API_KEY": "seam_apikey1_token", "SEAM_ENDPOINT": endpoint}
    with serving(tmp_path, database_url, port=0, **access, **LIMITS) as service:
        yield service


def test_a_code_is_made_confirmed_checked_and_removed(service: Service) -> None:
    answer = service.post("/v1/access-codes", device_id=DEVICE, name="Ada", code=PIN, reference="booking 7")
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["code"], made["device_id"], made["workspace_id"]) == (PIN, DEVICE, WORKSPACE)
    assert (made["verdict"], made["safe_to_share"]) == ("pending", False)
    path = f"/v1/access-codes/{made['id']}"

    ids = {"access_code_id": made["access_code_id"], "device_id": DEVICE, "workspace_id": WORKSPACE, "code": PIN}
    news = [event(1, event_type="access_code.created", **ids), event(2, **ids)]
    answers = asyncio.run(deliver([service.url], news, on_ack=lambda _: None))
    assert [status for _, status in answers] == [204, 204]
    found = service.until(path, lambda code: code["verdict"] == "verified")
    assert found["safe_to_share"]
    assert found["signals"]["set_at"] is not None
    assert service.get(f"/v1/access-codes/{made['access_code_id']}") == found

    checked = service.post(f"{path}/check")
    assert checked.status_code == 200, checked.text
    assert checked.json()["seam"]["checked_at"] is not None
    assert checked.json()["verdict"] == "verified"
    assert service.get(f"{path}/pin") == {"access_code_id": made["access_code_id"], "code": PIN}

    assert service.delete(path).status_code == 202
    service.until(path, lambda code: code["verdict"] == "removed")
    timeline = service.get(f"{path}/timeline", limit=500)["items"]
    verdicts = [entry["to_verdict"] for entry in timeline if entry["kind"] == "transition"]
    assert verdicts[:2] == ["pending", "verified"]
    assert verdicts[-1] == "removed"
    assert service.get("/v1/flags")["items"] == []


def test_what_the_stand_in_refuses_is_told_and_what_it_has_is_tracked(service: Service) -> None:
    made = service.post("/v1/access-codes", device_id=DEVICE, name="Ada", code=PIN).json()
    taken = service.post("/v1/access-codes", device_id=DEVICE, name="Grace", code=PIN)
    assert taken.status_code == 409, taken.text
    assert taken.json()["seam_type"] == "duplicate_access_code"
    assert PIN not in taken.text
    nowhere = service.post("/v1/access-codes", device_id="nowhere", code=PIN)
    assert (nowhere.status_code, nowhere.json()["seam_type"]) == (502, "device_not_found")

    assert service.post(f"/v1/access-codes/{made['id']}/untrack").status_code == 200
    tracked = service.post("/v1/access-codes/track", access_code_ids=[made["access_code_id"], "nobody"]).json()
    assert [item["id"] for item in tracked["items"]] == [made["id"]]
    assert tracked["not_found"] == ["nobody"]


def test_what_the_stand_in_did_and_no_webhook_told_is_fetched(tmp_path: Path, database_url: str, endpoint: str) -> None:
    access = {"SEAM_API_KEY": "seam_apikey1_token", "SEAM_ENDPOINT": endpoint, "LATCHWATCH_BACKFILL_EVERY": "1"}
    with serving(tmp_path, database_url, port=0, **access, **LIMITS) as service:
        made = service.post("/v1/access-codes", device_id=DEVICE, name="Ada", code=PIN).json()
        page = service.until("/v1/events?source=backfill&event_type=access_code.created", lambda page: page["items"])
        found = {(item["access_code_id"], item["source"]) for item in page["items"]}
        assert (made["access_code_id"], "backfill") in found
        ingest = service.get("/v1/summary")["ingest"]
        assert (ingest["lost"], ingest["compare_failure"]) == (0, None)
        assert PIN not in "".join(service.process.lines)
