"""What a database really does for the statements that it is given, however they were made and whoever sent them."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event

from app.storage.engine import Database
from app.storage.figure_tables import metadata
from tests.storage.crowd import GROWING

_EXPLAINED = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)
_STEPS = 100
_PARTIAL = frozenset(
    str(index.name)
    for table in metadata.tables.values()
    for index in table.indexes
    if index.dialect_options["sqlite"]["where"] is not None
)
_SETTINGS = (
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_level = notice",
    "auto_explain.log_format = json",
    "auto_explain.log_analyze = on",
    "auto_explain.log_timing = off",
    "auto_explain.log_nested_statements = on",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """``whole``: the tables that are read from one end to the other. ``work``: how many rows its scans looked at on
    PostgreSQL, on SQLite how many instructions of its machine were carried out for it."""

    query: str
    whole: frozenset[str]
    indexes: frozenset[str]
    work: int


@dataclass(slots=True)
class Plans:
    """The plans of all that ran while ``recorded`` was open."""

    plans: list[Plan] = field(default_factory=list)

    @property
    def whole(self) -> dict[str, frozenset[str]]:
        """The tables that grow and were read whole, by statement."""
        return {plan.query: plan.whole & GROWING for plan in self.plans if plan.whole & GROWING}

    @property
    def indexes(self) -> set[str]:
        return {index for plan in self.plans for index in plan.indexes}

    def longer_than(self, work: int) -> dict[str, int]:
        return {plan.query: plan.work for plan in self.plans if plan.work > work}


class Recorder:
    """Attach it before the first connection of ``db`` is made."""

    def __init__(self, db: Database, path: str | None) -> None:
        self.db = db
        self._path = path
        self._said: list[str] = []
        self._steps: list[int] = []
        for engine in (db._writers, db._readers):
            event.listen(engine.sync_engine, "connect", self._prepare)

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[Plans]:
        """Everything that begins and ends its transaction inside."""
        self._said.clear()
        self._steps.clear()
        plans = Plans()
        yield plans
        # PostgreSQL tells of a statement with the end of its transaction; one more round trip brings the last of it.
        async with self.db.read():
            pass
        if self._path is None:
            plans.plans = [_of_postgresql(said) for said in self._said]
        else:
            with closing(sqlite3.connect(self._path)) as connection:
                plans.plans = list(_of_sqlite(connection, zip(self._said, self._steps, strict=True)))

    def _prepare(self, connection: Any, _record: object) -> None:
        connection.run_async(self._trace if self._path else self._explain)

    async def _trace(self, driver: Any) -> None:
        await driver.set_trace_callback(self._begin)
        await driver.set_progress_handler(self._count, _STEPS)

    def _begin(self, statement: str) -> None:
        if _EXPLAINED.match(statement):  # those of triggers come as comments, and count as part of theirs
            self._said.append(statement)
            self._steps.append(0)

    def _count(self) -> None:
        if self._steps:
            self._steps[-1] += _STEPS

    async def _explain(self, driver: Any) -> None:
        await driver.execute("LOAD 'auto_explain'")
        for setting in _SETTINGS:
            await driver.execute(f"SET {setting}")
        driver.add_log_listener(self._hear)

    def _hear(self, _driver: object, message: Any) -> None:
        _, found, plan = message.message.partition(" plan:\n")
        if found:
            self._said.append(plan)


def _of_postgresql(text: str) -> Plan:
    said = json.loads(text)
    nodes = list(_nodes(said["Plan"]))
    return Plan(
        said["Query Text"],
        whole=frozenset(node["Relation Name"] for node in nodes if _is_whole(node)),
        indexes=frozenset(node["Index Name"] for node in nodes if "Index Name" in node),
        work=sum(_looked_at(node) for node in nodes if node["Node Type"].endswith("Scan")),
    )


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _is_whole(node: dict[str, Any]) -> bool:
    return node["Node Type"] == "Seq Scan" and "Relation Name" in node


def _looked_at(node: dict[str, Any]) -> int:
    names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return int(sum(node.get(name, 0) for name in names) * node.get("Actual Loops", 0))


def _of_sqlite(connection: sqlite3.Connection, said: Iterable[tuple[str, int]]) -> Iterator[Plan]:
    """They come with their values, which those that really ran did not know: so their work is looked at as well."""
    for statement, steps in said:
        tables = _names_of_tables(statement)
        lines = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
        # A walk from one place on, along an index or the ids, that a LIMIT ends.
        is_page = " LIMIT " in statement and "USE TEMP B-TREE FOR ORDER BY" not in lines
        whole = frozenset(table for line in lines if not is_page and (table := _scanned(line, tables)))
        used = frozenset(found[1] for line in lines if (found := re.search(r"INDEX (\w+)", line)))
        yield Plan(statement, whole, used, steps)


def _scanned(line: str, tables: Mapping[str, str]) -> str | None:
    """An index of some rows alone is not the table: how many they are shows in the work."""
    found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", line)
    return None if found is None or found[2] in _PARTIAL else tables.get(found[1])


def _names_of_tables(statement: str) -> dict[str, str]:
    """Each table under its own name, and under those that the statement gives it."""
    aliases = re.findall(r"\b(\w+) AS (\w+)", statement)
    return {name: name for name in metadata.tables} | {
        alias: table for table, alias in aliases if table in metadata.tables
    }
