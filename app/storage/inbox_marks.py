"""After the news is merged: marking those due whom it concerns, and noting that something arrived.

Codes are marked in a statement after the merge of their signals, in the same transaction. So a code that is bound in
the same instant is either seen here, or sees the news itself (contract, section 2.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.driver import Statement, Step, statement_of
from app.storage.engine import Dialect
from app.storage.inbox_rows import Marks
from app.storage.inbox_sql import bind_list, bind_rows, one_of, rows_of
from app.storage.tables import access_codes, devices
from app.storage.types import to_micros

_OF_CODES = """
    SELECT access_codes.id, given.connected_account_id AS account
    FROM given JOIN access_codes ON access_codes.access_code_id = given.access_code_id"""
_OF_PLACES = " UNION ALL SELECT id, NULL FROM access_codes WHERE {place} AND NOT is_terminal"
# Two batches that concern the same codes must not wait for each other in a circle: rows are locked in the order of ids.
_MARK = """
    WITH given AS (SELECT * FROM {rows}),
    named AS ({named}),
    due AS (
        SELECT access_codes.id, named.account
        FROM (SELECT id, max(account) AS account FROM named GROUP BY id) AS named
        JOIN access_codes ON access_codes.id = named.id
        WHERE access_codes.untracked_at IS NULL ORDER BY access_codes.id {lock}
    )
    UPDATE access_codes SET
        due_at = CASE WHEN due_at <= :now THEN due_at ELSE :now END,
        revision = revision + 1,
        connected_account_id = coalesce(access_codes.connected_account_id, due.account)
    FROM due WHERE access_codes.id = due.id"""
_NOTE_DELIVERY = """
    UPDATE intake SET last_delivery_at = :at WHERE id IN (
        SELECT id FROM intake WHERE id = 1 AND (last_delivery_at IS NULL OR last_delivery_at < :before) {lock}
    )"""
# How exact last_delivery_at is. Every replica writes that one row: noting each batch would make all commits queue.
_EXACT_TO = timedelta(seconds=1)


async def mark_due(connection: AsyncConnection, dialect: Dialect, marks: Marks, now: datetime) -> list[Step]:
    """Make tracked codes due: by their own news, or, unless they are terminal, by that of their lock or account."""
    if not (marks.codes or marks.devices or marks.accounts):
        return []
    locks = {*marks.devices, *await _devices_of(connection, marks.accounts)}
    values: dict[str, Any] = {"now": _bound(dialect, now), **bind_rows(dialect, marks.codes, width=2)}
    if locks:
        values["devices"] = bind_list(dialect, sorted(locks))
    if marks.accounts:
        values["accounts"] = bind_list(dialect, marks.accounts)
    return [(mark_statement(dialect, devices=bool(locks), accounts=bool(marks.accounts)), values)]


def note_arrivals(dialect: Dialect, *, delivered_at: datetime | None, backfilled: int) -> list[Step]:
    """Keep when a webhook came last (exact to a second), and count what only the backfill found."""
    steps: list[Step] = []
    if delivered_at is not None:
        before = _bound(dialect, delivered_at - _EXACT_TO)
        steps.append((note_delivery(dialect), {"at": _bound(dialect, delivered_at), "before": before}))
    if backfilled:
        steps.append((count_backfilled(dialect), {"found": backfilled}))
    return steps


def _bound(dialect: Dialect, moment: datetime) -> datetime | int:
    return to_micros(moment) if dialect == "sqlite" else moment


def note_brought(dialect: Dialect, event_ids: Sequence[str]) -> list[Step]:
    """Webhooks brought these after all: whichever of them the backfill found first was not lost, only late."""
    if not event_ids:
        return []
    return [(_brought(dialect), {"ids": bind_list(dialect, sorted(event_ids))})]


@cache
def _brought(dialect: Dialect) -> Statement:
    late = one_of(dialect, "event_id", "ids")
    text = f"UPDATE events SET source = 'webhook' WHERE {late} AND source = 'backfill'"  # noqa: S608 - no values
    return statement_of(dialect, text)


async def _devices_of(connection: AsyncConnection, accounts: Sequence[str]) -> Sequence[str]:
    """Locks of these accounts, for codes that were never told their account. Joined with the codes in one statement,
    PostgreSQL would expect so many that it reads the whole table."""
    if not accounts:
        return ()
    found = await connection.execute(select(devices.c.device_id).where(devices.c.connected_account_id.in_(accounts)))
    return found.scalars().all()


@cache
def mark_statement(dialect: Dialect, *, devices: bool, accounts: bool) -> Statement:
    """One text for each combination: what is not asked for must not be planned for."""
    named = _OF_CODES
    if devices:
        named += _OF_PLACES.format(place=one_of(dialect, "device_id", "devices"))
    if accounts:
        named += _OF_PLACES.format(place=one_of(dialect, "connected_account_id", "accounts"))
    text = _MARK.format(
        rows=rows_of(dialect, access_codes, ("access_code_id", "connected_account_id")),
        named=named,
        lock="FOR UPDATE OF access_codes" if dialect == "postgresql" else "",
    )
    return statement_of(dialect, text)


@cache
def note_delivery(dialect: Dialect) -> Statement:
    # Whoever holds the row is noting the same moment.
    return statement_of(
        dialect, _NOTE_DELIVERY.format(lock="FOR UPDATE SKIP LOCKED" if dialect == "postgresql" else "")
    )


@cache
def count_backfilled(dialect: Dialect) -> Statement:
    return statement_of(dialect, "UPDATE intake SET backfilled = backfilled + CAST(:found AS integer)")
