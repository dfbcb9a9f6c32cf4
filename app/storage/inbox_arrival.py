"""How a batch arrives on PostgreSQL: one statement stores the events and merges and marks the signals.

The rows travel as one text for each column: asyncpg looks at every value of an array three times, which costs more than
all the rest. What can be put together from other columns is put together by the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache

from app.domain.news import NewsKind
from app.storage.codec import SEPARATOR, spell_times
from app.storage.driver import Statement, Step, statement_of
from app.storage.inbox_marks import MARK_UNBOUND, codes_of_places
from app.storage.inbox_rows import BETWEEN, NOTHING, Entry, Places
from app.storage.inbox_sql import EVENT_COLUMNS, SIGNAL_COLUMNS, keep_latest_signals, list_names, sql_type
from app.storage.tables import events

_COLUMNS = (*EVENT_COLUMNS, "kind", "rest")
_OF_PLACE = "place"  # stands where news of a code has its kind
# Before the first value there is an empty one, as no array comes of a text without any character.
_TEXTS = "(string_to_array(CAST(:c{index} AS text), chr({between}), chr({nothing})))[2:]"
# Only what was not there yet is merged. The rows of signals are locked in the order of their keys, and after those of
# the events: so two replicas never wait for each other in a circle. The ids that come back are those of events that
# were there; a null among them says that last_delivery_at is from before :quiet_since.
_ARRIVE = """
    WITH given AS (SELECT * FROM unnest({texts}) AS given({names})),
    arrived AS (
        INSERT INTO events ({columns}) SELECT {values} FROM given
        ON CONFLICT (event_id) DO NOTHING RETURNING event_id
    ),
    told AS (
        SELECT given.access_code_id, given.kind, {signal} AS signal
        FROM given JOIN arrived ON arrived.event_id = given.event_id WHERE given.rest IS NOT NULL
    ),
    {places}
    merged AS (
        INSERT INTO signals ({signal_columns}, version, marked_at)
        SELECT access_code_id, {latest}, 1, CAST(:now AS timestamptz) FROM {news} AS news
        GROUP BY access_code_id ORDER BY access_code_id COLLATE "C"
        {on_conflict} {returning}
    ) {unbound}
    SELECT event_id FROM given WHERE event_id NOT IN (SELECT event_id FROM arrived)
    UNION ALL SELECT NULL FROM intake
    WHERE id = 1 AND coalesce(last_delivery_at < :quiet_since, :quiet_since IS NOT NULL)"""
# The codes that hang on places with news are marked in the same order and by the same statement as those that news is
# about, and whoever is in both is marked once. Not if all that was told of places has arrived before. Codes that Seam
# has not answered about are locked after the signals, as everywhere: hence the count.
_PLACES = """
    of_place AS (
        SELECT id, access_code_id FROM ({named}) AS named
        WHERE EXISTS (
            SELECT FROM given JOIN arrived ON arrived.event_id = given.event_id WHERE given.kind = '{of_place}'
        )
    ),"""
_WITH_PLACES = """(
            SELECT access_code_id, kind, signal FROM told
            UNION ALL SELECT access_code_id, NULL, NULL FROM of_place WHERE access_code_id IS NOT NULL
        )"""
_UNBOUND = ", unbound AS ({mark})"
_OTHERS = "SELECT id FROM of_place WHERE access_code_id IS NULL AND (SELECT count(*) FROM merged) IS NOT NULL"
_IS_OF_PLACE = "OR excluded.access_code_id IN (SELECT access_code_id FROM of_place WHERE access_code_id IS NOT NULL)"


def arrive(entries: Iterable[Entry], now: datetime, quiet_since: datetime | None, places: Places) -> Step:
    """Keeps events, and merges and marks their signals, and those of the codes that hang on ``places``.

    Returns the ids of the events that were there already, and a null among them if ``quiet_since`` is after the last
    delivery that was noted."""
    ordered = sorted(entries, key=lambda entry: entry.event.event_id)
    values = {f"c{index}": BETWEEN.join(["", *column]) for index, column in enumerate(_columns(ordered))}
    known = {"now": now, "quiet_since": quiet_since, "devices": places.devices, "accounts": places.accounts}
    return arrival(devices=bool(places.devices), accounts=bool(places.accounts)), {**values, **known}


def _columns(entries: Sequence[Entry]) -> Iterable[Iterable[str]]:
    """In the order of ``_COLUMNS``."""
    told, received_at, sources, kinds, rests, taken = zip(*entries, strict=True)
    ids, types, occurred_at, created_at, workspaces, codes, locks, owners, payloads, _, *of_places = zip(
        *told, strict=True
    )
    if any(map(any, of_places)):
        kinds = tuple(_OF_PLACE if entry.is_of_place else entry.kind for entry in entries)
    nullable = map(_texts, (codes, locks, owners, workspaces))
    times = (spell_times(moments) for moments in (occurred_at, created_at, received_at))
    return ids, types, *nullable, *times, sources, _texts(taken), payloads, _texts(kinds), _texts(rests)


def _texts(values: Sequence[str | None]) -> list[str]:
    return [NOTHING if value is None else value for value in values]


@cache
def arrival(*, devices: bool, accounts: bool) -> Statement:
    """One text for each combination of places: what is not asked for must not be planned for."""
    texts = (_TEXTS.format(index=i, between=ord(BETWEEN), nothing=ord(NOTHING)) for i, _ in enumerate(_COLUMNS))
    signal = f"given.occurred_at || chr({ord(SEPARATOR)}) || given.event_id || chr({ord(SEPARATOR)}) || given.rest"
    latest = (f"""max(signal COLLATE "C") FILTER (WHERE kind = '{kind.value}') AS {kind.value}""" for kind in NewsKind)
    has_places = devices or accounts
    text = _ARRIVE.format(
        texts=", ".join(texts),
        names=list_names(_COLUMNS),
        columns=list_names(EVENT_COLUMNS),
        values=", ".join(f'CAST("{name}" AS {sql_type(events, name)})' for name in EVENT_COLUMNS),
        signal=signal,
        places=_places(devices=devices, accounts=accounts) if has_places else "",
        signal_columns=list_names(SIGNAL_COLUMNS),
        latest=", ".join(latest),
        news=_WITH_PLACES if has_places else "told",
        on_conflict=keep_latest_signals("postgresql", otherwise=_IS_OF_PLACE if has_places else ""),
        returning="RETURNING access_code_id" if has_places else "",
        unbound=_unbound() if has_places else "",
    )
    return statement_of("postgresql", text)


def _places(*, devices: bool, accounts: bool) -> str:
    named = codes_of_places("postgresql", "id, access_code_id", devices=devices, accounts=accounts)
    return _PLACES.format(named=named, of_place=_OF_PLACE)


def _unbound() -> str:
    return _UNBOUND.format(mark=MARK_UNBOUND.format(named=_OTHERS, lock="FOR UPDATE OF access_codes"))
