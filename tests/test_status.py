"""What ``latchwatch status`` prints, for people and for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from app.domain.intake import Intake
from app.domain.silence import Receipt
from app.status import describe_status, status_as_json
from app.storage.summary import Durations, Summary
from app.storage.vitals import Backlog, IntakeVitals, Vitals

NOW = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


VITALS = Vitals(
    intake=IntakeVitals(
        proven_until=ago(12),
        last_delivery_at=ago(60),
        backfilled=4,
        lost=3,
        compare_failure="Seam cannot be reached",
    ),
    receipts=[Receipt("verified", "7f3a91c2", 120, ago(60)), Receipt("rejected", "wrong_signature", 2, ago(90))],
    unsent=Backlog(2, ago(30)),
    dead=1,
    due=Backlog(5, ago(3)),
)
SUMMARY = Summary(
    codes={"verified": 7, "stuck": 1},
    flags={"stuck": 1},
    arrivals={},
    seconds_to_set=Durations(0, None, None),
    intake=Intake(last_delivery_at=ago(60), proven_until=ago(12), backfilled=4),
)


def test_people_read_lines() -> None:
    assert describe_status(SUMMARY, VITALS, NOW).splitlines() == [
        "codes       stuck 1, verified 7",
        "open flags  stuck 1",
        "arrivals    none",
        "last news   2026-08-03 11:59:00Z",
        "proven      until 2026-08-03 11:59:48Z, 12 s ago",
        "            not further: Seam cannot be reached",
        "lost        3 (events that no webhook brought: 4 fetched from Seam)",
        "secret      7f3a91c2: 120, the last 2026-08-03 11:59:00Z",
        "rejected    wrong_signature: 2, the last 2026-08-03 11:58:30Z",
        "alerts      2 unsent, the oldest for 30 s, 1 deliveries given up",
        "due         5 codes, the oldest for 3 s",
    ]


def test_programs_read_the_same_as_json() -> None:
    found = json.loads(status_as_json(SUMMARY, VITALS, NOW))
    assert found["codes"] == {"verified": 7, "stuck": 1}
    assert found["intake"]["proven_until"] == "2026-08-03T11:59:48Z"
    assert (found["intake"]["gap_seconds"], found["intake"]["lost"]) == (12, 3)
    assert found["receipts"][0]["detail"] == "7f3a91c2"
    assert found["alerts"] == {
        "unsent": {"count": 2, "since": "2026-08-03T11:59:30Z", "lag_seconds": 30},
        "dead_deliveries": 1,
    }
    assert found["due"] == {"count": 5, "since": "2026-08-03T11:59:57Z", "lag_seconds": 3}
