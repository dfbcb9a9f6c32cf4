"""The process beside the service that writes its batches to SQLite. ``app.storage.writer`` starts it and talks to it.

``python -m app.storage.writer_process <socket> <file> <seconds to wait for a lock> <pragma>…``. Batches come in over the
socket, one at a time, and go back as the ids of events that are there already, or as the error that came about. The end
of the socket is the end of the process, whatever became of the service.
"""

from __future__ import annotations

import pickle
import signal
import socket
import sqlite3
import sys
from collections.abc import Sequence
from typing import BinaryIO

from app.storage.sqlite_batch import SqliteBatch, write

LENGTH_BYTES = 4
"""In front of each answer, big-endian."""


class _Writer:
    def __init__(self, path: str, lock_seconds: float, pragmas: Sequence[str]) -> None:
        self._path = path
        self._lock_seconds = lock_seconds
        self._pragmas = pragmas
        self._connection: sqlite3.Connection | None = None

    def answer(self, batch: SqliteBatch) -> list[str] | Exception:
        try:
            if self._connection is None:
                self._connection = self._connect()
            return write(batch, self._connection)
        except Exception as error:  # noqa: BLE001 - told to the service, which knows what it means
            self._disconnect()
            return error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._lock_seconds, isolation_level=None)
        for pragma in self._pragmas:
            connection.execute(pragma)
        return connection

    def _disconnect(self) -> None:
        """Whatever was wrong with it is not wrong with the next."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _serve(pipe: BinaryIO, writer: _Writer) -> None:
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
            _serve(pipe, _Writer(path, float(lock_seconds), pragmas))
        except OSError:
            return  # the service is gone, and with it whoever waited for an answer


if __name__ == "__main__":
    main(sys.argv[1:])
