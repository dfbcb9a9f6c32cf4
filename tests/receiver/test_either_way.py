"""That nobody outside can tell which way a request goes: uvicorn's own, or the short one of deliveries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from app.receiver.committer import Shed
from tests.receiver.callers import BODY, CHUNKED, KEPT, WHOLE_CHUNK, calling, opened, request
from tests.receiver.posts import Post


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


class _OtherProtocol(asyncio.Protocol):
    """Takes a connection over, as one for WebSockets does."""

    def __init__(self, **_named: object) -> None:
        pass

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        transport.close()


@pytest.mark.parametrize(
    ("options", "status"),
    [({"limit_concurrency": 1}, 503), ({"root_path": "/behind"}, 404), ({"ws": _OtherProtocol}, 101)],
    ids=["limit", "path", "WebSockets"],
)
async def test_what_uvicorn_is_told_to_do_with_every_request_holds_on_either_way(
    options: dict[str, Any], status: int
) -> None:
    sent = request(extra=["Connection: close, Upgrade", "Upgrade: websocket"])
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
