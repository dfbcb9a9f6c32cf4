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
import time
from collections.abc import Sequence
from contextlib import closing
from io import BufferedRWPair
from urllib.parse import quote

from app.storage.sqlite_batch import SqliteBatch, write

LENGTH_BYTES = 4
"""In front of each answer, big-endian."""

# Of all tables. They fall on pages at random: many share one by then, which goes to the file but once.
_ROWS_BETWEEN_CHECKPOINTS = 10_000
_FEW_ROWS = 500
_FEW_PAGES = 1_000  # some 30 ms, with the waits for the disk
_MOST_PASSES = 8
_MOST_LEFT_PAGES = 20_000  # half a second
_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
_LAST_CHECKPOINT = "PRAGMA wal_checkpoint(RESTART)"
_READER_LEAVES_SECONDS = 0.05
_LONG_LOG_PAGES = 100_000  # then it waits longer for readers, and so do deliveries
_LONG_LOG_WAIT_SECONDS = 1.0


class _File:
    """Each connection to it is used by one thread. The files beside it are SQLite's alone: whoever opens and closes one
    takes the locks away that this process has on it."""

    def __init__(self, path: str, lock_seconds: float, pragmas: Sequence[str]) -> None:
        self._uri = f"file:{quote(path)}?mode=rw"  # one that is gone is not made anew, and empty
        self._lock_seconds = lock_seconds
        self._pragmas = pragmas

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._uri, uri=True, timeout=self._lock_seconds, isolation_level=None)
        for pragma in (*self._pragmas, "PRAGMA wal_autocheckpoint=0"):
            connection.execute(pragma)
        return connection


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
        self._checkpoints.count(sum(len(values) for _, values in batch.asks))
        return known

    def _disconnect(self) -> None:
        """Whatever was wrong with it is not wrong with the next."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Checkpoints:
    """Brings what was written from the log to its place in the file, beside the writing. A commit that had to do so
    would keep all deliveries waiting for tens of milliseconds.

    Only when all of the log is in the file, and nobody reads in it, does it begin anew. While batches come in there is
    always more, and who reads keeps back what was written since: so most of it is brought over beside the writing, and
    the little that is left then while ``last_pages`` is held.
    """

    def __init__(self, file: _File) -> None:
        self.last_pages = threading.Lock()
        self._file = file
        self._rows = 0
        self._rows_then = 0  # when one became due
        self._due = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="checkpoints", daemon=True).start()

    def count(self, rows: int) -> None:
        self._rows += rows
        if self._rows - self._rows_then >= _ROWS_BETWEEN_CHECKPOINTS:
            self._rows_then = self._rows
            self._due.set()

    def _run(self) -> None:
        while self._due.wait():
            self._due.clear()
            try:
                with closing(self._file.connect()) as connection:
                    self._make(connection)
            except (sqlite3.Error, OSError):
                pass  # such as a full disk, which the next commit tells; the log is kept meanwhile

    def _make(self, connection: sqlite3.Connection) -> None:
        pages = left = 0
        for _ in range(_MOST_PASSES):
            rows = self._rows
            pages, left = _bring(connection, _CHECKPOINT)
            came = self._rows - rows
            # Not another one beside the writing after one that brought all: SQLite before 3.51.3 may take pages for
            # brought that are not, if a commit begins the log anew at that very moment (its "WAL-reset bug").
            if left <= _FEW_PAGES and came <= _FEW_ROWS:
                break
            if came <= _FEW_ROWS:
                time.sleep(_READER_LEAVES_SECONDS)
        if left > _MOST_LEFT_PAGES:
            return  # somebody has been reading all the time: the next one brings it
        waits = _LONG_LOG_WAIT_SECONDS if pages > _LONG_LOG_PAGES else _READER_LEAVES_SECONDS
        connection.execute(f"PRAGMA busy_timeout={waits * 1000:.0f}")
        with self.last_pages:
            _bring(connection, _LAST_CHECKPOINT)


def _bring(connection: sqlite3.Connection, how: str) -> tuple[int, int]:
    """The pages of the log as it was at the beginning, and how many of them are not in the file yet."""
    _, pages, brought = connection.execute(how).fetchone()
    return int(pages), int(pages - brought)


def _serve(pipe: BufferedRWPair, writer: _Writer) -> None:
    while (batch := _receive(pipe)) is not None:
        answer = pickle.dumps(writer.answer(batch), pickle.HIGHEST_PROTOCOL)
        try:
            pipe.write(len(answer).to_bytes(LENGTH_BYTES, "big") + answer)
            pipe.flush()
        except OSError:
            return


def _receive(pipe: BufferedRWPair) -> SqliteBatch | None:
    """``None``: the service is gone, be it in the middle of a batch."""
    try:
        batch: SqliteBatch = pickle.load(pipe)  # noqa: S301 - from the service that started this process
    except (EOFError, OSError, pickle.UnpicklingError):
        return None
    return batch


def main(arguments: Sequence[str]) -> None:
    # They may come to the whole group. What is being written then is written to its end, and answered.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    descriptor, path, lock_seconds, *pragmas = arguments
    file = _File(path, float(lock_seconds), pragmas)
    checkpoints = _Checkpoints(file)
    checkpoints.start()
    writer = _Writer(file, checkpoints)
    with socket.socket(fileno=int(descriptor)) as ours, ours.makefile("rwb") as pipe:
        _serve(pipe, writer)
        # Not the usual end, which would bring the log into the file where nobody else is connected: the next service
        # may be waiting for it already. Whatever was answered is in the log.
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
