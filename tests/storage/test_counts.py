"""The counters say what counting would say, whatever was done, whoever did it, and folded or not."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from app.domain.assessment import FlagKind, Verdict
from app.storage import counts as module
from app.storage.binding import adopt, bind
from app.storage.codes import refuse, untrack
from app.storage.counts import Count, count_all, count_on_locks, fold
from app.storage.engine import Database, open_database
from app.storage.figure_tables import count_changes, counts
from app.storage.flags import acknowledge
from app.storage.requests import reopen
from app.storage.steps import CodeStep, save_steps
from app.storage.tables import access_codes, flags
from tests.storage.arrivals import NOW
from tests.storage.made import case_of, request, rows_of, snapshot
from tests.storage.test_steps import LATER, MISSED, STUCK, judged
from tests.storage.tracked import row, track

LOCKS = ("one", "two")
ASSESSMENTS = (
    judged(Verdict.VERIFIED),
    judged(Verdict.FAILED, FlagKind.FAILED),
    judged(Verdict.PENDING),
    STUCK,
    MISSED,
)


async def recount(db: Database) -> tuple[dict[str, int], dict[str, int], dict[str, set[Count]]]:
    """What the counters must say: watched codes, open flags, and the codes of each lock."""
    codes = await rows_of(db, access_codes)
    watched = Counter(code["verdict"] for code in codes if code["untracked_at"] is None)
    opened = Counter(flag["kind"] for flag in await rows_of(db, flags) if flag["closed_at"] is None)
    by_lock = {
        lock: {
            Count(*key, count=number)
            for key, number in Counter(
                ("watched" if code["untracked_at"] is None else "untracked", code["verdict"], code["was_verified"])
                for code in codes
                if code["device_id"] == lock
            ).items()
        }
        for lock in LOCKS
    }
    return dict(watched), dict(opened), by_lock


async def told(db: Database) -> tuple[dict[str, int], dict[str, int], dict[str, set[Count]]]:
    """What they say."""
    async with db.read() as conn:
        by_lock = await count_on_locks(conn, LOCKS)
        return (
            dict(await count_all(conn, "watched")),
            dict(await count_all(conn, "open_flags")),
            {lock: set(by_lock.get(lock, ())) for lock in LOCKS},
        )


async def _ids(db: Database) -> list[str]:
    return [code["id"] for code in await rows_of(db, access_codes)]


async def _request(db: Database, pick: random.Random) -> None:
    await request(db, device_id=pick.choice(LOCKS))


async def _adopt(db: Database, pick: random.Random) -> None:
    """New ones, and ones that were untracked."""
    seen = snapshot(f"ac{pick.randrange(6)}", device_id=pick.choice(LOCKS), pin=None)
    async with db.write() as conn:
        await adopt(conn, seen, NOW, None, "tracked", NOW)


async def _bind(db: Database, pick: random.Random) -> None:
    """A request gets its code; one that is tracked under its own id already is merged into it."""
    waiting = [code for code in await rows_of(db, access_codes) if code["binding"] == "requested"]
    if waiting:
        code = pick.choice(waiting)
        async with db.write() as conn:
            await bind(conn, code["id"], snapshot(f"ac{pick.randrange(6)}", device_id=code["device_id"]), NOW, NOW)


async def _refuse_and_reopen(db: Database, pick: random.Random) -> None:
    ids = await _ids(db)
    if ids:
        code_id = pick.choice(ids)
        async with db.write() as conn:
            if await refuse(conn, code_id, {"status": 400}, NOW) and pick.random() < 0.5:
                await reopen(conn, code_id, NOW)


async def _step(db: Database, pick: random.Random) -> None:
    ids = await _ids(db)
    if ids:
        case = await case_of(db, pick.choice(ids))
        async with db.write() as conn:
            await save_steps(conn, [CodeStep(case, pick.choice(ASSESSMENTS), case.row.reads(), LATER)], NOW)


async def _untrack(db: Database, pick: random.Random) -> None:
    ids = await _ids(db)
    if ids:
        async with db.write() as conn:
            await untrack(conn, pick.choice(ids), NOW)


async def _acknowledge(db: Database, pick: random.Random) -> None:
    known = await rows_of(db, flags)
    if known:
        async with db.write() as conn:
            await acknowledge(conn, pick.choice(known)["id"], "ada", None, NOW)


async def _give_up(db: Database, pick: random.Random) -> None:
    """A transaction that is rolled back."""
    with contextlib.suppress(LookupError):
        async with db.write() as conn:
            await adopt(conn, snapshot("never", device_id=pick.choice(LOCKS)), NOW, None, "tracked", NOW)
            raise LookupError


async def _fold(db: Database, _: random.Random) -> None:
    await fold(db)


ACTS: tuple[Callable[[Database, random.Random], Awaitable[None]], ...] = (
    *(_request, _adopt, _bind, _refuse_and_reopen, _untrack, _acknowledge, _give_up, _fold),
    *(_step, _step, _step, _step),
)


@pytest.mark.parametrize("seed", range(3))
async def test_any_sequence_of_acts_leaves_the_counters_as_a_recount(
    db: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLD_FROM", 1)
    monkeypatch.setattr(module, "_FOLD_AT_ONCE", 7)
    pick = random.Random(seed)  # noqa: S311 - the same acts each time
    for _ in range(8):
        for _ in range(8):
            await pick.choice(ACTS)(db, pick)
        assert await told(db) == await recount(db)
    while await fold(db):
        pass
    assert await rows_of(db, count_changes) == []
    assert await told(db) == await recount(db)


@pytest.mark.parametrize("seed", range(2))
async def test_a_code_says_itself_whether_it_has_an_open_flag(db: Database, seed: int) -> None:
    pick = random.Random(seed + 100)  # noqa: S311 - the same acts each time
    for _ in range(80):
        await pick.choice(ACTS)(db, pick)
    opened = {flag["code_id"] for flag in await rows_of(db, flags) if flag["closed_at"] is None}
    assert {code["id"] for code in await rows_of(db, access_codes) if code["is_flagged"]} == opened


async def test_writers_and_folders_at_once_lose_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes write and fold, each in its own order of codes. Nobody deadlocks, nothing is counted twice."""
    monkeypatch.setattr(module, "FOLD_FROM", 1)
    one, two = open_database(database_url), open_database(database_url)
    names = [f"{number:02}" for number in range(20)]
    await track(one, *(row(name, device_id=LOCKS[int(name) % 2]) for name in names))

    async def step(db: Database, order: list[str]) -> None:
        for name in order:
            case = await case_of(db, name)
            async with db.write() as conn:
                await save_steps(conn, [CodeStep(case, judged(Verdict.VERIFIED), case.row.reads(), LATER)], NOW)

    async def keep_folding(db: Database) -> None:
        for _ in range(10):
            await fold(db)

    await asyncio.gather(
        *(step(db, order) for db, order in ((one, names), (two, names[::-1]))), *(keep_folding(db) for db in (one, two))
    )
    assert await told(one) == await recount(one)
    while await fold(two):
        pass
    assert await told(one) == await recount(one)
    await one.close()
    await two.close()


async def test_a_handful_of_changes_is_not_worth_a_commit(db: Database) -> None:
    await track(db, row("a"))
    assert not await fold(db)
    assert len(await rows_of(db, count_changes)) == 1


async def test_rows_that_are_deleted_are_not_counted(db: Database) -> None:
    await track(db, row("a"), row("b"))
    async with db.write() as conn:
        await conn.execute(delete(access_codes).where(access_codes.c.id == "a"))
        assert await count_all(conn, "watched") == {"pending": 1}


async def test_what_changes_no_counted_column_is_not_noted(db: Database) -> None:
    """Marking and claiming, the hottest of writes, cost the counters nothing."""
    await track(db, row("a"))
    async with db.write() as conn:
        await conn.execute(access_codes.update().values(due_at=NOW, revision=7))
        await conn.execute(access_codes.update().values(verdict="pending"))
        noted: Any = (await conn.execute(select(func.count()).select_from(count_changes))).scalar_one()
    assert noted == 1
    assert await rows_of(db, counts) == []
