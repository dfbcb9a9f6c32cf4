"""SQLite: a batch is one transaction, in the thread of the connection or in the process that a service has for it."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import select, text

from app.storage import writer_process
from app.storage.engine import Database, open_database
from app.storage.errors import RefusedByDatabase, StorageError, StorageUnavailable
from app.storage.inbox import Outcome, store_batch
from app.storage.limits import Limits
from app.storage.sqlite_batch import Ask, SqliteBatch
from app.storage.tables import events, signals
from app.storage.writer_process import _Checkpoints, _File
from tests.storage.arrivals import code_news, deliveries, device_news
from tests.storage.counting import add_one, count

ADD_ONE: Ask = ("UPDATE intake SET backfilled = backfilled + 1", {})
SLOW: Ask = ("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 8e6) SELECT max(i) FROM n", {})
OF_NOBODY = "INSERT INTO transitions (code_id, at, to_verdict, since, reason) VALUES ('nobody', 0, 'pending', 0, '')"


@pytest.fixture(params=["thread", "process"])
async def db(request: pytest.FixtureRequest, sqlite_url: str) -> AsyncIterator[Database]:
    database = open_database(sqlite_url)
    if request.param == "process":
        await database.start_writer()
    yield database
    await database.close()


@pytest.fixture
async def beside(sqlite_url: str) -> AsyncIterator[Database]:
    """The same file with a writer process, whatever ``db`` has."""
    database = open_database(sqlite_url, Limits(lock=0.2))
    await database.start_writer()
    yield database
    await database.close()


class Log:
    """SQLite's log of a file, empty at first. That file may be opened here: nobody has locks on it."""

    def __init__(self, path: str) -> None:
        self.file = _File(path, 30, [])
        self._path = Path(f"{path}-wal")

    def times_begun(self) -> int:
        """How often it began anew since it was made: its header counts that."""
        return int.from_bytes(self._path.read_bytes()[12:16], "big")


@pytest.fixture
def log(sqlite_url: str) -> Log:
    return Log(sqlite_url.removeprefix("sqlite:///"))


def batch(*asks: Ask, known: str | None = None) -> SqliteBatch:
    return SqliteBatch((f"SELECT '{known}'", {}) if known else None, list(asks))


async def test_what_is_asked_for_is_committed(db: Database) -> None:
    assert await db.write_batch(batch(ADD_ONE, ("UPDATE intake SET backfilled = backfilled + ?", [(1,), (2,)]))) == []
    assert await count(db) == 4


async def test_if_an_event_is_there_already_its_id_comes_back_and_nothing_is_written(db: Database) -> None:
    assert await db.write_batch(batch(ADD_ONE, known="e1")) == ["e1"]
    assert await count(db) == 0


async def test_data_that_is_refused_leaves_nothing_behind_and_is_not_quoted(db: Database) -> None:
    broken: Ask = ("INSERT INTO signals (access_code_id, version) VALUES ('private', NULL)", {})
    with pytest.raises(RefusedByDatabase) as refused:
        await db.write_batch(batch(ADD_ONE, broken))
    assert "private" not in str(refused.value)
    assert await count(db) == 0
    await db.write_batch(batch(ADD_ONE))
    assert await count(db) == 1


async def test_a_commit_that_fails_leaves_nothing_behind_and_the_next_one_begins(db: Database) -> None:
    """SQLite would leave the transaction open, so that nobody could begin another one."""
    with pytest.raises(RefusedByDatabase):
        await db.write_batch(batch(ADD_ONE, ("PRAGMA defer_foreign_keys=ON", {}), (OF_NOBODY, {})))
    await db.write_batch(batch(ADD_ONE))
    assert await count(db) == 1


async def test_who_finds_another_writer_waits_for_it_but_not_for_ever(db: Database, beside: Database) -> None:
    async with db.write():
        with pytest.raises(StorageUnavailable):
            await beside.write_batch(batch(ADD_ONE))
    await beside.write_batch(batch(ADD_ONE))
    await db.write_batch(batch(ADD_ONE))
    assert await count(db) == 2


async def test_one_that_is_cancelled_half_way_harms_nobody(db: Database, sqlite_url: str) -> None:
    """Whether it is committed nobody knows: it may have come that far."""
    other = open_database(sqlite_url)
    async with other.write():
        task = asyncio.create_task(db.write_batch(batch(ADD_ONE)))
        await asyncio.wait([task], timeout=0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await add_one(db)
    assert await db.write_batch(batch(ADD_ONE)) == []
    assert await count(db) in (2, 3)
    await other.close()


@pytest.mark.parametrize("size", [1, 3, 300])
async def test_a_batch_of_any_size_is_stored_whole(db: Database, size: int) -> None:
    names = [f"e{number}" for number in range(size)]
    several = deliveries(*(code_news(name, access_code_id=f"of_{name}") for name in names))
    assert await store_batch(db, several) == [Outcome.STORED] * size
    assert await store_batch(db, several) == [Outcome.DUPLICATE] * size
    async with db.read() as connection:
        assert set((await connection.execute(select(events.c.event_id))).scalars()) == set(names)
        assert set((await connection.execute(select(signals.c.access_code_id))).scalars()) == {f"of_{n}" for n in names}


async def test_of_a_batch_that_is_half_known_the_rest_is_stored(db: Database) -> None:
    await store_batch(db, deliveries(code_news("e1"), code_news("e3")))
    again = deliveries(*(code_news(f"e{number}") for number in range(5)))
    expected = [Outcome.STORED, Outcome.DUPLICATE, Outcome.STORED, Outcome.DUPLICATE, Outcome.STORED]
    assert await store_batch(db, again) == expected


async def test_a_batch_takes_one_trip_to_the_thread(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trip costs as much as storing an event, and under load the thread waits for its turn again."""
    db = open_database(sqlite_url)
    await store_batch(db, deliveries(code_news("e0")))
    trips = []
    execute: Any = aiosqlite.Connection._execute

    async def counted(self: aiosqlite.Connection, work: Any, *arguments: Any) -> Any:
        trips.append(work)
        return await execute(self, work, *arguments)

    monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
    await store_batch(db, deliveries(*(code_news(f"e{each}") for each in range(1, 20)), device_news("d")))
    assert len(trips) == 1
    await db.close()


async def test_nobody_else_writes_while_a_batch_is_written(beside: Database, sqlite_url: str) -> None:
    """Nor does the process itself look at the files beside the database: to close one gives up all locks on it."""
    impatient = open_database(sqlite_url, Limits(lock=0.01))
    refused, written = 0, 0
    slow = asyncio.create_task(beside.write_batch(batch(ADD_ONE, SLOW)))
    await asyncio.wait([slow], timeout=0.1)
    while not slow.done():
        try:
            await add_one(impatient)
        except StorageUnavailable:
            refused += 1
        else:
            written += 1  # it was done by then, and that was not heard yet
    assert await slow == []
    assert refused > 3
    assert await count(beside) == 1 + written
    await impatient.close()


async def test_a_writer_process_that_is_killed_at_work_is_told_and_started_again(beside: Database) -> None:
    slow = asyncio.create_task(beside.write_batch(batch(ADD_ONE, SLOW)))
    await asyncio.wait([slow], timeout=0.1)
    (pid,) = _writers_of(os.getpid())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(StorageUnavailable, match="has ended"):
        await slow
    await beside.write_batch(batch(ADD_ONE))
    assert await count(beside) == 1


async def test_a_writer_process_that_ended_while_idle_costs_nobody_an_error(beside: Database) -> None:
    writer = beside._writer_process
    assert writer is not None
    assert writer._running is not None
    writer._running.process.kill()
    await writer._running.process.wait()
    await beside.write_batch(batch(ADD_ONE))
    assert await count(beside) == 1


async def test_a_writer_process_that_cannot_write_is_told_at_the_start(tmp_path: Path) -> None:
    db = open_database(f"sqlite:///{tmp_path / 'nowhere.db'}")
    with pytest.raises(StorageUnavailable, match="unable to open"):
        await db.start_writer()
    await db.close()


def test_a_service_that_goes_away_in_the_middle_of_a_batch_ends_the_process_without_a_word(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "app.storage.writer_process", str(theirs.fileno()), str(tmp_path / "x.db"), "1"]
    with theirs:
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
    with ours:
        ours.sendall(pickle.dumps(batch(ADD_ONE))[:-5])
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, b"")


def test_after_a_checkpoint_that_failed_there_is_another() -> None:
    attempts: list[int] = []
    again = threading.Event()

    class Broken(_File):
        def connect(self) -> sqlite3.Connection:
            attempts.append(1)
            if len(attempts) == 2:
                again.set()
            raise sqlite3.OperationalError("disk I/O error")

    checkpoints = _Checkpoints(Broken("nowhere", 1, []))
    checkpoints.start()
    for _ in range(100):
        checkpoints.count(100_000)
        if again.wait(0.1):
            return
    raise AssertionError("the first failure was the last attempt")


async def test_a_writer_process_ends_with_its_database(sqlite_url: str) -> None:
    db = open_database(sqlite_url)
    await db.start_writer()
    (pid,) = _writers_of(os.getpid())
    await db.close()
    assert not _is_there(pid)


@pytest.mark.parametrize("sent", [signal.SIGKILL, None], ids=["killed", "signals to the whole group"])
def test_a_writer_process_outlives_signals_but_not_the_service(sqlite_url: str, sent: signal.Signals | None) -> None:
    service = subprocess.Popen(
        [sys.executable, "-c", _SERVICE, sqlite_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert service.stdin is not None
    assert service.stdout is not None
    assert service.stdout.readline() == "started\n"
    (pid,) = _writers_of(service.pid)
    if sent is None:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    else:
        service.send_signal(sent)
    output, _ = service.communicate("go on\n" if sent is None else None, timeout=30)
    assert output == ("written\n" if sent is None else "")
    _wait_until_gone(pid)


_SERVICE = """
import asyncio, sys
from app.storage.engine import open_database
from app.storage.sqlite_batch import SqliteBatch

async def main():
    db = open_database(sys.argv[1])
    await db.start_writer()
    await db.write_batch(SqliteBatch(None, [("UPDATE intake SET backfilled = 1", {})]))
    print("started", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await db.write_batch(SqliteBatch(None, [("UPDATE intake SET backfilled = 2", {})]))
    print("written", flush=True)
    await db.close()

asyncio.run(main())
"""


async def test_the_log_is_brought_into_the_file_beside_the_writing(sqlite_url: str) -> None:
    """Then it begins anew. Otherwise it would grow for ever, or a commit would have to stop for it."""
    db = open_database(sqlite_url)
    await db.start_writer()
    log = Path(sqlite_url.removeprefix("sqlite:///") + "-wal")
    sizes: list[int] = []
    async with asyncio.timeout(60):
        while len(set(sizes[-5:])) > 1 or len(sizes) < 5:
            names = [f"e{len(sizes)}-{number}" for number in range(100)]
            assert set(await store_batch(db, deliveries(*map(code_news, names)))) == {Outcome.STORED}
            sizes.append(_size_of(log))
    async with db.read() as connection:
        assert len((await connection.execute(select(events.c.id))).all()) == 100 * len(sizes)
    await db.close()


def test_who_reads_what_was_there_before_keeps_the_log_as_it_is_until_the_next_checkpoint(log: Log) -> None:
    with (
        closing(log.file.connect()) as writer,
        closing(log.file.connect()) as own,
        closing(log.file.connect()) as reader,
    ):
        checkpoints = _Checkpoints(log.file)
        writer.execute(ADD_ONE[0])
        _begin_reading(reader)
        writer.execute(ADD_ONE[0])
        began = time.monotonic()
        checkpoints._make(own)
        assert time.monotonic() - began < 10
        writer.execute(ADD_ONE[0])
        assert log.times_begun() == 0
        reader.execute("COMMIT")
        checkpoints._make(own)
        writer.execute(ADD_ONE[0])
        assert log.times_begun() == 1


def test_a_checkpoint_waits_a_moment_for_those_who_still_read_in_the_log(log: Log) -> None:
    """Else the log would go on, as somebody reads nearly always."""
    reads = threading.Event()

    def read_for_a_moment() -> None:
        with closing(log.file.connect()) as reader:
            _begin_reading(reader)
            reads.set()
            time.sleep(0.02)
            reader.execute("COMMIT")

    with closing(log.file.connect()) as writer, closing(log.file.connect()) as own:
        writer.execute(ADD_ONE[0])
        reading = threading.Thread(target=read_for_a_moment)
        reading.start()
        assert reads.wait(30)
        _Checkpoints(log.file)._make(own)
        writer.execute(ADD_ONE[0])
        assert log.times_begun() == 1
        reading.join()


def test_a_long_log_is_worth_a_longer_wait_for_them(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_process, "_bring", lambda _connection, _how: (200_000, 0))
    with closing(log.file.connect()) as own:
        _Checkpoints(log.file)._make(own)
        assert own.execute("PRAGMA busy_timeout").fetchone() == (1000,)


@pytest.mark.parametrize(
    ("rows", "left", "passes"),
    [
        ([], 0, ["PASSIVE", "RESTART"]),
        ([400], 0, ["PASSIVE", "RESTART"]),
        ([9_000, 2_000, 400], 0, [*["PASSIVE"] * 3, "RESTART"]),
        ([9_000] * 99, 0, [*["PASSIVE"] * 8, "RESTART"]),
        ([], 5_000, [*["PASSIVE"] * 8, "RESTART"]),
        ([], 50_000, ["PASSIVE"] * 8),
    ],
    ids=[
        "quiet",
        "a little came",
        "less and less came",
        "the disk is too slow",
        "somebody reads",
        "a long read, much left",
    ],
)
def test_most_of_the_log_is_brought_beside_the_writing_and_writing_stops_for_the_rest(
    log: Log, monkeypatch: pytest.MonkeyPatch, rows: list[int], left: int, passes: list[str]
) -> None:
    checkpoints, made = _Checkpoints(log.file), list[str]()

    def bring(_connection: sqlite3.Connection, how: str) -> tuple[int, int]:
        made.append(how.partition("(")[2].rstrip(")"))
        assert checkpoints.last_pages.locked() == (made[-1] == "RESTART")
        checkpoints.count(rows.pop(0) if rows else 0)
        return 60_000, left

    monkeypatch.setattr(writer_process, "_bring", bring)
    with closing(log.file.connect()) as own:
        checkpoints._make(own)
    assert made == passes


def test_a_checkpoint_that_is_due_while_one_is_made_comes_after_it(log: Log) -> None:
    made: list[int] = []
    twice = threading.Event()

    class Slow(_Checkpoints):
        def _make(self, connection: sqlite3.Connection) -> None:
            if not made:
                self.count(100_000)
            super()._make(connection)
            made.append(1)
            if len(made) == 2:
                twice.set()

    checkpoints = Slow(log.file)
    checkpoints.start()
    checkpoints.count(100_000)
    assert twice.wait(30)


async def test_a_commit_that_fails_in_a_longer_transaction_leaves_none_open(sqlite_url: str) -> None:
    db = open_database(sqlite_url)
    with pytest.raises(StorageError):
        await _break_a_rule_at_the_end(db)

    await add_one(db)
    assert await count(db) == 1
    await db.close()


async def _break_a_rule_at_the_end(db: Database) -> None:
    async with db.write() as conn:
        await conn.execute(text("PRAGMA defer_foreign_keys=ON"))
        await conn.execute(text(OF_NOBODY))


def _writers_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if "writer_process" in Path(f"/proc/{child}/cmdline").read_text()]


def _is_there(pid: int) -> bool:
    """Also not if nobody has asked yet how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until_gone(pid: int) -> None:
    for _ in range(300):
        if not _is_there(pid):
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} goes on without its service")


def _begin_reading(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("SELECT backfilled FROM intake").fetchone()


def _size_of(file: Path) -> int:
    return file.stat().st_size
