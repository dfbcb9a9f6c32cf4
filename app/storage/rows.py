"""Whole rows of a table, read through the driver itself and decoded column by column: what the busiest loads need.

SQLAlchemy's rows cost as much again as all that is decided on them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
from sqlalchemy import JSON, Boolean, Column, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.dialects import dialect_of
from app.storage.driver import Statement, fetch, statement_of
from app.storage.engine import Dialect
from app.storage.inbox_sql import bind_list, one_of
from app.storage.types import UtcDateTime, from_micros

_Decoder = Callable[[Any], Any]
# The driver of PostgreSQL gives aware times in UTC, truth values and, as SQLAlchemy has set it up, JSON as objects.
_SQLITE: dict[type, _Decoder] = {JSON: orjson.loads, UtcDateTime: from_micros, Boolean: bool}


@dataclass(frozen=True, slots=True)
class Selection:
    """A query for rows of one table, and how its columns are decoded, by their place."""

    statement: Statement
    decoders: tuple[tuple[int, _Decoder], ...]

    async def fetch(self, conn: AsyncConnection, **values: Any) -> list[list[Any]]:
        """The values of each row, as SQLAlchemy would give them."""
        return [self._decode(row) for row in await fetch(conn, (self.statement, values))]

    def _decode(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for index, decode in self.decoders:
            if values[index] is not None:
                values[index] = decode(values[index])
        return values


@cache
def selection(dialect: Dialect, table: Table, columns: tuple[str, ...], where: str) -> Selection:
    """``where`` names its parameters ``:name``."""
    names = ", ".join(f'"{name}"' for name in columns)
    text = f"SELECT {names} FROM {table.name} WHERE {where}"  # noqa: S608 - our own names
    known = [(index, _decoder(dialect, table.c[name])) for index, name in enumerate(columns)]
    decoders = tuple((index, decoder) for index, decoder in known if decoder is not None)
    return Selection(statement_of(dialect, text), decoders)


async def fetch_by(
    conn: AsyncConnection, table: Table, columns: tuple[str, ...], key: str, values: Collection[str], where: str = ""
) -> list[list[Any]]:
    """The rows whose ``key`` is one of these values, in no order. ``where`` goes on from there."""
    if not values:
        return []
    dialect = dialect_of(conn)
    query = selection(dialect, table, columns, one_of(dialect, key, "keys") + where)
    return await query.fetch(conn, keys=bind_list(dialect, list(values)))


def _decoder(dialect: Dialect, column: Column[Any]) -> _Decoder | None:
    if dialect == "postgresql":
        return None
    return next((decoder for kind, decoder in _SQLITE.items() if isinstance(column.type, kind)), None)
