"""From a batch of deliveries to the rows that its statements take."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeVar

from app.domain.events import Event, Unreadable
from app.domain.health import AccountFacet, DeviceFacet, State
from app.domain.news import NewsKind
from app.storage.codec import encode_news, encode_state, news_to_json, to_json
from app.storage.driver import Row

Source = Literal["webhook", "backfill"]
Key = TypeVar("Key")
Value = TypeVar("Value")

REFUSED_BY_DATABASE = "refused_by_database"  # a reason of storage's own, besides those of app.domain.events

_LONGEST_ID = 500  # characters; a row of PostgreSQL's indexes holds 2704 bytes
_NOTHING = (None, None)  # told to the signals
_UNSTORABLE = re.compile("[\x00-\x1f\ud800-\udfff]")
BETWEEN, NOTHING = "\x1e", "\x1d"
"""Signs that stand in no value of an event's row, so that the values of many can travel as one text."""
_NOT_IN_JSON = ("\x00", BETWEEN, NOTHING)
_KINDS, _DEVICE_FACETS, _ACCOUNT_FACETS = (
    tuple(kind.value for kind in NewsKind),
    tuple(DeviceFacet),
    tuple(AccountFacet),
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One genuine delivery as the receiver or the backfill hands it over.

    ``delivery_id`` is the svix-id (or the backfill's own), ``size`` the bytes of the body. ``digest`` makes the keyed
    one of the body: only what is unreadable needs it.
    """

    delivery_id: str
    received_at: datetime
    size: int
    digest: Callable[[], str] = field(repr=False, compare=False)  # it may hold the body, PINs and all
    reading: Event | Unreadable
    source: Source


class Entry(NamedTuple):
    """One event, its row of ``events``, and what it tells the signals of its code: the kind, and the news as text."""

    event: Event
    row: Row
    told: tuple[str | None, str | None]
    source: Source

    @property
    def is_of_place(self) -> bool:
        """Whether it tells something of a lock or an account."""
        return self.event.device_state is not None or self.event.account_state is not None


@dataclass(frozen=True, slots=True)
class Batch:
    """Deliveries sorted out: each event once, by its id (the first delivery of it counts), rows of ``unreadable`` by
    delivery id, and for each delivery, in order, the id of the event that it brought (``None``: unreadable)."""

    entries: dict[str, Entry]
    unreadable: dict[str, Row]
    carried: list[str | None]


@dataclass(frozen=True, slots=True)
class Places:
    """Which locks and accounts the news of a batch is about."""

    devices: Sequence[str]
    accounts: Sequence[str]


def sort_out(deliveries: Iterable[Delivery]) -> Batch:
    batch = Batch({}, {}, [])
    for delivery in deliveries:
        reading = _storable(delivery)
        match reading:
            case Entry(event=event):
                batch.entries.setdefault(event.event_id, reading)
                batch.carried.append(event.event_id)
            case Unreadable(reason=reason):
                row = _unreadable_row(delivery, reason)
                batch.unreadable.setdefault(str(row[0]), row)
                batch.carried.append(None)
    return batch


def _storable(delivery: Delivery) -> Entry | Unreadable:
    """An event that neither database could hold, or that could not be ordered, is as good as unreadable."""
    if isinstance(delivery.reading, Unreadable):
        return delivery.reading
    try:
        event = delivery.reading
        told, taken = _told(event)
        return Entry(event, _event_row(delivery, event, taken), told, delivery.source)
    except (ValueError, OverflowError):
        return Unreadable(REFUSED_BY_DATABASE)


def _event_row(delivery: Delivery, event: Event, taken: str | None) -> Row:
    ids = (event.access_code_id, event.device_id, event.connected_account_id, event.workspace_id)
    if _are_unstorable([event.event_id, event.event_type, *filter(None, ids)]):
        raise ValueError("an id is too long, or has a character that no database takes")
    event.payload.encode()
    if any(sign in event.payload for sign in _NOT_IN_JSON):
        raise ValueError("the payload has a character that JSON does not have")
    times = (_utc(event.occurred_at), _utc(event.created_at), _utc(delivery.received_at))
    # In the order of the table.
    return (event.event_id, event.event_type, *ids, *times, delivery.source, taken, event.payload)


def _are_unstorable(ids: Sequence[str]) -> bool:
    together = "".join(ids)
    if len(together) > _LONGEST_ID and max(map(len, ids)) > _LONGEST_ID:
        return True
    return not together.isprintable() and _UNSTORABLE.search(together) is not None


def _unreadable_row(delivery: Delivery, reason: str) -> Row:
    """This can be stored whatever the delivery was."""
    known_by = delivery.delivery_id
    if not (known_by.isascii() and known_by.isprintable()):
        known_by = known_by.encode("unicode_escape").decode()
    return known_by[:_LONGEST_ID], delivery.received_at, delivery.size, delivery.digest(), reason


def signal_rows(entries: Iterable[Entry], now: datetime) -> list[Row]:
    """One row for each code: the latest of each kind, marked ``now``. As text it sorts like the news itself."""
    by_code: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in entries:
        kind, news = entry.told
        if kind is not None and news is not None and entry.event.access_code_id:
            latest = by_code[entry.event.access_code_id]
            latest[kind] = max(latest.get(kind, ""), news)
    return [(code, *map(latest.get, _KINDS), now) for code, latest in by_code.items()]


def device_rows(events: Iterable[Event]) -> list[Row]:
    """One row for each lock: its account and workspace, and the latest report of each facet."""
    by_device = defaultdict(list)
    for event in sorted(events, key=_order):
        if event.device_state and event.device_id:
            by_device[event.device_id].append(event)
    return [
        (
            device_id,
            _last(event.connected_account_id for event in reports),
            _last(event.workspace_id for event in reports),
            *_encoded(_latest(event.device_state for event in reports), _DEVICE_FACETS, encode_state),
        )
        for device_id, reports in by_device.items()
    ]


def account_rows(events: Iterable[Event]) -> list[Row]:
    """One row for each connected account: the latest report of each facet."""
    by_account = defaultdict(list)
    for event in events:
        if event.account_state and event.connected_account_id:
            by_account[event.connected_account_id].append(event.account_state)
    return [
        (account, *_encoded(_latest(states), _ACCOUNT_FACETS, encode_state)) for account, states in by_account.items()
    ]


def places_of(events: Iterable[Event]) -> Places:
    devices: set[str] = set()
    accounts: set[str] = set()
    for event in events:
        if event.device_state and event.device_id:
            devices.add(event.device_id)
        if event.account_state and event.connected_account_id:
            accounts.add(event.connected_account_id)
    return Places(tuple(devices), tuple(accounts))


def living_codes(events: Iterable[Event]) -> set[str]:
    """The codes that the news is about, but for those that it says were deleted."""
    told = [(event.access_code_id, event.news[0]) for event in events if event.news and event.access_code_id]
    deleted = {code for code, kind in told if kind is NewsKind.DELETED}
    return {code for code, _ in told} - deleted


def _told(event: Event) -> tuple[tuple[str | None, str | None], str | None]:
    """What it tells the signals of its code, and what signals, locks and accounts take from it, so that they can be
    rebuilt from the event."""
    if event.news:
        kind, news = event.news[0].value, event.news[1]
        rest = news_to_json(news)
        told = (kind, encode_news(news, rest)) if event.access_code_id else _NOTHING
        return told, to_json({"kind": kind, **rest})
    if event.device_state:
        return _NOTHING, to_json({"device": event.device_state[0].value, "value": event.device_state[1].value})
    if event.account_state:
        return _NOTHING, to_json({"account": event.account_state[0].value, "value": event.account_state[1].value})
    return _NOTHING, None


def _latest(items: Iterable[tuple[Key, State] | None]) -> dict[Key, State]:
    latest: dict[Key, State] = {}
    for facet, state in filter(None, items):
        known = latest.get(facet)
        if known is None or state.order > known.order:
            latest[facet] = state
    return latest


def _encoded(latest: Mapping[Key, Value], keys: Iterable[Key], encode: Callable[[Value], str]) -> Iterator[str | None]:
    return (encode(latest[key]) if key in latest else None for key in keys)


def _last(values: Iterable[str | None]) -> str | None:
    found = None
    for value in values:
        found = value or found
    return found


def _order(event: Event) -> tuple[datetime, str]:
    return event.occurred_at, event.event_id


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    return moment.astimezone(UTC)
