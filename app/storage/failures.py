"""Which error of a driver means what. The only place that looks at SQLSTATEs and SQLite's result codes."""

from __future__ import annotations

import sqlite3

import asyncpg
from sqlalchemy import exc

from app.storage.errors import RefusedByDatabase, StorageConflict, StorageError, StorageUnavailable

# What may leave a transaction because of the database: SQLAlchemy's errors, and those of the drivers, where they are
# used themselves. OSError includes TimeoutError: statements and connects.
TRANSLATED = (
    *(exc.DBAPIError, exc.TimeoutError),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error),
    *(OSError, UnicodeEncodeError, OverflowError),
)

# PostgreSQL, by class of SQLSTATE: the data itself is at fault, so repeating it cannot help.
_REFUSED_CLASSES = ("21", "22", "23", "54")  # cardinality, data, integrity, a limit such as the size of an index row
_CONFLICTS = ("40001", "40P01")  # serialization failure, deadlock
# SQLite, by primary result code.
_REFUSED_CODES = (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH)


def storage_error(error: Exception) -> StorageError:
    """The ``StorageError`` that stands for one of ``TRANSLATED``.

    A refusal names only the kind of error: the driver's text may quote the data. Whatever is not certainly the data's
    fault counts as unavailable, so that nothing is acknowledged that was not kept.
    """
    if isinstance(error, exc.TimeoutError):
        return StorageUnavailable("every connection to the database is busy")
    cause = _driver_error(error)
    if _is_refusal(cause):
        return RefusedByDatabase(f"the database refused the data ({_name(cause)})")
    if getattr(cause, "sqlstate", None) in _CONFLICTS:
        return StorageConflict(f"another transaction was in the way ({_name(cause)})")
    return StorageUnavailable(f"the database is not available ({_name(cause)}: {_text(cause)})")


def _driver_error(error: Exception) -> BaseException:
    if not isinstance(error, exc.DBAPIError) or error.orig is None:
        return error
    # SQLAlchemy puts asyncpg's own error behind one of its making.
    return error.orig.__cause__ or error.orig


def _is_refusal(cause: BaseException) -> bool:
    if isinstance(cause, (UnicodeEncodeError, OverflowError, asyncpg.DataError)):
        return True
    if isinstance(cause, sqlite3.Error):
        # Errors that Python's module raises itself carry no code.
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _REFUSED_CODES or isinstance(cause, sqlite3.DataError)
    return str(getattr(cause, "sqlstate", None))[:2] in _REFUSED_CLASSES


def _name(cause: BaseException) -> str:
    return getattr(cause, "sqlite_errorname", None) or type(cause).__name__


def _text(cause: BaseException) -> str:
    return " ".join(str(cause).split()) or "no answer in time"
