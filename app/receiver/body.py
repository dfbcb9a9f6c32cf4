"""Reading the body of a delivery within bounds, and throwing away the rest of one that is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from starlette.types import Message, Receive


class Unread(StrEnum):
    """Why there is no body."""

    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    CROWDED = "full"  # too many unfinished bodies at once
    GONE = "disconnected"  # the client went away before its end


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """``body_bytes``: the largest body (contract, section 4). ``body_seconds``: the sender's own time-out.

    ``unfinished_bytes``: what all bodies that come in several pieces may hold together before their ends are in. One
    that comes in one piece, as nearly all do, needs none of it: nobody can keep those out by leaving others unfinished.

    ``discard_bytes`` and ``discard_seconds``: how much of a refused body is read and thrown away. A connection that is
    closed over unread data is reset, and the client may lose the answer that it was just given.
    """

    body_bytes: int = 256 * 1024
    unfinished_bytes: int = 16 * 1024 * 1024
    body_seconds: float = 15.0
    discard_bytes: int = 1024 * 1024
    discard_seconds: float = 2.0


class Upload:
    """One request's body as it comes in."""

    __slots__ = ("ended", "receive")

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.ended = False

    async def next_piece(self) -> bytes | None:
        """``None``: the client went away."""
        return self.piece_of(await self.receive())

    def piece_of(self, message: Message) -> bytes | None:
        if message["type"] != "http.request":
            self.ended = True
            return None
        self.ended = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


class _Begun:
    """A first message that is asked for at once, and waited for (by awaiting this) only if it is not there yet."""

    __slots__ = ("_running", "_waits_for", "message")

    def __init__(self, asking: Awaitable[Message]) -> None:
        self._running = asking.__await__()
        self.message: Message | None = None
        try:
            self._waits_for = next(self._running)
        except StopIteration as there:
            self.message = there.value

    def __await__(self) -> Generator[Any, Any, Message]:
        if self.message is not None:
            return self.message
        try:
            yield self._waits_for
        except BaseException:
            self._running.close()
            raise
        return (yield from self._running)


class BodyReader:
    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._unfinished = 0  # bytes

    async def read(self, headers: Iterable[tuple[bytes, bytes]], upload: Upload) -> bytes | Unread:
        """The exact bytes of the body. Nothing beyond the largest size is kept, and nothing at all is read of a body
        that announces itself as larger."""
        if _announces_more_than(self._limits.body_bytes, headers):
            return Unread.TOO_LARGE
        # Nearly all bodies are there with their headers: then nothing is waited for, and no time-out need be set up.
        first = _Begun(upload.receive())
        if first.message is not None and not first.message.get("more_body", False):
            return self._judge(upload.piece_of(first.message))
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._read(upload, upload.piece_of(await first))
        except TimeoutError:
            return Unread.TOO_SLOW

    async def discard(self, upload: Upload) -> None:
        """Throw away what still comes in, within bounds."""
        left = self._limits.discard_bytes
        try:
            async with asyncio.timeout(self._limits.discard_seconds):
                while left > 0 and not upload.ended:
                    left -= len(await upload.next_piece() or b"")
        except TimeoutError:
            return

    async def _read(self, upload: Upload, first: bytes | None) -> bytes | Unread:
        judged = self._judge(first)
        return judged if upload.ended or isinstance(judged, Unread) else await self._read_on(upload, judged)

    def _judge(self, piece: bytes | None) -> bytes | Unread:
        if piece is None:
            return Unread.GONE
        return Unread.TOO_LARGE if len(piece) > self._limits.body_bytes else piece

    async def _read_on(self, upload: Upload, first: bytes) -> bytes | Unread:
        body = bytearray(first)
        self._unfinished += len(first)
        try:
            while not upload.ended:
                if self._unfinished > self._limits.unfinished_bytes:
                    return Unread.CROWDED
                piece = await upload.next_piece()
                if piece is None:
                    return Unread.GONE
                if len(body) + len(piece) > self._limits.body_bytes:
                    return Unread.TOO_LARGE
                body += piece
                self._unfinished += len(piece)
        finally:
            self._unfinished -= len(body)
        return bytes(body)


def _announces_more_than(size: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    for name, value in headers:
        # Judged by its length first: Python refuses to read a number of thousands of digits.
        if name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > size):
            return True
    return False
