"""No PIN at rest, in logs or in answers: every byte that a service leaves behind is searched, and all that it said.

``test_journey`` looks after a clean end. Here the service is killed, so that the write-ahead log is searched as well,
and it is told PINs by requests that fail, by payloads that nobody can read, and by deliveries that nobody signed.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.storage.engine import open_database
from app.storage.tables import metadata
from tests.e2e.services import TOKEN, Service, deliver, event, serving_beside_a_sandbox, signed

LIMITS = {
    "LATCHWATCH_SET_WITHIN": "5",
    "LATCHWATCH_REMOVE_WITHIN": "3",
    "LATCHWATCH_REQUEST_WITHIN": "3",
    "LATCHWATCH_RECHECK_AFTER": "1",
}
# Eight digits that no time begins with, and that stand in no id.
ENDS = {
    "lock_sets_at_once": ("83104962", "verified"),
    "lock_fails": ("83204962", "failed"),
    "lock_wrong_pin": ("83304962", "mismatched"),
    "lock_silent": ("83404962", "stuck"),
}
REFUSED, UNREADABLE, UNSIGNED, UNKNOWN = "83504962", "83604962", "83704962", "83804962"
PINS = [pin for pin, _ in ENDS.values()] + [REFUSED, UNREADABLE, UNSIGNED, UNKNOWN]
FINGERPRINT = re.compile(r"\b[0-9a-f]{8}:[0-9a-f]{64}\b")
LISTS = ("access-codes", "flags", "events", "unreadable", "devices", "alerts")


class Listener:
    """Talks to the service and keeps every answer, heads included."""

    def __init__(self, service: Service) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self._client = httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=30)
        self.heard: list[str] = []

    def ask(self, method: str, path: str, *, may_tell: str | None = None, **how: Any) -> httpx.Response:
        """``may_tell`` is the member of the answer in which a PIN is what was asked for."""
        answer = self._client.request(method, path, **how)
        told = answer.text
        if may_tell is not None and answer.is_success:
            told = json.dumps({name: value for name, value in answer.json().items() if name != may_tell})
        self.heard.append(f"{answer.headers}\n{told}")
        return answer

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def stack(tmp_path: Path, database_url: str) -> Iterator[tuple[Service, Listener]]:
    with serving_beside_a_sandbox(tmp_path, database_url, **LIMITS) as (service, _):
        listener = Listener(service)
        yield service, listener
        listener.close()


def test_a_killed_service_leaves_no_pin_behind_and_never_told_one(
    stack: tuple[Service, Listener],
    tmp_path: Path,
    database_url: str,
    record_property: Callable[[str, object], None],
) -> None:
    service, listener = stack
    made = {device_id: create(listener, device_id, pin) for device_id, (pin, _) in ENDS.items()}
    for number, (device_id, (pin, _)) in enumerate(ENDS.items()):
        answers = asyncio.run(deliver([service.url], news(number * 10, made[device_id], pin), on_ack=lambda _: None))
        assert {status for _, status in answers} == {204}
    refused_requests(listener, made["lock_sets_at_once"])
    strange_deliveries(listener)
    for device_id, (pin, verdict) in ENDS.items():
        path = f"/v1/access-codes/{made[device_id]['id']}"
        service.until(path, lambda code, wanted=verdict: code["verdict"] == wanted)  # type: ignore[misc]
        shown = listener.ask("GET", f"{path}/pin", may_tell="code").json()["code"]
        assert (shown == pin) == (verdict != "mismatched")
        listener.ask("POST", f"{path}/check")
    listener.ask("DELETE", f"/v1/access-codes/{made['lock_silent']['id']}")
    read_everything(service, listener)

    service.process.stop(signal.SIGKILL)
    log = "".join(service.process.lines)
    assert log.count("verdict_changed") >= len(ENDS)
    heard = "\n".join(listener.heard)
    files = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    tables = asyncio.run(every_row(database_url))
    left = files | {name: rows.encode() for name, rows in tables.items()}
    if database_url.startswith("sqlite"):
        assert [name for name, content in left.items() if name.endswith("-wal") and content]
    for pin in PINS:
        for written in (pin, "-".join(pin[at : at + 2] for at in range(0, 8, 2)), " ".join(pin)):
            assert written not in heard
            assert written not in log
            assert [name for name, content in left.items() if written.encode() in content] == []
    # The digests of what nobody could read have the same form, and are shown.
    del tables["unreadable"]
    fingerprints = set(FINGERPRINT.findall("".join(tables.values())))
    assert len(fingerprints) >= len(ENDS)
    for fingerprint in fingerprints:
        assert fingerprint.partition(":")[2] not in heard + log
    # The search can find things: what may be there is there.
    assert made["lock_silent"]["id"] in heard
    assert made["lock_silent"]["id"].encode() in b"".join(left.values())
    record_property("PINs", len(PINS))
    record_property("answers searched", len(listener.heard))
    record_property("bytes at rest searched", sum(map(len, left.values())))
    record_property("log lines searched", len(service.process.lines))
    record_property("fingerprints stored", len(fingerprints))


def create(listener: Listener, device_id: str, pin: str) -> dict[str, Any]:
    body = {"device_id": device_id, "code": pin, "name": device_id, "reference": f"booking of {device_id}"}
    answer = listener.ask(
        "POST", "/v1/access-codes", may_tell="code", json=body, headers={"Idempotency-Key": device_id}
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert made["code"] == pin
    again = listener.ask("POST", "/v1/access-codes", json=body, headers={"Idempotency-Key": device_id})
    assert again.status_code == 201
    return made


def news(number: int, code: dict[str, Any], pin: str) -> list[dict[str, Any]]:
    """The PIN wherever Seam was seen to put one, and where it might."""
    spread = "-".join(pin[at : at + 2] for at in range(0, 8, 2))
    told = f"Failed to set code {pin} ({spread}, or {' '.join(pin)}) on the lock."
    ids = {"access_code_id": code["access_code_id"], "device_id": code["device_id"], "code": pin}
    issue = {"error_code": "failed_to_set_on_device", "message": told, "is_access_code_error": True}
    # A change of a watched code through Seam would be taken over as what is wanted: these tell of another one.
    another = {**ids, "access_code_id": f"another-{number}"}
    mutation = {"mutation_code": "updating_code", "from": {"code": None}, "to": {"code": pin}}
    changed = {"property": "code", "from": None, "to": pin}
    names = {"from": {"name": f"Ada {pin}"}, "to": {"name": f"Ada {spread}"}}
    return [
        event(number, event_type="access_code.delay_in_setting_on_device", access_code_errors=[issue], **ids),
        event(number + 1, event_type="access_code.name_changed", **ids, **names),
        event(number + 2, event_type="access_code.mutations_requested", requested_mutations=[mutation], **another),
        event(number + 3, event_type="access_code.changed", changed_properties=[changed], **another),
        event(number + 4, event_type="access_code.not_invented_yet", **ids, deep=[{"any": {pin: pin}}], text=told),
        event(number + 5, event_type="lock.access_denied", message=told, **ids),
    ]


def refused_requests(listener: Listener, made: dict[str, Any]) -> None:
    """The PIN is bad, or stands where it must not, or Seam does not want it."""
    lock = {"device_id": "lock_sets_at_once", "code": REFUSED}
    for body, status in (
        ({**lock, "name": f"Ada {REFUSED}"}, 422),
        ({**lock, "metadata": {"door": REFUSED}}, 422),
        ({**lock, "code": f"{REFUSED}{REFUSED}"}, 422),
        ({**lock, "code": f"{REFUSED}x"}, 422),
        ({**lock, "code": [REFUSED]}, 422),
        ({**lock, "pin_code": REFUSED}, 422),
        ({**lock, "device_id": "nowhere"}, 502),
        ({**lock, "device_id": "lock_no_access_codes"}, 409),
        ({**lock, "starts_at": REFUSED}, 422),
    ):
        answer = listener.ask("POST", "/v1/access-codes", json=body)
        assert answer.status_code == status, (body, answer.text)
    answer = listener.ask("POST", "/v1/access-codes", content=f'{{"code": "{REFUSED}"'.encode())
    assert answer.status_code == 422, answer.text
    answer = listener.ask("GET", f"/v1/access-codes/{made['id']}/pin", headers={"Authorization": f"Bearer {REFUSED}"})
    assert answer.status_code == 401


def strange_deliveries(listener: Listener) -> None:
    """Signed and not JSON, or without a type; of an unknown kind; signed by nobody."""
    headers, _ = signed({}, "nothing")
    assert listener.ask("POST", "/webhooks/seam", content=UNSIGNED.encode(), headers=headers).status_code == 401
    for number, payload in enumerate(
        ({"code": UNREADABLE}, [UNREADABLE], UNREADABLE, {"event_type": None, "code": UNREADABLE})
    ):
        headers, body = signed(payload, f"unreadable-{number}")  # type: ignore[arg-type]
        assert listener.ask("POST", "/webhooks/seam", content=body, headers=headers).status_code == 204
    unknown = {"event_id": "unknown", "event_type": "vault.opened", "door_code": UNKNOWN, "list": [{"pin": UNKNOWN}]}
    headers, body = signed({**unknown, "sentence": f"It was {UNKNOWN}."}, "unknown")
    assert listener.ask("POST", "/webhooks/seam", content=body, headers=headers).status_code == 204


def read_everything(service: Service, listener: Listener) -> None:
    for path in ("/v1/summary", "/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert listener.ask("GET", path).status_code == 200, path
    for name in LISTS:
        items = service.all(f"/v1/{name}")
        assert items, name
        listener.ask("GET", f"/v1/{name}", params={"limit": 500})
        for item in items:
            if name == "access-codes":
                assert listener.ask("GET", f"/v1/{name}/{item['id']}/timeline", params={"limit": 500}).is_success
                assert listener.ask("GET", f"/v1/{name}/{item['id']}").is_success
            elif name in {"events", "devices"}:
                ident = item["event_id" if name == "events" else "device_id"]
                assert listener.ask("GET", f"/v1/{name}/{ident}").is_success


async def every_row(database_url: str) -> dict[str, str]:
    """The rows of every table as the database writes them out."""
    db = open_database(database_url)
    tables: dict[str, str] = {}
    async with db.read() as conn:
        for table in metadata.sorted_tables:
            row = "t::text" if database_url.startswith("postgresql") else "*"
            found = await conn.execute(text(f"SELECT {row} FROM {table.name} AS t"))  # noqa: S608
            tables[table.name] = "\n".join(" ".join(str(value) for value in line) for line in found)
    await db.close()
    return tables
