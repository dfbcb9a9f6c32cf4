"""How the service itself is, read off what it left in the database."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Table, insert, update

from app.domain.silence import Receipt
from app.storage.engine import Database
from app.storage.tables import access_codes, alert_deliveries, alert_messages, alerts, flags, intake, receipts
from app.storage.vitals import Backlog, IntakeVitals, Vitals, read_vitals
from tests.storage.arrivals import NOW, after
from tests.storage.tracked import row


async def vitals(db: Database, now: datetime = NOW) -> Vitals:
    async with db.read() as conn:
        return await read_vitals(conn, now)


async def put(db: Database, table: Table, *rows: dict[str, Any]) -> None:
    async with db.write() as conn:
        await conn.execute(insert(table), list(rows))


async def test_a_service_that_did_nothing_yet_has_nothing_to_tell(db: Database) -> None:
    found = await vitals(db)
    nothing = Backlog(0, None)
    assert found == Vitals(IntakeVitals(), [], nothing, 0, nothing)
    assert (found.intake.gap(NOW), found.due.lag(NOW)) == (None, timedelta())


async def test_the_intake_is_told_as_it_is_kept(db: Database) -> None:
    kept = IntakeVitals(
        proven_until=after(-60),
        last_delivery_at=after(-5),
        backfilled=3,
        lost=2,
        lost_at=after(-70),
        compared_at=after(-50),
        compare_failure="Seam cannot be reached",
        seam_event_at=after(-6),
    )
    values = {name: getattr(kept, name) for name in IntakeVitals.__dataclass_fields__}
    async with db.write() as conn:
        await conn.execute(update(intake).values(values))
    await put(db, receipts, {"outcome": "verified", "detail": "aaaa", "count": 2, "last_at": NOW})
    found = await vitals(db)
    assert found.intake == kept
    assert found.intake.gap(NOW) == timedelta(minutes=1)
    assert found.intake.gap(after(-90)) == timedelta(), "our clock may be behind Seam's"
    assert found.receipts == [Receipt("verified", "aaaa", 2, NOW)]


async def test_codes_whose_time_has_come_wait_since_the_earliest(db: Database) -> None:
    due = {"a": after(-30), "b": after(-3), "c": after(0), "d": after(1), "e": None}
    await put(db, access_codes, *[row(name, due_at=moment) for name, moment in due.items()])
    found = await vitals(db)
    assert found.due == Backlog(3, after(-30))
    assert found.due.lag(NOW) == timedelta(seconds=30)


async def test_alerts_that_are_not_told_everywhere_are_counted_with_those_given_up(db: Database) -> None:
    await put(
        db,
        flags,
        {
            "id": "flag",
            "kind": "webhook_silent",
            "severity": "critical",
            "opened_at": NOW,
            "reason": "",
            "created_at": NOW,
        },
    )
    states = {
        "pending": after(-20),
        "sending": after(-30),
        "sent": after(-40),
        "dead": after(-50),
        "skipped": after(-60),
    }
    await put(
        db,
        alerts,
        *[
            {"id": state, "flag_id": "flag", "change": "opened", "state": state, "created_at": made}
            for state, made in states.items()
        ],
    )
    await put(db, alert_messages, {"id": "message", "content": {}, "created_at": NOW})
    await put(
        db,
        alert_deliveries,
        *[
            {"message_id": "message", "channel": channel, "state": state, "created_at": NOW}
            for channel, state in (("webhook", "dead"), ("slack", "sent"), ("mail", "pending"))
        ],
    )
    found = await vitals(db)
    assert (found.unsent, found.dead) == (Backlog(2, after(-30)), 1)
