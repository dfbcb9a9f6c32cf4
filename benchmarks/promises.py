"""What the service promises about time and about calls to Seam, measured through its API beside a simulated Seam."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
from svix.webhooks import Webhook

from benchmarks.contestants import TOKEN, Contestant, latchwatch, uvicorn
from benchmarks.databases import Postgres
from benchmarks.deliveries import SECRET, code_id, lock_id
from benchmarks.load import VoidRun
from benchmarks.processes import Server, free_port
from benchmarks.tracked import migrate_only

_STUCK, _SET_WITHIN_SECONDS = 20, 3
_SEEN = 200
_CODES, _LOCKS, _SET_AFTER_SECONDS, _POLL_SECONDS = 1000, 100, 20, 5
_PATIENCE_SECONDS = 300.0
# Without these no code could be made at all; a poller needs them as well.
_TO_CREATE = ("/access_codes/create", "/access_codes/generate_code", "/devices/get")


@dataclass(frozen=True, slots=True)
class Promises:
    """Times in milliseconds. ``polls``: what asking for each code every 5 s would have called until it was set."""

    deadline_to_flag: list[float]
    acked_to_visible: list[float]
    calls: dict[str, int] = field(default_factory=dict)
    polls: int = 0

    @property
    def calls_beside_creating(self) -> int:
        return sum(count for path, count in self.calls.items() if path not in _TO_CREATE)


def keep_promises(tracked: Contestant, folder: Path, postgres: Postgres) -> Promises:
    """``tracked`` is the service with the benchmark's codes; the others are made anew."""
    with tracked.running() as server, _client(server) as client:
        visible = [_milliseconds_until_visible(client, number) for number in range(_SEEN)]
    url = postgres.create("promises")
    migrate_only(url)
    with _beside_seam(folder, url) as (service, seam), _client(service) as client:
        flagged = _deadlines_to_flags(client, seam)
        before = _counts(seam)
        polls = _program_many(client, seam)
        calls = {path: count - before.get(path, 0) for path, count in _counts(seam).items()}
    return Promises(flagged, visible, {path: count for path, count in calls.items() if count}, polls)


@contextmanager
def _beside_seam(folder: Path, url: str) -> Iterator[tuple[Server, Server]]:
    """The service on this database, and a simulated Seam that sends its webhooks there."""
    port = free_port()
    seam = Contestant("Seam", uvicorn("benchmarks.contestants.seam:app"), log=folder / "seam.log")
    service = Contestant("promises", lambda _port: latchwatch("serve")(port), url, folder / "promises.log")
    with seam.running(WEBHOOK_URL=f"http://127.0.0.1:{port}/webhooks/seam") as seam_server:
        access = {"SEAM_API_KEY": "seam_test_key", "SEAM_ENDPOINT": seam_server.url}
        with service.running_at(port, **access) as server:
            yield server, seam_server


def _client(server: Server) -> httpx.Client:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=30)


def _milliseconds_until_visible(client: httpx.Client, number: int) -> float:
    """From the acknowledgement of one event to the answer that shows it: the first answer has to."""
    code = number * 37 % 100_000
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    payload = {
        "event_id": str(uuid4()),
        "event_type": "access_code.set_on_device",
        "workspace_id": "workspace",
        "access_code_id": code_id(code),
        "device_id": lock_id(code),
        "created_at": now,
        "occurred_at": now,
    }
    body, delivery_id, sent_at = orjson.dumps(payload).decode(), f"msg_{uuid4().hex}", datetime.now(UTC)
    headers = {
        "svix-id": delivery_id,
        "svix-timestamp": str(int(sent_at.timestamp())),
        "svix-signature": Webhook(SECRET).sign(delivery_id, sent_at, body),
    }
    client.post("/webhooks/seam", content=body, headers=headers).raise_for_status()
    acked = time.perf_counter()
    answer = client.get(f"/v1/access-codes/{code_id(code)}").raise_for_status().json()
    milliseconds = (time.perf_counter() - acked) * 1000
    if _moment(answer["signals"]["set_at"]) != _moment(now):
        raise VoidRun("an acked event was not visible in the first answer after it")
    return milliseconds


def _deadlines_to_flags(client: httpx.Client, seam: Server) -> list[float]:
    """For codes that a lock never takes: how long after its deadline each is among the flags."""
    _lock(seam, "silent", behaviour="silent")
    deadlines: dict[str, datetime] = {}
    for _ in range(_STUCK):
        code = _create(client, "silent", set_within_seconds=_SET_WITHIN_SECONDS)
        deadlines[code["id"]] = _moment(code["deadline"])
    delays: dict[str, float] = {}
    until = time.monotonic() + _PATIENCE_SECONDS
    while len(delays) < _STUCK:
        flags = client.get("/v1/flags", params={"limit": 500}).raise_for_status().json()["items"]
        now = datetime.now(UTC)
        for flag in flags:
            if flag["kind"] == "stuck" and flag["code_id"] in deadlines:
                delays.setdefault(flag["code_id"], (now - deadlines[flag["code_id"]]).total_seconds() * 1000)
        if time.monotonic() > until:
            raise VoidRun(f"only {len(delays)} of {_STUCK} codes were flagged")
        time.sleep(0.01)
    return list(delays.values())


def _program_many(client: httpx.Client, seam: Server) -> int:
    """Create the codes and wait until all are verified. The number of polls that this would have taken."""
    for number in range(_LOCKS):
        _lock(seam, f"lock-{number}", behaviour="sets_at_once", set_after_seconds=_SET_AFTER_SECONDS)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: _create(client, f"lock-{number % _LOCKS}"), range(_CODES)))
    until = time.monotonic() + _PATIENCE_SECONDS
    while client.get("/v1/summary").raise_for_status().json()["codes"].get("verified", 0) < _CODES:
        if time.monotonic() > until:
            raise VoidRun("not every code was verified")
        time.sleep(0.5)
    return _CODES * (_SET_AFTER_SECONDS // _POLL_SECONDS)


def _create(client: httpx.Client, device_id: str, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/access-codes", json={"device_id": device_id, **fields})
    code: dict[str, Any] = answer.raise_for_status().json()
    return code


def _lock(seam: Server, device_id: str, **control: Any) -> None:
    httpx.post(f"{seam.url}/sandbox/devices/{device_id}", json=control, trust_env=False).raise_for_status()


def _counts(seam: Server) -> dict[str, int]:
    counts: dict[str, int] = httpx.get(f"{seam.url}/counts", trust_env=False).json()
    return {path: count for path, count in counts.items() if not path.startswith(("/sandbox", "/healthz", "/counts"))}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
