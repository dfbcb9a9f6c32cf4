"""The inbox: a batch of deliveries becomes events, and signals that are marked, in one commit.

Acked means kept (contract, section 2.1): what ``store_batch`` returned may be acknowledged, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.events import Event, Unreadable, is_probe
from app.storage.driver import Step, run
from app.storage.engine import Database, Dialect
from app.storage.errors import RefusedByDatabase, StorageConflict
from app.storage.inbox_marks import mark_codes_of, note_arrivals, note_brought, quiet_since
from app.storage.inbox_rows import (
    REFUSED_BY_DATABASE,
    Batch,
    Delivery,
    Entry,
    Places,
    Source,
    account_rows,
    device_rows,
    living_codes,
    places_of,
    signal_rows,
    sort_out,
)
from app.storage.inbox_sql import arrive, bind_list, find_known, statements
from app.storage.intake import Comparison, note_compared
from app.storage.mentions import mention_all

__all__ = ["REFUSED_BY_DATABASE", "Comparison", "Delivery", "Outcome", "Source", "store_batch"]

_ATTEMPTS = 5


class Outcome(StrEnum):
    """What became of a delivery. All three are kept for good and may be acknowledged."""

    STORED = "stored"
    DUPLICATE = "duplicate"  # its event is there already
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class _Beside:
    """What else is written in the commit of a batch."""

    track_all: bool = False
    comparison: Comparison | None = None


_NOTHING = _Beside()


@dataclass(frozen=True, slots=True)
class _Times:
    """When the last delivery of a batch was received, and the last that is a sign of life of the webhook at Seam."""

    received_at: datetime | None
    delivered_at: datetime | None

    @classmethod
    def of(cls, deliveries: Sequence[Delivery]) -> _Times:
        return cls(
            max((each.received_at for each in deliveries), default=None),
            max((each.received_at for each in deliveries if _is_of_seam(each)), default=None),
        )


async def store_batch(
    db: Database, deliveries: Sequence[Delivery], comparison: Comparison | None = None, *, track_all: bool = False
) -> list[Outcome]:
    """Store the batch and say for each delivery, in order, what became of it. Idempotent, wherever it stopped.

    ``track_all`` also notes the codes that are not known yet, so that they are read and put under watch.
    An event is stored once (by ``event_id``), and only what is new is merged and marks codes due. If the database
    refuses data, each delivery gets a transaction of its own, and the refused one is kept as unreadable. Raises
    ``StorageUnavailable`` if the batch was not written or nobody knows: some of it may be there, none may be acked.
    What the backfill's ``comparison`` proves is noted in the commit of the last delivery.
    """
    if not deliveries and comparison is None:
        return []
    try:
        return await _store_repeatedly(db, deliveries, _Beside(track_all, comparison))
    except RefusedByDatabase:
        return await _store_each(db, deliveries, _Beside(track_all, comparison))


async def _store_each(db: Database, deliveries: Sequence[Delivery], beside: _Beside) -> list[Outcome]:
    unfinished = replace(beside.comparison, proves=None) if beside.comparison is not None else None
    most = [replace(beside, comparison=unfinished)] * (len(deliveries) - 1)
    return [await _store_alone(db, each, one) for each, one in zip(deliveries, [*most, beside], strict=True)]


async def _store_alone(db: Database, delivery: Delivery, beside: _Beside) -> Outcome:
    try:
        outcomes = await _store_repeatedly(db, [delivery], beside)
    except RefusedByDatabase:
        unreadable = replace(delivery, reading=Unreadable(REFUSED_BY_DATABASE))
        outcomes = await _store_repeatedly(db, [unreadable], beside)
    return outcomes[0]


async def _store_repeatedly(db: Database, deliveries: Sequence[Delivery], beside: _Beside) -> list[Outcome]:
    for _ in range(_ATTEMPTS - 1):
        try:
            return await _store(db, deliveries, beside)
        except StorageConflict:
            continue  # whoever was in the way has got through; events that are there by now come out as duplicates
    return await _store(db, deliveries, beside)


async def _store(db: Database, deliveries: Sequence[Delivery], beside: _Beside = _NOTHING) -> list[Outcome]:
    batch = sort_out(deliveries)
    times = _Times.of(deliveries)
    if db.dialect == "postgresql":
        await _store_places(db, batch, times)
    # Nearly all batches are one statement on PostgreSQL, which needs no transaction around it.
    by_webhooks = all(entry.source == "webhook" for entry in batch.entries.values())
    async with db.write_each() if by_webhooks and beside == _NOTHING else db.write() as connection:
        new, is_quiet, steps = await _arrive(connection, db.dialect, batch, times)
        events = [entry.event for entry in new]
        if db.dialect == "sqlite" and times.received_at is not None:
            steps += [step for steps in _merge_places(db.dialect, events) for step in steps]
            steps += await mark_codes_of(connection, db.dialect, places_of(events), times.received_at)
        if batch.unreadable:
            steps.append(statements(db.dialect).keep_unreadable.of(list(batch.unreadable.values())))
        steps += note_arrivals(
            db.dialect,
            delivered_at=times.delivered_at if is_quiet else None,
            backfilled=sum(entry.source == "backfill" for entry in new),
        )
        steps += note_brought(db.dialect, _brought_again(batch, {event.event_id for event in events}))
        await run(connection, *steps)
        await _write_beside(connection, db.dialect, beside, times, events)
    return _outcomes(batch, {event.event_id for event in events})


async def _store_places(db: Database, batch: Batch, times: _Times) -> None:
    """What events tell of locks and accounts is merged before the events are stored. Should that not come about, they
    are delivered again, and to merge them twice changes nothing. In one transaction with the events, the signals of a
    place's codes could not all be locked in one order."""
    events = [entry.event for entry in batch.entries.values() if entry.is_of_place]
    if not events or times.received_at is None:
        return
    async with db.write() as connection:
        told = [await run(connection, *steps) for steps in _merge_places(db.dialect, events)]
        await run(connection, *await mark_codes_of(connection, db.dialect, Places(*told), times.received_at))


async def _write_beside(
    connection: AsyncConnection,
    dialect: Dialect,
    beside: _Beside,
    times: _Times,
    events: Sequence[Event],
) -> None:
    if beside.track_all and times.received_at is not None:
        await mention_all(connection, dialect, living_codes(events), times.received_at)
    if beside.comparison is not None:
        await note_compared(connection, beside.comparison, [event.created_at for event in events])


def _is_of_seam(delivery: Delivery) -> bool:
    """A sign of life of the webhook at Seam."""
    return delivery.source == "webhook" and not is_probe(delivery.reading)


async def _arrive(
    connection: AsyncConnection, dialect: Dialect, batch: Batch, times: _Times
) -> tuple[list[Entry], bool, list[Step]]:
    """The entries whose events were not there yet, whether it may be time to note that something arrived, and what is
    left to do so that the events are there, with their signals merged and marked.

    PostgreSQL has done it by then: there another writer may be inserting the same, and only the insert itself can tell.
    """
    known = statements(dialect)
    if not batch.entries or times.received_at is None:
        return [], True, []
    if dialect == "postgresql":
        rows = [entry.row + entry.told for entry in batch.entries.values()]
        arrived = await run(connection, arrive(rows, times.received_at, quiet_since(times.delivered_at)))
        return [batch.entries[event_id] for event_id in arrived if event_id is not None], None in arrived, []
    there = await _known(connection, dialect, list(batch.entries))
    new = [entry for event_id, entry in batch.entries.items() if event_id not in there]
    steps = [known.insert_events.of([entry.row for entry in new])] if new else []
    signals = signal_rows(new, times.received_at)
    return new, True, [*steps, known.merge_signals.of(signals)] if signals else steps


async def _known(connection: AsyncConnection, dialect: Dialect, event_ids: Sequence[str]) -> set[str]:
    """Those of the events that are stored. Exact on SQLite, which has one writer at a time."""
    return set(await run(connection, (find_known(dialect), {"ids": bind_list(dialect, event_ids)})))


def _merge_places(dialect: Dialect, events: Sequence[Event]) -> tuple[list[Step], list[Step]]:
    """What merges the news of locks, and that of accounts."""
    known = statements(dialect)
    locks, owners = device_rows(events), account_rows(events)
    return [known.merge_devices.of(locks)] if locks else [], [known.merge_accounts.of(owners)] if owners else []


def _brought_again(batch: Batch, new: set[str]) -> list[str]:
    return [event_id for event_id, entry in batch.entries.items() if entry.source == "webhook" and event_id not in new]


def _outcomes(batch: Batch, new: set[str]) -> list[Outcome]:
    outcomes = []
    for event_id in batch.carried:
        if event_id is None:
            outcomes.append(Outcome.UNREADABLE)
        elif event_id in new:
            outcomes.append(Outcome.STORED)
            new.discard(event_id)
        else:
            outcomes.append(Outcome.DUPLICATE)
    return outcomes
