"""The whole way of a code: asked for by REST, programmed by a simulated Seam, told by signed webhooks, judged, flagged.

And wherever it went, its PIN stayed nowhere.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.storage.engine import open_database
from app.storage.tables import metadata
from tests.e2e.services import Service, deliver, event, serving_beside_a_sandbox

LIMITS = {
    "LATCHWATCH_SET_WITHIN": "6",
    "LATCHWATCH_REMOVE_WITHIN": "3",
    "LATCHWATCH_REQUEST_WITHIN": "3",
    "LATCHWATCH_RECHECK_AFTER": "1",
}
ENDS = {
    "lock_sets_at_once": ("verified", None),
    "lock_silent_webhook": ("verified", None),
    "lock_silent": ("stuck", "stuck"),
    "lock_fails": ("failed", "failed"),
    "lock_wrong_pin": ("mismatched", "mismatched"),
    "lock_never_removes": ("lingering", "lingering"),
}
PINS = {device_id: f"7{number}539048" for number, device_id in enumerate(ENDS, start=1)}


@pytest.fixture
def stack(tmp_path: Path, database_url: str) -> Iterator[tuple[Service, Service]]:
    with serving_beside_a_sandbox(tmp_path, database_url, **LIMITS) as both:
        yield both


def create(service: Service, device_id: str, **body: Any) -> dict[str, Any]:
    answer = service.post("/v1/access-codes", device_id=device_id, **body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_every_kind_of_lock_ends_with_its_verdict_and_no_pin_is_left(
    stack: tuple[Service, Service], tmp_path: Path, database_url: str
) -> None:
    service, _ = stack
    made = {device_id: create(service, device_id, code=PINS[device_id], name=device_id) for device_id in ENDS}
    assert {made[device_id]["code"] for device_id in ENDS} == set(PINS.values())
    gone = made["lock_never_removes"]["id"]
    service.until(f"/v1/access-codes/{gone}", lambda code: code["verdict"] == "verified")
    assert service.delete(f"/v1/access-codes/{gone}").status_code == 202
    asyncio.run(deliver([service.url], list(_telltales(made)), on_ack=lambda _: None))
    answers = [_answers_about(service, made[device_id]["id"], ENDS[device_id]) for device_id in ENDS]
    answers += [json.dumps(service.all(path)) for path in _LISTS]
    assert service.process.stop() == 0
    log = "".join(service.process.lines)
    assert "verdict_changed" in log
    stored = _everything_stored(tmp_path, database_url)
    for pin in PINS.values():
        assert not [place for place in (*answers, log) if pin in place]
        assert pin.encode() not in stored
    # The search can find things: what may be there is there.
    assert made["lock_silent"]["id"].encode() in stored


_FOUND_BY_A_READ = {"lock_silent", "lock_silent_webhook", "lock_never_removes"}
_LISTS = ("/v1/access-codes", "/v1/flags", "/v1/events", "/v1/devices", "/v1/alerts", "/v1/unreadable")


def _telltales(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Events that carry a PIN in every place that it was ever seen in."""
    for number, (device_id, pin) in enumerate(PINS.items()):
        ids = {"access_code_id": made[device_id]["access_code_id"], "device_id": device_id, "code": pin}
        change = {"property": "code", "from": pin, "to": "40917"}
        told = f"The code {pin} of the guest stands on the lock already."
        yield event(number * 10, event_type="lock.access_denied", message=told, **ids)
        yield event(number * 10 + 1, event_type="access_code.name_changed", **{**ids, "from": {"name": f"x {pin}"}})
        yield event(number * 10 + 2, event_type="access_code.brand_new", **ids, deep=[{"anything": pin}])
        issues = [{"error_code": "duplicate_code_on_device", "message": told}]
        yield event(number * 10 + 3, event_type="device.low_battery", device_errors=issues, **ids)
        yield event(number * 10 + 4, event_type="access_code.unmanaged.created", changed_properties=[change], **ids)


def _answers_about(service: Service, code_id: str, end: tuple[str, str | None]) -> str:
    verdict, flag = end
    path = f"/v1/access-codes/{code_id}"
    code = service.until(path, lambda code: code["verdict"] == verdict)
    assert [one["kind"] for one in code["flags"]] == ([flag] if flag is not None else [])
    assert code["safe_to_share"] == (verdict == "verified")
    assert flag is None or (code["problem"]["message"] and code["problem"]["remedy"])
    timeline = service.get(f"{path}/timeline")["items"]
    kinds = {entry["kind"] for entry in timeline}
    assert kinds >= {"action", "event", "transition"} | ({"flag_opened", "alert"} if flag is not None else set())
    # Nobody is accused by the clock alone, and what no webhook told was read.
    assert "read" in kinds or code["device_id"] not in _FOUND_BY_A_READ
    moments = [datetime.fromisoformat(entry["at"]) for entry in timeline]
    assert moments == sorted(moments)
    return json.dumps([code, timeline])


def _everything_stored(folder: Path, database_url: str) -> bytes:
    if database_url.startswith("sqlite"):
        return b"".join(path.read_bytes() for path in folder.rglob("*.db*"))
    return asyncio.run(_every_row(database_url)).encode()


async def _every_row(database_url: str) -> str:
    db = open_database(database_url)
    rows: list[str] = []
    async with db.read() as conn:
        for table in metadata.sorted_tables:
            found = await conn.execute(select(func.row_to_json(table.table_valued())))
            rows += [json.dumps(row) for row in found.scalars()]
    await db.close()
    return "\n".join(rows)


def test_a_flag_closes_by_itself_when_its_cause_is_gone(stack: tuple[Service, Service]) -> None:
    service, _ = stack
    code = create(service, "lock_fails_then_sets")
    path = f"/v1/access-codes/{code['id']}"
    service.until(path, lambda code: code["verdict"] == "verified")
    flags = [flag for flag in service.all("/v1/flags", state="closed") if flag["code_id"] == code["id"]]
    assert {flag["kind"] for flag in flags} >= {"failed"}
    assert all(flag["closed_at"] for flag in flags)


def test_a_lock_that_schedules_by_itself_holds_the_code_before_its_start(stack: tuple[Service, Service]) -> None:
    service, _ = stack
    starts_at = datetime.now(UTC) + timedelta(hours=2)
    window = {"starts_at": starts_at.isoformat(), "ends_at": (starts_at + timedelta(days=2)).isoformat()}
    made = create(service, "lock_native", **window)
    assert made["verdict"] == "pending"
    path = f"/v1/access-codes/{made['id']}"
    code = service.until(path, lambda code: code["verdict"] == "scheduled")
    assert code["signals"]["scheduled_at"] is not None
    assert code["signals"]["set_at"] is None
    assert code["flags"] == []
    assert service.post(f"{path}/check").json()["verdict"] == "scheduled"


def test_codes_made_elsewhere_are_tracked_checked_and_let_go(stack: tuple[Service, Service]) -> None:
    service, seam = stack
    create(service, "lock_native", starts_at="2036-01-01T00:00:00Z", ends_at="2036-01-03T00:00:00Z")
    scheduled = service.get("/v1/access-codes", q="lock_native")["items"] or service.all("/v1/access-codes")
    path = f"/v1/access-codes/{scheduled[0]['id']}"
    assert service.post(f"{path}/check").status_code == 200
    assert service.post(f"{path}/untrack").status_code == 200
    answer = service.post("/v1/access-codes/track", device_id="lock_native", reference="booking 7")
    assert answer.status_code == 200, answer.text
    assert service.get("/v1/access-codes", reference="booking 7")["items"][0]["id"] == scheduled[0]["id"]
    assert seam.url.startswith("http://127.0.0.1")
