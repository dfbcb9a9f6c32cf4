"""One connection without a socket, on a loop whose time passes when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import uvicorn
from uvicorn.server import ServerState

from app.receiver.answers import KEPT
from app.receiver.endpoint import WebhookEndpoint
from app.receiver.examiner import Reply
from app.receiver.protocol import WebhookProtocol, protocol_of

SECONDS = 75
DELIVERY = b"POST /webhooks/seam HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"


class Loop:
    """``timers``: those that are still to come; ``made``: how many there ever were."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.made = 0

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.made += 1
        self.timers.append(Timer(self, self.now + seconds, call))
        return self.timers[-1]

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [each for each in self.timers if each.when <= end]:
            first = min(due, key=lambda each: each.when)
            self.now = first.when
            self.timers.remove(first)
            first.call()
        self.now = end


class Timer:
    def __init__(self, loop: Loop, when: float, call: Callable[[], None]) -> None:
        self.loop = loop
        self.when = when
        self.call = call

    def cancel(self) -> None:
        self.loop.timers.remove(self)


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


class Examiner:
    """Keeps whoever waits for an answer."""

    def __init__(self) -> None:
        self.waiting: list[Reply] = []

    def take(self, _headers: object, _body: bytes, reply: Reply) -> None:
        self.waiting.append(reply)


class Endpoint:
    largest_body = 100

    def __init__(self) -> None:
        self.examiner = Examiner()


class Line:
    def __init__(self) -> None:
        self.loop = Loop()
        self.endpoint = Endpoint()
        self.transport = Transport()
        made = protocol_of(cast(WebhookEndpoint, self.endpoint))
        config = uvicorn.Config(
            _nothing, http=made, ws="none", log_config=None, access_log=False, timeout_keep_alive=SECONDS
        )
        self.protocol = cast(type[WebhookProtocol], made)(
            config=config, server_state=ServerState(), app_state={}, _loop=self.loop
        )
        self.protocol.connection_made(self.transport)

    def deliver(self) -> None:
        self.protocol.data_received(DELIVERY)

    def answer(self) -> None:
        self.endpoint.examiner.waiting.pop()(KEPT)


async def _nothing(scope: object, receive: object, send: object) -> None:
    pass
