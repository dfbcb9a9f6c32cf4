"""How often a request is really sent, counted by a server on the loopback, and how long a call may take in all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from app.seam.client import Client
from app.seam.errors import SeamError, SeamRateLimited, SeamUnanswered, SeamUnreached
from app.seam.gateway import Gateway
from app.seam.values import CreateRequest, UpdateRequest
from tests.seam.support import CODE, DEVICE, PIN, make_gateway

OK_DEVICE = b'{"device": {"device_id": "device-1"}}'


class Server:
    """Answers every request with the next of ``answers``, the last of them again and again. ``None`` hangs up instead,
    ``b""`` says nothing."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = []
        self.requests: list[str] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head.split("\r\n", 1)[0])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == b"":
            await reader.read()  # until the client gives up
        elif answer is not None:
            writer.write(answer)
            await writer.drain()


@asynccontextmanager
async def listening(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The URL at which ``handle`` answers. Leaving waits for every connection to end."""
    connections: set[asyncio.Task[None] | None] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        with suppress(ConnectionError):  # the client may leave as abruptly as it likes
            await handle(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    async with asyncio.timeout(10):
        await asyncio.gather(*filter(None, connections))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with listening(server.handle) as server.url:
        yield server


@pytest.fixture
async def gateway(server: Server) -> AsyncIterator[Gateway]:
    gateway = make_gateway(endpoint=server.url)
    yield gateway
    await gateway.aclose()


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + body


@pytest.mark.parametrize("bad", [answer("503 No"), answer("500 No"), answer("429 Slow"), None, answer("200 OK", b"{")])
async def test_a_create_is_sent_once_whatever_comes_back(server: Server, gateway: Gateway, bad: bytes | None) -> None:
    server.answers = [bad]
    with pytest.raises(SeamError):
        await gateway.create(CreateRequest(DEVICE, code=PIN))
    assert server.requests == ["POST /access_codes/create HTTP/1.1"]


async def test_changes_and_removals_are_sent_once(server: Server, gateway: Gateway) -> None:
    server.answers = [answer("503 No")]
    with pytest.raises(SeamUnanswered):
        await gateway.update_code(UpdateRequest(CODE, name="Ada"))
    with pytest.raises(SeamUnanswered):
        await gateway.delete_code(CODE)
    with pytest.raises(SeamUnanswered):
        await gateway.create_webhook("https://x.test/")
    assert len(server.requests) == 3


@pytest.mark.parametrize("bad", [answer("503 No"), answer("500 No"), answer("502 No"), answer("504 No"), None])
async def test_a_read_is_sent_at_most_twice(server: Server, gateway: Gateway, bad: bytes | None) -> None:
    server.answers = [bad]
    with pytest.raises(SeamUnanswered):
        await gateway.get_device(DEVICE)
    assert len(server.requests) == 2


@pytest.mark.parametrize("bad", [answer("503 No"), None])
async def test_a_read_survives_one_mishap(server: Server, gateway: Gateway, bad: bytes | None) -> None:
    server.answers = [bad, answer("200 OK", OK_DEVICE)]
    assert (await gateway.get_device(DEVICE)).device_id == DEVICE


@pytest.mark.parametrize("refusal", ["400 No", "401 No", "404 No", "409 No", "422 No"])
async def test_a_refused_read_is_not_sent_again(server: Server, gateway: Gateway, refusal: str) -> None:
    server.answers = [answer(refusal)]
    with pytest.raises(SeamError):
        await gateway.get_device(DEVICE)
    assert len(server.requests) == 1


async def test_who_is_told_to_slow_down_does_not_ask_again_at_once(server: Server, gateway: Gateway) -> None:
    server.answers = [answer("429 Slow", b"", "retry-after: 0")]
    with pytest.raises(SeamRateLimited):
        await gateway.get_device(DEVICE)
    assert len(server.requests) == 1


async def test_a_long_retry_after_does_not_hold_up_a_read(server: Server, gateway: Gateway) -> None:
    """The pause before the second try is capped, far inside the time that the call has."""
    server.answers = [answer("503 No", b"", "retry-after: 3600"), answer("200 OK", OK_DEVICE)]
    assert (await gateway.get_device(DEVICE)).device_id == DEVICE


@pytest.mark.parametrize(
    "call",
    [
        lambda gateway: gateway.create(CreateRequest(DEVICE, code=PIN)),
        lambda gateway: gateway.get_device(DEVICE),
    ],
    ids=["create", "read"],
)
async def test_a_silent_seam_leaves_the_outcome_unknown_when_the_time_is_up(server: Server, call: object) -> None:
    assert callable(call)
    server.answers = [b""]
    gateway = make_gateway(endpoint=server.url, timeout_seconds=0.2)
    async with asyncio.timeout(10):
        with pytest.raises(SeamUnanswered) as caught:
            await call(gateway)
    assert type(caught.value) is SeamUnanswered
    await gateway.aclose()


async def test_the_time_of_a_call_includes_the_second_try_and_its_pause(server: Server) -> None:
    """The pause that the server asks for, capped at a second, does not fit in: the second request is never sent."""
    server.answers = [answer("503 No", b"", "retry-after: 3600")]
    gateway = make_gateway(endpoint=server.url, timeout_seconds=0.5)
    with pytest.raises(SeamUnanswered, match="in time"):
        await gateway.get_device(DEVICE)
    assert len(server.requests) == 1
    await gateway.aclose()


async def test_drip_by_drip_does_not_stretch_the_time(server: Server) -> None:
    """Each piece comes soon enough to please a time-out that counts from piece to piece."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n")
        given_up = asyncio.ensure_future(reader.read())
        while not given_up.done():
            writer.write(b" ")
            await asyncio.wait({given_up}, timeout=0.05)
        await given_up

    async with listening(drip) as url:
        gateway = make_gateway(endpoint=url, timeout_seconds=0.3)
        async with asyncio.timeout(10):
            with pytest.raises(SeamUnanswered, match="in time"):
                await gateway.create(CreateRequest(DEVICE, code=PIN))
        await gateway.aclose()


async def test_where_nobody_listens_nothing_was_done() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused, and nobody else gets the port
        gateway = make_gateway(endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(SeamUnreached) as caught:
            await gateway.create(CreateRequest(DEVICE, code=PIN))
        await gateway.aclose()
    assert caught.value.was_done is False


async def test_without_an_endpoint_seams_own_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would take it from variables that are not among our settings."""
    monkeypatch.setenv("SEAM_API_URL", "http://127.0.0.1:1")
    gateway = make_gateway()
    client = gateway._client
    assert isinstance(client, Client)
    assert str(client.sdk.client.base_url) == "https://connect.getseam.com"
    await gateway.aclose()
