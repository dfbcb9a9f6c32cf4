"""From a batch of deliveries to the rows that its statements take."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeVar

from app.domain.events import Event, Unreadable
from app.domain.health import AccountFacet, DeviceFacet, State
from app.domain.news import News, NewsKind
from app.storage.codec import encode_state, is_plain, join_news, news_to_json, spell_times, to_json
from app.storage.driver import Row

Source = Literal["webhook", "backfill"]
Key = TypeVar("Key")
Value = TypeVar("Value")

REFUSED_BY_DATABASE = "refused_by_database"  # a reason of storage's own, besides those of app.domain.events

_LONGEST_ID = 500  # characters; a row of PostgreSQL's indexes holds 2704 bytes
_NOTHING = (None, None, None)  # told to anybody
_UNSTORABLE = re.compile("[\x00-\x1f\ud800-\udfff]")
BETWEEN, NOTHING = "\x1e", "\x1d"
"""Signs that stand in no value of an event's row, so that the values of many can travel as one text."""
_NOT_IN_JSON = (0, ord(BETWEEN), ord(NOTHING))
_DEVICE_FACETS, _ACCOUNT_FACETS = tuple(DeviceFacet), tuple(AccountFacet)
_PLACES = {kind: place for place, kind in enumerate(NewsKind, 1)}  # in a row of signals
_NO_NEWS = (None,) * len(NewsKind)
_KINDS_ALONE = {kind: f'{{"kind":"{kind.value}"}}' for kind in NewsKind}


class Delivery(NamedTuple):
    """One genuine delivery as the receiver or the backfill hands it over.

    ``delivery_id`` is the svix-id (or the backfill's own), ``size`` the bytes of the body. ``digest`` makes the keyed
    one of the body: only what is unreadable needs it.
    """

    delivery_id: str
    received_at: datetime
    size: int
    digest: Callable[[], str]
    reading: Event | Unreadable
    source: Source

    def __repr__(self) -> str:
        """Without the digest: it may hold the body, PINs and all."""
        return f"Delivery({self.delivery_id!r}, {self.received_at!r}, {self.source!r}, {self.reading!r})"


class Entry(NamedTuple):
    """One event, when and how it came, and what it tells: the kind of news for the signals of its code, and the rest of
    it as JSON (``None``: nothing); and what signals, locks and accounts take from it, so that they can be rebuilt."""

    event: Event
    received_at: datetime
    source: Source
    kind: NewsKind | None
    rest: str | None
    taken: str | None

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


@dataclass(frozen=True, slots=True)
class Times:
    """When the last delivery of a batch was received, and the last that is a sign of life of the webhook at Seam."""

    received_at: datetime | None
    delivered_at: datetime | None


def sort_out(deliveries: Sequence[Delivery]) -> Batch:
    entries: dict[str, Entry] = {}
    unreadable: dict[str, Row] = {}
    carried: list[str | None] = []
    are_sound = _are_sound([each for each in deliveries if isinstance(each.reading, Event)])
    for delivery in deliveries:
        reading = _storable(delivery, are_sound)
        if isinstance(reading, Entry):
            event_id = reading.event.event_id
            entries.setdefault(event_id, reading)
            carried.append(event_id)
        else:
            row = _unreadable_row(delivery, reading.reason)
            unreadable.setdefault(str(row[0]), row)
            carried.append(None)
    return Batch(entries, unreadable, carried)


def _storable(delivery: Delivery, is_sound: bool) -> Entry | Unreadable:
    """An event that neither database could hold, or that could not be ordered, is as good as unreadable."""
    _, received_at, _, _, event, source = delivery
    if isinstance(event, Unreadable):
        return event
    try:
        if not is_sound:
            event, received_at = _checked(event), _utc(received_at)
        kind, rest, taken = _told(event)
        return Entry(event, received_at, source, kind, rest, taken)
    except (ValueError, OverflowError):
        return Unreadable(REFUSED_BY_DATABASE)


def _are_sound(deliveries: Sequence[Delivery]) -> bool:
    """Whether certainly all of these events can be stored as they are. Asked of all at once, that costs a tenth of
    asking one by one, which has to be done only where the answer is no."""
    if not deliveries:
        return True
    ids, kinds, occurred, created, workspaces, codes, locks, owners, payloads, *_ = zip(
        *[delivery.reading for delivery in deliveries], strict=True
    )
    names = [*ids, *kinds, *filter(None, chain(workspaces, codes, locks, owners))]
    moments = chain(occurred, created, [delivery.received_at for delivery in deliveries])
    return (
        is_plain("".join(names))
        and max(map(len, names)) <= _LONGEST_ID
        and all(moment.tzinfo is UTC for moment in moments)
        and _is_storable("".join(payloads))
    )


def _checked(event: Event) -> Event:
    """The event with its times in UTC. Raises ``ValueError`` or ``OverflowError`` if no database can hold it."""
    ids = (event.access_code_id, event.device_id, event.connected_account_id, event.workspace_id)
    if _are_unstorable([event.event_id, event.event_type, *filter(None, ids)]):
        raise ValueError("an id is too long, or has a character that no database takes")
    if not _is_storable(event.payload):
        raise ValueError("the payload has a character that JSON does not have")
    return event._replace(occurred_at=_utc(event.occurred_at), created_at=_utc(event.created_at))


def _is_storable(payload: str) -> bool:
    try:
        data = payload.encode()
    except UnicodeEncodeError:
        return False
    return not any(sign in data for sign in _NOT_IN_JSON)


def _are_unstorable(ids: Sequence[str]) -> bool:
    return max(map(len, ids)) > _LONGEST_ID or _UNSTORABLE.search("".join(ids)) is not None


def _unreadable_row(delivery: Delivery, reason: str) -> Row:
    """This can be stored whatever the delivery was."""
    known_by = delivery.delivery_id
    if not (known_by.isascii() and known_by.isprintable()):
        known_by = known_by.encode("unicode_escape").decode()
    return known_by[:_LONGEST_ID], delivery.received_at, delivery.size, delivery.digest(), reason


def event_row(entry: Entry) -> Row:
    """In the order of the table."""
    event, received_at, source, _, _, taken = entry
    event_id, event_type, occurred_at, created_at, workspace, code, lock, owner, payload = event[:9]
    times = (occurred_at, created_at, received_at)
    return (event_id, event_type, code, lock, owner, workspace, *times, source, taken, payload)


def brought_again(entries: Iterable[Entry], known: Container[str]) -> list[str]:
    """Events that were there, and that webhooks bring now."""
    return [each.event.event_id for each in entries if each.source == "webhook" and each.event.event_id in known]


def signal_rows(entries: Iterable[Entry], now: datetime) -> list[Row]:
    """One row for each code: the latest of each kind, marked ``now``. As text it sorts like the news itself."""
    told = [
        (event.access_code_id, _PLACES[kind], event, rest)
        for event, _, _, kind, rest, _ in entries
        if kind is not None and rest is not None and event.access_code_id
    ]
    times = spell_times([event.occurred_at for _, _, event, _ in told])
    by_code: dict[str, list[Any]] = {}
    for (code, place, event, rest), occurred_at in zip(told, times, strict=True):
        row = by_code.get(code) or by_code.setdefault(code, [code, *_NO_NEWS, now])
        row[place] = max(row[place] or "", join_news(occurred_at, event.event_id, rest))
    return list(map(tuple, by_code.values()))


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


def _told(event: Event) -> tuple[NewsKind | None, str | None, str | None]:
    """The last three of an entry."""
    if event.news:
        kind = event.news[0]
        rest, taken = _spelled(kind, event.news[1])
        return (kind, rest, taken) if event.access_code_id else (None, None, taken)
    if event.device_state:
        return None, None, to_json({"device": event.device_state[0].value, "value": event.device_state[1].value})
    if event.account_state:
        return None, None, to_json({"account": event.account_state[0].value, "value": event.account_state[1].value})
    return _NOTHING


def _spelled(kind: NewsKind, news: News) -> tuple[str, str]:
    """The rest of the news as JSON, and the same with its kind. Most news has no more than a PIN's fingerprint."""
    if news.issues or news.backup_access_code_id is not None:
        rest = news_to_json(news)
        return to_json(rest), to_json({"kind": kind.value, **rest})
    if news.pin is None:
        return "{}", _KINDS_ALONE[kind]
    pin = to_json(news.pin)
    return f'{{"pin":{pin}}}', f'{{"kind":"{kind}","pin":{pin}}}'


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
