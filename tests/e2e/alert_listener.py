"""Somebody's endpoint for alerts: keeps what it was sent, compares signatures with svix's, and can be out of order."""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from svix.webhooks import Webhook

ALERT_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


class AlertListener:
    """``keys`` maps each change of each flag, ``("flag.opened", flag_id)``, to the keys under which it was told."""

    def __init__(self) -> None:
        self.status = 204
        self.refused = 0
        self.keys: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.bodies: list[str] = []
        self._lock = threading.Lock()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(listener.take(dict(self.headers.items()), body))
                self.end_headers()

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/alerts"

    def take(self, headers: dict[str, str], body: bytes) -> int:
        lower = {name.lower(): value for name, value in headers.items()}
        # Svix's own check asks the true clock; here the sender's may be another one.
        sent_at = datetime.fromtimestamp(int(lower["webhook-timestamp"]), UTC)
        assert Webhook(ALERT_SECRET).sign(lower["webhook-id"], sent_at, body.decode()) == lower["webhook-signature"]
        told = json.loads(body)
        with self._lock:
            if self.status != 204:
                self.refused += 1
                return self.status
            self.bodies.append(body.decode())
            for flag_id in set(re.findall(r"flag_[0-9a-f]{32}", body.decode())):
                self.keys[(told["type"], flag_id)].add(lower["webhook-id"])
            return 204

    def told(self, kind: str) -> set[str]:
        with self._lock:
            return {flag_id for told, flag_id in self.keys if told == kind}

    def told_twice(self) -> list[tuple[str, str]]:
        """Changes that were told under more than one key."""
        with self._lock:
            return [change for change, keys in self.keys.items() if len(keys) > 1]

    def settings(self) -> dict[str, str]:
        return {
            "LATCHWATCH_ALERT_WEBHOOK_URL": self.url,
            "LATCHWATCH_ALERT_WEBHOOK_SECRET": ALERT_SECRET,
            "LATCHWATCH_ALERT_GROUP_WITHIN": "0.5",
        }

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def listening() -> Iterator[AlertListener]:
    listener = AlertListener()
    thread = threading.Thread(target=listener.serve, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.close()
        thread.join()
