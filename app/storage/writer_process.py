"""The process beside the service that writes its batches to SQLite. ``app.storage.writer`` starts it and talks to it.

``python -m app.storage.writer_process <socket> <file> <seconds to wait for a lock> <pragma>…``. Batches come in over
the socket, one at a time, and go back as the ids of events that are there already, or as the error that came about. The
end of the socket is the end of the process, whatever became of the service.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from io import BufferedRWPair
from pathlib import Path

from app.storage.sqlite_batch import SqliteBatch, write

LENGTH_BYTES = 4
"""In front of each answer, big-endian."""

_MOST_FRAMES = 2_000  # of 4 KiB
_LOOK_SECONDS = 0.25
_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"


class _File:
    """Each connection to it is used by one thread."""

    def __init__(self, path: str, lock_seconds: float, pragmas: Sequence[str]) -> None:
        self._path = path
        self._lock_seconds = lock_seconds
        self._pragmas = pragmas

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._lock_seconds, isolation_level=None)
        for pragma in (*self._pragmas, "PRAGMA wal_autocheckpoint=0"):
            connection.execute(pragma)
        return connection

    def frames_in_log(self) -> int:
        """Also those that are in the file already. ``mxFrame`` of the index that all connections share, as SQLite's
        description of its files has it."""
        try:
            with Path(f"{self._path}-shm").open("rb", buffering=0) as index:
                return int.from_bytes(os.pread(index.fileno(), 4, 16), sys.byteorder)
        except FileNotFoundError:
            return 0  # nobody is connected


class _Writer:
    def __init__(self, file: _File, checkpoints: _Checkpoints) -> None:
        self._file = file
        self._checkpoints = checkpoints
        self._connection: sqlite3.Connection | None = None

    def answer(self, batch: SqliteBatch) -> list[str] | Exception:
        try:
            if self._connection is None:
                self._connection = self._file.connect()
            with self._checkpoints.last_pages:
                known = write(batch, self._connection)
        except Exception as error:  # noqa: BLE001 - told to the service, which knows what it means
            self._disconnect()
            return error
        self._checkpoints.look()
        return known

    def _disconnect(self) -> None:
        """Whatever was wrong with it is not wrong with the next."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Checkpoints:
    """Brings what was written from the log to its place in the file, beside the writing. A commit that had to do so
    would keep all deliveries waiting for tens of milliseconds.

    Only when all of the log is in the file does it begin anew, and while batches come in there is always more: so most
    of it is brought over beside the writing, and the little that is left then while ``last_pages`` is held.
    """

    def __init__(self, file: _File) -> None:
        self.last_pages = threading.Lock()
        self._file = file
        self._in_file = 0  # frames of the log that are
        self._due = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="checkpoints", daemon=True).start()

    def look(self) -> None:
        frames = self._file.frames_in_log()
        if frames < self._in_file:
            self._in_file = 0  # the log has begun anew
        if frames - self._in_file >= _MOST_FRAMES:
            self._due.set()

    def _run(self) -> None:
        while True:
            if not self._due.wait(_LOOK_SECONDS):
                self.look()  # others write as well
                continue
            self._due.clear()
            try:
                with closing(self._file.connect()) as connection:
                    self._make(connection)
            except sqlite3.Error:
                continue  # such as a full disk, which the next commit tells; the log is kept meanwhile

    def _make(self, connection: sqlite3.Connection) -> None:
        for _ in range(2):
            connection.execute(_CHECKPOINT).fetchall()
        with self.last_pages:
            # All of them, unless somebody is still reading what was there before.
            _, _, self._in_file = connection.execute(_CHECKPOINT).fetchone()


def _serve(pipe: BufferedRWPair, writer: _Writer) -> None:
    while True:
        try:
            batch = pickle.load(pipe)  # noqa: S301 - from the service that started this process
        except EOFError:
            return
        answer = pickle.dumps(writer.answer(batch), pickle.HIGHEST_PROTOCOL)
        pipe.write(len(answer).to_bytes(LENGTH_BYTES, "big") + answer)
        pipe.flush()


def main(arguments: Sequence[str]) -> None:
    # They may come to the whole group. What is being written then is written to its end, and answered.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    descriptor, path, lock_seconds, *pragmas = arguments
    with socket.socket(fileno=int(descriptor)) as ours, ours.makefile("rwb") as pipe:
        try:
            file = _File(path, float(lock_seconds), pragmas)
            checkpoints = _Checkpoints(file)
            checkpoints.start()
            _serve(pipe, _Writer(file, checkpoints))
        except OSError:
            return  # the service is gone, and with it whoever waited for an answer


if __name__ == "__main__":
    main(sys.argv[1:])
