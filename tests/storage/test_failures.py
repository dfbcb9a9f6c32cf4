from __future__ import annotations

import sqlite3

import asyncpg
import pytest
from sqlalchemy import exc

from app.storage.errors import RefusedByDatabase, StorageConflict, StorageError, StorageUnavailable
from app.storage.failures import storage_error


def of_postgresql(error: Exception) -> exc.DBAPIError:
    """As SQLAlchemy hands on an error of asyncpg: behind one of its own."""
    wrapper = Exception("translated")
    wrapper.__cause__ = error
    return exc.DBAPIError("SELECT 1", {}, wrapper)


def of_sqlite(code: int, name: str) -> exc.DBAPIError:
    error = sqlite3.OperationalError("some words")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return exc.OperationalError("SELECT 1", {}, error)


REFUSED, UNAVAILABLE, CONFLICT = RefusedByDatabase, StorageUnavailable, StorageConflict
POSTGRESQL = [
    (asyncpg.UniqueViolationError, REFUSED),
    (asyncpg.ForeignKeyViolationError, REFUSED),
    (asyncpg.NotNullViolationError, REFUSED),
    (asyncpg.NumericValueOutOfRangeError, REFUSED),
    (asyncpg.CharacterNotInRepertoireError, REFUSED),
    (asyncpg.UntranslatableCharacterError, REFUSED),
    (asyncpg.DatetimeFieldOverflowError, REFUSED),
    (asyncpg.CardinalityViolationError, REFUSED),
    (asyncpg.ProgramLimitExceededError, REFUSED),
    (asyncpg.DataError, REFUSED),
    (asyncpg.DeadlockDetectedError, CONFLICT),
    (asyncpg.SerializationError, CONFLICT),
    (asyncpg.ConnectionDoesNotExistError, UNAVAILABLE),
    (asyncpg.ConnectionFailureError, UNAVAILABLE),
    (asyncpg.AdminShutdownError, UNAVAILABLE),
    (asyncpg.CrashShutdownError, UNAVAILABLE),
    (asyncpg.CannotConnectNowError, UNAVAILABLE),
    (asyncpg.TooManyConnectionsError, UNAVAILABLE),
    (asyncpg.DiskFullError, UNAVAILABLE),
    (asyncpg.OutOfMemoryError, UNAVAILABLE),
    (asyncpg.QueryCanceledError, UNAVAILABLE),
    (asyncpg.LockNotAvailableError, UNAVAILABLE),
    (asyncpg.ReadOnlySQLTransactionError, UNAVAILABLE),
    (asyncpg.InvalidPasswordError, UNAVAILABLE),
    (asyncpg.InvalidCatalogNameError, UNAVAILABLE),
    (asyncpg.UndefinedTableError, UNAVAILABLE),
    (asyncpg.UndefinedColumnError, UNAVAILABLE),
    (asyncpg.IdleInTransactionSessionTimeoutError, UNAVAILABLE),
    (asyncpg.PostgresIOError, UNAVAILABLE),
    (asyncpg.InterfaceError, UNAVAILABLE),
]
SQLITE = [
    ("SQLITE_CONSTRAINT_UNIQUE", REFUSED),
    ("SQLITE_CONSTRAINT_NOTNULL", REFUSED),
    ("SQLITE_CONSTRAINT_TRIGGER", REFUSED),
    ("SQLITE_TOOBIG", REFUSED),
    ("SQLITE_MISMATCH", REFUSED),
    ("SQLITE_BUSY", UNAVAILABLE),
    ("SQLITE_BUSY_SNAPSHOT", UNAVAILABLE),
    ("SQLITE_LOCKED", UNAVAILABLE),
    ("SQLITE_FULL", UNAVAILABLE),
    ("SQLITE_IOERR_FSYNC", UNAVAILABLE),
    ("SQLITE_READONLY", UNAVAILABLE),
    ("SQLITE_CANTOPEN", UNAVAILABLE),
    ("SQLITE_CORRUPT", UNAVAILABLE),
    ("SQLITE_NOTADB", UNAVAILABLE),
    ("SQLITE_ERROR", UNAVAILABLE),
]


@pytest.mark.parametrize(("error", "becomes"), POSTGRESQL)
def test_what_an_error_of_postgresql_means(error: type[Exception], becomes: type[StorageError]) -> None:
    assert type(storage_error(of_postgresql(error("some words")))) is becomes


@pytest.mark.parametrize(("name", "becomes"), SQLITE)
def test_what_an_error_of_sqlite_means(name: str, becomes: type[StorageError]) -> None:
    assert type(storage_error(of_sqlite(getattr(sqlite3, name), name))) is becomes


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (exc.TimeoutError("QueuePool limit reached"), UNAVAILABLE),
        (TimeoutError(), UNAVAILABLE),
        (ConnectionRefusedError(111, "Connection refused"), UNAVAILABLE),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), REFUSED),
        (OverflowError("int too large"), REFUSED),
    ],
)
def test_what_an_error_of_the_pool_or_of_python_means(error: Exception, becomes: type[StorageError]) -> None:
    assert type(storage_error(error)) is becomes


def test_no_error_of_postgresql_is_forgotten() -> None:
    """Every error that asyncpg knows becomes one of ours, and only errors of data count as refusals."""
    errors = [value for value in vars(asyncpg.exceptions).values() if isinstance(value, type)]
    known = [error("some words") for error in errors if issubclass(error, asyncpg.PostgresError)]
    states = {str(error.sqlstate): type(storage_error(of_postgresql(error))) for error in known if error.sqlstate}
    assert len(states) > 200
    for state, becomes in states.items():
        assert (becomes is REFUSED) == state.startswith(("21", "22", "23", "54")), state


def test_a_refusal_does_not_quote_the_data() -> None:
    error = storage_error(of_postgresql(asyncpg.DataError("invalid input for query argument $1: 'Jane Doe'")))
    assert str(error) == "the database refused the data (DataError)"
