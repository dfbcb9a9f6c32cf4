"""Lists in pages. A cursor is opaque to callers: it holds the place after which the next page starts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from app.api.problems import InvalidInput, invalid
from app.storage.timeline import NUMBERED_RANKS
from app.storage.types import from_micros, to_micros

DEFAULT_LIMIT = 50
MOST = 500


class PageQuery(BaseModel):
    """An unknown parameter is refused: a filter with a typing error must not look as if it had found everything."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MOST, description="How many items at most.")] = DEFAULT_LIMIT
    cursor: Annotated[
        str | None, Field(max_length=500, description="`next_cursor` of the page before, with the same filters.")
    ] = None


def encode_cursor(place: Sequence[Any] | None) -> str | None:
    """Times, numbers and text as one opaque word; ``None`` when there is no next page."""
    if place is None:
        return None
    parts = [to_micros(part) if isinstance(part, datetime) else part for part in place]
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode()


def decode_time_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """The place in a list ordered by time and id."""
    match _decode(cursor):
        case None:
            return None
        case [int(micros), str(ident)]:
            return _moment(micros), ident
        case _:
            raise _bad_cursor()


def decode_id_cursor(cursor: str | None) -> int | None:
    """The place in a list ordered by number."""
    match _decode(cursor):
        case None:
            return None
        case [int(ident)] if 0 <= ident < 2**63:
            return ident
        case _:
            raise _bad_cursor()


def decode_name_cursor(cursor: str | None) -> str | None:
    """The place in a list ordered by name."""
    match _decode(cursor):
        case None:
            return None
        case [str(name)]:
            return name
        case _:
            raise _bad_cursor()


def decode_timeline_cursor(cursor: str | None) -> tuple[datetime, int, str | int] | None:
    """The place in a timeline: time, rank of the kind, id."""
    match _decode(cursor):
        case None:
            return None
        case [int(micros), int(rank), (int() | str()) as ident] if isinstance(ident, int) == (rank in NUMBERED_RANKS):
            return _moment(micros), rank, ident
        case _:
            raise _bad_cursor()


def _decode(cursor: str | None) -> Any:
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        parts = orjson.loads(raw)
    except (binascii.Error, UnicodeEncodeError, orjson.JSONDecodeError) as error:
        raise _bad_cursor() from error
    if not isinstance(parts, list) or any(isinstance(part, bool) or _holds_nul(part) for part in parts):
        raise _bad_cursor()
    return parts


def _holds_nul(part: object) -> bool:
    return isinstance(part, str) and "\0" in part


def _moment(micros: int) -> datetime:
    try:
        return from_micros(micros)
    except OverflowError as error:
        raise _bad_cursor() from error


def _bad_cursor() -> InvalidInput:
    return invalid("cursor", "is not a cursor of this list; start again without it")
