"""The statements of the inbox write. Their text never changes with the size of a batch, so they are prepared once.

The rows of a batch travel as one array for each column on PostgreSQL, but for those of events, of which there are most
(``app.storage.inbox_arrival``). SQLite, which is in our own process, runs a statement once for each: taking them
out of one JSON text costs it several times as much. Where a set is needed, it gets them as JSON all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import orjson
from sqlalchemy import JSON, Boolean, Float, Integer, Table

from app.domain.health import AccountFacet, DeviceFacet
from app.domain.news import NewsKind
from app.storage.driver import Row, Statement, Step, statement_of
from app.storage.engine import Dialect
from app.storage.tables import accounts, devices, events, signals, unreadable
from app.storage.types import UtcDateTime, to_micros

EVENT_COLUMNS = tuple(column.name for column in events.c if column.name != "id")
UNREADABLE_COLUMNS = tuple(column.name for column in unreadable.c if column.name != "id")
SIGNAL_COLUMNS = ("access_code_id", *(kind.value for kind in NewsKind))
_MARKED_SIGNAL = (*SIGNAL_COLUMNS, "marked_at")
DEVICE_COLUMNS = ("device_id", "connected_account_id", "workspace_id", *(facet.value for facet in DeviceFacet))
ACCOUNT_COLUMNS = ("connected_account_id", *(facet.value for facet in AccountFacet))

_IN_JSON = "{column} IN (SELECT value FROM json_each(:{parameter}))"
_JSON_ROWS = "(SELECT {values} FROM json_each(:rows)) AS given"
_INSERT = "INSERT INTO {table} ({names}) SELECT {values} FROM {rows}"
_INSERT_ONE = "INSERT INTO {table} ({names}) VALUES ({values})"


@dataclass(frozen=True, slots=True)
class Bulk:
    """One statement for the rows of a batch. ``times`` are the places of those that SQLite keeps as numbers."""

    dialect: Dialect
    statement: Statement
    width: int
    times: tuple[int, ...]

    def of(self, rows: Sequence[Row]) -> Step:
        """Two replicas never wait for each other in a circle, as every batch locks its keys in order."""
        ordered = sorted(rows, key=_first)
        if self.dialect == "postgresql":
            return self.statement, bind_rows(self.dialect, ordered, width=self.width)
        return self.statement, [self._plain(row) for row in ordered] if self.times else ordered

    def _plain(self, row: Row) -> Row:
        values = list(row)
        for place in self.times:
            values[place] = to_micros(values[place])
        return tuple(values)


@dataclass(frozen=True, slots=True)
class Statements:
    insert_events: Bulk
    keep_unreadable: Bulk
    merge_signals: Bulk
    merge_devices: Bulk
    merge_accounts: Bulk


@cache
def statements(dialect: Dialect) -> Statements:
    return Statements(
        insert_events=_bulk(dialect, events, _insert_new(dialect, events, EVENT_COLUMNS, "event_id"), EVENT_COLUMNS),
        keep_unreadable=_bulk(
            dialect, unreadable, _insert_new(dialect, unreadable, UNREADABLE_COLUMNS, "delivery_id"), UNREADABLE_COLUMNS
        ),
        merge_signals=_bulk(dialect, signals, _merge_signals(dialect), _MARKED_SIGNAL),
        merge_devices=_bulk(dialect, devices, _merge_devices(dialect), DEVICE_COLUMNS),
        merge_accounts=_bulk(dialect, accounts, _merge_accounts(dialect), ACCOUNT_COLUMNS),
    )


@cache
def find_known(dialect: Dialect) -> Statement:
    """Those of the ids that are there already."""
    named = one_of(dialect, "event_id", "ids")
    return statement_of(dialect, f"SELECT event_id FROM events WHERE {named}")  # noqa: S608 - our own names


def _bulk(dialect: Dialect, table: Table, statement: str, columns: Sequence[str]) -> Bulk:
    times = tuple(place for place, name in enumerate(columns) if sql_type(table, name) == "timestamptz")
    return Bulk(dialect, statement_of(dialect, statement), len(columns), times)


def bind_rows(dialect: Dialect, rows: Sequence[Row], *, width: int) -> dict[str, Any]:
    """Parameters for ``rows_of``."""
    if dialect == "sqlite":
        return {"rows": to_json_list(rows)}
    columns = zip(*rows, strict=True) if rows else ([] for _ in range(width))
    return {f"c{index}": list(column) for index, column in enumerate(columns)}


def bind_list(dialect: Dialect, values: Sequence[str]) -> str | Sequence[str]:
    """The parameter for ``one_of``."""
    return to_json_list(values) if dialect == "sqlite" else values


def one_of(dialect: Dialect, column: str, parameter: str) -> str:
    """SQL for: the column is one of the values of a bound list."""
    if dialect == "sqlite":
        return _IN_JSON.format(column=column, parameter=parameter)
    return f"{column} = ANY(CAST(:{parameter} AS text[]))"


def rows_of(dialect: Dialect, table: Table, columns: Iterable[str]) -> str:
    """SQL for the bound rows, as a relation with these columns: of ``table``, or text."""
    if dialect == "sqlite":
        values = ", ".join(f"json_extract(value, '$[{i}]') AS {_quote(name)}" for i, name in enumerate(columns))
        return _JSON_ROWS.format(values=values)
    arrays = ", ".join(f"CAST(:c{i} AS {sql_type(table, name)}[])" for i, name in enumerate(columns))
    return f"unnest({arrays}) AS given({list_names(columns)})"


def _insert_new(dialect: Dialect, table: Table, columns: Sequence[str], key: str) -> str:
    return f"{_insert(dialect, table, columns)} ON CONFLICT ({_quote(key)}) DO NOTHING"


def _merge_signals(dialect: Dialect) -> str:
    return f"{_insert(dialect, signals, _MARKED_SIGNAL, version='1')} {keep_latest_signals(dialect)}"


def keep_latest_signals(dialect: Dialect, otherwise: str = "") -> str:
    """``otherwise``: what also marks a row that is there. News that is older than all that is known changes nothing,
    not even a version, and marks nothing: no verdict can rest on it. The row is locked all the same."""
    kinds = SIGNAL_COLUMNS[1:]
    newer = _any_excluded(signals, kinds, ">")
    return f"""ON CONFLICT (access_code_id) DO UPDATE SET version = signals.version + 1,
        marked_at = coalesce(signals.marked_at, excluded.marked_at), {_latest(dialect, signals, kinds)}
        WHERE {newer} {otherwise}"""


def _merge_devices(dialect: Dialect) -> str:
    facets = DEVICE_COLUMNS[3:]
    # Where the lock is now is what the latest says, whatever it is about. An older one only fills in what is not known.
    known = ", ".join(f"coalesce(devices.{_quote(facet)}, '')" for facet in facets)
    given = ", ".join(f"coalesce(excluded.{_quote(facet)}, '')" for facet in facets)
    greatest = "max" if dialect == "sqlite" else "GREATEST"
    place = ", ".join(
        f"{name} = CASE WHEN {greatest}({given}) > {greatest}({known}) THEN coalesce(excluded.{name}, devices.{name})"
        f" ELSE coalesce(devices.{name}, excluded.{name}) END"
        for name in ("connected_account_id", "workspace_id")
    )
    return f"""{_insert(dialect, devices, DEVICE_COLUMNS)}
        ON CONFLICT (device_id) DO UPDATE SET {place}, {_latest(dialect, devices, facets)}
        WHERE {_any_excluded(devices, facets, ">=")} {_told(dialect, "device_id")}"""


def _merge_accounts(dialect: Dialect) -> str:
    return f"""{_insert(dialect, accounts, ACCOUNT_COLUMNS)}
        ON CONFLICT (connected_account_id) DO UPDATE SET {_latest(dialect, accounts, ACCOUNT_COLUMNS[1:])}
        WHERE {_any_excluded(accounts, ACCOUNT_COLUMNS[1:], ">=")} {_told(dialect, "connected_account_id")}"""


def _any_excluded(table: Table, columns: Iterable[str], compares: str) -> str:
    """That one of the given values is later than the known one, or the same with ``>=``."""
    return " OR ".join(
        f"excluded.{_quote(each)} {compares} coalesce({table.name}.{_quote(each)}, '')" for each in columns
    )


def _told(dialect: Dialect, key: str) -> str:
    """PostgreSQL tells whom the latest was told about, also if it is what was known: it may have been told by a batch
    that did not get further. SQLite knows beforehand which events are new."""
    return f"RETURNING {key}" if dialect == "postgresql" else ""


def _insert(dialect: Dialect, table: Table, columns: Sequence[str], **constants: str) -> str:
    names = list_names((*columns, *constants))
    if dialect == "sqlite":
        values = ", ".join((*"?" * len(columns), *constants.values()))
        return _INSERT_ONE.format(table=table.name, names=names, values=values)
    values = ", ".join((*map(_quote, columns), *constants.values()))
    return _INSERT.format(table=table.name, names=names, values=values, rows=rows_of(dialect, table, columns))


def _latest(dialect: Dialect, table: Table, columns: Iterable[str]) -> str:
    return ", ".join(f"{_quote(name)} = {_greatest(dialect, table.name, _quote(name))}" for name in columns)


def _greatest(dialect: Dialect, table: str, column: str) -> str:
    known, new = f"{table}.{column}", f"excluded.{column}"
    if dialect == "sqlite":  # whose max() is null if one of the two is
        return f"max(coalesce({known}, {new}), coalesce({new}, {known}))"
    return f"GREATEST({known}, {new})"


def sql_type(table: Table, column: str) -> str:
    match table.c[column].type if column in table.c else None:
        case UtcDateTime():
            return "timestamptz"
        case Integer():
            return "integer"
        case Boolean():
            return "boolean"
        case Float():
            return "double precision"
        case JSON():
            return "jsonb"
        case _:
            return "text"


def _quote(name: str) -> str:
    return f'"{name}"'


def list_names(names: Iterable[str]) -> str:
    return ", ".join(map(_quote, names))


def _first(row: Row) -> Any:
    return row[0]


def _time(value: object) -> int:
    if isinstance(value, datetime):
        return to_micros(value)
    raise TypeError(type(value).__name__)


def to_json_list(values: Sequence[Any]) -> str:
    return orjson.dumps(values, default=_time, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()
