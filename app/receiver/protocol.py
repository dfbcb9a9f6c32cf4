"""The short way of a delivery: from the connection to the endpoint and back, without a task.

For each request uvicorn's own protocol makes a scope, a cycle, an event, a task that awaits the body and both halves of
the answer, and a timer for the silence afterwards. Nearly all deliveries come in whole, in one piece with their
headers, and need none of these: such a delivery is handed to the endpoint as soon as it is parsed, and its answer is
written when its commit is done. Whatever is not as usual goes uvicorn's way, and so does every other route.

This replaces parts of uvicorn's protocol. Tests compare the bytes of both ways, and fail when that protocol changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.receiver.answers import KEPT, Answer
from app.receiver.endpoint import PATHS, WebhookEndpoint

_TARGETS = frozenset(path.encode() for path in PATHS)
_CLOSING = (b"connection", b"close")

_Headers = Sequence[tuple[bytes, bytes]]


class _Waiting:
    """A delivery that waits for its answer. It stands where uvicorn keeps the cycle of a request, and has what
    uvicorn's protocol looks at, or sets, from outside of one."""

    __slots__ = ("disconnected", "keep_alive", "response_complete")

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive  # a shutdown takes it back
        self.response_complete = False
        self.disconnected = False

    @property
    def message_event(self) -> asyncio.Event:
        return asyncio.Event()  # nobody here waits for it


class WebhookProtocol(HttpToolsProtocol):
    """One connection. ``endpoint`` is given by ``protocol_of``."""

    endpoint: WebhookEndpoint

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        # What else uvicorn can be told to do with every request it does on its own way.
        extras = (self.root_path, self.access_log, self.limit_concurrency, self.ws_protocol_class)
        self._is_plain = not any(extras)
        # Of a delivery whose headers are there and whose end is not: what has come of its body.
        self._pieces: list[bytes] | None = None
        self._kept = b""
        self._kept_headers: _Headers | None = None
        self._idle_since: float | None = None  # on the clock of the loop

    # From the connection to the endpoint

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._pieces is not None:  # the rest is still to come
            self._go_whole_way()

    def on_message_begin(self) -> None:
        # The scope, which uvicorn makes here, is made when it turns out to be needed.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        if self._is_usual():
            self._pieces = []
        else:
            self._go_whole_way()

    def _is_usual(self) -> bool:
        return (
            self._is_plain
            and self.url in _TARGETS
            and self.parser.get_method() == b"POST"
            and not self.expect_100_continue
            and not self._is_answer_due()
        )

    def _is_answer_due(self) -> bool:
        """Whether this request was sent ahead: uvicorn queues it until the one before it has its answer."""
        before: RequestResponseCycle | None = self.cycle  # uvicorn does not declare that it may be missing
        return before is not None and not before.response_complete

    def on_body(self, body: bytes) -> None:
        if self._pieces is None:
            super().on_body(body)
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._pieces is None:
            super().on_message_complete()
            return
        body = b"".join(self._pieces)
        if len(body) > self.endpoint.largest_body or self.flow.write_paused:
            self._go_whole_way()
            super().on_message_complete()
            return
        self._pieces = None
        waiting = _Waiting(self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0")
        self.cycle = waiting  # type: ignore[assignment]  # the part of a cycle that is looked at
        self.endpoint.examiner.take(self.headers, body, partial(self._reply, waiting))

    def _go_whole_way(self) -> None:
        """Tell uvicorn what there is of this request, as if it had come in just now."""
        pieces, self._pieces = self._pieces, None
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # in place: the scope holds this list
        super().on_headers_complete()
        if pieces:
            super().on_body(b"".join(pieces))

    # From the endpoint to the connection

    def _reply(self, waiting: _Waiting, answer: Answer) -> None:
        if self.transport.is_closing():
            return
        # Even while the client reads none: it is one answer, and the next delivery goes the whole way, where it waits.
        self.transport.write(self._bytes_of(answer, waiting.keep_alive))
        waiting.response_complete = True
        if not waiting.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _bytes_of(self, answer: Answer, keep_alive: bool) -> bytes:
        headers = self.server_state.default_headers
        if answer is not KEPT or not keep_alive:
            return _written(answer, headers, keep_alive)
        if headers is not self._kept_headers:  # replaced once a second, for the date
            self._kept, self._kept_headers = _written(KEPT, headers, keep_alive), headers
        return self._kept

    # How long a connection may be silent. Uvicorn makes a timer after each answer and cancels it with the next request.
    # Here the time is noted, and the one timer of a connection looks at it.

    def on_response_complete(self) -> None:
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()  # comes to no timer
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_after(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # a request is under way, and its answer will look after the silence that follows
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_after(left)
        else:
            super().timeout_keep_alive_handler()

    def _look_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()


def protocol_of(endpoint: WebhookEndpoint) -> type[asyncio.Protocol]:
    """What uvicorn makes for each connection, when ``endpoint`` stands in front."""
    return type("_Protocol", (WebhookProtocol,), {"endpoint": endpoint})


def _written(answer: Answer, default_headers: _Headers, keep_alive: bool) -> bytes:
    """As uvicorn writes it. No answer on the short way has a header that uvicorn would heed or change."""
    headers = [*default_headers, *answer.start["headers"], *(() if keep_alive else (_CLOSING,))]
    lines = [b"%b: %b\r\n" % each for each in headers]
    return b"".join((STATUS_LINE[answer.start["status"]], *lines, b"\r\n", answer.body))
