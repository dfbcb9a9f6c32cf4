"""Requests to the endpoint, as an ASGI server makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Scope

from tests.receiver.deliveries import Headers


@dataclass
class Exchange:
    """One request. ``pieces`` come in as they stand. With ``ends`` false the last of them is not the end: the client
    falls silent then, or goes away if it ``leaves``. ``asked`` counts how often the application asked for more, and
    ``asked_first`` how often it had when it answered."""

    headers: Headers = field(default_factory=list)
    pieces: Sequence[bytes] = (b"",)
    method: str = "POST"
    path: str = "/webhooks/seam"
    ends: bool = True
    leaves: bool = False
    asked: int = 0
    asked_first: int = 0
    sent: list[Message] = field(default_factory=list)

    async def run(self, app: ASGIApp) -> Exchange:
        await app(self.scope, self._receive, self._send)
        return self

    @property
    def scope(self) -> Scope:
        return {"type": "http", "method": self.method, "path": self.path, "headers": self.headers, "query_string": b""}

    async def _receive(self) -> Message:
        self.asked += 1
        if self.asked <= len(self.pieces):
            more = self.asked < len(self.pieces) or not self.ends
            return {"type": "http.request", "body": self.pieces[self.asked - 1], "more_body": more}
        if not self.leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if not self.sent:
            self.asked_first = self.asked
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return int(self.sent[0]["status"]) if self.sent else None

    @property
    def answered(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        assert not self.sent[-1]["more_body"]
        return b"".join(message["body"] for message in self.sent[1:])
