"""How long a connection may be silent before it is closed."""

from __future__ import annotations

import asyncio

import pytest

from app.receiver.protocol import protocol_of
from tests.receiver.lines import DELIVERY, SECONDS, Line
from tests.receiver.posts import Post
from tests.receiver.servers import serving


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


@pytest.mark.parametrize("deliveries", [2, 10])
def test_the_time_begins_with_the_latest_answer(line: Line, deliveries: int) -> None:
    for _ in range(deliveries):
        line.loop.wait(30)
        line.deliver()
        line.loop.wait(1)
        line.answer()
    line.loop.wait(SECONDS - 0.1)
    before = line.transport.is_closed
    line.loop.wait(0.1)

    assert (before, line.transport.is_closed) == (False, True)
    assert len(line.transport.written) == deliveries


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
