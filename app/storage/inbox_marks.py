"""Marking the codes that news of a lock or an account concerns, and noting that something arrived.

News about a code itself marks its signals, in the very statement that merges them. That of a place marks the signals of
its codes once the reports are merged: by a statement of its own, or on PostgreSQL by the one that stores the events
(``app.storage.inbox_arrival``). A claim makes the codes due.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.events import Event
from app.storage.driver import Statement, Step, run, statement_of
from app.storage.engine import Dialect
from app.storage.inbox_rows import Places, account_rows, device_rows
from app.storage.inbox_sql import bind_list, one_of, statements
from app.storage.types import bound

_CODES_OF_PLACE = "SELECT {wanted} FROM access_codes WHERE {place} AND NOT is_terminal AND untracked_at IS NULL {kind}"
_OF_ACCOUNTS = "SELECT device_id FROM devices WHERE {theirs}"
# Whatever transaction concerns the same codes, nobody waits for anybody in a circle: signals are locked in the order of
# their keys, and codes in that of their ids after them. News of a place counts as news of the code: what is decided
# without it is decided again.
# "WHERE true" keeps SQLite from reading ON CONFLICT as the condition of a join.
_MARK = """
    INSERT INTO signals (access_code_id, version, marked_at)
    SELECT access_code_id, 1, {now} FROM ({named}) AS named WHERE true ORDER BY access_code_id
    ON CONFLICT (access_code_id) DO UPDATE
    SET version = signals.version + 1, marked_at = coalesce(signals.marked_at, excluded.marked_at)"""
# A code that Seam has not answered about can have no signals.
MARK_UNBOUND = """
    WITH named AS ({named}),
    held AS (
        SELECT access_codes.id FROM named JOIN access_codes ON access_codes.id = named.id
        WHERE access_codes.untracked_at IS NULL ORDER BY access_codes.id {lock}
    )
    UPDATE access_codes SET due_at = CASE WHEN due_at <= :now THEN due_at ELSE :now END, revision = revision + 1
    WHERE id IN (SELECT id FROM held)"""
_NOTE_DELIVERY = """
    UPDATE intake SET last_delivery_at = :at WHERE id IN (
        SELECT id FROM intake WHERE id = 1 AND (last_delivery_at IS NULL OR last_delivery_at < :before) {lock}
    )"""
# How exact last_delivery_at is. Every replica writes that one row: noting each batch would make all commits queue.
_EXACT_TO = timedelta(seconds=1)


def merge_places(dialect: Dialect, events: Sequence[Event]) -> tuple[list[Step], list[Step]]:
    """What merges the news of locks, and that of accounts."""
    known = statements(dialect)
    locks, owners = device_rows(events), account_rows(events)
    return [known.merge_devices.of(locks)] if locks else [], [known.merge_accounts.of(owners)] if owners else []


async def mark_codes_of(connection: AsyncConnection, dialect: Dialect, places: Places, now: datetime) -> list[Step]:
    """Have the tracked codes of these locks and accounts looked at, unless they are terminal."""
    if dialect == "sqlite" or not places.accounts:
        return mark_codes(dialect, places, now)
    of_accounts = await run(connection, find_locks(dialect, places.accounts))
    return mark_codes(dialect, Places(sorted({*places.devices, *of_accounts}), places.accounts), now)


def find_locks(dialect: Dialect, accounts: Sequence[str]) -> Step:
    """Locks of these accounts, for codes that were never told their account. Joined with the codes in one statement,
    PostgreSQL would expect so many that it reads the whole table; SQLite does not."""
    return _locks_of(dialect), {"accounts": bind_list(dialect, accounts)}


@cache
def _locks_of(dialect: Dialect) -> Statement:
    return statement_of(dialect, _OF_ACCOUNTS.format(theirs=one_of(dialect, "connected_account_id", "accounts")))


def mark_codes(dialect: Dialect, places: Places, now: datetime) -> list[Step]:
    """``mark_codes_of`` for those who know the locks of the accounts, and for SQLite, which finds them meanwhile."""
    if not (places.devices or places.accounts):
        return []
    values: dict[str, Any] = {"now": bound(dialect, now)}
    if places.devices:
        values["devices"] = bind_list(dialect, places.devices)
    if places.accounts:
        values["accounts"] = bind_list(dialect, places.accounts)
    asked = mark_statements(dialect, devices=bool(places.devices), accounts=bool(places.accounts))
    return [(each, values) for each in asked]


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


@cache
def mark_statements(dialect: Dialect, *, devices: bool, accounts: bool) -> tuple[Statement, Statement]:
    """For codes that Seam has answered about, and for the others."""

    def named(wanted: str, kind: str) -> str:
        return codes_of_places(dialect, wanted, f"AND {kind}", devices=devices, accounts=accounts)

    now, lock = (":now", "") if dialect == "sqlite" else ("CAST(:now AS timestamptz)", "FOR UPDATE OF access_codes")
    bound_codes = _MARK.format(named=named("access_code_id", "access_code_id IS NOT NULL"), now=now)
    others = MARK_UNBOUND.format(named=named("id", "access_code_id IS NULL"), lock=lock)
    return statement_of(dialect, bound_codes), statement_of(dialect, others)


def codes_of_places(dialect: Dialect, wanted: str, kind: str = "", *, devices: bool, accounts: bool) -> str:
    """SQL for the codes that news of bound locks and accounts concerns. One text for each combination: what is not
    asked for must not be planned for."""
    places = []
    if devices:
        places.append(one_of(dialect, "device_id", "devices"))
    if accounts:
        theirs = one_of(dialect, "connected_account_id", "accounts")
        places.append(theirs)
        if dialect == "sqlite":
            places.append(f"device_id IN ({_OF_ACCOUNTS.format(theirs=theirs)})")
    return " UNION ".join(_CODES_OF_PLACE.format(wanted=wanted, place=place, kind=kind) for place in places)


@cache
def note_delivery(dialect: Dialect) -> Statement:
    # Whoever holds the row is noting the same moment.
    return statement_of(
        dialect, _NOTE_DELIVERY.format(lock="FOR UPDATE SKIP LOCKED" if dialect == "postgresql" else "")
    )


@cache
def count_backfilled(dialect: Dialect) -> Statement:
    return statement_of(dialect, "UPDATE intake SET backfilled = backfilled + CAST(:found AS integer)")
