"""After the news is merged: marking those due whose lock or account it concerns, and noting that something arrived.

News about a code itself marks its signals, in the very statement that merges them (``app.storage.inbox_sql``): a claim
makes the code due. Codes of a lock or an account are marked in a statement after the merge of its reports.
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
from app.storage.inbox_sql import bind_list, one_of
from app.storage.tables import devices
from app.storage.types import bound

_OF_PLACE = "SELECT id FROM access_codes WHERE {place} AND NOT is_terminal"
# Two batches that concern the same codes must not wait for each other in a circle: rows are locked in the order of ids.
_MARK = """
    WITH named AS ({named}),
    due AS (
        SELECT access_codes.id FROM named JOIN access_codes ON access_codes.id = named.id
        WHERE access_codes.untracked_at IS NULL ORDER BY access_codes.id {lock}
    )
    UPDATE access_codes SET due_at = CASE WHEN due_at <= :now THEN due_at ELSE :now END, revision = revision + 1
    WHERE id IN (SELECT id FROM due)"""
_NOTE_DELIVERY = """
    UPDATE intake SET last_delivery_at = :at WHERE id IN (
        SELECT id FROM intake WHERE id = 1 AND (last_delivery_at IS NULL OR last_delivery_at < :before) {lock}
    )"""
# How exact last_delivery_at is. Every replica writes that one row: noting each batch would make all commits queue.
_EXACT_TO = timedelta(seconds=1)


async def mark_due(connection: AsyncConnection, dialect: Dialect, marks: Marks, now: datetime) -> list[Step]:
    """Make tracked codes due, unless they are terminal, by news of their lock or account."""
    if not (marks.devices or marks.accounts):
        return []
    locks = {*marks.devices, *await _devices_of(connection, marks.accounts)}
    values: dict[str, Any] = {"now": bound(dialect, now)}
    if locks:
        values["devices"] = bind_list(dialect, sorted(locks))
    if marks.accounts:
        values["accounts"] = bind_list(dialect, marks.accounts)
    return [(mark_statement(dialect, devices=bool(locks), accounts=bool(marks.accounts)), values)]


def quiet_since(delivered_at: datetime | None) -> datetime | None:
    """A time of the last delivery before this is to be moved, once a webhook came at ``delivered_at``."""
    return None if delivered_at is None else delivered_at - _EXACT_TO


def note_arrivals(dialect: Dialect, *, delivered_at: datetime | None, backfilled: int) -> list[Step]:
    """Keep when a webhook came last (exact to a second), and count what only the backfill found."""
    steps: list[Step] = []
    before = quiet_since(delivered_at)
    if delivered_at is not None and before is not None:
        values = {"at": bound(dialect, delivered_at), "before": bound(dialect, before)}
        steps.append((note_delivery(dialect), values))
    if backfilled:
        steps.append((count_backfilled(dialect), {"found": backfilled}))
    return steps


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
    places = []
    if devices:
        places.append(one_of(dialect, "device_id", "devices"))
    if accounts:
        places.append(one_of(dialect, "connected_account_id", "accounts"))
    text = _MARK.format(
        named=" UNION ".join(_OF_PLACE.format(place=place) for place in places),
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
