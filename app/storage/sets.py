"""Writing many rows with one statement, whose text never changes with their number: it is prepared once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Table

from app.storage.driver import Row, Statement, Step, statement_of
from app.storage.engine import Dialect
from app.storage.errors import RefusedByDatabase
from app.storage.inbox_sql import bind_rows, rows_of

# "WHERE true" keeps SQLite from reading ON CONFLICT as the condition of a join.
_INSERT = "INSERT INTO {table} ({columns}) SELECT {columns} FROM {rows} WHERE true {otherwise}"
_CORRECT = "UPDATE {table} SET {values} FROM {rows} WHERE {table}.{key} = given.{key}"


@dataclass(frozen=True, slots=True)
class Bulk:
    """One statement over the whole set of rows, on both databases."""

    dialect: Dialect
    statement: Statement
    width: int

    def of(self, rows: Sequence[Row]) -> Step:
        return self.statement, bind_rows(self.dialect, rows, width=self.width)


@cache
def insertion(dialect: Dialect, table: Table, columns: tuple[str, ...], otherwise: str = "") -> Bulk:
    """``otherwise`` says what to do about rows that are there already."""
    text = _INSERT.format(
        table=table.name, columns=_list(columns), rows=rows_of(dialect, table, columns), otherwise=otherwise
    )
    return Bulk(dialect, statement_of(dialect, text), len(columns))


@cache
def correction(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> Bulk:
    """The row that the first of the columns names gets the others."""
    values = ", ".join(f'"{name}" = given."{name}"' for name in columns[1:])
    rows = rows_of(dialect, table, columns)
    text = _CORRECT.format(table=table.name, values=values, rows=rows, key=f'"{columns[0]}"')
    return Bulk(dialect, statement_of(dialect, text), len(columns))


def steps_of(bulk: Bulk, rows: Sequence[Row]) -> list[Step]:
    """Nothing, for no rows. Raises ``RefusedByDatabase`` for text that is not Unicode, as the database would."""
    if not rows:
        return []
    try:
        return [bulk.of(rows)]
    except orjson.JSONEncodeError:
        raise RefusedByDatabase("the database refused the data (text that is not Unicode)") from None


def as_json(value: Any) -> str | None:
    """The text of a JSON column. Raises ``RefusedByDatabase`` like ``steps_of``."""
    if value is None:
        return None
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        raise RefusedByDatabase("the database refused the data (text that is not Unicode)") from None


def _list(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
