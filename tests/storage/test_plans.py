"""No statement that runs again and again reads a table from one end to the other, whatever is stored.

Each case carries out the real thing, and the database itself tells what it did. PostgreSQL is asked twice: with plans
for the values at hand, and with the one plan that it may keep for all values.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select, text

from app.domain.assessment import Assessment, FlagKind, Policy, Verdict
from app.domain.codes import CodeType
from app.domain.events import Unreadable
from app.reconciler.loop import Reconciler
from app.storage import alerts as outbox
from app.storage import (
    binding,
    claims,
    codes,
    deliveries,
    flags,
    idempotency,
    mentions,
    queries,
    retention,
    steps,
    tokens,
)
from app.storage.code_lists import CodeFilter, list_codes
from app.storage.counts import fold
from app.storage.engine import Connection, Database, open_database
from app.storage.health import load_health
from app.storage.inbox import store_batch
from app.storage.queries import EventFilter, FlagFilter
from app.storage.signals import load_signals, lock_signals
from app.storage.summary import device_figures, summarize
from app.storage.tables import events
from app.storage.timeline import load_timeline
from app.storage.unasked import find_unasked
from tests.postgres import run_apart
from tests.postgres_databases import PostgresDatabases
from tests.storage.arrivals import NOW, account_news, after, code_news, delivery, device_news
from tests.storage.crowd import crowd
from tests.storage.made import snapshot
from tests.storage.plans import Recorder

LEASE = timedelta(seconds=60)
IDS = [f"c{number}" for number in range(20_000, 20_100)]
KEY = idempotency.KeyRef("t7", "k20007")
WORK = {"sqlite": 80_000, "postgresql": 10_000}
"""More instructions, and more rows, than any of these statements takes, and fewer than reading a table whole does."""
TIMES = {"sqlite": 1, "postgresql": 7}
"""From the sixth time on PostgreSQL may keep a plan for all values instead of planning for those at hand."""

BY_BLOCK = "ix_events_access_code_id"
"""It has another form on PostgreSQL, and so another name."""

TURNS, CLAIMS = count(1), count(1)

Act = Callable[[Database], Awaitable[Any]]
Ask = Callable[[Connection], Awaitable[Any]]


def reads(ask: Ask) -> Act:
    async def act(db: Database) -> None:
        async with db.read() as conn:
            await ask(conn)

    return act


def writes(ask: Ask) -> Act:
    async def act(db: Database) -> None:
        async with db.write() as conn:
            await ask(conn)

    return act


async def store_everything(db: Database) -> None:
    """News of codes, of a lock, of an account, something unreadable, and what the backfill had found already."""
    turn = next(TURNS)
    news = [code_news(f"new{turn}_{n}", access_code_id=f"seam_{n}", device_id=f"d{n // 3}") for n in range(1, 90)]
    news += [code_news(f"first{turn}_{n}", access_code_id=f"unheard_{n}") for n in range(10)]
    news += [device_news(f"lock{turn}", device_id="d7"), account_news(f"account{turn}", connected_account_id="a7")]
    given = [delivery(each) for each in news] + [delivery(Unreadable("not_json"), f"msg{turn}")]
    await store_batch(db, given, track_all=True)
    late = code_news(f"late{turn}", access_code_id="seam_1")
    await store_batch(db, [delivery(late, source="backfill")])
    await store_batch(db, [delivery(late, received_at=after(2 * turn)), *given])


async def claim_codes(db: Database) -> None:
    """Those that news has come about, and those whose time has come."""
    turn = next(CLAIMS)
    news = [code_news(f"claimed{turn}_{n}", turn, access_code_id=f"seam_{100 * turn + n}") for n in range(30)]
    await store_batch(db, list(map(delivery, news)))
    async with db.write() as conn:
        assert len((await claims.claim(conn, after(50), LEASE, 100)).ids) > 25


async def take_steps(db: Database) -> None:
    """A whole pass of the reconciler: claim, load, decide, save."""
    async with db.write() as conn:
        await codes.mark_due(conn, IDS[:20], NOW)
    reconciler = Reconciler(db=db, gateway=None, policy=Policy(), clock=lambda: NOW, registry=CollectorRegistry())
    assert await reconciler.run_once()


async def save_many_steps(db: Database) -> None:
    """Flags open, are corrected, and close."""
    for verdict, flag, reason in (("stuck", "stuck", "a"), ("stuck", "stuck", "b"), ("verified", None, "c")):
        async with db.read() as conn:
            cases = await codes.load_cases(conn, IDS)
        kind = FlagKind(flag) if flag else None
        assessment = Assessment(Verdict(verdict), reason, NOW, None, after(60), flag=kind)
        taken = [
            steps.CodeStep(case, assessment, case.row.reads(), steps.Queueing(after(60)))
            for case in cases
            if case.is_watched
        ]
        async with db.write() as conn:
            assert len(await steps.save_steps(conn, taken, NOW)) == len(taken) > 50


async def make_a_code(conn: Connection) -> None:
    turn = next(TURNS)
    new = codes.NewCode(device_id="d9", type=CodeType.ONGOING, id=f"made{turn}")
    row = await codes.insert_requested(conn, new, NOW)
    await codes.mark_call_sent(conn, row.id, NOW, NOW)
    await binding.bind(conn, row.id, snapshot(f"seam_made{turn}"), NOW, NOW)
    await codes.ask_end(conn, row.id, NOW)


async def tell(db: Database) -> None:
    """A flag opens, its alert is composed into a message, sent, and closes."""
    async with db.write() as conn:
        given = {"access_code_id": "seam_5", "device_id": "d1", "opened_at": NOW, "reason": "r", "problem": None}
        flag_id = await flags.open_flag(conn, kind=FlagKind.LOST, code_id="c5", now=NOW, **cast(Any, given))
    async with db.read() as conn:
        pending = await outbox.load_pending(conn, after(9), timedelta(), 100)
    assert flag_id in {alert.flag_id for alert in pending}
    message = outbox.NewMessage(f"told{next(TURNS)}", {}, pending, after(99))
    async with db.write() as conn:
        assert await outbox.save_message(conn, message, ["webhook"], NOW)
    async with db.read() as conn:
        assert await deliveries.has_due(conn, "webhook", after(9))
    async with db.write() as conn:
        (claim,) = await deliveries.claim_deliveries(conn, "webhook", after(9), LEASE, 20)
    async with db.write() as conn:
        await deliveries.note_failed(conn, claim, "time-out", after(20))
    async with db.write() as conn:
        await deliveries.note_sent(conn, claim, after(20))
        await flags.acknowledge(conn, flag_id, "desk", None, after(20))
        await flags.close_flags(conn, (await flags.open_flags_of(conn, ["c5"]))["c5"], after(30))
    async with db.write() as conn:
        await outbox.skip_alerts(conn, [f"{flag_id}:closed"])


async def remind(conn: Connection) -> None:
    soon = after(500 * next(TURNS))
    assert await outbox.has_reminders(conn, soon)
    assert await outbox.write_reminders(conn, soon, timedelta(hours=9), 100)


async def read_timeline(conn: Connection) -> None:
    case = await codes.load_case(conn, "seam_20001")
    assert case is not None
    page = await load_timeline(conn, case.row, after=None, limit=2)
    assert page.next_after is not None
    await load_timeline(conn, case.row, after=cast(Any, page.next_after), limit=50)


async def use_a_key(conn: Connection) -> None:
    seen = await idempotency.find_key(conn, KEY)
    assert seen is not None
    await idempotency.take_over_key(conn, seen, after(30))
    await idempotency.finish_key(conn, KEY, status=201)
    ref = idempotency.KeyRef("t7", f"new{next(TURNS)}")
    assert await idempotency.reserve_key(conn, ref, body_digest="d", code_id="c7", until=after(30), now=NOW)
    await idempotency.release_key(conn, ref, NOW)


async def use_a_token(db: Database) -> None:
    await tokens.find_live_token(db, "lw_t20007_secret", NOW)
    await tokens.touch_token(db, "t20007", NOW)


async def take_mentions(conn: Connection) -> None:
    turn = next(TURNS)
    taken = await mentions.claim_mentions(conn, after(50 * turn), LEASE, 10)
    assert len(taken) == 10
    first, *others = taken
    await mentions.postpone_mention(conn, first, after(99))
    await mentions.forget_mentions(conn, others)
    assert await mentions.adopt_mentioned(conn, snapshot(f"seam_adopted{turn}"), NOW, NOW) is not None


async def fold_changes(db: Database) -> None:
    """As soon as enough have gathered."""
    part, verdict = 0, next(TURNS)
    while not await fold(db):
        async with db.write() as conn:
            changed = f"SET verdict = '{verdict}' WHERE id BETWEEN 'c2{part:02}0' AND 'c2{part:02}1'"
            await conn.execute(text(f"UPDATE access_codes {changed}"))
        part += 1
    assert part < 50


def events_of(**wanted: Any) -> Act:
    async def ask(conn: Connection) -> None:
        page = await queries.list_events(conn, EventFilter(**wanted), after=None, limit=50)
        if page.next_after is not None:
            await queries.list_events(conn, EventFilter(**wanted), after=page.next_after[0], limit=50)

    return reads(ask)


def codes_by(**wanted: Any) -> Act:
    async def ask(conn: Connection) -> None:
        page = await list_codes(conn, CodeFilter(**wanted), after=None, limit=50)
        if page.next_after is not None:
            await list_codes(conn, CodeFilter(**wanted), after=page.next_after, limit=50)

    return reads(ask)


def swept(sweep: Callable[[Connection, int, datetime], Awaitable[retention.Swept]]) -> Act:
    """The first thousand rows are the youngest here, so nothing goes; then from the middle on, where it does."""

    async def ask(conn: Connection) -> None:
        await sweep(conn, 0, after(-25_000))
        await sweep(conn, 29_000, after(-25_000))

    return writes(ask)


CASES: dict[str, tuple[Act, str]] = {
    "store a batch": (store_everything, "uq_events_event_id uq_access_codes_access_code_id ix_access_codes_device_id"),
    "claim codes": (claim_codes, "ix_signals_marked_at uq_access_codes_access_code_id ix_access_codes_due_at"),
    "when is the next code due": (
        reads(lambda conn: claims.earliest_due(conn, NOW)),
        "ix_access_codes_due_at ix_signals_marked_at",
    ),
    "give codes back": (writes(lambda conn: claims.release(conn, IDS, NOW)), "pk_access_codes"),
    "postpone a code": (writes(lambda conn: claims.postpone(conn, "c7", "E", NOW, after(9))), "pk_access_codes"),
    "codes that wait for a key": (reads(lambda conn: find_unasked(conn, "no key", "c2", NOW)), "pk_access_codes"),
    "look codes up": (
        reads(lambda conn: claims.look_up(conn, [*IDS, "seam_7"], NOW)),
        "pk_access_codes uq_access_codes_access_code_id",
    ),
    "have the arrivals of a lock looked at": (
        writes(lambda conn: claims.mark_starting(conn, "d7", NOW, after(3600))),
        "ix_access_codes_device_id",
    ),
    "load codes": (reads(lambda conn: codes.load_cases(conn, IDS)), "pk_access_codes pk_signals uq_flags_open"),
    "load a code": (
        reads(lambda conn: codes.load_case(conn, "seam_7")),
        "pk_access_codes uq_access_codes_access_code_id",
    ),
    "load signals": (reads(lambda conn: load_signals(conn, [f"seam_{n}" for n in range(100)])), "pk_signals"),
    "hold the signals of a code": (writes(lambda conn: lock_signals(conn, "seam_7")), ""),
    "load health": (
        reads(lambda conn: load_health(conn, [(f"d{n}", f"a{n}") for n in range(100)])),
        "pk_devices pk_accounts",
    ),
    "a pass of the reconciler": (take_steps, "ix_access_codes_due_at pk_signals"),
    "make a code": (writes(make_a_code), "pk_access_codes"),
    "tell of a flag": (tell, "ix_alerts_next_attempt_at ix_alert_deliveries_channel_next_attempt_at"),
    "remind": (writes(remind), "ix_flags_remind_at"),
    "count what was not told": (
        reads(deliveries.load_backlog),
        "ix_alerts_next_attempt_at ix_alert_deliveries_dead",
    ),
    "give up channels that are gone": (
        writes(lambda conn: deliveries.abandon_channels(conn, ["webhook"], NOW, "gone")),
        "",
    ),
    "use an idempotency key": (writes(use_a_key), "pk_idempotency_keys"),
    "forget old idempotency keys": (
        writes(lambda conn: idempotency.forget_expired_keys(conn, NOW)),
        "ix_idempotency_keys_created_at",
    ),
    "use a token": (use_a_token, "pk_api_tokens"),
    "take mentions": (writes(take_mentions), "ix_mentions_due_at ix_access_codes_replaced_by"),
    "fold the counters": (fold_changes, ""),
    "summary": (reads(lambda conn: summarize(conn, NOW)), "ix_access_codes_starts_at pk_counts"),
    "figures of locks": (
        reads(lambda conn: device_figures(conn, [f"d{n}" for n in range(50)])),
        "ix_durations_device_id pk_counts",
    ),
    "timeline": (
        reads(read_timeline),
        "ix_events_access_code_id ix_audit_log_code_id ix_transitions_code_id ix_flags_code_id ix_alerts_flag_id",
    ),
    "one event": (reads(lambda conn: queries.load_event(conn, "e7")), "uq_events_event_id"),
    "events": (events_of(), ""),
    "events of a code": (events_of(access_code_id="seam_7"), "ix_events_access_code_id"),
    "events of a lock": (events_of(device_id="d7"), "ix_events_device_id"),
    "events of a kind": (events_of(event_type="rare"), ""),
    "events of a time": (events_of(since=after(-9), until=NOW), ""),
    "events found by the backfill": (events_of(source="backfill"), ""),
    "events of tracked codes": (events_of(tracked=True, event_type="rare"), "uq_access_codes_access_code_id"),
    "events of others": (events_of(tracked=False), "uq_access_codes_access_code_id"),
    "unreadable": (reads(lambda conn: queries.list_unreadable(conn, after=None, limit=50)), ""),
    "flags": (reads(lambda conn: queries.list_flags(conn, FlagFilter(), after=None, limit=50)), "ix_flags_created_at"),
    "open flags": (
        reads(lambda conn: queries.list_flags(conn, FlagFilter(is_open=True), after=None, limit=50)),
        "ix_flags_open",
    ),
    "alerts": (
        reads(lambda conn: queries.list_alerts(conn, state="dead", after=None, limit=50)),
        "ix_alerts_created_at",
    ),
    "locks": (reads(lambda conn: queries.list_devices(conn, after="d7", limit=50)), "pk_devices"),
    "a lock": (reads(lambda conn: queries.load_device_row(conn, "d7")), "pk_devices"),
    "codes": (codes_by(), "ix_access_codes_created_at"),
    "codes of a verdict": (codes_by(verdicts=["stuck", "lost"]), "ix_access_codes_verdict"),
    "flagged codes": (codes_by(flagged=True), "ix_access_codes_flagged"),
    "codes of a lock": (codes_by(device_id="d7"), "ix_access_codes_device_id"),
    "codes of a reservation": (codes_by(reference="r7"), "ix_access_codes_reference"),
    "codes that start": (codes_by(starts_after=NOW, starts_before=after(3600)), "ix_access_codes_starts_at"),
    "codes by a word": (codes_by(q="nobody"), "ix_access_codes_created_at"),
    "codes by an id": (codes_by(q="seam_7"), "uq_access_codes_access_code_id"),
    "codes that are not watched": (codes_by(tracked=False), "ix_access_codes_untracked"),
    "forget events": (swept(retention.sweep_events), "uq_access_codes_access_code_id"),
    "forget transitions": (swept(retention.sweep_transitions), "pk_access_codes"),
    "forget unreadable": (swept(retention.sweep_unreadable), ""),
    "forget alerts": (swept(retention.sweep_alerts), "ix_alerts_created_at"),
    # Last, as it leaves many alerts behind.
    "a batch of steps": (save_many_steps, "pk_access_codes pk_flags ix_transitions_code_id"),
}


@pytest.fixture(scope="module")
def sqlite_crowd(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> str:
    path = tmp_path_factory.mktemp("crowd") / "latchwatch.db"
    shutil.copyfile(_sqlite_template, path)
    run_apart(_fill(f"sqlite:///{path}"))
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def postgres_crowd(_postgres_databases: PostgresDatabases) -> Iterator[str]:
    url = _postgres_databases.create_migrated()
    run_apart(_fill(url))
    yield url
    _postgres_databases.drop(url)


async def _fill(url: str) -> None:
    db = open_database(url)
    await crowd(db)
    await db.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def recorder(request: pytest.FixtureRequest) -> AsyncIterator[Recorder]:
    is_sqlite = request.param == "sqlite"
    url = request.getfixturevalue("sqlite_crowd" if is_sqlite else "postgres_crowd")
    db = open_database(url)
    yield Recorder(db, url.removeprefix("sqlite:///") if is_sqlite else None)
    await db.close()


@pytest.mark.parametrize(("act", "indexes"), CASES.values(), ids=CASES)
async def test_nothing_that_grows_is_read_whole(recorder: Recorder, act: Act, indexes: str) -> None:
    dialect = recorder.db.dialect
    while await fold(recorder.db):  # what the acts before this one have left
        pass
    async with recorder.recorded() as plans:
        for _ in range(TIMES[dialect]):
            await act(recorder.db)
    assert plans.whole == {}
    assert plans.longer_than(WORK[dialect]) == {}
    # SQLite has names of its own for the indexes of keys.
    named = {name for name in indexes.split() if dialect == "postgresql" or name.startswith("ix_")}
    if dialect == "postgresql" and BY_BLOCK in named:
        named = (named - {BY_BLOCK}) | {f"{BY_BLOCK}_block"}
    assert named <= plans.indexes


async def test_a_table_that_is_read_whole_is_noticed(recorder: Recorder) -> None:
    """So that the test above can fail."""
    rare = select(events.c.id).where(events.c.event_type == "rare")
    async with recorder.recorded() as plans:
        await reads(lambda conn: conn.execute(rare))(recorder.db)
    assert list(plans.whole.values()) == [frozenset({"events"})]
    assert plans.longer_than(WORK[recorder.db.dialect]) == plans.longer_than(0)


async def test_a_walk_that_finds_nothing_is_noticed(recorder: Recorder) -> None:
    """It follows an index and may end early, as far as its plan tells."""
    rare = select(events.c.id).where(events.c.event_type == "rare").order_by(events.c.id).limit(1)
    async with recorder.recorded() as plans:
        await reads(lambda conn: conn.execute(rare))(recorder.db)
    assert len(plans.longer_than(WORK[recorder.db.dialect])) == 1
