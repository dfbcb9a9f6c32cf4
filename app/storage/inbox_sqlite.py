"""How a batch is kept on SQLite: in one go, in the thread of the one connection that writes.

There is one writer at a time, so what is known at the start stays known to the end: which events are new is asked
first, and all that follows is about those. What has to be made for the batch is made before, while the writer may be
busy with something else; nearly always every event is new, and that is it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Literal

from app.storage.driver import Step, fetch_here
from app.storage.inbox_marks import find_locks, mark_codes, merge_places, note_arrivals, note_brought
from app.storage.inbox_rows import (
    Batch,
    Entry,
    Places,
    Times,
    brought_again,
    event_row,
    living_codes,
    places_of,
    signal_rows,
)
from app.storage.inbox_sql import bind_list, find_known, statements
from app.storage.mentions import mention_steps

_SQL: Literal["sqlite"] = "sqlite"


class Keeping:
    """A batch that is ready to be kept; to be called in a transaction, with SQLite's own connection.

    Returns the ids of the events that were not there yet. Raises SQLite's own errors.
    """

    def __init__(self, batch: Batch, times: Times, *, track_all: bool) -> None:
        self._batch = batch
        self._times = times
        self._track_all = track_all
        self._entries = list(batch.entries.values())
        self._steps = self._steps_for(self._entries)

    def __call__(self, connection: sqlite3.Connection) -> set[str]:
        known = self._known(connection)
        new = [each for each in self._entries if each.event.event_id not in known] if known else self._entries
        fetch_here(connection, self._steps_for(new) if known else self._steps)
        self._mark_codes(connection, places_of(each.event for each in new))
        fetch_here(connection, note_brought(_SQL, brought_again(self._entries, known)))
        return {each.event.event_id for each in new}

    def _known(self, connection: sqlite3.Connection) -> set[str]:
        if not self._entries:
            return set()
        step = find_known(_SQL), {"ids": bind_list(_SQL, list(self._batch.entries))}
        return {row[0] for row in fetch_here(connection, [step])}

    def _steps_for(self, new: Sequence[Entry]) -> list[Step]:
        """What is to be done if these are the entries whose events are new, but for marking the codes of places."""
        known, now = statements(_SQL), self._times.received_at
        steps: list[Step] = []
        if new and now is not None:
            steps.append(known.insert_events.of(list(map(event_row, new))))
            if signals := signal_rows(new, now):
                steps.append(known.merge_signals.of(signals))
            events = [entry.event for entry in new]
            steps += [step for merging in merge_places(_SQL, events) for step in merging]
            steps += mention_steps(_SQL, living_codes(events), now) if self._track_all else []
        if self._batch.unreadable:
            steps.append(known.keep_unreadable.of(list(self._batch.unreadable.values())))
        backfilled = sum(entry.source == "backfill" for entry in new)
        return [*steps, *note_arrivals(_SQL, delivered_at=self._times.delivered_at, backfilled=backfilled)]

    def _mark_codes(self, connection: sqlite3.Connection, places: Places) -> None:
        now = self._times.received_at
        if now is None or not (places.devices or places.accounts):
            return
        found = fetch_here(connection, [find_locks(_SQL, places.accounts)]) if places.accounts else []
        locks = {*places.devices, *(row[0] for row in found)}
        fetch_here(connection, mark_codes(_SQL, Places(sorted(locks), places.accounts), now))
