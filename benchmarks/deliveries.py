"""Deliveries as Seam would send them: unique events about the tracked codes, really signed, as bytes for wrk."""

from __future__ import annotations

import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from svix.webhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CODES = 100_000
CODES_PER_LOCK = 10
LOCKS_PER_ACCOUNT = 100
WORKSPACE = "3f1a77c0-93a6-4f0e-8c39-6c1f0a3b5d11"

# What a fleet says, roughly: news of codes, some use at the door, now and then a lock that goes offline.
_KINDS = {
    "access_code.created": 12,
    "access_code.set_on_device": 24,
    "access_code.scheduled_on_device": 8,
    "access_code.changed": 6,
    "access_code.failed_to_set_on_device": 3,
    "access_code.removed_from_device": 18,
    "access_code.deleted": 6,
    "lock.unlocked": 20,
    "device.disconnected": 1.5,
    "device.connected": 1.5,
}
_WITH_PIN = frozenset({"access_code.created", "access_code.set_on_device", "access_code.scheduled_on_device"})
_PART = 10_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file of ``count`` requests. The ids of their events hold ``mark``, so that they can be counted afterwards."""

    path: Path
    count: int
    mark: str


def code_id(number: int) -> str:
    return f"c0d{number:05x}-0000-4000-8000-{number:012x}"


def lock_id(code: int) -> str:
    return f"10c0{code // CODES_PER_LOCK:04x}-0000-4000-8000-{code // CODES_PER_LOCK:012x}"


def account_id(code: int) -> str:
    account = code // (CODES_PER_LOCK * LOCKS_PER_ACCOUNT)
    return f"acc0{account:04x}-0000-4000-8000-{account:012x}"


def prepare(path: Path, count: int, number: int, pool: ProcessPoolExecutor) -> Prepared:
    """Write ``count`` requests that nobody has sent before. ``number`` tells this file from the others of a run."""
    mark = f"-b{number:03x}-"
    parts = pool.map(_make, [mark] * count, range(0, count, _PART), [count] * count)
    with path.open("wb") as file:
        file.writelines(parts)
    return Prepared(path, count, mark)


def _make(mark: str, start: int, count: int) -> bytes:
    chance = random.Random(f"{mark}{start}")  # noqa: S311 - load, no secret
    webhook = Webhook(SECRET)
    kinds = some_kinds(chance, _PART)
    now = datetime.now(UTC)
    size = min(_PART, count - start)
    return b"".join(_record(webhook, now, mark, kinds[index], chance) for index in range(size))


def some_kinds(chance: random.Random, count: int) -> list[str]:
    return chance.choices(list(_KINDS), weights=list(_KINDS.values()), k=count)


def _record(webhook: Webhook, now: datetime, mark: str, kind: str, chance: random.Random) -> bytes:
    random_id = f"{chance.getrandbits(96):024x}"
    event_id = f"{random_id[:8]}-{random_id[8:12]}-4{random_id[12:15]}{mark}{chance.getrandbits(48):012x}"
    delivery_id = f"msg_{event_id.replace('-', '')[:27]}"
    body = orjson.dumps(make_event(event_id, kind, now, chance)).decode()
    request = (
        "POST /webhooks/seam HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: Svix-Webhooks/1.99\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body.encode())}\r\naccept: */*\r\n"
        f"svix-id: {delivery_id}\r\nsvix-timestamp: {int(now.timestamp())}\r\n"
        f"svix-signature: {webhook.sign(delivery_id, now, body)}\r\n\r\n{body}"
    ).encode()
    return b"%08d" % len(request) + request


def make_event(event_id: str, kind: str, now: datetime, chance: random.Random) -> dict[str, object]:
    """One event about one of the tracked codes, or its lock, as Seam would send it."""
    code = chance.randrange(CODES)
    occurred_at = now - timedelta(seconds=chance.uniform(0.5, 5))
    event: dict[str, object] = {
        "event_id": event_id,
        "event_type": kind,
        "workspace_id": WORKSPACE,
        "created_at": _text(now),
        "occurred_at": _text(occurred_at),
        "device_id": lock_id(code),
        "connected_account_id": account_id(code),
        "connected_account_custom_metadata": {},
        "device_custom_metadata": {"property": f"House {code // 1000}", "door": str(code % 1000)},
    }
    if not kind.startswith("device."):
        event["access_code_id"] = code_id(code)
    if kind in _WITH_PIN:
        event["code"] = f"{chance.randrange(10_000_000):07d}"
    if kind == "access_code.failed_to_set_on_device":
        event |= _issues(now)
    if kind == "lock.unlocked":
        event |= {"method": "keycode", "is_via_bluetooth": False, "is_via_nfc": False}
    return event


def _issues(now: datetime) -> dict[str, object]:
    issue = {
        "created_at": _text(now),
        "error_code": "failed_to_set_on_device",
        "is_access_code_error": True,
        "message": "Failed to set the code on the device. Seam will retry.",
    }
    lists = ("access_code_warnings", "device_errors", "device_warnings", "connected_account_errors")
    return {"access_code_errors": [issue], **{name: [] for name in (*lists, "connected_account_warnings")}}


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
