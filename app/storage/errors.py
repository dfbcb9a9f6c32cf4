"""What storage can answer instead of a result.

StorageError
├── DatabaseUrlInvalid        the start must end: the setting or the database behind it is wrong
├── SchemaAhead               the start must end: the database was made by a newer Latchwatch
├── StorageUnavailable        not written, or nobody knows: 503, repeat later
│   └── StorageConflict       another transaction was in the way; certainly not written, repeat at once
└── RefusedByDatabase         the data can never be stored; a repeat cannot heal it
"""

from __future__ import annotations

from app.domain.errors import LatchwatchError


class StorageError(LatchwatchError):
    type = "storage-failed"
    title = "Storage failed"


class DatabaseUrlInvalid(StorageError):
    """One line for the operator: it names DATABASE_URL, what is wrong with it, and the remedy."""

    type = "database-url-invalid"
    title = "DATABASE_URL is wrong"

    def __init__(self, problem: str) -> None:
        super().__init__(f"DATABASE_URL: {problem}")


class SchemaAhead(StorageError):
    """One line for the operator."""

    type = "schema-ahead"
    title = "The database is newer than this Latchwatch"

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"DATABASE_URL: the database has schema {revision}, which this version of Latchwatch does not know; "
            "start the newer version, or name another database"
        )


class StorageUnavailable(StorageError):
    status = 503
    type = "storage-unavailable"
    title = "Storage is not available"


class StorageConflict(StorageUnavailable):
    type = "storage-conflict"


class RefusedByDatabase(StorageError):
    status = 422
    type = "refused-by-database"
    title = "The database cannot hold this"
