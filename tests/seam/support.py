"""What the gateway's tests share: a gateway over canned answers, and Seam's objects as Seam writes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from app.domain.fingerprints import Fingerprinter
from app.seam.gateway import Gateway

Json = dict[str, Any]
Handler = Callable[[httpx.Request], httpx.Response]

API_KEY = "seam_test_key"
WORKSPACE = "workspace-1"
DEVICE = "device-1"
CODE = "code-1"
PIN = "4821"
FINGERPRINTER = Fingerprinter(b"a key for tests")

OUR_TIME = datetime(2026, 8, 3, 12, 0, 0, 250_000, tzinfo=UTC)
DATE = "Mon, 03 Aug 2026 12:00:00 GMT"


def make_gateway(
    transport: httpx.AsyncBaseTransport | None = None, *, endpoint: str | None = None, timeout_seconds: float = 5.0
) -> Gateway:
    return Gateway(
        api_key=API_KEY,
        endpoint=endpoint,
        timeout_seconds=timeout_seconds,
        fingerprinter=FINGERPRINTER,
        clock=lambda: OUR_TIME,
        transport=transport,
    )


class Seam:
    """Answers each path with what was put there, and keeps the requests. A list is answered in turn."""

    def __init__(self, answers: dict[str, object]) -> None:
        self.answers = answers
        self.requests: list[httpx.Request] = []

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]

    def gateway(self) -> Gateway:
        return make_gateway(httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers[request.url.path]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, json=answer, headers={"date": DATE})


def refusal(status_code: int, seam_type: str, message: str, **more: object) -> httpx.Response:
    error = {"type": seam_type, "message": message, **more}
    return httpx.Response(status_code, json={"error": error, "ok": False}, headers={"date": DATE})


def no_such_code() -> httpx.Response:
    return refusal(404, "access_code_not_found", "Access code not found")


def html(status_code: int) -> httpx.Response:
    return httpx.Response(status_code, html=f"<h1>PIN {PIN} is in the way</h1>", headers={"date": DATE})


def access_code(**changes: object) -> Json:
    return {
        "access_code_id": CODE,
        "device_id": DEVICE,
        "workspace_id": WORKSPACE,
        "name": "Ada",
        "code": PIN,
        "type": "ongoing",
        "status": "setting",
        "starts_at": None,
        "ends_at": None,
        "created_at": "2026-08-03T11:59:59.500Z",
        "errors": [],
        "warnings": [],
        "is_managed": True,
        **changes,
    }
