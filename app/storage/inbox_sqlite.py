"""What a batch comes to on SQLite: plain statements and rows, made before, while the writer may be busy with another.

There is one writer at a time, so which events are new is asked first, and nearly always every one is. If some are not,
the batch is made once more without them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from app.storage.driver import Step
from app.storage.inbox_marks import mark_codes, merge_places, note_arrivals, note_brought
from app.storage.inbox_rows import (
    Batch,
    Entry,
    Times,
    brought_again,
    event_row,
    living_codes,
    places_of,
    signal_rows,
)
from app.storage.inbox_sql import bind_list, find_known, statements
from app.storage.mentions import mention_steps
from app.storage.sqlite_batch import Ask, SqliteBatch

_SQL: Literal["sqlite"] = "sqlite"


def sqlite_batch(batch: Batch, times: Times, known: Collection[str], *, track_all: bool) -> SqliteBatch:
    """``known`` are the ids of events that are there already."""
    new = [entry for event_id, entry in batch.entries.items() if event_id not in known]
    steps = _steps_for(new, batch, times, track_all=track_all)
    steps += note_brought(_SQL, brought_again(batch.entries.values(), known))
    asks = [_plain(step) for step in steps]
    if not new:
        return SqliteBatch(None, asks)
    return SqliteBatch(
        _plain((find_known(_SQL), {"ids": bind_list(_SQL, [each.event.event_id for each in new])})), asks
    )


def _steps_for(new: Sequence[Entry], batch: Batch, times: Times, *, track_all: bool) -> list[Step]:
    statements_, now = statements(_SQL), times.received_at
    steps: list[Step] = []
    if new and now is not None:
        steps.append(statements_.insert_events.of(list(map(event_row, new))))
        if signals := signal_rows(new, now):
            steps.append(statements_.merge_signals.of(signals))
        events = [entry.event for entry in new]
        steps += [step for merging in merge_places(_SQL, events) for step in merging]
        steps += mention_steps(_SQL, living_codes(events), now) if track_all else []
        steps += mark_codes(_SQL, places_of(events), now)
    if batch.unreadable:
        steps.append(statements_.keep_unreadable.of(list(batch.unreadable.values())))
    backfilled = sum(entry.source == "backfill" for entry in new)
    return [*steps, *note_arrivals(_SQL, delivered_at=times.delivered_at, backfilled=backfilled)]


def _plain(step: Step) -> Ask:
    statement, values = step
    return statement.sql, values
