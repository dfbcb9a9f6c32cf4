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
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from app.storage.sqlite_batch import SqliteBatch
from app.storage.writer_process import LENGTH_BYTES

_MODULE = "app.storage.writer_process"
_END_SECONDS = 5.0
_NOTHING = SqliteBatch(None, [])


class _Running(NamedTuple):
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class WriterProcess:
    """One batch at a time. ``pragmas`` prepare its connection, which waits ``lock_seconds`` for whoever else writes."""

    def __init__(self, path: Path, *, lock_seconds: float, pragmas: Sequence[str]) -> None:
        self._arguments = [str(path.absolute()), str(lock_seconds), *pragmas]
        self._running: _Running | None = None
        self._killed: asyncio.subprocess.Process | None = None
        self.is_wanted = False
        """From the first ``start`` to ``close``."""

    async def start(self) -> None:
        """Returns once it has shown that it can write. Raises like ``write``."""
        self.is_wanted = True
        await self.write(_NOTHING)

    async def write(self, batch: SqliteBatch) -> list[str]:
        """``app.storage.sqlite_batch.write``, over there. Raises SQLite's own errors, and ``OSError`` if the process
        ended meanwhile or does not start: nobody knows then whether this batch was written. The next starts another."""
        running = await self._be_running()
        try:
            answer = await self._ask(running, batch)
        except BaseException:
            # Cancelled or broken: what it still says would be taken for the answer to the next batch.
            self._kill(running)
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.is_wanted = False
        running, self._running = self._running, None
        if running is None:
            return
        running.writer.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await running.process.wait()
        except TimeoutError:
            self._kill(running)
            await running.process.wait()

    async def _be_running(self) -> _Running:
        if self._running is not None and self._running.process.returncode is not None:
            self._kill(self._running)  # it ended while nothing was asked of it
        if self._running is None:
            if self._killed is not None:
                # One that waits for the disk ends when the disk answers. Until then another would only wait as well.
                await self._killed.wait()
                self._killed = None
            self._running = await self._start()
        return self._running

    async def _start(self) -> _Running:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # -P: what lies in the folder that the service was started in is not taken for one of our modules.
                command = (sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), *self._arguments)
                process = await asyncio.create_subprocess_exec(*command, pass_fds=[theirs.fileno()])
                return _Running(process, *await asyncio.open_connection(sock=ours))
            except BaseException:
                ours.close()  # the end of the process too, if there is one
                raise

    async def _ask(self, running: _Running, batch: SqliteBatch) -> list[str] | Exception:
        running.writer.write(pickle.dumps(batch, pickle.HIGHEST_PROTOCOL))
        try:
            length = int.from_bytes(await running.reader.readexactly(LENGTH_BYTES), "big")
            answer: list[str] | Exception = pickle.loads(await running.reader.readexactly(length))  # noqa: S301 - ours
        except IncompleteReadError as error:
            raise ConnectionResetError("the process that writes to SQLite has ended") from error
        return answer

    def _kill(self, running: _Running) -> None:
        self._running, self._killed = None, running.process
        running.writer.close()
        with suppress(ProcessLookupError):
            running.process.kill()
