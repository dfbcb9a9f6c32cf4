"""Having batches written to SQLite by a process of their own (``app.storage.writer_process``).

SQLite is in the process that uses it, and that is Python: a thread that writes and the loop that takes deliveries
would wait for each other's lock most of the time, and be one core together. Beside it, the loop reads the next
deliveries while a batch is written.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import sys
from asyncio import IncompleteReadError
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from app.storage.sqlite_batch import SqliteBatch
from app.storage.writer_process import LENGTH_BYTES

_MODULE = "app.storage.writer_process"
_END_SECONDS = 5.0


class _Running(NamedTuple):
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class WriterProcess:
    """One batch at a time. ``pragmas`` prepare its connection, which waits ``lock_seconds`` for whoever else writes."""

    def __init__(self, path: Path, *, lock_seconds: float, pragmas: Sequence[str]) -> None:
        self._arguments = [str(path.absolute()), str(lock_seconds), *pragmas]
        self._running: _Running | None = None

    async def start(self) -> None:
        """Without it, the first batch does so."""
        if self._running is None:
            self._running = await self._start()

    async def write(self, batch: SqliteBatch) -> list[str]:
        """``app.storage.sqlite_batch.write``, over there. Raises SQLite's own errors, and ``OSError`` if the process
        ended, which the next batch starts again: nobody knows then whether this one was written."""
        await self.start()
        try:
            answer = await self._ask(batch)
        except BaseException:
            # Cancelled or broken: what it still says would be taken for the answer to the next batch.
            self._kill()
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        running.writer.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await running.process.wait()
        except TimeoutError:
            running.process.kill()
            await running.process.wait()

    async def _start(self) -> _Running:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # -P: what lies in the folder that the service was started in is not taken for one of our modules.
                command = (sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), *self._arguments)
                process = await asyncio.create_subprocess_exec(*command, pass_fds=[theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        return _Running(process, *await asyncio.open_connection(sock=ours))

    async def _ask(self, batch: SqliteBatch) -> list[str] | Exception:
        assert self._running is not None  # noqa: S101
        _, reader, writer = self._running
        writer.write(pickle.dumps(batch, pickle.HIGHEST_PROTOCOL))
        try:
            length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
            answer: list[str] | Exception = pickle.loads(await reader.readexactly(length))  # noqa: S301 - our own
        except IncompleteReadError as error:
            raise ConnectionResetError("the process that writes to SQLite has ended") from error
        return answer

    def _kill(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.writer.close()
            if running.process.returncode is None:
                running.process.kill()
