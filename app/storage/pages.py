"""Lists in pages, newest first, at a cost that does not grow with what is stored.

A page starts at its place in an index. What no index answers is looked for in the next ``LOOKED_AT`` rows from there at
most: then the page ends, short or even empty, and names the place where the search goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, RowMapping, Select, func, literal, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

LOOKED_AT = 3_000
T = TypeVar("T")
Place = tuple[Any, ...]
"""The values of the columns that a list is ordered by, of one row."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """``next_after`` is the place where the next page starts; ``None``: there is no more."""

    items: Sequence[T]
    next_after: Place | None


@dataclass(frozen=True, slots=True)
class Listing:
    """A list before it is cut into pages.

    ``query`` has the conditions that an index answers, which also gives its order: ``by``, descending and unique.
    ``sift`` holds the others.
    """

    query: Select[Any]
    by: Sequence[ColumnElement[Any]]
    sift: Sequence[ColumnElement[bool]] = ()

    def page(self, after: Place | None, limit: int, horizon: Place | None = None) -> Select[Any]:
        """One row more than the page, which tells whether there is a next one. Nothing beyond ``horizon``."""
        query = self._from(self.query, after).where(*self.sift)
        if horizon is not None:
            query = query.where(self._row() >= self._value(horizon))
        return query.limit(limit + 1)

    def horizon(self, after: Place | None) -> Select[Any]:
        """The last of the rows that are looked at."""
        return self._from(self.query.with_only_columns(*self.by), after).offset(LOOKED_AT - 1).limit(1)

    def place(self, row: RowMapping) -> Place:
        return tuple(row[column] for column in self.by)

    def _from(self, query: Select[Any], after: Place | None) -> Select[Any]:
        if after is not None:
            query = query.where(self._row() < self._value(after))
        return query.order_by(*(column.desc() for column in self.by))

    # As one value: so both databases go to the place in the index and walk on from there.
    def _row(self) -> ColumnElement[Any]:
        return self.by[0] if len(self.by) == 1 else tuple_(*self.by)

    def _value(self, place: Place) -> ColumnElement[Any]:
        values = [literal(value, column.type) for value, column in zip(place, self.by, strict=True)]
        return values[0] if len(values) == 1 else tuple_(*values)


def unindexed(column: ColumnElement[str]) -> ColumnElement[str]:
    """The column for a condition that only sifts: SQLite, without statistics, could take its index and sort."""
    return func.coalesce(column, "")


async def read_page(conn: AsyncConnection, listing: Listing, after: Place | None, limit: int) -> Page[RowMapping]:
    """The next ``limit`` rows after that place. There may be more also after a page that is not full."""
    horizon = await _horizon(conn, listing, after) if listing.sift else None
    rows = (await conn.execute(listing.page(after, limit, horizon))).mappings().all()
    if len(rows) > limit:
        return Page(rows[:limit], listing.place(rows[limit - 1]))
    return Page(rows, horizon)


async def read_merged(
    conn: AsyncConnection, listings: Sequence[Listing], after: Place | None, limit: int
) -> Page[RowMapping]:
    """The same from several listings of different rows of one table in the same order."""
    pages = [await read_page(conn, listing, after, limit) for listing in listings]
    place = listings[0].place
    ends = [page.next_after for page in pages if page.next_after is not None]
    # Beyond the nearest end one of them has not looked yet.
    end = max(ends, default=None)
    rows = [row for page in pages for row in page.items if end is None or place(row) >= end]
    rows.sort(key=place, reverse=True)
    if len(rows) > limit:
        return Page(rows[:limit], place(rows[limit - 1]))
    return Page(rows, end)


async def _horizon(conn: AsyncConnection, listing: Listing, after: Place | None) -> Place | None:
    row = (await conn.execute(listing.horizon(after))).mappings().first()
    return listing.place(row) if row is not None else None
