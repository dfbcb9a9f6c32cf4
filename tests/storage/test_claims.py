"""The queue of due codes: leased once, never lost, read from its index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.storage.claims import claim, earliest_due, postpone, release
from app.storage.engine import Database, open_database
from app.storage.inbox import store_batch
from app.storage.signals import lock_signals
from app.storage.tables import events, signals
from tests.storage.arrivals import NOW, after, code_news, deliveries, delivery
from tests.storage.tracked import load, row, track
from tests.storage.waiting import until_waiting

LEASE = timedelta(seconds=60)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url)
    yield database
    await database.close()


async def _claim(db: Database, at: float = 0, limit: int = 100) -> list[str]:
    async with db.write() as conn:
        return (await claim(conn, after(at), LEASE, limit)).ids


async def _earliest(db: Database, at: float = 0) -> Any:
    async with db.read() as conn:
        return await earliest_due(conn, after(at))


async def test_only_due_codes_are_claimed_the_longest_waiting_first(db: Database) -> None:
    dues = {"a": 0, "b": -10, "c": -20, "d": 1}
    await track(db, row("never"), *(row(name, due_at=after(due)) for name, due in dues.items()))
    assert set(await _claim(db, limit=2)) == {"c", "b"}
    assert await _claim(db) == ["a"]
    assert await _claim(db) == []


async def test_a_claim_leaves_the_code_due_and_bumps_its_revision(db: Database) -> None:
    await track(db, row("a", due_at=NOW))
    await _claim(db)
    claimed = await load(db, "a")
    assert (claimed["due_at"], claimed["leased_until"], claimed["revision"]) == (NOW, after(60), 2)


@pytest.mark.parametrize(("at", "claimed"), [(59, []), (60, ["a"])])
async def test_a_lease_that_ran_out_is_claimed_again(db: Database, at: float, claimed: list[str]) -> None:
    await track(db, row("a", due_at=NOW))
    await _claim(db)
    assert await _claim(db, at) == claimed


async def test_news_during_a_lease_does_not_break_it(db: Database) -> None:
    """It is taken up all the same: what is decided under that lease is decided again."""
    await track(db, row("a", due_at=NOW))
    await _claim(db)
    await store_batch(db, deliveries(code_news("e1", access_code_id="seam_a")))
    assert await _claim(db, 30) == []
    code = await load(db, "a")
    assert (code["leased_until"], code["revision"], await _marked(db)) == (after(60), 3, [])
    assert await _claim(db, 60) == ["a"]


@pytest.mark.parametrize(("leased_until", "is_free"), [(60, True), (61, False)], ids=["its own lease", "another's"])
async def test_only_the_holder_of_a_lease_gives_it_back(db: Database, leased_until: float, *, is_free: bool) -> None:
    await track(db, row("a", due_at=NOW))
    await _claim(db)
    async with db.write() as conn:
        await release(conn, ["a", "none"], after(leased_until))
    assert ((await load(db, "a"))["leased_until"] is None) is is_free
    assert (await _claim(db) == ["a"]) is is_free


@pytest.mark.parametrize(
    ("codes", "earliest"),
    [
        ([], None),
        ([{}], None),
        ([{"due_at": after(9)}, {"due_at": after(5)}], 5),
        ([{"due_at": after(-9)}, {"due_at": after(5)}], -9),
        ([{"due_at": after(-9), "leased_until": after(30)}], 30),
        ([{"due_at": after(-9), "leased_until": after(30)}, {"due_at": after(5)}], 5),
        ([{"due_at": after(-9), "leased_until": after(0)}], -9),
    ],
    ids=["no code", "none due", "both later", "one due", "leased", "leased and later", "lease over"],
)
async def test_the_next_moment_is_that_of_the_earliest_claim(
    db: Database, codes: list[dict[str, Any]], earliest: float | None
) -> None:
    for number, columns in enumerate(codes):
        await track(db, row(f"c{number}", **columns))
    moment = await _earliest(db)
    assert moment == (after(earliest) if earliest is not None else None)
    assert bool(await _claim(db)) is (moment is not None and moment <= NOW)


async def test_a_postponed_code_says_why_and_waits(db: Database) -> None:
    await track(db, row("a", due_at=NOW), row("b", due_at=NOW))
    await _claim(db)
    async with db.write() as conn:
        await postpone(conn, "a", "ValueError", after(1), after(9))
    code = await load(db, "a")
    assert (code["postponed_error"], code["failures"], code["due_at"]) == ("ValueError", 1, after(9))
    assert (code["leased_until"], code["revision"]) == (None, 3)
    assert (await load(db, "b"))["failures"] == 0


async def test_a_code_that_was_untracked_meanwhile_is_not_postponed(db: Database) -> None:
    await track(db, row("a", untracked_at=NOW))
    async with db.write() as conn:
        await postpone(conn, "a", "ValueError", NOW, after(9))
    assert (await load(db, "a"))["due_at"] is None


async def test_many_claims_at_once_share_the_codes_without_overlap(db: Database, other: Database) -> None:
    await track(db, *(row(f"c{number}", due_at=NOW) for number in range(200)))
    claims = await asyncio.gather(*(_claim(each, limit=15) for each in 8 * [db, other]))
    claimed = [code_id for claim in claims for code_id in claim]
    assert len(claimed) == len(set(claimed))
    while more := await _claim(db):
        claimed += more
    assert sorted(claimed) == sorted({f"c{number}" for number in range(200)})


async def test_a_claim_steps_over_what_another_transaction_holds(postgres_url: str) -> None:
    db = open_database(postgres_url)
    await track(db, row("a", due_at=after(-9)), row("b", due_at=NOW))
    async with db.write() as first:
        assert (await claim(first, NOW, LEASE, 1)).ids == ["a"]
        assert await _claim(db) == ["b"]
        await until_waiting(db, 0)
    await db.close()


@pytest.mark.parametrize(
    ("before", "after_it"),
    [(None, after(10)), (after(5), after(5)), (after(10), after(10)), (after(3600), after(10))],
)
async def test_taking_up_news_never_postpones(db: Database, before: Any, after_it: Any) -> None:
    await track(db, row("a", due_at=before))
    await store_batch(db, deliveries(code_news("e1", access_code_id="seam_a")))
    assert await _claim(db, 10) == ["a"]
    code = await load(db, "a")
    assert (code["due_at"], code["revision"], code["leased_until"]) == (after_it, 2, after(70))


async def test_news_makes_a_code_due_once_however_much_there_is(db: Database) -> None:
    await track(db, row("a"), row("b"))
    for turn in range(3):
        await store_batch(db, deliveries(*(code_news(f"e{turn}{n}", access_code_id="seam_a") for n in range(5))))
    assert await _earliest(db, 5) == NOW
    assert await _claim(db, 5) == ["a"]
    assert [(await load(db, ident))["revision"] for ident in ("a", "b")] == [2, 1]
    assert (await _claim(db, 5), await _earliest(db, 5)) == ([], after(65))


async def test_marks_of_a_clock_that_is_ahead_are_due_now(db: Database) -> None:
    await track(db, row("a"))
    await store_batch(db, [delivery(code_news("e1", access_code_id="seam_a"), received_at=after(7200))])
    assert await _earliest(db) == NOW
    assert await _claim(db) == ["a"]


async def test_news_of_codes_that_nobody_watches_is_taken_up_and_forgotten(db: Database) -> None:
    await track(db, row("a", untracked_at=NOW))
    news = [code_news(f"e{ident}", access_code_id=f"seam_{ident}") for ident in ("a", "unknown")]
    await store_batch(db, deliveries(*news))
    async with db.write() as conn:
        claimed = await claim(conn, NOW, LEASE, 100)
    assert (claimed.ids, claimed.is_last, await _marked(db)) == ([], False, [])
    async with db.write() as conn:
        assert (await claim(conn, NOW, LEASE, 100)).is_last
    assert (await load(db, "a"))["revision"] == 1


async def test_news_of_codes_that_nobody_watches_does_not_crowd_out_the_others(db: Database) -> None:
    watched = [f"w{number}" for number in range(5)]
    await track(db, *map(row, watched))
    others = [code_news(f"o{number}", access_code_id=f"other_{number}") for number in range(40)]
    await store_batch(db, deliveries(*others))
    news = [code_news(f"e{name}", access_code_id=f"seam_{name}") for name in watched]
    await store_batch(db, [delivery(each, received_at=after(1)) for each in news])
    assert sorted(await _claim(db, limit=10)) == watched


async def test_where_nothing_waits_for_the_clock_news_gets_all_of_the_room(db: Database) -> None:
    names = [f"n{number}" for number in range(20)]
    await track(db, *map(row, names))
    await store_batch(db, deliveries(*(code_news(f"e{name}", access_code_id=f"seam_{name}") for name in names)))
    assert len(await _claim(db, limit=16)) == 16
    assert len(await _claim(db, limit=16)) == 4


async def test_news_without_end_leaves_half_of_the_room_to_codes_that_wait_for_the_clock(db: Database) -> None:
    names = [f"n{number}" for number in range(20)]
    await track(db, *map(row, names), *(row(f"d{number}", due_at=NOW) for number in range(20)))
    await store_batch(db, deliveries(*(code_news(f"e{name}", access_code_id=f"seam_{name}") for name in names)))
    claimed = await _claim(db, limit=10)
    assert sorted(ident[0] for ident in claimed) == 5 * ["d"] + 5 * ["n"]


async def test_a_code_learns_its_account_from_its_last_event(db: Database) -> None:
    """Seam's access code object does not name the account."""
    await track(db, row("a", connected_account_id=None), row("b", connected_account_id="known"))
    own = [code_news(f"e_{code}", access_code_id=f"seam_{code}", connected_account_id="told") for code in ("a", "b")]
    await store_batch(db, deliveries(*own))
    await _claim(db)
    assert [(await load(db, ident))["connected_account_id"] for ident in ("a", "b")] == ["told", "known"]


async def test_a_claim_steps_over_news_that_is_being_bound(postgres_url: str) -> None:
    """And takes it up afterwards: the mark stays."""
    db = open_database(postgres_url)
    await track(db, row("a"))
    await store_batch(db, deliveries(code_news("e1", access_code_id="seam_a")))
    async with db.write() as binding:
        await lock_signals(binding, "seam_a")
        assert await _claim(db) == []
        await until_waiting(db, 0)
    assert await _claim(db) == ["a"]
    await db.close()


async def test_a_code_that_is_bound_while_its_news_is_taken_up_is_not_missed(postgres_url: str) -> None:
    """The claim looks for codes only once it holds the marks: a binding that came before it is seen."""
    db = open_database(postgres_url)
    await store_batch(db, deliveries(code_news("e1", access_code_id="seam_a")))
    async with db.write() as claiming:
        await claiming.execute(select(events.c.event_id))  # its transaction has begun
        await track(db, row("a"))
        assert (await claim(claiming, NOW, LEASE, 100)).ids == ["a"]
    await db.close()


async def _marked(db: Database) -> list[str]:
    async with db.read() as conn:
        found = await conn.execute(select(signals.c.access_code_id).where(signals.c.marked_at.is_not(None)))
        return list(found.scalars())
