"""A stuck code is told, by signed webhook and in plain words, and so is its end; wherever it went, its PIN did not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from svix.webhooks import Webhook

from tests.e2e.services import serving_beside_a_sandbox

SECRET = "whsec_c2lnbmVkIGZvciBwZW9wbGUgd2hvIGFyZSB0b2xk"
PIN = "83904962"
LIMITS = {
    "LATCHWATCH_SET_WITHIN": "4",
    "LATCHWATCH_REQUEST_WITHIN": "3",
    "LATCHWATCH_REMOVE_WITHIN": "60",
    "LATCHWATCH_ALERT_GROUP_WITHIN": "0.5",
}


@dataclass
class Listener:
    """Answers ``/hook`` with 503 once, then with 204; ``/people`` is what Apprise posts to."""

    port: int = 0
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        with self.changed:
            is_first = not any(one[0] == path for one in self.posts)
            self.posts.append((path, headers, body))
            self.changed.notify_all()
        return 503 if is_first and path == "/hook" else 204

    def until(self, path: str, number: int) -> list[tuple[dict[str, str], bytes]]:
        """The first ``number`` posts there."""

        def found() -> list[tuple[dict[str, str], bytes]]:
            return [(headers, body) for where, headers, body in self.posts if where == path]

        with self.changed:
            assert self.changed.wait_for(lambda: len(found()) >= number, timeout=60), found()
            return found()


@contextmanager
def listening() -> Iterator[Listener]:
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(listener.take(self.path.rstrip("/"), headers, body))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        listener.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield listener
        server.shutdown()


def test_a_stuck_code_and_its_end_are_told(
    tmp_path: Path, database_url: str, record_property: Callable[[str, object], None]
) -> None:
    with listening() as listener:
        hook = f"http://127.0.0.1:{listener.port}"
        channels = {
            "LATCHWATCH_ALERT_WEBHOOK_URL": f"{hook}/hook",
            "LATCHWATCH_ALERT_WEBHOOK_SECRET": SECRET,
            "LATCHWATCH_ALERT_URLS": f"json://127.0.0.1:{listener.port}/people",
        }
        with serving_beside_a_sandbox(tmp_path, database_url, **LIMITS, **channels) as (service, _):
            answer = service.post("/v1/access-codes", device_id="lock_silent", code=PIN, name="Ada", reference="stay 7")
            assert answer.status_code == 201, answer.text
            code_id = answer.json()["id"]
            refused, opened = (verified(*post) for post in listener.until("/hook", 2)[:2])
            told_after = datetime.now(UTC) - datetime.fromisoformat(opened["data"]["flags"][0]["opened_at"])
            assert refused == opened
            assert service.delete(f"/v1/access-codes/{code_id}").status_code == 202
            closed = verified(*listener.until("/hook", 3)[2])
            people = [json.loads(body) for _, body in listener.until("/people", 2)]
            alerts = service.until("/v1/alerts", lambda page: {one["state"] for one in page["items"]} == {"sent"})[
                "items"
            ]
            ready = {check["name"]: check for check in service.get("/readyz")["checks"]}
            assert service.process.stop() == 0
            log = "".join(service.process.lines)

    (flag,) = opened["data"]["flags"]
    assert (opened["type"], flag["kind"], flag["code_id"], flag["name"]) == ("flag.opened", "stuck", code_id, "Ada")
    assert (closed["type"], closed["data"]["flags"][0]["id"]) == ("flag.closed", flag["id"])
    assert closed["data"]["flags"][0]["closed_at"] is not None
    assert [one["title"].partition("]")[0] for one in people] == ["[critical", "[resolved"]
    assert all("Ada" in one["title"] and code_id in one["message"] for one in people)

    by_change = {alert["change"]: alert for alert in alerts}
    ids = [headers["webhook-id"] for headers, _ in listener.until("/hook", 3)]
    assert ids == [by_change[change]["message_id"] for change in ("opened", "opened", "closed")]
    states = {one["channel"].partition("-")[0]: one["attempts"] for one in by_change["opened"]["deliveries"]}
    assert states == {"json": 1, "webhook": 2}
    assert {"alerts", "alerts to webhook", "alert deliveries"} <= set(ready)
    assert all(check["ok"] for check in ready.values())

    sent = b"".join(body for _, _, body in listener.posts).decode()
    for place in (sent, log, json.dumps(alerts)):
        assert PIN not in place
        assert SECRET not in place
    assert log.count('"alert_sent"') == 4
    assert log.count('"alert_failed"') == 1
    record_property("seconds from the deadline to the alert, with one refusal", told_after.total_seconds())


def verified(headers: dict[str, str], body: bytes) -> Any:
    return Webhook(SECRET).verify(body, headers)
