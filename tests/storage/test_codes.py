"""Rows of codes: every write bumps the revision, and untracked codes are left alone."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import FlagKind
from app.domain.codes import CodeType
from app.domain.health import DeviceRead
from app.storage.codes import (
    LOOK_AFTER,
    ask_end,
    change_code,
    end_sent,
    load_case,
    load_cases,
    mark_call_sent,
    mark_due,
    new_code_id,
    refuse,
    untrack,
)
from app.storage.engine import Database
from app.storage.flags import open_flag
from app.storage.health import save_device_read
from app.storage.inbox import store_batch
from app.storage.tables import alerts, flags
from tests.storage.arrivals import NOW, account_news, after, code_news, deliveries
from tests.storage.made import PIN, bound, case_of, request, rows_of

REFUSAL = {"status": 400, "type": "invalid_input", "message": "No."}


async def test_a_requested_code_is_looked_at_soon_and_its_verdict_says_why(db: Database) -> None:
    row = await request(db, sent_at=None, name="Ada", metadata={"a": 1}, set_within_seconds=60)
    assert row == (await case_of(db, row.id)).row
    assert (row.binding, row.verdict, row.revision, row.due_at) == ("requested", "requested", 1, NOW + LOOK_AFTER)
    assert (row.metadata, row.intent().set_within, row.was_assessed) == ({"a": 1}, LOOK_AFTER * 12, False)


@pytest.mark.parametrize("sent", [3, None])
async def test_the_create_call_is_noted_before_it_leaves_and_can_be_taken_back(db: Database, sent: int | None) -> None:
    row = await request(db)
    async with db.write() as conn:
        changed = await mark_call_sent(conn, row.id, after(sent) if sent is not None else None, after(7))
    assert changed is not None
    assert changed.call_sent_at == (after(sent) if sent is not None else None)
    assert changed.due_at == after(sent if sent is not None else 7) + LOOK_AFTER


@pytest.mark.parametrize(
    "change", [lambda c, i: refuse(c, i, REFUSAL, NOW), lambda c, i: mark_call_sent(c, i, NOW, NOW)]
)
async def test_a_code_found_bound_meanwhile_takes_no_refusal_and_no_call(db: Database, change: Any) -> None:
    row = await bound(db)
    async with db.write() as conn:
        assert await change(conn, row.id) is None
    assert (await case_of(db, row.id)).row == row


async def test_a_refused_code_is_due_and_keeps_seams_words(db: Database) -> None:
    row = await request(db)
    async with db.write() as conn:
        refused = await refuse(conn, row.id, REFUSAL, after(2))
    assert refused is not None
    assert (refused.binding, refused.refusal, refused.due_at) == ("refused", REFUSAL, after(2))
    assert refused.intent().refusal == "No."


async def _mark(conn: AsyncConnection, code_id: str) -> None:
    await mark_due(conn, [code_id], after(1))


@pytest.mark.parametrize(
    "write",
    [
        _mark,
        lambda conn, code_id: ask_end(conn, code_id, after(1)),
        lambda conn, code_id: end_sent(conn, code_id, after(1), after(1)),
        lambda conn, code_id: untrack(conn, code_id, after(1)),
        lambda conn, code_id: change_code(conn, code_id, {"reference": "r"}, after(1)),
    ],
    ids=["mark due", "ask end", "end sent", "untrack", "change"],
)
async def test_every_write_bumps_the_revision(db: Database, write: Any) -> None:
    row = await bound(db)
    async with db.write() as conn:
        await write(conn, row.id)
    assert (await case_of(db, row.id)).row.revision == row.revision + 1


async def test_writing_to_no_code_says_so(db: Database) -> None:
    async with db.write() as conn:
        assert await ask_end(conn, "code_none", NOW) is None
        assert await untrack(conn, "code_none", NOW) is None
        assert await load_case(conn, "code_none") is None


@pytest.mark.parametrize(("due", "then"), [(None, 5), (3, 3), (9, 5)], ids=["not due", "earlier", "later"])
async def test_marking_due_never_puts_a_code_off(db: Database, due: int | None, then: int) -> None:
    row = await bound(db)
    async with db.write() as conn:
        await change_code(conn, row.id, {"due_at": after(due) if due is not None else None}, NOW)
        await mark_due(conn, [row.id, "code_none"], after(5))
    assert (await case_of(db, row.id)).row.due_at == after(then)


async def test_nothing_makes_an_untracked_code_due(db: Database) -> None:
    row = await bound(db)
    async with db.write() as conn:
        await untrack(conn, row.id, after(1))
        await mark_due(conn, [row.id], after(2))
        await ask_end(conn, row.id, after(3))
        await end_sent(conn, row.id, after(4), after(4))
    await store_batch(db, deliveries(code_news("e1", access_code_id="ac")))
    left = (await case_of(db, row.id)).row
    assert (left.due_at, left.untracked_at, left.end_asked_at) == (None, after(1), after(3))


async def test_untracking_closes_flags_and_tells_it_once(db: Database) -> None:
    row = await bound(db)
    given: dict[str, Any] = {"access_code_id": "ac", "device_id": "device", "opened_at": NOW, "reason": "So."}
    async with db.write() as conn:
        flag = await open_flag(conn, kind=FlagKind.STUCK, code_id=row.id, problem=None, now=NOW, **given)
    async with db.write() as conn:
        await untrack(conn, row.id, after(1))
        left = await untrack(conn, row.id, after(2))
    assert left is not None
    assert left.untracked_at == after(1)
    assert [kept["closed_at"] for kept in await rows_of(db, flags)] == [after(1)]
    assert [alert["id"] for alert in await rows_of(db, alerts)] == [f"{flag}:closed", f"{flag}:opened"]


async def test_asking_for_the_end_twice_keeps_the_first_time(db: Database) -> None:
    row = await bound(db)
    async with db.write() as conn:
        await change_code(conn, row.id, {"due_at": None}, NOW)
        await ask_end(conn, row.id, after(1))
        again = await ask_end(conn, row.id, after(5))
        assert again is not None
        assert (again.end_asked_at, again.due_at, again.must_send_end) == (after(1), after(1), True)
        sent = await end_sent(conn, row.id, after(6), after(7))
    assert sent is not None
    assert (sent.end_sent_at, sent.must_send_end) == (after(6), False)


@pytest.mark.parametrize("fields", [{"is_offline": True}, {}], ids=["offline", "not bound"])
async def test_an_end_that_seam_cannot_carry_out_is_not_sent(db: Database, fields: dict[str, Any]) -> None:
    row = await (bound(db, **fields) if fields else request(db))
    async with db.write() as conn:
        asked = await ask_end(conn, row.id, NOW)
    assert asked is not None
    assert not asked.must_send_end


async def test_our_id_goes_before_seams(db: Database) -> None:
    mine = new_code_id()
    ours = await request(db, id=mine)
    other = await bound(db, mine, pin="key:other")
    assert other.access_code_id == mine
    assert (await case_of(db, mine)).row.id == ours.id
    assert (await case_of(db, other.id)).row.id == other.id


async def test_a_case_carries_all_that_is_known(db: Database) -> None:
    row = await bound(db)
    async with db.write() as conn:
        await save_device_read(conn, DeviceRead(at=NOW, device_id="device", connected_account_id="account"))
    lock_only: dict[str, Any] = {"device_id": None, "connected_account_id": None}
    await store_batch(db, deliveries(code_news("e1", access_code_id="ac", **lock_only), account_news("e2")))
    case = await case_of(db, row.id)
    # News of the code and of its account: PostgreSQL marks once for both.
    version = 1 if db.dialect == "postgresql" else 2
    assert (case.row.connected_account_id, case.signals.version, len(case.health.account)) == ("account", version, 1)
    assert case.health.device_read is not None
    assert (case.row.intent().pin, case.row.with_intent(case.row.intent())) == (PIN, case.row)


async def test_many_cases_come_sorted_and_without_gaps_of_their_own_making(db: Database) -> None:
    """More than one statement may name."""
    made = [(await request(db, type=CodeType.ONGOING)).id for _ in range(3)]
    async with db.read() as conn:
        asked = [*made[::-1], *(f"code_{number}" for number in range(600)), made[0]]
        assert [case.row.id for case in await load_cases(conn, asked[:-1])] == sorted(made)
