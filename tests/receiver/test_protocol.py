"""The short way of a delivery: which requests go it, and that nobody outside can tell."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import uvicorn
from structlog.testing import capture_logs

from app.receiver.body import BodyLimits
from app.receiver.endpoint import put_in_front
from app.receiver.protocol import protocol_of
from tests.receiver.deliveries import Headers, headers_for
from tests.receiver.inboxes import Station, until
from tests.receiver.posts import Post
from tests.receiver.servers import serving

BODY = b'{"event_id":"e1","event_type":"access_code.created"}'
KEPT = b"HTTP/1.1 204 No Content\r\ndate: D\r\n\r\n"


def request(
    headers: Headers | None = None,
    body: bytes = BODY,
    *,
    extra: Sequence[str] = (),
    line: str = "POST /webhooks/seam HTTP/1.1",
    delivery_id: str = "msg_1",
) -> bytes:
    given = headers_for(body, delivery_id=delivery_id) if headers is None else headers
    lines = [f"{name.decode()}: {value.decode()}" for name, value in given]
    head = [line, "Host: localhost", f"Content-Length: {len(body)}", *lines, *extra]
    return "\r\n".join([*head, "", ""]).encode() + body


class Client:
    """One connection to the server, byte by byte."""

    def __init__(self, server: uvicorn.Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    @property
    def tasks(self) -> int:
        return len(self.server.server_state.tasks)

    async def read(self, size: int) -> bytes:
        """That many bytes, with each date (of 29 bytes) as D."""
        return _undated(await self.reader.readexactly(size + 28))

    async def read_all(self) -> bytes:
        """Until the server closes the connection."""
        return _undated(await self.reader.read())


def _undated(answer: bytes) -> bytes:
    return re.sub(rb"(?m)^date: .{29}\r$", b"date: D\r", answer)


@asynccontextmanager
async def calling(post: Post, *, is_short: bool = True) -> AsyncIterator[Client]:
    app = put_in_front(post.endpoint, _elsewhere)
    protocols = [protocol_of(post.endpoint)] if is_short else []
    async with serving(app, *protocols) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield Client(server, reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def opened(limits: BodyLimits | None = None) -> AsyncIterator[Post]:
    post = Post(Station(), limits)
    post.station.committer.start()
    yield post
    await post.station.committer.close()


async def _elsewhere(scope: object, receive: object, send: object) -> None:
    raise AssertionError("only the webhook is asked for")


async def _held(post: Post, client: Client, sent: bytes) -> None:
    """Sent, and waiting for its commit."""
    post.station.inbox.gate.clear()
    client.writer.write(sent)
    await until(lambda: post.station.waiting > 0)


async def test_a_delivery_in_one_piece_waits_without_a_task(post: Post) -> None:
    async with calling(post) as client:
        await _held(post, client, request())
        waiting = client.tasks
        post.station.inbox.gate.set()
        answer = await client.read(len(KEPT))

    assert (waiting, answer) == (0, KEPT)
    assert post.station.inbox.kept == ["msg_1"]


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (request()[:-20], request()[-20:]),
        (request(extra=["Expect: 100-continue"]), b""),
        (request(extra=["Transfer-Encoding: chunked"]).replace(b"Content-Length: 52\r\n", b"")[: -len(BODY)], b""),
    ],
    ids=["in two pieces", "asks whether to go on", "chunked"],
)
async def test_whatever_is_not_as_usual_goes_the_whole_way(post: Post, first: bytes, rest: bytes) -> None:
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) if b"chunked" in first else rest
    async with calling(post) as client:
        client.writer.write(first)
        await until(lambda: client.tasks == 1)
        client.writer.write(chunk)
        answer = await client.reader.readuntil(b"204 No Content\r\n")

    assert answer.endswith(b"HTTP/1.1 204 No Content\r\n")
    assert post.station.inbox.kept == ["msg_1"]


@pytest.mark.parametrize(("headers", "status"), [(None, b"204"), ([], b"401")])
async def test_a_connection_that_is_kept_open_keeps_no_body(post: Post, headers: Headers | None, status: bytes) -> None:
    body = b'{"event_id":"e1","event_type":"access_code.created","filler":"' + b"x" * 40_000 + b'"}'
    async with calling(post) as client:
        client.writer.write(request(headers, body))
        answer = await client.reader.readuntil(b"\r\n\r\n")
        (connection,) = client.server.server_state.connections
        kept = bytes(connection.cycle.body)  # type: ignore[union-attr]

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert kept == b""


async def test_one_connection_carries_one_delivery_after_the_other(post: Post) -> None:
    async with calling(post) as client:
        for number in range(5):
            client.writer.write(request(delivery_id=f"msg_{number}"))
            assert await client.read(len(KEPT)) == KEPT
        assert client.server.server_state.total_requests == 5

    assert post.station.inbox.kept == [f"msg_{number}" for number in range(5)]


async def test_several_in_one_piece_are_answered_in_their_order(post: Post) -> None:
    """The second one waits for the answer to the first, as over uvicorn's own protocol."""
    unsigned = request(headers=[])
    async with calling(post) as client:
        await _held(post, client, request() + unsigned + request(delivery_id="msg_2", extra=["Connection: close"]))
        waiting = post.station.waiting
        post.station.inbox.gate.set()
        answers = await client.read_all()

    assert waiting == 1
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"204", b"401", b"204"]
    assert post.station.inbox.kept == ["msg_1", "msg_2"]


async def test_a_client_that_hangs_up_before_its_answer_loses_nothing(post: Post) -> None:
    async with calling(post) as client:
        await _held(post, client, request())
        client.writer.close()
        await until(lambda: not client.server.server_state.connections)
        with capture_logs() as lines:
            post.station.inbox.gate.set()
            await until(lambda: bool(lines))

    assert post.station.inbox.kept == ["msg_1"]
    assert [line["event"] for line in lines] == ["event_stored"]


async def test_a_shutdown_answers_what_it_accepted_and_says_that_it_closes(post: Post) -> None:
    async with calling(post) as client:
        await _held(post, client, request())
        client.server.should_exit = True
        await until(lambda: not any(listener.is_serving() for listener in client.server.servers))
        await asyncio.sleep(0)
        post.station.inbox.gate.set()
        answer = await client.read_all()

    assert answer == KEPT.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


def _storage_away(post: Post) -> None:
    post.station.inbox.failure = OSError("disk")


def _clock_broken(post: Post) -> None:
    post.clock_fault = RuntimeError("no time")


def _as_it_is(_post: Post) -> None:
    pass


Case = tuple[bytes, Callable[[Post], None], int]
CASES: dict[str, Case] = {
    "kept": (request(extra=["Connection: close"]), _as_it_is, 204),
    "HTTP/1.0": (request(line="POST /webhooks/seam HTTP/1.0"), _as_it_is, 204),
    "slash at the end": (request(line="POST /webhooks/seam/ HTTP/1.1", extra=["Connection: close"]), _as_it_is, 204),
    "with a query": (request(line="POST /webhooks/seam?a=b HTTP/1.1", extra=["Connection: close"]), _as_it_is, 204),
    "unreadable": (request(body=b"no JSON", extra=["Connection: close"]), _as_it_is, 204),
    "empty": (request(body=b"", extra=["Connection: close"]), _as_it_is, 204),
    "not signed": (request(headers=[], extra=["Connection: close"]), _as_it_is, 401),
    "GET": (request(line="GET /webhooks/seam HTTP/1.1", extra=["Connection: close"]), _as_it_is, 405),
    "storage away": (request(extra=["Connection: close"]), _storage_away, 503),
    "a fault of ours": (request(extra=["Connection: close"]), _clock_broken, 503),
    "garbage after it": (request() + b"garbage\r\n\r\n", _as_it_is, 400),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_the_bytes_of_an_answer_are_the_same_on_either_way(case: Case) -> None:
    sent, prepare, status = case
    answers = []
    for is_short in (True, False):
        async with opened() as post:
            prepare(post)
            async with calling(post, is_short=is_short) as client:
                client.writer.write(sent)
                answers.append(await client.read_all())

    assert answers[0] == answers[1]
    assert answers[0].startswith(b"HTTP/1.1 %d " % status)


async def test_a_body_that_is_too_large_is_refused_also_if_it_came_in_one_piece() -> None:
    async with opened(BodyLimits(body_bytes=len(BODY) - 1)) as post, calling(post) as client:
        client.writer.write(request(extra=["Connection: close"]))
        answer = await client.read_all()

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert post.station.count("too_large") == 1
