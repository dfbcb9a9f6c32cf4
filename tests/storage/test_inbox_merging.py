"""Neither the order nor the number of deliveries can change what is known (contract, section 2.2)."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from app.domain.events import Event
from app.domain.health import DeviceFacet
from app.domain.news import Issue, IssueSource, News, NewsKind, merge
from app.storage.codec import decode_news, encode_news, news_to_json, to_json
from app.storage.engine import Database
from app.storage.inbox import store_batch
from app.storage.tables import devices, events, signals
from tests.storage.arrivals import after, code_news, deliveries, device_news

KINDS = (NewsKind.SET, NewsKind.FAILED, NewsKind.REMOVED)
ARRIVALS = st.lists(
    st.builds(
        lambda number, at, kind, code: (f"e{number}", at, kind, code),
        st.integers(0, 30),
        st.integers(0, 3),  # seconds: ties are wanted
        st.sampled_from(KINDS),
        st.sampled_from(("a", "b", "\u00e9", "z")),
    ),
    unique_by=lambda arrival: arrival[0],
    min_size=1,
    max_size=12,
)


async def known(db: Database) -> dict[str, dict[NewsKind, object]]:
    async with db.read() as connection:
        found = (await connection.execute(select(signals))).mappings().all()
    return {
        row["access_code_id"]: {kind: decode_news(row[kind.value]) for kind in NewsKind if row[kind.value]}
        for row in found
    }


async def version(db: Database) -> int:
    async with db.read() as connection:
        return int((await connection.execute(select(signals.c.version))).scalar_one())


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(arrivals=ARRIVALS, data=st.data())
async def test_any_order_any_batches_and_any_repetition_give_the_same(
    db: Database, arrivals: list[tuple[str, int, NewsKind, str]], data: st.DataObject
) -> None:
    news = [code_news(name, at, kind, access_code_id=code) for name, at, kind, code in arrivals]
    order = data.draw(st.permutations([*news, *data.draw(st.lists(st.sampled_from(news), max_size=5))]))
    cut = data.draw(st.integers(0, len(order)))
    async with db.write() as connection:
        await connection.execute(delete(events))
        await connection.execute(delete(signals))
    for batch in (order[:cut], order[cut:]):
        await store_batch(db, deliveries(*batch))
    assert await known(db) == folded(news)


def folded(news: list[Event]) -> dict[str, dict[NewsKind, object]]:
    codes = {str(event.access_code_id) for event in news}
    return {
        code: dict(merge(event.news for event in news if event.news and event.access_code_id == code)) for code in codes
    }


@pytest.mark.parametrize("order", list(permutations(["e1", "e10", "e2"])))
async def test_of_news_that_happened_at_once_the_greatest_id_counts(db: Database, order: tuple[str, ...]) -> None:
    for name in order:
        await store_batch(db, deliveries(code_news(name, 5)))
    assert await known(db) == folded([code_news("e2", 5)])


async def test_the_version_counts_the_merges_that_changed_something(db: Database) -> None:
    """first news → +1 · older news of that kind → same · a duplicate → same · newer → +1 · another kind → +1"""
    seen = []
    for arrival in (
        code_news("e5", 5),
        code_news("e4", 4),
        code_news("e5", 5),
        code_news("e6", 6),
        code_news("e7", 1, NewsKind.REMOVED),
    ):
        await store_batch(db, deliveries(arrival))
        seen.append(await version(db))
    assert seen == [1, 1, 1, 2, 3]


@pytest.mark.parametrize("at", [0, 0.000_001, 0.5])
@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"pin": "k1:c0ffee"},
        {"pin": '"\\ \u00e9 \U0001f511'},
        {"backup_access_code_id": "b"},
        {"pin": "k1:c0ffee", "issues": (Issue("code", 'It said "\u00e9"', IssueSource.DEVICE, is_error=False),)},
    ],
)
async def test_what_is_put_together_in_a_hurry_is_the_text_that_it_is_compared_with(
    db: Database, at: float, rest: dict[str, Any]
) -> None:
    """To the byte: rebuilding compares the signals with what is made of the events."""
    news = News(after(at), "e1", **rest)
    await store_batch(db, deliveries(code_news("e1", at)._replace(news=(NewsKind.FAILED, news))))
    async with db.read() as connection:
        assert (await connection.execute(select(signals.c.failed))).scalar_one() == encode_news(news)
        assert (await connection.execute(select(events.c.news))).scalar_one() == to_json(
            {"kind": "failed", **news_to_json(news)}
        )


async def test_a_batch_without_news_about_codes_leaves_signals_alone(db: Database) -> None:
    await store_batch(db, deliveries(device_news("e1")))
    assert await known(db) == {}


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0), (1, 0, 1), (0, 1, 0, 1)])
async def test_a_lock_hangs_on_the_account_that_its_latest_news_names(db: Database, order: tuple[int, ...]) -> None:
    """Also where an older event, which is the latest about something else, comes late or once more."""
    moved = [
        device_news("e1", 10, DeviceFacet.BATTERY, "low", connected_account_id="old", workspace_id="w1"),
        device_news("e2", 20, DeviceFacet.CONNECTION, "connected", connected_account_id="new", workspace_id="w2"),
    ]
    for place in order:
        await store_batch(db, deliveries(moved[place]))

    async with db.read() as conn:
        lock = (await conn.execute(select(devices))).one()
    assert (lock.connected_account_id, lock.workspace_id) == ("new", "w2")
    assert lock.battery is not None


async def test_older_news_of_a_lock_fills_in_what_is_not_known(db: Database) -> None:
    await store_batch(db, deliveries(device_news("e2", 20, connected_account_id=None)))
    await store_batch(db, deliveries(device_news("e1", 10, DeviceFacet.BATTERY, "low", connected_account_id="account")))

    async with db.read() as conn:
        assert (await conn.execute(select(devices.c.connected_account_id))).scalar_one() == "account"
