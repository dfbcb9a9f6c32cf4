"""The short way of a delivery: which requests go it, and that nobody outside can tell."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Send
from structlog.testing import capture_logs
from uvicorn.protocols.http import flow_control, httptools_impl

from app.receiver.body import BodyLimits
from app.receiver.committer import Shed
from app.receiver.endpoint import put_in_front
from app.receiver.protocol import WebhookProtocol, protocol_of
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


CHUNKED = request(extra=["Transfer-Encoding: chunked", "Connection: close"]).replace(b"Content-Length: 52\r\n", b"")
WHOLE_CHUNK = b"%b%x\r\n%b\r\n0\r\n\r\n" % (CHUNKED[: -len(BODY)], len(BODY), BODY)


class Client:
    """One connection to the server, byte by byte."""

    def __init__(self, server: uvicorn.Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    @property
    def tasks(self) -> int:
        return len(self.server.server_state.tasks)

    @property
    def connection(self) -> WebhookProtocol:
        """The server's side."""
        (connection,) = self.server.server_state.connections
        assert isinstance(connection, WebhookProtocol)
        return connection

    async def read(self, size: int) -> bytes:
        """That many bytes, with each date (of 29 bytes) as D."""
        return _undated(await self.reader.readexactly(size + 28))

    async def read_all(self) -> bytes:
        """Until the server closes the connection."""
        return _undated(await self.reader.read())


def _undated(answer: bytes) -> bytes:
    return re.sub(rb"(?m)^date: .{29}\r$", b"date: D\r", answer)


@asynccontextmanager
async def calling(post: Post, *, is_short: bool = True, **options: Any) -> AsyncIterator[Client]:
    app = put_in_front(post.endpoint, _elsewhere)
    protocols = [protocol_of(post.endpoint)] if is_short else []
    async with serving(app, *protocols, **options) as (server, port):
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


async def _elsewhere(scope: object, receive: object, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def _held(post: Post, client: Client, sent: bytes) -> None:
    """Sent, and waiting for its commit."""
    post.station.inbox.gate.clear()
    client.writer.write(sent)
    await until(lambda: post.station.waiting > 0)


@pytest.mark.parametrize(
    "sent",
    [
        request(),
        request(line="POST /webhooks/seam/ HTTP/1.1"),
        request(line="POST /webhooks/seam HTTP/1.0", extra=["Connection: close"]),
        WHOLE_CHUNK,
    ],
    ids=["kept open", "slash at the end", "by a proxy that opens a connection for each", "chunked"],
)
async def test_a_delivery_in_one_piece_waits_without_a_task(post: Post, sent: bytes) -> None:
    async with calling(post) as client:
        await _held(post, client, sent)
        waiting = client.tasks
        post.station.inbox.gate.set()
        answer = await client.reader.readuntil(b"\r\n\r\n")

    assert waiting == 0
    assert answer.startswith(b"HTTP/1.1 204 ")
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
        await until(lambda: client.connection.cycle.response_complete)
        kept = _bytes_within(client.connection)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"/webhooks/seam" in kept
    assert not any(b"xxx" in each for each in kept)


def _bytes_within(connection: WebhookProtocol) -> list[bytes]:
    """What the connection itself holds, and the request that it had last."""
    return list(_bytes_of([vars(connection), gc.get_referents(connection.cycle)]))


def _bytes_of(value: object) -> Iterator[bytes]:
    match value:
        case bytes() | bytearray():
            yield bytes(value)
        case dict():
            yield from _bytes_of(list(value.values()))
        case list() | tuple():
            for each in value:
                yield from _bytes_of(each)


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


async def test_each_answer_has_the_date_of_its_second(post: Post) -> None:
    """Uvicorn replaces its list of headers; it does not change it."""
    async with calling(post) as client:
        for day in (b"one", b"one", b"two"):
            if client.server.server_state.default_headers != [(b"date", day)]:
                client.server.server_state.default_headers = [(b"date", day)]
            client.writer.write(request())
            assert await client.reader.readuntil(b"\r\n\r\n") == KEPT.replace(b"D", day)
        before = client.server.server_state.default_headers
        await client.server.on_tick(0)
        assert client.server.server_state.default_headers is not before
        assert before == [(b"date", b"two")]


async def test_who_reads_no_answers_is_heard_again_once_they_are_read(post: Post) -> None:
    async with calling(post) as client:
        client.writer.write(request())
        await client.read(len(KEPT))
        client.connection.pause_writing()
        client.writer.write(request(delivery_id="msg_2"))
        await until(lambda: post.station.inbox.kept == ["msg_1", "msg_2"])
        while_unread = client.tasks
        client.connection.resume_writing()
        answer = await client.read(len(KEPT))

    assert (while_unread, answer) == (1, KEPT)


async def test_one_answer_is_written_also_while_those_before_it_are_not_read(post: Post) -> None:
    async with calling(post) as client:
        await _held(post, client, request())
        client.connection.pause_writing()
        post.station.inbox.gate.set()
        answer = await client.read(len(KEPT))

    assert answer == KEPT


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


def _crowded(post: Post) -> None:
    post.station.committer.shed = lambda size: Shed.FULL  # type: ignore[method-assign]  # noqa: ARG005


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
    "crowded": (request(extra=["Connection: close"]), _crowded, 429),
    "kept open": (request() + request(extra=["Connection: close"]), _as_it_is, 204),
    "kept open and not signed": (request(headers=[]) + request(extra=["Connection: close"]), _as_it_is, 401),
    "HTTP/1.0, to be kept open": (
        request(line="POST /webhooks/seam HTTP/1.0", extra=["Connection: keep-alive"]),
        _as_it_is,
        204,
    ),
    "asks whether to go on": (request(extra=["Expect: 100-continue", "Connection: close"]), _as_it_is, 100),
    "chunked": (WHOLE_CHUNK, _as_it_is, 204),
    "would like another protocol": (
        request(extra=["Connection: close, Upgrade", "Upgrade: websocket"]),
        _as_it_is,
        401,  # httptools takes its body for the first bytes of that protocol
    ),
    "absolute": (request(line="POST http://here/webhooks/seam HTTP/1.1", extra=["Connection: close"]), _as_it_is, 204),
    "escaped": (request(line="POST /webhooks/%73eam HTTP/1.1", extra=["Connection: close"]), _as_it_is, 204),
    "elsewhere": (request(line="POST /elsewhere HTTP/1.1", extra=["Connection: close"]), _as_it_is, 404),
    "garbage after it": (request() + b"garbage\r\n\r\n", _as_it_is, 400),
    "garbage in it": (CHUNKED[: -len(BODY)] + b"no length\r\n", _as_it_is, 400),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_the_bytes_of_an_answer_are_the_same_on_either_way(case: Case) -> None:
    sent, prepare, status = case
    short, whole = await asyncio.gather(*(_answers_to(sent, prepare, is_short) for is_short in (True, False)))

    assert short == whole
    assert short.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("options", "status"), [({"limit_concurrency": 1}, 503), ({"root_path": "/behind"}, 404)], ids=["limit", "path"]
)
async def test_what_uvicorn_is_told_to_do_with_every_request_holds_on_either_way(
    options: dict[str, Any], status: int
) -> None:
    sent = request(extra=["Connection: close"])
    short, whole = await asyncio.gather(*(_answers_to(sent, _as_it_is, each, **options) for each in (True, False)))

    assert short == whole
    assert short.startswith(b"HTTP/1.1 %d " % status)


async def test_an_access_log_that_uvicorn_is_told_to_write_misses_no_delivery(
    post: Post, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("uvicorn.access")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "propagate", False)  # as uvicorn's configuration leaves it
    caplog.set_level(logging.INFO, logger.name)
    async with calling(post, access_log=True) as client:
        client.writer.write(request())
        await client.read(len(KEPT))

    (line,) = [each.getMessage() for each in caplog.records if each.name == logger.name]
    assert line.endswith('"POST /webhooks/seam HTTP/1.1" 204')


async def _answers_to(sent: bytes, prepare: Callable[[Post], None], is_short: bool, **options: Any) -> bytes:
    """Until the server closes the connection."""
    async with opened() as post:
        prepare(post)
        async with calling(post, is_short=is_short, **options) as client:
            client.writer.write(sent)
            return await client.read_all()


async def test_a_body_that_is_too_large_is_refused_also_if_it_came_in_one_piece() -> None:
    async with opened(BodyLimits(body_bytes=len(BODY) - 1)) as post, calling(post) as client:
        client.writer.write(request(extra=["Connection: close"]))
        answer = await client.read_all()

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert post.station.count("too_large") == 1


def test_uvicorns_protocol_is_the_one_of_which_ours_replaces_parts() -> None:
    """After an upgrade: read what has changed there against ``app/receiver/protocol.py``, then renew the digest."""
    source = inspect.getsource(httptools_impl) + inspect.getsource(flow_control)

    assert (
        hashlib.sha256(source.encode()).hexdigest()
        == "ea814cf42e50628dba76b72e12900943da6801b4bcf097f11dff4ea2cdc99455"
    )
