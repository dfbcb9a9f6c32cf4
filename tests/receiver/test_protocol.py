"""The short way of a delivery: which requests go it, and what it keeps."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import re
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from uvicorn.protocols.http import flow_control, httptools_impl

from app.receiver.body import BodyLimits
from app.receiver.protocol import WebhookProtocol
from tests.receiver.callers import BODY, KEPT, WHOLE_CHUNK, Client, calling, opened, request
from tests.receiver.deliveries import Headers
from tests.receiver.inboxes import until
from tests.receiver.lines import Line
from tests.receiver.posts import Post


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
        await until(lambda: client.tasks == 0)

    assert answer.endswith(b"HTTP/1.1 204 No Content\r\n")
    assert post.station.inbox.kept == ["msg_1"]
    assert post.station.count("too_slow") == 0


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


def test_nothing_is_written_to_who_has_gone() -> None:
    line = Line()
    line.deliver()
    line.protocol.connection_lost(None)
    line.answer()

    assert line.transport.written == []
    assert line.loop.timers == []


async def test_a_delivery_is_heard_after_a_large_request_that_was_refused_unread(post: Post) -> None:
    """Uvicorn stops reading while so much of a body waits for the application."""
    async with calling(post) as client:
        client.writer.write(request(line="GET /webhooks/seam HTTP/1.1", body=b"x" * 200_000) + request())
        await client.reader.readuntil(b'Deliveries of webhooks are sent with POST."}')
        answer = await client.read(len(KEPT))

    assert answer == KEPT


async def test_a_shutdown_answers_what_it_accepted_and_says_that_it_closes(post: Post) -> None:
    async with calling(post) as client:
        await _held(post, client, request())
        client.server.should_exit = True
        await until(lambda: not any(listener.is_serving() for listener in client.server.servers))
        await asyncio.sleep(0)
        post.station.inbox.gate.set()
        answer = await client.read_all()

    assert answer == KEPT.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


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
