"""The service as processes of its own: started on a database, sent signed webhooks, asked by REST, killed."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from svix.webhooks import Webhook

from tests.processes import SECRET, Process, started

TOKEN = "an-admin-token-for-tests"
KEY = "0123456789abcdef" * 4
SETTINGS = {
    "SEAM_WEBHOOK_SECRET": SECRET,
    "LATCHWATCH_ADMIN_TOKEN": TOKEN,
    "LATCHWATCH_SECRET_KEY": KEY,
    "LATCHWATCH_LOG_FORMAT": "json",
}
PATIENCE_SECONDS = 45.0


# Below those that systems hand out by themselves: no connection of anybody takes one before the service listens there,
# or between its end and its next start. Every worker of the suite begins elsewhere.
_PORTS = itertools.cycle(range(20_000, 32_000))
_STARTED = itertools.islice(_PORTS, os.getpid() * 7919 % 12_000, None)


def free_port() -> int:
    """Another one each time."""
    for port in _STARTED:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("unreachable: the ports go round")


@dataclass
class Service:
    url: str
    process: Process

    def get(self, path: str, **params: Any) -> Any:
        return self._call("GET", path, params=params or None).raise_for_status().json()

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self._call("POST", path, json=body)

    def patch(self, path: str, **body: Any) -> httpx.Response:
        return self._call("PATCH", path, json=body)

    def delete(self, path: str) -> httpx.Response:
        return self._call("DELETE", path)

    def all(self, path: str, **params: Any) -> list[Any]:
        """Every item of a list, page by page."""
        items: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=500, **params, **cursor)
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            cursor = {"cursor": page["next_cursor"]}

    def until(self, path: str, holds: Callable[[Any], bool]) -> Any:
        """The first answer for which ``holds``."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds(answer := self.get(path)):
            assert time.monotonic() < deadline, json.dumps(answer)
            time.sleep(0.1)
        return answer

    def _call(self, method: str, path: str, **how: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(trust_env=False, timeout=30, headers=headers) as client:
            return client.request(method, self.url + path, **how)


@contextmanager
def serving(folder: Path, database_url: str, *options: str, port: int = 0, **settings: str) -> Iterator[Service]:
    """The service on a migrated database. ``options`` are those of ``latchwatch serve``."""
    environment = {**SETTINGS, "DATABASE_URL": database_url, **settings}
    with started("serve", "--port", str(port), *options, folder=folder, **environment) as process:
        yield Service(str(json.loads(process.wait_for('"event": "serving"'))["address"]), process)


@contextmanager
def working(folder: Path, database_url: str, **settings: str) -> Iterator[Process]:
    """``latchwatch work`` on the same database."""
    with started("work", folder=folder, **{**SETTINGS, "DATABASE_URL": database_url, **settings}) as process:
        process.wait_for('"event": "working"')
        yield process


@contextmanager
def serving_beside_a_sandbox(
    folder: Path, database_url: str, *options: str, **settings: str
) -> Iterator[tuple[Service, Service]]:
    """The service and a simulated Seam that sends its webhooks there."""
    port = free_port()
    with ExitStack() as stack:
        hook = f"http://127.0.0.1:{port}/webhooks/seam"
        arguments = ("--port", "0", "--webhook-url", hook, "--secret", SECRET, "--speed", "20")
        sandbox = stack.enter_context(started("sandbox", *arguments, folder=folder))
        seam = sandbox.wait_for("A simulated Seam listens on").split()[5].rstrip(";")
        access = {"SEAM_API_KEY": "seam_test_key", "SEAM_ENDPOINT": seam}
        service = stack.enter_context(serving(folder, database_url, *options, port=port, **access, **settings))
        yield service, Service(seam, sandbox)


def event(number: int, **fields: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {
        "event_id": f"event-{number}",
        "event_type": "access_code.set_on_device",
        "workspace_id": "workspace",
        "access_code_id": f"code-{number}",
        "device_id": "lock",
        "created_at": now,
        "occurred_at": now,
        "code": "40917",
        **fields,
    }


def signed(payload: dict[str, Any], delivery_id: str) -> tuple[dict[str, str], bytes]:
    """Headers and body of a delivery, signed by the real svix."""
    body, now = json.dumps(payload), datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "svix-id": delivery_id,
        "svix-timestamp": str(int(now.timestamp())),
        "svix-signature": Webhook(SECRET).sign(delivery_id, now, body),
    }
    return headers, body.encode()


async def deliver(
    urls: Sequence[str], payloads: Sequence[dict[str, Any]], *, at_once: int = 32, on_ack: Callable[[int], None]
) -> list[tuple[str, int]]:
    """Send each payload to each URL. ``(event_id, status)`` of every answer; one that never came has status 0.
    ``on_ack`` is told how many were acked so far."""
    answers: list[tuple[str, int]] = []
    slots = asyncio.Semaphore(at_once)
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:

        async def send(url: str, payload: dict[str, Any]) -> None:
            headers, body = signed(payload, f"msg_{payload['event_id']}_{urls.index(url)}")
            async with slots:
                try:
                    answer = await client.post(f"{url}/webhooks/seam", content=body, headers=headers)
                    status = answer.status_code
                except httpx.HTTPError:
                    status = 0
            answers.append((payload["event_id"], status))
            on_ack(sum(status == 204 for _, status in answers))

        await asyncio.gather(*(send(url, payload) for payload in payloads for url in urls))
    return answers
