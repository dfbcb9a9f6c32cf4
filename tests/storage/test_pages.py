"""Pages look at a bounded number of rows, miss nothing and repeat nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, text

from app.storage import pages
from app.storage.code_lists import CodeFilter, list_codes
from app.storage.engine import Database
from app.storage.inbox import store_batch
from app.storage.queries import EventFilter, list_events
from app.storage.tables import access_codes
from tests.storage.arrivals import NOW, after, delivery, event
from tests.storage.tracked import row

VERDICTS = ("stuck", "removed", "verified")


@pytest.fixture(autouse=True)
def few_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "LOOKED_AT", 7)


def code(number: int) -> dict[str, Any]:
    """Three of each moment; one of forty is stuck, and flagged; starts go the other way than creation."""
    return row(
        f"c{number:02}",
        verdict="stuck" if number % 40 == 3 else VERDICTS[1 + number % 2],
        is_flagged=number % 40 == 3,
        device_id=f"d{number % 2}",
        name=f"Guest {number}",
        reference=f"r{number % 30}",
        created_at=after(number // 3),
        starts_at=after(-number) if number % 3 else None,
        untracked_at=NOW if number % 11 == 0 else None,
    )


async def walk(db: Database, wanted: CodeFilter, limit: int) -> list[str]:
    found: list[str] = []
    place = None
    while True:
        async with db.read() as conn:
            page = await list_codes(conn, wanted, after=place, limit=limit)
        assert len(page.items) <= limit
        found += [case.row.id for case in page.items]
        if (place := page.next_after) is None:
            return found


def expected(**wanted: Any) -> list[str]:
    """The same by looking at every row."""
    rows = [code(number) for number in range(80)]
    by = "starts_at" if {"starts_before", "starts_after"} & set(wanted) else "created_at"
    tests: dict[str, Callable[[dict[str, Any], Any], bool]] = {
        "verdicts": lambda one, value: one["verdict"] in value,
        "starts_before": lambda one, value: one["starts_at"] is not None and one["starts_at"] < value,
        "starts_after": lambda one, value: one["starts_at"] is not None and one["starts_at"] >= value,
        "q": lambda one, value: value in one["name"].lower() or value in one["reference"],
        "tracked": lambda one, value: (one["untracked_at"] is None) == value,
        "flagged": lambda one, value: one["is_flagged"] == value,
        "device_id": lambda one, value: one["device_id"] == value,
        "reference": lambda one, value: one["reference"] == value,
    }
    kept = [one for one in rows if all(tests[name](one, it) for name, it in {"tracked": True, **wanted}.items())]
    return [one["id"] for one in sorted(kept, key=lambda one: (one[by], one["id"]), reverse=True)]


async def test_every_filter_finds_all_in_order_whatever_is_looked_at_a_time(db: Database) -> None:
    async with db.write() as conn:
        await conn.execute(insert(access_codes), [code(number) for number in range(80)])
    filters: list[dict[str, Any]] = [
        {},
        {"tracked": False},
        {"verdicts": ["stuck"]},
        {"verdicts": ["stuck", "verified"]},
        {"verdicts": ["stuck", "removed", "verified", "lost"], "q": "7"},
        {"flagged": True},
        {"flagged": True, "verdicts": ["verified"]},
        {"flagged": False},
        {"device_id": "d1", "flagged": False, "verdicts": ["removed"]},
        {"reference": "r3"},
        {"reference": "r3", "verdicts": ["stuck"]},
        {"starts_after": after(-50), "starts_before": after(-20)},
        {"starts_before": after(-20), "verdicts": ["verified"], "flagged": False},
        {"starts_after": after(-30), "device_id": "d0"},
        {"q": "guest 43"},
        {"q": "nobody"},
        {"q": "%"},
        {"tracked": False, "verdicts": ["verified"], "reference": "r11"},
    ]
    for wanted in filters:
        for limit in (1, 3, 50):
            assert await walk(db, CodeFilter(**wanted), limit) == expected(**wanted), (wanted, limit)


async def test_a_page_ends_where_it_has_looked_enough(db: Database) -> None:
    async with db.write() as conn:
        await conn.execute(insert(access_codes), [code(number) for number in range(80)])
    async with db.read() as conn:
        page = await list_codes(conn, CodeFilter(q="nobody"), after=None, limit=50)
        assert (page.items, page.next_after) == ([], (after(24), "c72"))


async def test_an_exact_id_is_found_however_old_its_code_is(db: Database) -> None:
    async with db.write() as conn:
        await conn.execute(insert(access_codes), [code(number) for number in range(80)])
    for wanted, found in (
        (CodeFilter(q="c01"), ["c01"]),
        (CodeFilter(q="seam_c01"), ["c01"]),
        (CodeFilter(q="c01", device_id="d1"), ["c01"]),
        (CodeFilter(q="c01", device_id="d0"), []),
        (CodeFilter(q="c00"), []),
        (CodeFilter(q="c00", tracked=False), ["c00"]),
    ):
        assert await walk(db, wanted, 50) == found, wanted


async def test_who_asks_for_events_since_a_moment_is_not_led_through_all_older_ones(db: Database) -> None:
    """An event cannot have arrived before it occurred, but for an hour of doubt about clocks."""
    for hour in range(12):
        at = after(3600 * hour)
        arrived = [
            delivery(event(f"{hour:02}-{number}", occurred_at=at, created_at=at), received_at=at) for number in range(4)
        ]
        await store_batch(db, arrived)
    wanted, found, place, asked = EventFilter(since=after(3600 * 10), source="webhook"), [], None, 0
    async with db.read() as conn:
        while asked == 0 or place is not None:
            page = await list_events(conn, wanted, after=place[0] if place else None, limit=50)
            found += [one.event_id for one in page.items]
            place, asked = page.next_after, asked + 1
    assert sorted(found) == [f"{hour:02}-{number}" for hour in (10, 11) for number in range(4)]
    assert asked == 2, "twice seven events, of forty-eight"


@pytest.mark.parametrize(
    "wanted",
    [
        EventFilter(),
        EventFilter(device_id="lock"),
        EventFilter(access_code_id="code"),
        EventFilter(access_code_id="code", device_id="lock", source="webhook"),
        EventFilter(device_id="lock", event_type="access_code.rare"),
    ],
    ids=["all", "of a lock", "of a code", "of a code, sifted", "of a lock, sifted"],
)
async def test_events_come_newest_first_over_many_blocks_of_ids(db: Database, wanted: EventFilter) -> None:
    """On PostgreSQL their index knows the order of blocks, and not the order inside of one."""
    kinds = ["access_code.something", "access_code.rare"]
    events = [
        event(f"e{n:02}", event_type=kinds[n % 5 == 0], device_id=["lock", "other"][n % 3 == 2]) for n in range(40)
    ]
    for one in events:  # one after the other: so their ids have this order
        await store_batch(db, [delivery(one)])
    async with db.maintain() as conn:
        # Downwards, so that none is met that is still in its old place: four or five in each block of a million.
        await conn.execute(text("UPDATE events SET id = -id"))
        await conn.execute(text("UPDATE events SET id = id * -230000"))
    found, place, asked = list[str](), None, 0
    async with db.read() as conn:
        while asked == 0 or place is not None:
            page = await list_events(conn, wanted, after=place[0] if place else None, limit=4)
            found += [one.event_id for one in page.items]
            place, asked = page.next_after, asked + 1
    is_wanted = [
        one.event_id
        for one in events
        if wanted.device_id in (None, one.device_id) and wanted.event_type in (None, one.event_type)
    ]
    assert found == is_wanted[::-1]
