"""The inbox: a batch of deliveries becomes events, and signals that are marked, in one commit (news of locks and
accounts in commits before it on PostgreSQL).

Acked means kept (contract, section 2.1): what ``store_batch`` returned may be acknowledged, and nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.events import Unreadable, is_probe
from app.storage.driver import Step, run, write_batch_inside
from app.storage.engine import Database
from app.storage.errors import RefusedByDatabase, StorageConflict
from app.storage.inbox_arrival import arrive
from app.storage.inbox_marks import find_locks, merge_places, note_arrivals, note_brought, quiet_since
from app.storage.inbox_rows import (
    REFUSED_BY_DATABASE,
    Batch,
    Delivery,
    Entry,
    Places,
    Source,
    Times,
    brought_again,
    living_codes,
    sort_out,
)
from app.storage.inbox_sql import statements
from app.storage.inbox_sqlite import sqlite_batch
from app.storage.intake import Comparison, note_compared
from app.storage.mentions import mention_steps
from app.storage.sqlite_batch import SqliteBatch

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
_NOWHERE = Places((), ())


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
        unreadable = delivery._replace(reading=Unreadable(REFUSED_BY_DATABASE))
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
    times = _times_of(deliveries)
    new = await (_keep if db.dialect == "sqlite" else _send)(db, batch, times, beside)
    return _outcomes(batch, new)


async def _keep(db: Database, batch: Batch, times: Times, beside: _Beside) -> set[str]:
    """SQLite. Returns the ids of the events that were not there yet."""
    if beside.comparison is None:
        return await _keep_new(db.write_batch, batch, times, beside)
    async with db.write() as connection:
        new = await _keep_new(partial(write_batch_inside, connection), batch, times, beside)
        await note_compared(connection, beside.comparison, [batch.entries[each].event.created_at for each in new])
    return new


async def _keep_new(
    write: Callable[[SqliteBatch], Awaitable[list[str]]], batch: Batch, times: Times, beside: _Beside
) -> set[str]:
    known: set[str] = set()
    while found := await write(sqlite_batch(batch, times, known, track_all=beside.track_all)):
        known.update(found)
    return batch.entries.keys() - known


async def _send(db: Database, batch: Batch, times: Times, beside: _Beside) -> set[str]:
    """PostgreSQL. Returns the ids of the events that were not there yet."""
    places = await _store_places(db, batch)
    # Nearly all batches are one statement, which needs no transaction around it.
    by_webhooks = all(entry.source == "webhook" for entry in batch.entries.values())
    async with db.write_each() if by_webhooks and beside == _NOTHING else db.write() as connection:
        new, is_quiet = await _arrive(connection, batch, times, places)
        events = [entry.event for entry in new]
        steps: list[Step] = []
        if batch.unreadable:
            steps.append(statements(db.dialect).keep_unreadable.of(list(batch.unreadable.values())))
        steps += note_arrivals(
            db.dialect,
            delivered_at=times.delivered_at if is_quiet else None,
            backfilled=sum(entry.source == "backfill" for entry in new),
        )
        known = batch.entries.keys() - {event.event_id for event in events}
        steps += note_brought(db.dialect, brought_again(batch.entries.values(), known))
        if beside.track_all and times.received_at is not None:
            steps += mention_steps(db.dialect, living_codes(events), times.received_at)
        await run(connection, *steps)
        if beside.comparison is not None:
            await note_compared(connection, beside.comparison, [event.created_at for event in events])
    return {event.event_id for event in events}


async def _store_places(db: Database, batch: Batch) -> Places:
    """PostgreSQL: merge what events tell of locks and accounts, before the events are stored. Returns the places whose
    codes are to be marked with them.

    Whoever binds a code meanwhile is seen by the statement that does so, as it begins after these commits, or has seen
    the news. Should it not come about, the events are delivered again: then the same places come back, and to merge the
    news twice changes nothing. In one statement with the events, this would miss who commits while it runs; in one
    transaction, every batch with news of the same lock would wait for the other's commit.
    """
    events = [entry.event for entry in batch.entries.values() if entry.is_of_place]
    if not events:
        return _NOWHERE
    async with db.write_each() as connection:
        locks, owners = [await run(connection, *steps) for steps in merge_places(db.dialect, events)]
        if owners:
            locks += await run(connection, find_locks(db.dialect, owners))
    return Places(sorted(set(locks)), owners)


def _times_of(deliveries: Sequence[Delivery]) -> Times:
    of_seam = [each.received_at for each in deliveries if _is_of_seam(each)]
    of_all = of_seam if len(of_seam) == len(deliveries) else [each.received_at for each in deliveries]
    return Times(max(of_all, default=None), max(of_seam, default=None))


def _is_of_seam(delivery: Delivery) -> bool:
    """A sign of life of the webhook at Seam."""
    return delivery.source == "webhook" and not is_probe(delivery.reading)


async def _arrive(connection: AsyncConnection, batch: Batch, times: Times, places: Places) -> tuple[list[Entry], bool]:
    """PostgreSQL: have the events stored, and their signals merged and marked. Returns the entries whose events were
    not there yet, which only the insert itself can tell, as another writer may be inserting the same; and whether it
    may be time to note that something arrived."""
    if not batch.entries or times.received_at is None:
        return [], True
    entries, quiet = batch.entries.values(), quiet_since(times.delivered_at)
    known = set(await run(connection, arrive(entries, times.received_at, quiet, places)))
    return [entry for entry in entries if entry.event.event_id not in known], None in known


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
