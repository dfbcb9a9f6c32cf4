"""The life of a code beside a simulated Seam: changed, replaced by a backup code, made elsewhere, used too late."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.sandbox.state import CONNECTED_ACCOUNT_ID
from tests.e2e.services import Service, serving_beside_a_sandbox

SETTINGS = {
    "LATCHWATCH_SET_WITHIN": "20",
    "LATCHWATCH_START_GRACE": "1",
    "LATCHWATCH_REMOVE_WITHIN": "3",
    "LATCHWATCH_REQUEST_WITHIN": "5",
    "LATCHWATCH_RECHECK_AFTER": "2",
    "LATCHWATCH_AT_RISK_BEFORE": "7200",
    "LATCHWATCH_TRACK": "all",
}
PINS = ("7290517", "7290518", "7290519")


@pytest.fixture
def stack(tmp_path: Path, database_url: str) -> Iterator[tuple[Service, Service]]:
    with serving_beside_a_sandbox(tmp_path, database_url, **SETTINGS) as both:
        yield both


def hence(**of: float) -> str:
    return (datetime.now(UTC) + timedelta(**of)).isoformat()


def create(service: Service, device_id: str, **body: Any) -> str:
    answer = service.post("/v1/access-codes", device_id=device_id, **body)
    assert answer.status_code == 201, answer.text
    return f"/v1/access-codes/{answer.json()['id']}"


def ask_seam(seam: Service, path: str, **body: Any) -> Any:
    """What somebody else does through Seam."""
    headers = {"Authorization": "Bearer seam_test_key"}
    return httpx.post(seam.url + path, json=body, headers=headers, trust_env=False).raise_for_status().json()


def verdicts(service: Service, path: str) -> list[str]:
    items = service.get(f"{path}/timeline", limit=500)["items"]
    return [item["to_verdict"] for item in items if item["kind"] == "transition"]


def reach(service: Service, path: str, verdict: str) -> Any:
    return service.until(path, lambda code: code["verdict"] == verdict)


def test_a_change_is_outdated_until_the_lock_has_it(stack: tuple[Service, Service]) -> None:
    service, seam = stack
    assert seam.post("/sandbox/devices/lock_slow", set_after_seconds=40).status_code == 200
    assert seam.post("/sandbox/devices/lock_silent_webhook", set_after_seconds=20).status_code == 200
    window = {"starts_at": hence(minutes=-1), "ends_at": hence(hours=2)}
    told, quiet = [create(service, lock, code=PINS[0], **window) for lock in ("lock_slow", "lock_silent_webhook")]
    for path in (told, quiet):
        reach(service, path, "verified")
        answer = service.patch(path, code=PINS[1], ends_at=hence(hours=4), name="Ada")
        assert (answer.status_code, answer.json()["verdict"]) == (200, "outdated"), answer.text
        assert PINS[1] not in answer.text
    codes = {path: reach(service, path, "verified") for path in (told, quiet)}
    for path, code in codes.items():
        assert (code["name"], code["flags"]) == ("Ada", [])
        assert verdicts(service, path)[-3:] == ["verified", "outdated", "verified"]
        assert service.get(f"{path}/pin")["code"] == PINS[1]
    # Somebody moves it on elsewhere, through Seam: that is the intent from then on.
    ident = codes[quiet]["access_code_id"]
    ask_seam(seam, "/access_codes/update", access_code_id=ident, ends_at="2036-01-01T00:00:00Z", name="Ada at noon")
    service.post(f"{quiet}/check")
    service.until(quiet, lambda code: (code["ends_at"], code["name"]) == ("2036-01-01T00:00:00Z", "Ada at noon"))
    log = "".join(service.process.lines)
    assert not [pin for pin in PINS if pin in log]


def test_backup_codes_and_codes_made_elsewhere_are_watched(stack: tuple[Service, Service]) -> None:
    service, seam = stack
    window = {"starts_at": hence(minutes=-1), "ends_at": hence(hours=2)}
    pool = {"use_backup_access_code_pool": True, **window}
    ours = create(service, "lock_fails", code=PINS[0], reference="r-1", **pool)
    theirs = create(service, "lock_fails", code=PINS[1], reference="r-2", **pool)
    made = ask_seam(seam, "/access_codes/create", device_id="lock_sets_at_once", code=PINS[2], name="From elsewhere")
    failed = [reach(service, path, "failed") for path in (ours, theirs)]
    pulled = service.post(f"{ours}/backup")
    assert pulled.status_code == 201, pulled.text
    backup, pin = pulled.json(), pulled.json()["code"]
    assert (backup["reference"], pin.isdecimal()) == ("r-1", True)
    again = service.post(f"{ours}/backup")
    assert (again.status_code, again.json()["id"], again.json()["code"]) == (200, backup["id"], pin)
    ask_seam(seam, "/access_codes/pull_backup_access_code", access_code_id=failed[1]["access_code_id"])
    for path in (ours, theirs):
        code = service.until(path, lambda code: code["replaced_by"] is not None and code["verdict"] == "replaced")
        assert code["flags"] == []
        stand_in = f"/v1/access-codes/{code['replaced_by']}"
        items = service.until(f"/v1/access-codes?reference={code['reference']}", lambda page: len(page["items"]) == 2)
        assert code["replaced_by"] in {item["access_code_id"] for item in items["items"]}
        assert reach(service, stand_in, "verified")["reference"] == code["reference"]
    ident = made["access_code"]["access_code_id"]
    service.until("/v1/access-codes?q=elsewhere", lambda page: len(page["items"]) == 1)
    assert reach(service, f"/v1/access-codes/{ident}", "verified")["name"] == "From elsewhere"
    answers = str(service.all("/v1/access-codes")) + str(service.all("/v1/events"))
    assert pin not in answers
    assert pin not in "".join(service.process.lines)


def test_what_goes_wrong_later_is_told(stack: tuple[Service, Service]) -> None:
    service, seam = stack
    lingers, lost, fine = [
        create(service, lock, code=pin)
        for lock, pin in zip(("lock_never_removes", "lock_lost", "lock_slow"), PINS, strict=True)
    ]
    # It goes offline without a webhook: a read of the lock tells.
    assert seam.post("/sandbox/devices/lock_just_in_time", online=False, announced=False).status_code == 200
    window = {"starts_at": hence(minutes=90), "ends_at": hence(hours=9)}
    ask_seam(seam, "/access_codes/create", device_id="lock_just_in_time", name="From elsewhere", **window)
    access_code_id = reach(service, lingers, "verified")["access_code_id"]
    assert service.delete(lingers).status_code == 202
    reach(service, lingers, "lingering")
    use = {"event_type": "lock.unlocked", "method": "keycode", "access_code_id": access_code_id}
    assert seam.post("/sandbox/events", **use).status_code == 200
    service.until(lingers, lambda code: "used after its end" in code["reason"])
    assert reach(service, lost, "lost")["flags"][0]["kind"] == "lost"
    (early,) = service.until("/v1/access-codes?q=elsewhere", lambda page: len(page["items"]) == 1)["items"]
    assert "offline" in reach(service, f"/v1/access-codes/{early['id']}", "at_risk")["reason"]
    reach(service, fine, "verified")
    gone = {"event_type": "connected_account.disconnected", "connected_account_id": CONNECTED_ACCOUNT_ID}
    assert seam.post("/sandbox/events", **gone).status_code == 200
    assert reach(service, fine, "unknown")["flags"][0]["kind"] == "unknown"
