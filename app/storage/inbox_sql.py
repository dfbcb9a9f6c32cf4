"""The statements of the inbox write. Their text never changes with the size of a batch, so they are prepared once.

The rows of a batch travel as one array for each column on PostgreSQL, and as one JSON text on SQLite.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Integer, Table, TextClause, text

from app.domain.health import AccountFacet, DeviceFacet
from app.domain.news import NewsKind
from app.storage.engine import Dialect
from app.storage.tables import accounts, devices, events, signals, unreadable
from app.storage.types import UtcDateTime, to_micros

EVENT_COLUMNS = tuple(column.name for column in events.c if column.name != "id")
UNREADABLE_COLUMNS = tuple(column.name for column in unreadable.c if column.name != "id")
SIGNAL_COLUMNS = ("access_code_id", *(kind.value for kind in NewsKind))
DEVICE_COLUMNS = ("device_id", "connected_account_id", "workspace_id", *(facet.value for facet in DeviceFacet))
ACCOUNT_COLUMNS = ("connected_account_id", *(facet.value for facet in AccountFacet))

_IN_JSON = "{column} IN (SELECT value FROM json_each(:{parameter}))"
_JSON_ROWS = "(SELECT {values} FROM json_each(:rows)) AS given"
# "WHERE true" keeps SQLite from reading ON CONFLICT as the condition of a join.
_INSERT = "INSERT INTO {table} ({names}) SELECT {values} FROM {rows} WHERE true"

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Bulk:
    """One set-based statement over the rows of a batch."""

    dialect: Dialect
    statement: TextClause
    width: int

    def bind(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Parameters. Two replicas never wait for each other in a circle, as every batch locks its keys in order."""
        return bind_rows(self.dialect, sorted(rows, key=_first), width=self.width)


@dataclass(frozen=True, slots=True)
class Statements:
    insert_events: Bulk  # returns the event_id of those that are new
    keep_unreadable: Bulk
    merge_signals: Bulk
    merge_devices: Bulk
    merge_accounts: Bulk


@cache
def statements(dialect: Dialect) -> Statements:
    return Statements(
        insert_events=_bulk(dialect, _insert_new(dialect, events, EVENT_COLUMNS, "event_id"), EVENT_COLUMNS),
        keep_unreadable=_bulk(
            dialect, _insert_new(dialect, unreadable, UNREADABLE_COLUMNS, "delivery_id"), UNREADABLE_COLUMNS
        ),
        merge_signals=_bulk(dialect, _merge_signals(dialect), SIGNAL_COLUMNS),
        merge_devices=_bulk(dialect, _merge_devices(dialect), DEVICE_COLUMNS),
        merge_accounts=_bulk(dialect, _merge_accounts(dialect), ACCOUNT_COLUMNS),
    )


def _bulk(dialect: Dialect, statement: str, columns: Sequence[str]) -> Bulk:
    return Bulk(dialect, text(statement), len(columns))


def bind_rows(dialect: Dialect, rows: Sequence[Row], *, width: int) -> dict[str, Any]:
    """Parameters for ``rows_of``."""
    if dialect == "sqlite":
        return {"rows": _to_json(rows)}
    columns = zip(*rows, strict=True) if rows else ([] for _ in range(width))
    return {f"c{index}": list(column) for index, column in enumerate(columns)}


def bind_list(dialect: Dialect, values: Sequence[str]) -> str | Sequence[str]:
    """The parameter for ``one_of``."""
    return _to_json(values) if dialect == "sqlite" else values


def one_of(dialect: Dialect, column: str, parameter: str) -> str:
    """SQL for: the column is one of the values of a bound list."""
    if dialect == "sqlite":
        return _IN_JSON.format(column=column, parameter=parameter)
    return f"{column} = ANY(CAST(:{parameter} AS text[]))"


def rows_of(dialect: Dialect, table: Table, columns: Iterable[str]) -> str:
    """SQL for the bound rows, as a relation with these columns of ``table``."""
    if dialect == "sqlite":
        values = ", ".join(f"json_extract(value, '$[{i}]') AS {_quote(name)}" for i, name in enumerate(columns))
        return _JSON_ROWS.format(values=values)
    arrays = ", ".join(f"CAST(:c{i} AS {_sql_type(table, name)}[])" for i, name in enumerate(columns))
    return f"unnest({arrays}) AS given({_list(columns)})"


def _insert_new(dialect: Dialect, table: Table, columns: Sequence[str], key: str) -> str:
    return f"""{_insert(dialect, table, columns)}
        ON CONFLICT ({_quote(key)}) DO NOTHING RETURNING {_quote(key)}"""


def _merge_signals(dialect: Dialect) -> str:
    kinds = SIGNAL_COLUMNS[1:]
    # News that is older than all that is known changes nothing, not even the version. The row is locked all the same.
    newer = " OR ".join(f"excluded.{_quote(kind)} > coalesce(signals.{_quote(kind)}, '')" for kind in kinds)
    return f"""{_insert(dialect, signals, SIGNAL_COLUMNS, version="1")}
        ON CONFLICT (access_code_id) DO UPDATE SET version = signals.version + 1, {_latest(dialect, signals, kinds)}
        WHERE {newer}"""


def _merge_devices(dialect: Dialect) -> str:
    place = ", ".join(
        f"{name} = coalesce(excluded.{name}, devices.{name})" for name in ("connected_account_id", "workspace_id")
    )
    return f"""{_insert(dialect, devices, DEVICE_COLUMNS)}
        ON CONFLICT (device_id) DO UPDATE SET {place}, {_latest(dialect, devices, DEVICE_COLUMNS[3:])}"""


def _merge_accounts(dialect: Dialect) -> str:
    return f"""{_insert(dialect, accounts, ACCOUNT_COLUMNS)}
        ON CONFLICT (connected_account_id) DO UPDATE SET {_latest(dialect, accounts, ACCOUNT_COLUMNS[1:])}"""


def _insert(dialect: Dialect, table: Table, columns: Sequence[str], **constants: str) -> str:
    names = _list((*columns, *constants))
    values = ", ".join((*map(_quote, columns), *constants.values()))
    return _INSERT.format(table=table.name, names=names, values=values, rows=rows_of(dialect, table, columns))


def _latest(dialect: Dialect, table: Table, columns: Iterable[str]) -> str:
    return ", ".join(f"{_quote(name)} = {_greatest(dialect, table.name, _quote(name))}" for name in columns)


def _greatest(dialect: Dialect, table: str, column: str) -> str:
    known, new = f"{table}.{column}", f"excluded.{column}"
    if dialect == "sqlite":  # whose max() is null if one of the two is
        return f"max(coalesce({known}, {new}), coalesce({new}, {known}))"
    return f"GREATEST({known}, {new})"


def _sql_type(table: Table, column: str) -> str:
    match table.c[column].type:
        case UtcDateTime():
            return "timestamptz"
        case Integer():
            return "integer"
        case _:
            return "text"


def _quote(name: str) -> str:
    return f'"{name}"'


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(_quote, names))


def _first(row: Row) -> Any:
    return row[0]


def _time(value: object) -> int:
    if isinstance(value, datetime):
        return to_micros(value)
    raise TypeError(type(value).__name__)


def _to_json(values: Sequence[Any]) -> str:
    return orjson.dumps(values, default=_time, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()
