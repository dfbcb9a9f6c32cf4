"""The queue of due codes: leased once, never lost, read from its index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import ClauseElement, Executable, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.claims import claim_due, earliest_due, postpone, release
from app.storage.engine import Database, open_database
from app.storage.tables import access_codes
from tests.storage.arrivals import NOW, after
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
        return await claim_due(conn, after(at), LEASE, limit)


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
    await track(db, row("a", due_at=NOW))
    await _claim(db)
    assert await _claim(db, 30) == []


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
        assert await claim_due(first, NOW, LEASE, 1) == ["a"]
        assert await _claim(db) == ["b"]
        await until_waiting(db, 0)
    await db.close()


class Explaining:
    """A connection that has the database explain the very statements that it is given, and then carries them out."""

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn
        self.plans: list[str] = []

    async def execute(self, query: ClauseElement) -> Any:
        compiled = query.compile(dialect=self._conn.dialect, compile_kwargs={"literal_binds": True})
        prefix = "EXPLAIN QUERY PLAN" if self._conn.dialect.name == "sqlite" else "EXPLAIN"
        lines = await self._conn.execute(text(f"{prefix} {compiled}".replace(":", r"\:")))
        self.plans += [str(line[-1]) for line in lines]
        return await self._conn.execute(cast(Executable, query))


@pytest.mark.parametrize("statement", ["claim", "earliest"])
async def test_the_queue_is_read_from_its_index(fresh_db: Database, statement: str) -> None:
    """However many codes wait for nothing. PostgreSQL plans by what is there, so there has to be something."""
    quiet = [row(f"q{number}", due_at=after(9999 + number)) for number in range(3000)]
    async with fresh_db.write() as conn:
        await conn.execute(insert(access_codes), quiet)
        await conn.execute(insert(access_codes), [row("a", due_at=NOW)])
    async with fresh_db.maintain() as conn:
        await conn.execute(text("ANALYZE access_codes"))
    async with fresh_db.write() as conn:
        explaining = Explaining(conn)
        if statement == "claim":
            assert await claim_due(cast(AsyncConnection, explaining), NOW, LEASE, 100) == ["a"]
        else:
            assert await earliest_due(cast(AsyncConnection, explaining), NOW) == NOW
    plan = "\n".join(explaining.plans)
    assert "ix_access_codes_due_at" in plan
    assert "Seq Scan on access_codes" not in plan
    assert "SCAN access_codes\n" not in f"{plan}\n"
