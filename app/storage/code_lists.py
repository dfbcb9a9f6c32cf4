"""The list of codes. Newest first; the latest start first where it is asked by start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.codes import Case, load_cases
from app.storage.pages import Listing, Page, Place, read_merged, unindexed
from app.storage.tables import access_codes

_codes = access_codes.c
_Conditions = list[ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class CodeFilter:
    """``None`` leaves a filter out. ``q`` is the exact id, ours or Seam's, of one code, or else found in name and
    reference."""

    verdicts: Sequence[str] = ()
    flagged: bool | None = None
    device_id: str | None = None
    reference: str | None = None
    starts_before: datetime | None = None
    starts_after: datetime | None = None
    q: str | None = None
    tracked: bool = True

    @property
    def is_by_start(self) -> bool:
        return self.starts_before is not None or self.starts_after is not None


async def list_codes(conn: AsyncConnection, wanted: CodeFilter, *, after: Place | None, limit: int) -> Page[Case]:
    """Codes as they are stored. There may be more also after a page that is not full."""
    named = await _named(conn, wanted)
    if named is not None:
        return Page(await load_cases(conn, [named]), None)
    page = await read_merged(conn, code_listings(wanted), after, limit)
    cases = {case.row.id: case for case in await load_cases(conn, [row["id"] for row in page.items])}
    # A code may have been merged into another one in between.
    return Page([cases[row["id"]] for row in page.items if row["id"] in cases], page.next_after)


def code_listings(wanted: CodeFilter) -> Sequence[Listing]:
    """More than one, to be merged, for several verdicts: each has its own place in the index."""
    time = _codes.starts_at if wanted.is_by_start else _codes.created_at
    query = select(_codes.id, time)
    sought, sifted = _sought_and_sifted(wanted)
    return [Listing(query.where(*one), (time, _codes.id), sifted) for one in sought]


async def _named(conn: AsyncConnection, wanted: CodeFilter) -> str | None:
    """The code that ``q`` is the id of, if the other filters let it through."""
    if not wanted.q:
        return None
    is_named = or_(_codes.id == wanted.q, _codes.access_code_id == wanted.q)
    query = select(_codes.id).where(is_named, *_watched(wanted), *(c for one in _filters(wanted).values() for c in one))
    return (await conn.execute(query.order_by(_codes.id != wanted.q).limit(1))).scalar_one_or_none()


def _sought_and_sifted(wanted: CodeFilter) -> tuple[Sequence[_Conditions], _Conditions]:
    """What an index answers, the most telling one (alternatives of it), and what is left to look at row by row."""
    rest, watched = _filters(wanted), _watched(wanted)
    mentions = [_mentions(wanted.q)] if wanted.q else []
    if wanted.device_id is not None:
        # One lock has few codes: they are all looked at.
        return [watched + [each for one in rest.values() for each in one] + mentions], []
    sought = [watched]
    if wanted.tracked:
        for name in ("reference", "starts", "flagged", "verdicts"):
            if name in rest and not (name == "flagged" and not wanted.flagged):
                found = rest.pop(name)
                if name == "flagged":
                    watched = []  # whoever stops watching closes the flags; said twice, SQLite takes another index
                sought = [watched + one for one in (_one_by_one(wanted.verdicts) if name == "verdicts" else [found])]
                break
    return sought, [each for one in rest.values() for each in one] + mentions


def _one_by_one(verdicts: Sequence[str]) -> Sequence[_Conditions]:
    return [[_codes.verdict == verdict] for verdict in dict.fromkeys(verdicts)]


def _filters(wanted: CodeFilter) -> dict[str, _Conditions]:
    """The conditions of every filter that was given, but for ``tracked`` and ``q``."""
    filters: dict[str, _Conditions] = {}
    if wanted.device_id is not None:
        filters["device_id"] = [_codes.device_id == wanted.device_id]
    if wanted.reference is not None:
        filters["reference"] = [_codes.reference == wanted.reference]
    if wanted.is_by_start:
        filters["starts"] = _starts(wanted)
    if wanted.flagged is not None:
        filters["flagged"] = [_codes.is_flagged if wanted.flagged else ~_codes.is_flagged]
    if wanted.verdicts:
        filters["verdicts"] = [unindexed(_codes.verdict).in_(wanted.verdicts)]
    return filters


def _starts(wanted: CodeFilter) -> _Conditions:
    conditions: _Conditions = []
    if wanted.starts_before is not None:
        conditions.append(_codes.starts_at < wanted.starts_before)
    if wanted.starts_after is not None:
        conditions.append(_codes.starts_at >= wanted.starts_after)
    return conditions


def _watched(wanted: CodeFilter) -> _Conditions:
    return [_codes.untracked_at.is_(None) if wanted.tracked else _codes.untracked_at.is_not(None)]


def _mentions(text: str) -> ColumnElement[bool]:
    lower = text.lower()
    return or_(
        func.lower(_codes.name).contains(lower, autoescape=True),
        func.lower(_codes.reference).contains(lower, autoescape=True),
    )
