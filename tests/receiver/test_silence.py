"""How long a connection may be silent before it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.receiver.answers import KEPT
from app.receiver.endpoint import WebhookEndpoint
from app.receiver.examiner import Reply
from app.receiver.protocol import WebhookProtocol, protocol_of
from tests.receiver.posts import Post
from tests.receiver.servers import serving

SECONDS = 75
DELIVERY = b"POST /webhooks/seam HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"


class Loop:
    """A loop whose time passes when a test says so; of its timers, those that are still to come."""

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
    """One connection, without a socket."""

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


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_silent_connection_is_closed_after_its_time(line: Line) -> None:
    line.deliver()
    line.answer()
    line.loop.wait(SECONDS - 0.1)
    before = line.transport.is_closed
    line.loop.wait(0.1)

    assert (before, line.transport.is_closed) == (False, True)


def test_the_time_begins_with_the_latest_answer(line: Line) -> None:
    for _ in range(10):
        line.loop.wait(30)
        line.deliver()
        line.loop.wait(1)
        line.answer()
    line.loop.wait(SECONDS - 0.1)
    before = line.transport.is_closed
    line.loop.wait(0.1)

    assert (before, line.transport.is_closed) == (False, True)
    assert len(line.transport.written) == 10


def test_a_delivery_may_wait_for_its_commit_for_longer(line: Line) -> None:
    line.deliver()
    line.answer()
    line.deliver()
    line.loop.wait(10 * SECONDS)
    assert not line.transport.is_closed

    line.answer()
    line.loop.wait(SECONDS)
    assert line.transport.is_closed


def test_the_beginning_of_a_request_ends_the_silence(line: Line) -> None:
    line.deliver()
    line.answer()
    line.protocol.data_received(DELIVERY[:20])
    line.loop.wait(10 * SECONDS)
    assert not line.transport.is_closed


def test_many_deliveries_need_one_timer(line: Line) -> None:
    for _ in range(100):
        line.deliver()
        line.answer()
        line.loop.wait(0.1)

    assert line.loop.made == 1


def test_a_connection_that_is_lost_leaves_no_timer(line: Line) -> None:
    line.deliver()
    line.answer()
    line.protocol.connection_lost(ConnectionResetError())

    assert line.loop.timers == []


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_server_hangs_up_on_who_stays_silent_after_any_request(post: Post, method: str) -> None:
    protocol = protocol_of(post.endpoint)
    async with serving(post.endpoint, protocol, timeout_keep_alive=0.05) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(DELIVERY.replace(b"POST", method.encode()))
        answer = await reader.read()
        writer.close()

        assert answer.startswith(b"HTTP/1.1 401" if method == "POST" else b"HTTP/1.1 405")
        assert server.server_state.total_requests == 1
