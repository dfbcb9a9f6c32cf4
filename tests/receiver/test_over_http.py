"""The endpoint behind a real server: bodies over sockets, clients that go away, deliveries side by side, a shutdown.
Each over uvicorn's own protocol and over the short way for deliveries, which must not be told apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.receiver.body import BodyLimits
from app.receiver.protocol import protocol_of
from tests.receiver.deliveries import headers_for
from tests.receiver.inboxes import until
from tests.receiver.posts import Post
from tests.receiver.servers import serving

BODY = b'{"event_id":"e1","event_type":"access_code.created"}'
LARGE = b"x" * (300 * 1024)
CAP = 256 * 1024
PIECE = 64 * 1024
# What uvicorn itself reads ahead of the application: its buffer's mark, and one read from the socket.
READ_AHEAD = 64 * 1024 + 256 * 1024


async def in_pieces(body: bytes, size: int = PIECE) -> AsyncIterator[bytes]:
    """Without a Content-Length, thus sent in chunks."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


class Meter:
    """Counts the bytes of bodies that the application is handed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.handed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def metered() -> Message:
            message = await receive()
            self.handed += len(message.get("body", b""))
            return message

        await self._app(scope, metered, send)


Serve = Callable[[Post], AbstractAsyncContextManager[tuple[uvicorn.Server, int]]]


@pytest.fixture(params=["whole way", "short way"])
def serve(request: pytest.FixtureRequest) -> Serve:
    if request.param == "whole way":
        return lambda post: serving(post.endpoint)
    return lambda post: serving(post.endpoint, protocol_of(post.endpoint))


def client_of(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)


def raw_request(length: int, *extra: str, delivery_id: str = "msg_1") -> bytes:
    lines = [f"{name.decode()}: {value.decode()}" for name, value in headers_for(BODY, delivery_id=delivery_id)]
    head = ["POST /webhooks/seam HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *lines, *extra]
    return "\r\n".join([*head, "", ""]).encode()


@pytest.mark.parametrize("path", ["/webhooks/seam", "/webhooks/seam/"])
async def test_a_delivery_is_taken_with_and_without_a_slash_at_the_end(serve: Serve, post: Post, path: str) -> None:
    async with serve(post) as (_, port), client_of(port) as client:
        response = await client.post(path, content=BODY, headers=headers_for(BODY))

    assert (response.status_code, response.content) == (204, b"")
    assert post.station.inbox.kept == ["msg_1"]


async def test_one_connection_carries_many_deliveries_good_and_bad(serve: Serve, post: Post) -> None:
    async with serve(post) as (server, port), client_of(port) as client:
        for number in range(3):
            good = await client.post(
                "/webhooks/seam", content=BODY, headers=headers_for(BODY, delivery_id=f"msg_{number}")
            )
            bad = await client.post("/webhooks/seam", content=LARGE[:CAP], headers=headers_for(BODY))
            wrong = await client.get("/webhooks/seam")
            assert (good.status_code, bad.status_code, wrong.status_code) == (204, 401, 405)
        assert len(server.server_state.connections) == 1

    assert post.station.inbox.kept == ["msg_0", "msg_1", "msg_2"]


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_client_that_sends_300_kib_reads_the_413(serve: Serve, post: Post, chunked: bool) -> None:
    """Each time: a connection closed too early would be reset, and the answer lost, now and then."""
    async with serve(post) as (_, port):
        for _ in range(20):
            async with client_of(port) as client:
                content = in_pieces(LARGE) if chunked else LARGE
                response = await client.post("/webhooks/seam", content=content, headers=headers_for(BODY))
            assert response.status_code == 413
            assert response.headers["content-type"] == "application/problem+json"

    assert post.station.inbox.attempts == 0
    assert post.station.count("too_large") == 20


@pytest.mark.parametrize("opening", [b"Transfer-Encoding: chunked", b"Content-Length: 1000000000"])
async def test_of_an_endless_upload_no_more_is_read_than_the_cap_and_what_is_thrown_away(
    post: Post, opening: bytes
) -> None:
    limits = BodyLimits()
    meter = Meter(post.endpoint)
    async with serving(meter, protocol_of(post.endpoint)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /webhooks/seam HTTP/1.1\r\nHost: localhost\r\n" + opening + b"\r\n\r\n")
        answer = asyncio.create_task(reader.readline())
        sent = await _send_until_refused(writer, chunked=b"chunked" in opening)
        writer.close()

    assert await answer == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    assert meter.handed <= CAP + limits.discard_bytes + 2 * READ_AHEAD
    assert sent < 64 * 1024 * 1024
    assert post.endpoint._bodies._unfinished == 0


async def test_a_body_that_is_too_large_is_refused_before_the_client_is_told_to_send_it(
    serve: Serve, post: Post
) -> None:
    async with serve(post) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw_request(len(LARGE), "Expect: 100-continue"))
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()

    assert status == b"HTTP/1.1 413 Request Entity Too Large\r\n"


async def test_a_client_that_hangs_up_in_the_middle_of_its_body_stores_nothing(serve: Serve, post: Post) -> None:
    async with serve(post) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw_request(len(BODY)) + BODY[:20])
        await writer.drain()
        await until(lambda: post.endpoint._bodies._unfinished > 0)
        writer.close()
        await writer.wait_closed()
        await until(lambda: post.station.count("disconnected") == 1)

    assert post.station.inbox.attempts == 0


async def test_a_client_that_hangs_up_before_its_answer_loses_nothing(serve: Serve, post: Post) -> None:
    post.station.inbox.gate.clear()
    async with serve(post) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw_request(len(BODY)) + BODY)
        await until(lambda: post.station.inbox.attempts == 1)
        writer.close()
        await writer.wait_closed()
        await until(lambda: not server.server_state.connections)
        post.station.inbox.gate.set()

    assert post.station.inbox.kept == ["msg_1"]


async def test_deliveries_side_by_side_share_few_commits(serve: Serve, post: Post) -> None:
    async with serve(post) as (_, port), client_of(port) as client:
        post.station.inbox.gate.clear()
        requests = [
            client.post("/webhooks/seam", content=BODY, headers=headers_for(BODY, delivery_id=f"msg_{number}"))
            for number in range(60)
        ]
        tasks = [asyncio.create_task(request) for request in requests]
        await until(lambda: post.station.waiting == 60)
        post.station.inbox.gate.set()
        statuses = {response.status_code for response in await asyncio.gather(*tasks)}

    assert statuses == {204}
    assert len(post.station.inbox.kept) == 60
    assert len(post.station.inbox.batches) <= 2


async def test_a_shutdown_answers_what_it_accepted_and_stores_it(serve: Serve, post: Post) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        async with serve(post) as (server, port):
            post.station.inbox.gate.clear()
            url = f"http://127.0.0.1:{port}/webhooks/seam"
            request = asyncio.create_task(client.post(url, content=BODY, headers=headers_for(BODY)))
            await until(lambda: post.station.inbox.attempts == 1)
            server.should_exit = True
            await until(lambda: not any(listener.is_serving() for listener in server.servers))
            assert not request.done()
            post.station.inbox.gate.set()
        await post.station.committer.close()
        response = await request

    assert response.status_code == 204
    assert post.station.inbox.kept == ["msg_1"]


async def _send_until_refused(writer: asyncio.StreamWriter, *, chunked: bool) -> int:
    """How many bytes went out before the connection broke. The sockets' own buffers are part of it."""
    piece = b"%x\r\n%b\r\n" % (PIECE, b"x" * PIECE) if chunked else b"x" * PIECE
    sent = 0
    try:
        while sent < 256 * 1024 * 1024:
            writer.write(piece)
            await writer.drain()
            sent += PIECE
    except (ConnectionError, BrokenPipeError):
        return sent
    return sent
