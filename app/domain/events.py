"""Reading one of Seam's events: what it says about a code, a lock or an account.

Nothing that arrives may raise: missing or surplus fields, nulls, wrong types and unknown kinds are all events. Which
kind says what stands in ``event_kinds``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain, islice
from typing import Any, NamedTuple

from app.domain.event_kinds import (
    ACCOUNT_STATES,
    BATTERY_STATUS_CHANGED,
    BATTERY_STATUSES,
    DEVICE_STATES,
    KNOWN,
    NEWS,
    PROBE,
)
from app.domain.fingerprints import Fingerprinter
from app.domain.health import AccountFacet, DeviceFacet, State
from app.domain.issues import MOST_ISSUES, read_issues
from app.domain.news import Issue, IssueSource, News, NewsKind
from app.domain.redaction import CUT, DEEPEST, Encode, Redacted, redact, redact_text
from app.domain.times import read_time

LONGEST_ID = 255
_LONGEST_PIN = 64
_IDS = (
    "event_type",
    "event_id",
    "workspace_id",
    "access_code_id",
    "device_id",
    "connected_account_id",
    "backup_access_code_id",
)
_Ids = tuple[str, str, str | None, str | None, str | None, str | None, str | None]
_VISIBLE = bytes(range(ord("!"), ord("~") + 1))
_ISSUE_LISTS = (
    ("access_code_", IssueSource.ACCESS_CODE),
    ("device_", IssueSource.DEVICE),
    ("connected_account_", IssueSource.ACCOUNT),
)
_ISSUE_FIELDS = tuple(prefix + name for prefix, _ in _ISSUE_LISTS for name in ("errors", "warnings"))
_CHANGES = frozenset({NewsKind.CODE_CHANGED, NewsKind.CHANGED, NewsKind.CHANGE_REQUESTED})
# An event that claims to lie further ahead would outweigh all true news until then.
_MOST_AHEAD = timedelta(days=1)
_BACKSLASH = ord("\\")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_decode = json.JSONDecoder(parse_constant=lambda _: None).decode


@dataclass(frozen=True, slots=True)
class FastJson:
    """A quicker way to read and write JSON than the standard library's, which does what this one refuses by raising
    ``ValueError``. It may round whole numbers beyond 64 bits to floats."""

    decode: Callable[[bytes], object]
    encode: Encode


class Reason(StrEnum):
    """Why a payload is no event."""

    NOT_JSON = "not_json"
    NUMBER_TOO_LONG = "number_too_long"  # thousands of digits
    TOO_DEEP = "too_deep"
    NOT_AN_OBJECT = "not_an_object"
    NO_EVENT_TYPE = "no_event_type"
    UNUSABLE_ID = "unusable_id"  # longer than 255 characters, or with characters that no database takes


class Event(NamedTuple):
    """One event, PINs cut out. Times are aware UTC; ``payload`` is JSON text; ids are opaque strings.

    A tuple, as what is made for every delivery is: a frozen dataclass takes several times as long to fill.

    At most one of ``news`` (about the access code), ``device_state`` and ``account_state`` is given: what the event
    changes. All three are ``None`` for kinds that are only stored.
    """

    event_id: str
    event_type: str
    occurred_at: datetime
    created_at: datetime
    workspace_id: str | None
    access_code_id: str | None
    device_id: str | None
    connected_account_id: str | None
    payload: str
    news: tuple[NewsKind, News] | None = None
    device_state: tuple[DeviceFacet, State] | None = None
    account_state: tuple[AccountFacet, State] | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A genuine payload that is no event. ``reason`` is one of ``Reason``."""

    reason: str


def is_probe(reading: Event | Unreadable) -> bool:
    """Whether Latchwatch sent it to itself, to see that deliveries get through."""
    return isinstance(reading, Event) and reading.event_type == PROBE


def read_event(
    body: bytes,
    *,
    delivery_id: str,
    received_at: datetime,
    fingerprinter: Fingerprinter,
    fast: FastJson | None = None,
) -> Event | Unreadable:
    """Read the body of a delivery; what is no event comes back as ``Unreadable``. Never raises.

    ``received_at`` is aware. It stands in for times that are missing, have no offset, or lie more than a day ahead of
    it. An event without an id goes by its delivery's: ``svix:<delivery_id>``. ``fast`` changes nothing but the time.
    """
    obj = _parse(body, fast)
    if not isinstance(obj, dict):  # to ask whether it is a Reason, an enumeration, takes several times as long
        return Unreadable(obj)
    ids = _read_ids(obj, delivery_id)
    if not isinstance(ids, tuple):
        return Unreadable(ids)
    event_type, event_id, workspace_id, access_code_id, device_id, connected_account_id, backup_id = ids
    kind = NEWS.get(event_type)
    redacted = _redact(obj, body, is_strict=kind is None and event_type not in KNOWN, fast=fast)
    occurred_at, created_at = _read_times(obj, received_at)
    news = device_state = account_state = None
    if kind is None:
        device_state = _read_device_state(obj, event_type, device_id, occurred_at, event_id)
        account_state = _read_account_state(event_type, connected_account_id, occurred_at, event_id)
    elif access_code_id is not None:
        pin, issues = _read_pin(kind, obj), _read_issues(redacted.payload)
        fingerprint = fingerprinter.pin(device_id, pin) if pin and device_id else None
        news = kind, News(occurred_at, event_id, fingerprint, backup_id, issues)
    # By position: by name that takes more than twice as long.
    return Event(
        event_id,
        event_type,
        occurred_at,
        created_at,
        workspace_id,
        access_code_id,
        device_id,
        connected_account_id,
        redacted.text,
        news,
        device_state,
        account_state,
    )


def _parse(body: bytes, fast: FastJson | None) -> dict[str, Any] | Reason:
    try:
        obj = fast.decode(body) if fast is not None else _decode(body.decode("utf-8").removeprefix("\ufeff"))
    except ValueError as error:
        return _parse(body, None) if fast is not None else _reason(error)
    except RecursionError:
        return Reason.TOO_DEEP
    if not isinstance(obj, dict):
        return Reason.NOT_AN_OBJECT
    # Only an escape can bring in what a database refuses. The search for one byte is by far the quicker.
    return _storable_values(obj) if _BACKSLASH in body and b"\\u" in body else obj


def _reason(error: ValueError) -> Reason:
    is_malformed = isinstance(error, (json.JSONDecodeError, UnicodeDecodeError))
    return Reason.NOT_JSON if is_malformed else Reason.NUMBER_TOO_LONG


def _redact(obj: dict[str, Any], body: bytes, *, is_strict: bool, fast: FastJson | None) -> Redacted:
    if fast is None:
        return redact(obj, is_strict=is_strict)
    try:
        redacted = redact(obj, is_strict=is_strict, encode=fast.encode)
    except ValueError:
        return redact(obj, is_strict=is_strict)
    if redacted.may_be_rounded and isinstance(exact := _parse(body, None), dict):
        return redact(exact, is_strict=is_strict)
    return redacted


def _storable_values(obj: dict[str, Any]) -> dict[str, Any]:
    """Ids stay as they are: changed, they would name something else."""
    return {_storable_text(key): value if key in _IDS else _storable(value, 0) for key, value in obj.items()}


def _storable(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _storable_text(value)
    if not isinstance(value, (dict, list)):
        return value
    if depth > DEEPEST:
        return CUT
    if isinstance(value, dict):
        return {_storable_text(key): _storable(item, depth + 1) for key, item in value.items()}
    return [_storable(item, depth + 1) for item in value]


def _storable_text(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def _read_ids(obj: Mapping[str, Any], delivery_id: str) -> _Ids | Reason:
    """In the order of ``_IDS``; one that is no string, or blank, counts as absent."""
    found = [*map(obj.get, _IDS)]
    try:
        together = "".join(filter(None, found)).encode()
    except (TypeError, UnicodeEncodeError):  # one is no string, or half a surrogate pair
        return _read_odd_ids(found, delivery_id)
    event_type, event_id, workspace_id, access_code_id, device_id, connected_account_id, backup_id = found
    if not event_type or not event_id or len(together) > LONGEST_ID or together.translate(None, _VISIBLE):
        return _read_odd_ids(found, delivery_id)
    return (
        event_type,
        event_id,
        workspace_id or None,
        access_code_id or None,
        device_id or None,
        connected_account_id or None,
        backup_id or None,
    )


def _read_odd_ids(values: Iterable[object], delivery_id: str) -> _Ids | Reason:
    """Those that have to be looked at one by one."""
    event_type, event_id, *others = (
        value if isinstance(value, str) and value and not value.isspace() else None for value in values
    )
    if event_type is None:
        return Reason.NO_EVENT_TYPE
    event_id = event_id or f"svix:{delivery_id}"
    if not _are_usable([event_type, event_id, *filter(None, others)]):
        return Reason.UNUSABLE_ID
    workspace_id, access_code_id, device_id, connected_account_id, backup_id = others
    return event_type, event_id, workspace_id, access_code_id, device_id, connected_account_id, backup_id


def _are_usable(ids: Collection[str]) -> bool:
    # What cannot be printed is a control character (storage separates with one), NUL, or half a surrogate pair.
    return "".join(ids).isprintable() and max(map(len, ids)) <= LONGEST_ID


def _read_times(obj: Mapping[str, Any], received_at: datetime) -> tuple[datetime, datetime]:
    """When it happened and when the event was made; each stands in for the other."""
    occurred_at, created_at = read_time(obj.get("occurred_at")), read_time(obj.get("created_at"))
    if occurred_at and created_at and occurred_at <= received_at and created_at <= received_at:
        return occurred_at, created_at
    occurred_at, created_at = _believable(occurred_at, received_at), _believable(created_at, received_at)
    return occurred_at or created_at or received_at, created_at or occurred_at or received_at


def _believable(moment: datetime | None, received_at: datetime) -> datetime | None:
    if moment is None or moment <= received_at or moment - received_at <= _MOST_AHEAD:
        return moment
    return None


def _read_pin(kind: NewsKind, obj: Mapping[str, Any]) -> str | None:
    """The PIN that the event says is, or shall be, on the lock. A number is none: it has lost its leading zeros."""
    pin = _changed_pin(kind, obj) if kind in _CHANGES else obj.get("code")
    return pin if isinstance(pin, str) and 0 < len(pin) <= _LONGEST_PIN else None


def _changed_pin(kind: NewsKind, obj: Mapping[str, Any]) -> object:
    match kind:
        case NewsKind.CODE_CHANGED:
            return _get(obj.get("to"), "code")
        case NewsKind.CHANGED:
            return _get(_entry(obj.get("changed_properties"), "property", "code"), "to")
        case _:
            return _get(_get(_entry(obj.get("requested_mutations"), "mutation_code", "updating_code"), "to"), "code")


def _get(obj: object, name: str) -> object:
    return obj.get(name) if isinstance(obj, dict) else None


def _entry(entries: object, name: str, value: str) -> object:
    """The first entry of a list whose field has this value."""
    if not isinstance(entries, list):
        return None
    return next((entry for entry in entries if _get(entry, name) == value), None)


def _read_issues(redacted: Mapping[str, Any]) -> tuple[Issue, ...]:
    if not any(map(redacted.get, _ISSUE_FIELDS)):  # most have none of these lists, or empty ones
        return ()
    lists = (read_issues(redacted, source=source, redact=redact_text, prefix=name) for name, source in _ISSUE_LISTS)
    return tuple(islice(chain.from_iterable(lists), MOST_ISSUES))


def _read_device_state(
    obj: Mapping[str, Any], event_type: str, device_id: str | None, occurred_at: datetime, event_id: str
) -> tuple[DeviceFacet, State] | None:
    if device_id is None:
        return None
    if event_type == BATTERY_STATUS_CHANGED:
        status = obj.get("battery_status")
        found = (DeviceFacet.BATTERY, status) if isinstance(status, str) and status in BATTERY_STATUSES else None
    else:
        found = DEVICE_STATES.get(event_type)
    return (found[0], State(found[1], occurred_at, event_id)) if found else None


def _read_account_state(
    event_type: str, connected_account_id: str | None, occurred_at: datetime, event_id: str
) -> tuple[AccountFacet, State] | None:
    found = ACCOUNT_STATES.get(event_type)
    if found is None or connected_account_id is None:
        return None
    return found[0], State(found[1], occurred_at, event_id)
