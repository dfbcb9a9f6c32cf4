"""An event and the answer that makes its code known find each other, whichever comes first (contract, section 2.7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import FlagKind
from app.domain.codes import CodeType
from app.domain.health import DeviceRead
from app.domain.news import NewsKind
from app.reconciler.steps import refresh
from app.storage import inbox
from app.storage.audit import record
from app.storage.binding import adopt, bind, bind_found, held_codes
from app.storage.codes import CodeRow, ask_end, refuse, untrack
from app.storage.engine import Database, open_database
from app.storage.flags import open_flag
from app.storage.health import save_device_read
from app.storage.inbox import Comparison, Outcome, store_batch
from app.storage.tables import access_codes, alerts, audit_log, devices, flags, signals, transitions
from tests.storage.arrivals import NOW, after, code_news, deliveries, delivery, device_news
from tests.storage.made import PIN, POLICY, bound, case_of, request, rows_of, snapshot
from tests.storage.waiting import until_waiting

Bring = Callable[[AsyncConnection], Awaitable[CodeRow]]
Make = Callable[[Database], Awaitable[Bring]]

NEWS = code_news("e1", 1, access_code_id="ac", device_id=None, connected_account_id=None)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """Another process on the same database."""
    database = open_database(database_url)
    yield database
    await database.close()


async def _by_create(db: Database) -> Bring:
    row = await request(db)
    return lambda conn: bind(conn, row.id, snapshot(), NOW, after(2))


async def _by_looking(db: Database) -> Bring:
    row = await request(db)

    async def found(conn: AsyncConnection) -> CodeRow:
        written = await bind_found(conn, row.id, snapshot(), NOW, after(2))
        assert written is not None
        return written

    return found


async def _by_track(db: Database) -> Bring:
    async def track(conn: AsyncConnection) -> CodeRow:
        return (await adopt(conn, snapshot(), NOW, None, "tracked", after(2)))[0]

    return track


async def _by_track_of_our_request(db: Database) -> Bring:
    await request(db)
    return await _by_track(db)


async def _by_tracking_again(db: Database) -> Bring:
    row = await bound(db)
    async with db.write() as conn:
        await untrack(conn, row.id, NOW)
    return await _by_track(db)


every_way = pytest.mark.parametrize(
    "make",
    [_by_create, _by_looking, _by_track, _by_track_of_our_request, _by_tracking_again],
    ids=["create", "found on the lock", "track", "track of our own request", "track again"],
)


async def _arrive(db: Database) -> None:
    await store_batch(db, [delivery(NEWS, received_at=after(1))])


async def _expect_verified(db: Database, row: CodeRow) -> None:
    """The news made the code due or was there when it was bound; its very next answer shows it."""
    stored = await case_of(db, row.id)
    assert stored.has_news or (stored.row.due_at is not None and stored.row.due_at <= after(2))
    case = await refresh(db, row.id, POLICY, lambda: after(3))
    assert case is not None
    assert (case.row.verdict, case.row.access_code_id) == ("verified", "ac")


@every_way
async def test_news_from_before_the_binding_counts(db: Database, make: Make) -> None:
    bring = await make(db)
    await _arrive(db)
    async with db.write() as conn:
        row = await bring(conn)
    await _expect_verified(db, row)


@every_way
async def test_news_from_after_the_binding_counts(db: Database, make: Make) -> None:
    bring = await make(db)
    async with db.write() as conn:
        row = await bring(conn)
    await refresh(db, row.id, POLICY, lambda: after(2))
    await _arrive(db)
    await _expect_verified(db, row)


@every_way
@pytest.mark.parametrize("was_heard_of", [False, True], ids=["first news", "later news"])
async def test_news_that_waits_for_an_open_binding_counts(
    db: Database, other: Database, make: Make, *, was_heard_of: bool
) -> None:
    bring = await make(db)
    await _heard_of(db, was_heard_of)
    async with db.write() as conn:
        row = await bring(conn)
        arriving = asyncio.create_task(_arrive(other))
        await until_waiting(db)
        assert not arriving.done()
    await arriving
    await _expect_verified(db, row)


@every_way
@pytest.mark.parametrize("was_heard_of", [False, True], ids=["first news", "later news"])
async def test_a_binding_that_waits_for_open_news_sees_it(
    db: Database, other: Database, make: Make, monkeypatch: pytest.MonkeyPatch, *, was_heard_of: bool
) -> None:
    """The ingest has merged and marked the news, and has not committed: the worst moment."""
    bring = await make(db)
    await _heard_of(db, was_heard_of)
    is_marked, may_commit = asyncio.Event(), asyncio.Event()

    async def held_up(*_: object) -> None:
        is_marked.set()
        await may_commit.wait()

    # By the backfill, which alone writes something after the marks before it commits.
    monkeypatch.setattr(inbox, "note_compared", held_up)
    nothing = Comparison(proves=None, losses=None, newest=None)
    found = delivery(NEWS, received_at=after(1), source="backfill")
    arriving = asyncio.create_task(store_batch(other, [found], nothing))
    await is_marked.wait()
    binding = asyncio.create_task(_commit(db, bring))
    await until_waiting(db)
    assert not binding.done()
    may_commit.set()
    row = await binding
    await arriving
    await _expect_verified(db, row)


@pytest.mark.parametrize("make", [_by_create, _by_looking, _by_track, _by_track_of_our_request])
async def test_news_of_a_lock_and_a_binding_on_it_never_wait_for_each_other(
    db: Database, other: Database, make: Make
) -> None:
    """The ingest takes the row of a new lock before the codes; a binding that held its code first would close the
    circle."""
    bring = await make(db)
    device_id = snapshot().device_id
    assert device_id is not None
    async with db.write() as conn:
        await bring(conn)
        arriving = asyncio.create_task(store_batch(other, deliveries(device_news("e1", device_id=device_id))))
        await until_waiting(db)
        assert (await conn.execute(select(devices.c.device_id))).scalars().all() == [device_id]
    assert await arriving == [Outcome.STORED]
    assert [lock["workspace_id"] for lock in await rows_of(db, devices)] == ["workspace"]


async def _heard_of(db: Database, was_heard_of: bool) -> None:
    if was_heard_of:
        await store_batch(db, deliveries(code_news("e0", -5, NewsKind.CREATED, access_code_id="ac", device_id=None)))


async def _commit(db: Database, bring: Bring) -> CodeRow:
    async with db.write() as conn:
        return await bring(conn)


async def test_a_binding_that_rolls_back_lets_the_news_through(db: Database, other: Database) -> None:
    bring, arriving = await _by_create(db), []

    async def fail() -> None:
        async with db.write() as conn:
            await bring(conn)
            arriving.append(asyncio.create_task(_arrive(other)))
            await until_waiting(db)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    await arriving[0]
    await _expect_verified(db, await _commit(db, bring))


async def test_binding_twice_changes_nothing(db: Database) -> None:
    row = await bound(db)
    async with db.write() as conn:
        assert await bind(conn, row.id, snapshot(), after(5), after(5)) == row


async def test_a_code_that_does_not_exist_cannot_be_bound(db: Database) -> None:
    with pytest.raises(LookupError):
        async with db.write() as conn:
            await bind(conn, "code_none", snapshot(), NOW, NOW)
    assert await rows_of(db, signals) == []


async def test_what_was_asked_for_is_kept_and_the_window_is_as_accepted(db: Database) -> None:
    start, end = after(600), after(7200)
    asked: dict[str, Any] = {"type": CodeType.TIME_BOUND, "starts_at": start, "ends_at": end, "name": "Ada"}
    row = await request(db, **asked)
    rounded = snapshot(
        type=CodeType.TIME_BOUND, starts_at=after(540), ends_at=end, name="Ada L", pin="key:other", workspace_id="w"
    )
    async with db.write() as conn:
        row = await bind(conn, row.id, rounded, NOW, NOW)
    assert (row.starts_at, row.ends_at) == (after(540), end)
    assert (row.name, row.pin, row.workspace_id) == ("Ada", PIN, "w")
    assert (row.binding, row.due_at, row.verdict) == ("bound", NOW, "requested")


@pytest.mark.parametrize(
    ("made_at", "began_at"),
    [(-3, -3), (0, 0), (5, 0), (-121, 0), (None, 0)],
    ids=["made before the answer", "same time", "made after it", "clocks too far apart", "unknown"],
)
async def test_the_intent_begins_when_seam_made_the_code(db: Database, made_at: float | None, began_at: float) -> None:
    row = await request(db)
    made = after(made_at) if made_at is not None else None
    async with db.write() as conn:
        row = await bind(conn, row.id, snapshot(created_at=made), NOW, NOW)
    assert row.asked_at == after(began_at)


async def test_a_code_refused_by_mistake_loses_its_refusal_when_it_is_bound(db: Database) -> None:
    row = await request(db)
    async with db.write() as conn:
        await refuse(conn, row.id, {"status": 400, "type": "x", "message": "No."}, NOW)
        row = await bind(conn, row.id, snapshot(), NOW, NOW)
    assert (row.binding, row.refusal) == ("bound", None)


class TestTwin:
    async def test_a_tracked_twin_is_merged_with_all_that_hangs_on_it(self, db: Database) -> None:
        twin, row = await _twins(db)
        await refresh(db, twin.id, POLICY, lambda: NOW)
        async with db.write() as conn:
            await record(conn, at=NOW, actor="ada", action="tracked", code_id=twin.id)
            flag = await _open(conn, twin.id, FlagKind.STUCK)
            await ask_end(conn, twin.id, after(1))
            merged = await bind(conn, row.id, snapshot(), NOW, after(2))
        assert await _ids(db) == [row.id]
        assert (merged.reference, merged.end_asked_at) == ("booking", after(1))
        assert merged.reads().last is not None
        for table in (transitions, audit_log, flags):
            assert {kept["code_id"] for kept in await rows_of(db, table)} == {row.id}
        assert [kept.id for kept in (await case_of(db, row.id)).flags] == [flag]

    async def test_both_having_the_same_flag_one_is_closed_and_told(self, db: Database) -> None:
        twin, row = await _twins(db)
        async with db.write() as conn:
            ours, theirs = [await _open(conn, code_id, FlagKind.STUCK) for code_id in (row.id, twin.id)]
            await bind(conn, row.id, snapshot(), NOW, after(2))
        assert [kept.id for kept in (await case_of(db, row.id)).flags] == [ours]
        assert f"{theirs}:closed" in [alert["id"] for alert in await rows_of(db, alerts)]

    async def test_what_the_twin_saw_at_seam_is_kept(self, db: Database) -> None:
        row = await request(db, pin=None)
        async with db.write() as conn:
            await adopt(conn, snapshot(status="set", pending=()), after(5), None, "tracked", after(5))
            merged = await bind(conn, row.id, snapshot(), NOW, after(6))
        assert merged.seen_on_at == after(5)

    async def test_an_untracked_twin_gives_its_code_up(self, db: Database) -> None:
        twin, row = await _twins(db)
        async with db.write() as conn:
            await untrack(conn, twin.id, NOW)
            merged = await bind(conn, row.id, snapshot(), NOW, after(2))
        assert (merged.untracked_at, merged.due_at) == (None, after(2))
        assert await _ids(db) == [row.id]

    async def test_tracking_and_creating_in_the_same_instant_leave_one_row(self, db: Database, other: Database) -> None:
        row = await request(db, pin=None)
        async with db.write() as conn:
            await adopt(conn, snapshot(), NOW, "booking", "tracked", NOW)
            creating = asyncio.create_task(_commit(other, lambda conn: bind(conn, row.id, snapshot(), NOW, after(1))))
            await until_waiting(db)
        assert (await creating).reference == "booking"
        assert await _ids(db) == [row.id]


async def _twins(db: Database) -> tuple[CodeRow, CodeRow]:
    """A tracked code, and the request that turns out to have made it. No PIN: tracking could not tell."""
    row = await request(db, pin=None)
    async with db.write() as conn:
        twin, is_new = await adopt(conn, snapshot(), NOW, "booking", "tracked", NOW)
    assert is_new
    return twin, row


async def _open(conn: AsyncConnection, code_id: str, kind: FlagKind) -> str:
    given: dict[str, Any] = {"access_code_id": None, "device_id": None, "opened_at": NOW, "reason": "So."}
    return await open_flag(conn, kind=kind, code_id=code_id, problem=None, now=NOW, **given)


async def _ids(db: Database) -> list[str]:
    return [row["id"] for row in await rows_of(db, access_codes)]


class TestFound:
    async def test_a_request_that_got_its_answer_is_left_alone(self, db: Database) -> None:
        row = await bound(db)
        async with db.write() as conn:
            assert await bind_found(conn, row.id, snapshot("ac-other"), NOW, after(1)) is None
        assert (await case_of(db, row.id)).row == row

    async def test_a_code_that_another_request_made_is_not_taken_from_it(self, db: Database) -> None:
        first, second = await bound(db), await request(db)
        async with db.write() as conn:
            assert await bind_found(conn, second.id, snapshot(), NOW, after(1)) is None
        assert (await case_of(db, "ac")).row.id == first.id

    async def test_a_code_that_was_only_tracked_is_taken_over(self, db: Database) -> None:
        _, row = await _twins(db)
        async with db.write() as conn:
            assert await bind_found(conn, row.id, snapshot(), NOW, after(1)) is not None
        assert await _ids(db) == [row.id]

    async def test_two_processes_that_find_it_at_once_bind_it_once(self, db: Database, other: Database) -> None:
        row = await request(db)
        async with db.write() as conn:
            assert await bind_found(conn, row.id, snapshot(), NOW, after(1)) is not None
            late = asyncio.create_task(_find(other, row.id))
            await until_waiting(db)
        assert await late is None
        assert (await case_of(db, row.id)).row.revision == row.revision + 1

    async def test_codes_that_rows_have_are_known_with_their_origin(self, db: Database) -> None:
        await bound(db, "ac-1")
        async with db.write() as conn:
            tracked, _ = await adopt(conn, snapshot("ac-2", pin="key:2"), NOW, None, "tracked", NOW)
            await untrack(conn, tracked.id, NOW)
            held = await held_codes(conn, ["ac-1", "ac-2", "ac-3", *(f"no-{number}" for number in range(600))])
        assert held == {"ac-1": "created", "ac-2": "tracked"}


async def _find(db: Database, code_id: str) -> CodeRow | None:
    async with db.write() as conn:
        return await bind_found(conn, code_id, snapshot(), NOW, after(1))


class TestAdopting:
    async def test_a_code_is_watched_as_seam_described_it(self, db: Database) -> None:
        async with db.write() as conn:
            await save_device_read(conn, DeviceRead(at=NOW, device_id="device", schedules_natively=True))
            said = snapshot(is_one_time_use=True, name="Ada", connected_account_id="account")
            row, is_new = await adopt(conn, said, NOW, "booking", "tracked", after(1))
        assert is_new
        assert (row.origin, row.binding, row.due_at, row.reference) == ("tracked", "bound", after(1), "booking")
        assert (row.name, row.is_one_time_use, row.schedules_natively, row.asked_at) == ("Ada", True, True, NOW)

    async def test_a_second_time_only_the_reference_changes(self, db: Database) -> None:
        first = await bound(db)
        async with db.write() as conn:
            same, is_new = await adopt(conn, snapshot(name="new"), after(9), None, "tracked", after(9))
            assert (same, is_new) == (first, False)
            row, is_new = await adopt(conn, snapshot(name="new"), after(9), "booking", "tracked", after(9))
        assert (row.id, row.reference, row.name, is_new) == (first.id, "booking", None, False)

    async def test_an_untracked_code_begins_anew(self, db: Database) -> None:
        row = await bound(db)
        async with db.write() as conn:
            await conn.execute(update(access_codes).values(pin_changed=True))
            await untrack(conn, row.id, NOW)
            again, is_new = await adopt(conn, snapshot(name="new"), after(9), None, "tracked", after(9))
        assert (again.id, is_new, again.untracked_at, again.due_at) == (row.id, False, None, after(9))
        assert (again.asked_at, again.pin_changed, again.name) == (after(9), False, "new")

    @pytest.mark.parametrize(
        ("request_", "made_at"),
        [({"pin": "key:other"}, 0), ({"device_id": "elsewhere"}, 0), ({"sent_at": None}, 0), ({}, -121)],
        ids=["another PIN", "another lock", "its call never left", "made before its call"],
    )
    async def test_a_code_that_is_not_that_of_a_waiting_request_gets_its_own_row(
        self, db: Database, request_: dict[str, Any], made_at: float
    ) -> None:
        await request(db, **request_)
        async with db.write() as conn:
            _, is_new = await adopt(conn, snapshot(created_at=after(made_at)), NOW, None, "tracked", NOW)
        assert is_new

    async def test_two_who_track_the_same_code_at_once_make_one_row(self, db: Database, other: Database) -> None:
        bring = await _by_track(db)
        async with db.write() as conn:
            first = await bring(conn)
            second = asyncio.create_task(_commit(other, bring))
            await until_waiting(db)
        assert (await second).id == first.id
        assert await _ids(db) == [first.id]
