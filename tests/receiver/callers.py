"""Requests as bytes, and connections to a server with the endpoint in front, on the short way or the whole one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.types import Send

from app.receiver.body import BodyLimits
from app.receiver.endpoint import put_in_front
from app.receiver.protocol import WebhookProtocol, protocol_of
from tests.receiver.deliveries import Headers, headers_for
from tests.receiver.inboxes import Station
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
