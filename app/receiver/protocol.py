"""The short way of a delivery: from the connection to the endpoint and back, without a task.

Uvicorn's own protocol starts a task for each request, which awaits the body and both halves of the answer. Nearly all
deliveries come in whole, in one piece with their headers, and nearly all answers are the same 204. Such a delivery is
handed to the endpoint as soon as it is parsed, and the 204 is written when its commit is done. Whatever is not as usual
goes uvicorn's way, and so does every other route.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.receiver.answers import KEPT, Answer
from app.receiver.endpoint import PATHS, WebhookEndpoint

_KEPT_LINE = b"HTTP/1.1 204 No Content\r\n"
_CLOSING = (b"connection", b"close")


class WebhookProtocol(HttpToolsProtocol):
    """One connection. ``endpoint`` is given by ``protocol_of``."""

    endpoint: WebhookEndpoint

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._is_reading = False
        self._begun: RequestResponseCycle | None = None  # a delivery whose headers are there, and not its whole body

    def data_received(self, data: bytes) -> None:
        self._is_reading = True
        try:
            super().data_received(data)
        finally:
            self._is_reading = False
        begun, self._begun = self._begun, None
        if begun is not None:
            super()._start_asgi_task(begun, self.app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # While nothing is read, a request is started that had to wait for the answer to the one before.
        if self._is_reading and app is self.app and _is_usual(cycle):
            self._begun = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        begun, self._begun = self._begun, None
        if begun is None:
            return
        if len(begun.body) > self.endpoint.largest_body or self.flow.write_paused:
            super()._start_asgi_task(begun, self.app)
        else:
            # Not left with the connection, which may be kept open for long.
            body, begun.body = bytes(begun.body), bytearray()
            self.endpoint.examiner.take(begun.scope["headers"], body, partial(self._reply, begun))

    def _reply(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        if cycle.disconnected:
            return
        if answer is not KEPT or self.flow.write_paused:
            super()._start_asgi_task(cycle, cast(Any, answer))
            return
        headers = cycle.default_headers if cycle.keep_alive else [*cycle.default_headers, _CLOSING]
        self.transport.write(b"".join((_KEPT_LINE, *[b"%b: %b\r\n" % each for each in headers], b"\r\n")))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()


def protocol_of(endpoint: WebhookEndpoint) -> type[asyncio.Protocol]:
    """What uvicorn makes for each connection, when ``endpoint`` stands in front."""
    return type("_Protocol", (WebhookProtocol,), {"endpoint": endpoint})


def _is_usual(cycle: RequestResponseCycle) -> bool:
    scope = cycle.scope
    return scope["path"] in PATHS and scope["method"] == "POST" and not cycle.waiting_for_100_continue
