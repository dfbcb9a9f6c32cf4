"""A sandbox whose time stands still, and an endpoint that remembers what its webhooks brought."""

from __future__ import annotations

import json
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from app.sandbox import Sandbox, SandboxSettings, create_sandbox
from app.sandbox.state import iso

Json = dict[str, Any]

START = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOOK = "http://127.0.0.1:9/webhooks/seam"
KEY = {"Authorization": "Bearer seam_test_key"}


def later(**delta: float) -> str:
    """A time after the start, as Seam writes it."""
    return iso(START + timedelta(**delta))


class Bench:
    """``deliveries`` are the requests that the endpoint got; ``answers`` its next status codes or errors, then 204."""

    def __init__(self, *, start: datetime = START, **settings: Any) -> None:
        self.deliveries: list[httpx.Request] = []
        self.answers: deque[int | Exception] = deque()
        self.start = start
        self.app = create_sandbox(
            SandboxSettings(manual_time=True, webhook_url=HOOK, webhook_secret=SECRET, **settings),
            clock=lambda: start,
            transport=httpx.MockTransport(self._receive),
        )
        self.sandbox: Sandbox = self.app.state.sandbox
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://127.0.0.1", headers=KEY)

    async def close(self) -> None:
        await self.http.aclose()
        await self.sandbox.close()

    async def call(self, path: str, **params: Any) -> Json:
        """The answer to a POST that has to succeed."""
        response = await self.http.post(path, json=params)
        answer: Json = response.json()
        assert response.status_code == 200, answer
        assert answer["ok"] is True
        return answer

    async def refused(self, path: str, **params: Any) -> tuple[int, Json]:
        """Status and error object of a POST that has to fail."""
        response = await self.http.post(path, json=params)
        answer: Json = response.json()
        assert answer["ok"] is False
        error: Json = answer["error"]
        assert error["message"]
        return response.status_code, error

    async def create(self, device_id: str, **params: Any) -> str:
        answer = await self.call("/access_codes/create", device_id=device_id, **params)
        return str(answer["access_code"]["access_code_id"])

    async def read(self, access_code_id: str) -> Json | None:
        """Seam's object, or None when Seam says that it has no such code."""
        response = await self.http.get("/access_codes/get", params={"access_code_id": access_code_id})
        if response.status_code == 404:
            assert response.json()["error"]["type"] == "access_code_not_found"
            return None
        found: Json = response.json()["access_code"]
        return found

    async def code(self, access_code_id: str) -> Json:
        found = await self.read(access_code_id)
        assert found is not None
        return found

    async def until(self, **delta: float) -> None:
        """Let time pass until so long after the start."""
        await self.sandbox.advance(self.start + timedelta(**delta))

    @property
    def received(self) -> list[Json]:
        return [json.loads(request.content) for request in self.deliveries]

    @property
    def received_types(self) -> list[str]:
        return [short(body) for body in self.received]

    @property
    def happened(self) -> list[tuple[int, str]]:
        """Every event since the start: seconds and type."""
        return [(round((event.at - self.start).total_seconds()), short(event.body)) for event in self.events]

    @property
    def events(self) -> list[Any]:
        return self.sandbox.world.events

    def last(self, event_type: str) -> Json:
        return next(event.body for event in reversed(self.events) if event.event_type == f"access_code.{event_type}")

    def _receive(self, request: httpx.Request) -> httpx.Response:
        self.deliveries.append(request)
        answer = self.answers.popleft() if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)


def short(body: Json) -> str:
    return str(body["event_type"]).removeprefix("access_code.")
