"""Codes that Seam mentioned and that are not known here: noted once, claimed by one, then watched or forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.domain.events import Event
from app.domain.news import NewsKind
from app.storage.binding import BACKUP, MENTIONED
from app.storage.engine import Database
from app.storage.inbox import store_batch
from app.storage.mentions import (
    READ_AFTER,
    adopt_mentioned,
    claim_mentions,
    forget_mentions,
    mention,
    mention_unknown,
    postpone_mention,
)
from app.storage.tables import access_codes, mentions
from tests.storage.arrivals import NOW, after, code_news, deliveries, device_news
from tests.storage.made import bound, case_of, rows_of, snapshot
from tests.storage.tracked import row, track

LEASE = timedelta(seconds=60)


async def store(db: Database, *events: Event, track_all: bool = True) -> None:
    await store_batch(db, deliveries(*events), track_all=track_all)


async def mentioned(db: Database) -> list[str]:
    return [each["access_code_id"] for each in await rows_of(db, mentions)]


async def claim(db: Database, seconds: float, limit: int = 10) -> dict[str, int]:
    async with db.write() as conn:
        return await claim_mentions(conn, after(seconds), LEASE, limit)


async def test_news_of_an_unknown_code_mentions_it_once(db: Database) -> None:
    await store(db, code_news("e1", access_code_id="a"), code_news("e2", access_code_id="b"))
    await store(db, code_news("e3", 9, access_code_id="a"), device_news("e4"))
    found = await rows_of(db, mentions)
    assert [(each["access_code_id"], each["due_at"]) for each in found] == [
        ("a", NOW + READ_AFTER),
        ("b", NOW + READ_AFTER),
    ]


async def test_nothing_is_mentioned_unless_every_code_is_to_be_tracked(db: Database) -> None:
    await store(db, code_news("e1"), track_all=False)
    assert await mentioned(db) == []


@pytest.mark.parametrize("columns", [{}, {"untracked_at": NOW}], ids=["watched", "untracked"])
async def test_a_code_with_a_row_is_not_mentioned(db: Database, columns: dict[str, Any]) -> None:
    await track(db, row("1", **columns))
    await store(db, code_news("e1", access_code_id="seam_1"))
    async with db.write() as conn:
        assert await mention_unknown(conn, NOW) == 0
    assert await mentioned(db) == []


async def test_a_deleted_code_is_not_mentioned(db: Database) -> None:
    await store(db, code_news("e1", access_code_id="a"), code_news("e2", kind=NewsKind.DELETED, access_code_id="a"))
    assert await mentioned(db) == []


async def test_what_was_told_before_every_code_was_tracked_is_mentioned_at_the_start(db: Database) -> None:
    await store(db, code_news("e1", access_code_id="a"), track_all=False)
    await store(db, code_news("e2", kind=NewsKind.DELETED, access_code_id="gone"), track_all=False)
    async with db.write() as conn:
        assert await mention_unknown(conn, NOW) == 1
    async with db.write() as conn:
        assert await mention_unknown(conn, NOW) == 0
    assert await mentioned(db) == ["a"]


async def test_a_claim_takes_what_is_due_and_gives_it_back_after_its_lease(db: Database) -> None:
    async with db.write() as conn:
        await mention(conn, ["a", "b", "c"], NOW)
    first, second = await claim(db, 0, limit=2), await claim(db, 1, limit=2)
    assert (len(first), len(second), {*first, *second}) == (2, 1, {"a", "b", "c"})
    assert await claim(db, 2) == {}
    assert set(await claim(db, 61)) == {"a", "b", "c"}


async def test_what_cannot_be_read_is_postponed_and_counted(db: Database) -> None:
    async with db.write() as conn:
        await mention(conn, ["a", "b"], NOW)
    await claim(db, 0)
    async with db.write() as conn:
        await postpone_mention(conn, "a", after(10))
        await forget_mentions(conn, ["b"])
    assert await claim(db, 9) == {}
    assert await claim(db, 10) == {"a": 1}


async def test_a_mentioned_code_is_watched_as_it_was_read(db: Database) -> None:
    async with db.write() as conn:
        made = await adopt_mentioned(conn, snapshot("ac", name="Ada"), NOW, NOW)
    assert made is not None
    assert (made.origin, made.name, made.asked_at, made.due_at) == (MENTIONED, "Ada", NOW, NOW)


async def test_a_code_that_got_its_row_meanwhile_stays_as_it_is(db: Database) -> None:
    known = await bound(db, "ac", reference="r-1")
    async with db.write() as conn:
        await conn.execute(update(access_codes).values(untracked_at=NOW))
        assert await adopt_mentioned(conn, snapshot("ac"), NOW, NOW) is None
    case = await case_of(db, "ac")
    assert (case.row.id, case.row.untracked_at, case.row.reference) == (known.id, NOW, "r-1")


async def test_a_backup_code_gets_what_is_noted_beside_the_code_that_it_stands_in_for(db: Database) -> None:
    known = await bound(db, "ac", reference="r-1", metadata={"room": 4})
    async with db.write() as conn:
        await conn.execute(update(access_codes).where(access_codes.c.id == known.id).values(replaced_by="spare"))
        made = await adopt_mentioned(conn, snapshot("spare", pin="key:9999"), NOW, NOW)
    assert made is not None
    assert (made.origin, made.reference, made.metadata) == (BACKUP, "r-1", {"room": 4})
