"""Waiting for a code to be settled: who is answered, when, with what, and what that costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.waiting import Waiting
from app.domain.assessment import Policy
from app.domain.news import NewsKind
from app.reconciler.steps import refresh, refresh_all
from app.storage.binding import adopt, bind
from app.storage.codes import Case, mark_due, untrack
from app.storage.engine import Database
from app.storage.errors import RefusedByDatabase, StorageUnavailable
from app.storage.inbox import store_batch
from app.storage.tables import access_codes
from tests.api.test_reading import event
from tests.api.worlds import ADMIN_TOKEN, NOON, Clock, World
from tests.receiver.inboxes import until
from tests.storage.made import request, snapshot
from tests.storage.tracked import row, track

Answering = asyncio.Task[httpx.Response]
WaitingOn = Callable[[Database], Waiting]


@pytest.fixture
def waiting(world: World) -> Waiting:
    return world.services.waiting


async def start_waiting(world: World, ident: str, seconds: float = 60, number: int = 1) -> Answering:
    """A client that waits, once it does and nothing is looked at for it any more."""
    task = asyncio.create_task(world.get(f"/v1/access-codes/{ident}/wait", timeout=seconds))
    await until(lambda: world.services.waiting.number == number or task.done())
    await world.services.waiting.drain()
    return task


async def answer_of(task: Answering) -> dict[str, Any]:
    async with asyncio.timeout(10):
        response = await task
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def tell(world: World, kind: NewsKind, access_code_id: str = "ac-1", event_id: str = "e1") -> None:
    """News as the receiver stores it."""
    world.clock.advance(seconds=1)
    batch = [event(kind, access_code_id, event_id, world.clock())]
    await store_batch(world.db, batch)
    world.services.waiting.news_came(batch)


async def test_who_asks_for_a_settled_code_does_not_wait(world: World) -> None:
    made = (await world.create()).json()
    await tell(world, NewsKind.SET)
    answer = await answer_of(asyncio.create_task(world.get(f"/v1/access-codes/{made['id']}/wait")))
    assert answer == (await world.get(f"/v1/access-codes/{made['id']}")).json()
    assert answer["verdict"] == "verified"


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        (NewsKind.SET, "verified"),
        (NewsKind.SCHEDULED, "scheduled"),
        (NewsKind.FAILED, "failed"),
        (NewsKind.DELAYED, "delayed"),
        (NewsKind.DELETED, "removed"),
    ],
)
async def test_news_that_settles_the_code_is_the_answer(world: World, kind: NewsKind, verdict: str) -> None:
    """Safe to share, flagged, or terminal. The news alone does it: no reconciler runs here."""
    made = (await world.create()).json()
    task = await start_waiting(world, made["id"])
    await tell(world, kind)
    answer = await answer_of(task)
    assert answer["verdict"] == verdict
    assert answer == (await world.get(f"/v1/access-codes/{made['id']}")).json()


async def test_news_that_settles_nothing_leaves_the_client_waiting(world: World, waiting: Waiting) -> None:
    made = (await world.create()).json()
    task = await start_waiting(world, made["id"])
    await tell(world, NewsKind.CREATED)
    await waiting.drain()
    assert waiting.number == 1
    await tell(world, NewsKind.SET, event_id="e2")
    assert (await answer_of(task))["verdict"] == "verified"


async def test_news_of_another_code_wakes_nobody(world: World, waiting: Waiting) -> None:
    first, second = (await world.create()).json(), (await world.create()).json()
    task = await start_waiting(world, first["id"])
    other = await start_waiting(world, second["access_code_id"], number=2)
    await tell(world, NewsKind.SET, second["access_code_id"])
    assert (await answer_of(other))["id"] == second["id"]
    assert not task.done()
    await tell(world, NewsKind.SET, first["access_code_id"], "e2")
    assert (await answer_of(task))["id"] == first["id"]


async def test_a_verdict_that_the_reconciler_finds_is_the_answer(world: World) -> None:
    """Its step tells the database's subscribers after the commit."""
    made = (await world.create()).json()
    task = await start_waiting(world, made["id"])
    world.clock.advance(seconds=1)
    await store_batch(world.db, [event(NewsKind.SET, "ac-1", "e1", world.clock())])
    await refresh(world.db, made["id"], Policy(), world.clock)
    assert (await answer_of(task))["verdict"] == "verified"


async def test_the_time_ends_with_the_current_state(world: World, waiting: Waiting) -> None:
    made = (await world.create()).json()
    answer = await answer_of(asyncio.create_task(world.get(f"/v1/access-codes/{made['id']}/wait", timeout=0.05)))
    assert answer == (await world.get(f"/v1/access-codes/{made['id']}")).json()
    assert answer["verdict"] == "pending"
    assert waiting.number == 0


async def test_news_that_nobody_told_is_in_the_answer_at_the_end(world: World) -> None:
    """As from another process on the same SQLite file."""
    made = (await world.create()).json()
    task = await start_waiting(world, made["id"], seconds=0.5)
    world.clock.advance(seconds=1)
    await store_batch(world.db, [event(NewsKind.SET, "ac-1", "e1", world.clock())])
    assert (await answer_of(task))["verdict"] == "verified"


@pytest.mark.parametrize("params", ["timeout=0", "timeout=-1", "timeout=120.1", "timeout=nan", "timeout=inf", "time=1"])
async def test_a_time_that_is_none_is_refused(world: World, params: str) -> None:
    made = (await world.create()).json()
    assert (await world.client.get(f"/v1/access-codes/{made['id']}/wait?{params}")).status_code == 422


async def test_nobody_waits_for_a_code_that_is_not_known(world: World) -> None:
    answer = await world.get("/v1/access-codes/no-such-code/wait")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:latchwatch:problem:not-found")


async def test_a_code_that_is_not_watched_any_more_is_answered_at_once(world: World) -> None:
    made = (await world.create()).json()
    task = await start_waiting(world, made["id"])
    await world.client.post(f"/v1/access-codes/{made['id']}/untrack")
    assert (await answer_of(task))["untracked_at"] is not None
    again = await answer_of(asyncio.create_task(world.get(f"/v1/access-codes/{made['id']}/wait")))
    assert again["untracked_at"] is not None


async def test_a_code_that_gets_its_id_at_seam_while_somebody_waits_is_followed(world: World) -> None:
    """The create call had no answer; the code is found on its lock later."""
    requested = await request(world.db, sent_at=NOON)
    task = await start_waiting(world, requested.id)
    async with world.db.write() as conn:
        await bind(conn, requested.id, snapshot(), NOON, world.clock())
    await refresh(world.db, requested.id, Policy(), world.clock)
    await world.services.waiting.drain()
    assert not task.done()
    await tell(world, NewsKind.SET, "ac")
    answer = await answer_of(task)
    assert (answer["id"], answer["verdict"]) == (requested.id, "verified")


async def test_who_waits_for_a_row_that_is_merged_away_waits_for_the_one_that_took_it_over(world: World) -> None:
    requested = await request(world.db, sent_at=NOON, pin=None)
    async with world.db.write() as conn:
        tracked, is_new = await adopt(conn, snapshot(), NOON, None, "tracked", NOON)
    assert is_new
    task = await start_waiting(world, tracked.id)
    async with world.db.write() as conn:
        await bind(conn, requested.id, snapshot(), NOON, world.clock())
    await world.services.waiting.drain()
    assert not task.done()
    await tell(world, NewsKind.SET, "ac")
    answer = await answer_of(task)
    assert (answer["id"], answer["verdict"]) == (requested.id, "verified")


async def test_a_client_that_hangs_up_does_not_wait_any_more(world: World, waiting: Waiting) -> None:
    made = (await world.create()).json()
    hung_up = asyncio.Event()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/v1/access-codes/{made['id']}/wait",
        "query_string": b"timeout=100",
        "headers": [(b"authorization", f"Bearer {ADMIN_TOKEN}".encode())],
    }
    request_ = asyncio.ensure_future(world.api(scope, receive, send))
    await until(lambda: waiting.number == 1)
    hung_up.set()
    async with asyncio.timeout(10):
        await request_
    assert waiting.number == 0
    assert sent[0]["status"] == 499


async def test_the_end_of_the_service_answers_everybody_at_once(world: World, waiting: Waiting) -> None:
    made = (await world.create()).json()
    tasks = [await start_waiting(world, made["id"], number=number) for number in (1, 2)]
    waiting.close()
    for task in [*tasks, asyncio.create_task(world.get(f"/v1/access-codes/{made['id']}/wait"))]:
        assert (await answer_of(task))["verdict"] == "pending"
    assert waiting.number == 0


@pytest.fixture
async def waiting_on(clock: Clock) -> AsyncIterator[WaitingOn]:
    """Makes the waiters of a process, and ends them with the test."""
    made: list[Waiting] = []

    def make(db: Database) -> Waiting:
        made.append(Waiting(db, Policy(), clock, CollectorRegistry()))
        return made[-1]

    yield make
    for waiting in made:
        waiting.close()
        await waiting.drain()


@contextmanager
def statements_of(db: Database) -> Iterator[list[str]]:
    """Every statement that the pools of this database are given meanwhile."""
    seen: list[str] = []
    engines = [engine.sync_engine for engine in (db._writers, db._readers)]

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    for engine in engines:
        sqlalchemy_event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            sqlalchemy_event.remove(engine, "before_cursor_execute", note)


async def wait_for_all(waiting: Waiting, number: int) -> list[asyncio.Task[Any]]:
    minute = timedelta(minutes=1)
    tasks = [asyncio.create_task(waiting.until_settled(f"c{each:04}", minute)) for each in range(number)]
    await until(lambda: waiting.number == number)
    await waiting.drain()
    return tasks


async def test_a_thousand_who_wait_cost_no_statement_and_news_of_some_is_read_at_once(
    db: Database, clock: Clock, waiting_on: WaitingOn
) -> None:
    number, of_some = 1000, 40
    rows = [row(f"c{each:04}", next_check_at=NOON + timedelta(days=1), asked_at=NOON) for each in range(number)]
    await track(db, *rows)
    waiting = waiting_on(db)
    tasks = await wait_for_all(waiting, number)
    with statements_of(db) as while_idle:
        _, pending = await asyncio.wait(tasks, timeout=0.5)
    assert (len(pending), while_idle) == (number, [])
    clock.advance(seconds=1)
    news = [event(NewsKind.SET, f"seam_c{each:04}", f"e{each}", clock()) for each in range(of_some)]
    await store_batch(db, news)
    with statements_of(db) as seen:
        waiting.news_came(news)
        async with asyncio.timeout(60):
            cases = await asyncio.gather(*tasks[:of_some])
    assert {case.row.verdict for case in cases} == {"verified"}
    assert waiting.number == number - of_some
    reads = [statement for statement in seen if statement.lstrip().upper().startswith("SELECT")]
    assert len(reads) < of_some


async def test_a_thousand_whose_time_is_up_at_once_are_read_together(db: Database, waiting_on: WaitingOn) -> None:
    await track(db, *[row(f"c{each:04}", next_check_at=NOON, asked_at=NOON) for each in range(1000)])
    waiting = waiting_on(db)
    tasks = await wait_for_all(waiting, 1000)
    with statements_of(db) as seen:
        waiting.close()
        await asyncio.gather(*tasks)
    assert len(seen) < 100


class Storage:
    """A database that is away while told so, or that fails over one code."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.subscribe = db.subscribe
        self.is_away = False

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        self._refuse()
        async with self._db.read() as conn:
            yield conn

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        self._refuse()
        async with self._db.write() as conn:
            yield conn

    def _refuse(self) -> None:
        if self.is_away:
            raise StorageUnavailable("the database is away")


async def test_who_waits_goes_on_waiting_while_storage_is_away(
    db: Database, clock: Clock, waiting_on: WaitingOn
) -> None:
    """Who is told that the time is up meanwhile learns that storage is away."""
    await track(db, *[row(f"c{each:04}", next_check_at=NOON, asked_at=NOON) for each in range(2)])
    storage = Storage(db)
    waiting = waiting_on(cast(Database, storage))
    (first, second) = await wait_for_all(waiting, 2)
    hasty = asyncio.create_task(waiting.until_settled("c0000", timedelta(seconds=0.2)))
    await until(lambda: waiting.number == 3)
    await waiting.drain()
    storage.is_away = True
    with pytest.raises(StorageUnavailable):
        await hasty
    news = [event(NewsKind.SET, f"seam_c000{each}", f"e{each}", NOON + timedelta(seconds=1)) for each in range(2)]
    clock.advance(seconds=1)
    await store_batch(db, news)
    waiting.news_came(news)
    storage.is_away = False
    async with asyncio.timeout(10):
        assert [case.row.verdict for case in await asyncio.gather(first, second)] == ["verified"] * 2
    await waiting.drain()


async def test_a_code_that_cannot_be_assessed_takes_nobody_elses_answer_away(
    db: Database, waiting_on: WaitingOn
) -> None:
    await track(db, *[row(f"c{each:04}", next_check_at=NOON, asked_at=NOON) for each in range(3)])
    waiting = waiting_on(db)
    tasks = await wait_for_all(waiting, 3)
    async with db.write() as conn:
        await conn.execute(update(access_codes).where(access_codes.c.id == "c0001").values(read={"at": "nonsense"}))
        await mark_due(conn, ["c0000", "c0001"], NOON)
        await untrack(conn, "c0002", NOON)
        await untrack(conn, "c0000", NOON)
    waiting.look_at(None)
    async with asyncio.timeout(10):
        first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(second, KeyError)
    assert [case.row.id for case in (first, third) if not isinstance(case, BaseException)] == ["c0000", "c0002"]


async def test_a_code_that_the_database_refuses_takes_nobody_elses_answer_away(
    db: Database, waiting_on: WaitingOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    await track(db, *[row(f"c{each:04}", next_check_at=NOON, asked_at=NOON) for each in range(2)])
    waiting = waiting_on(db)
    tasks = await wait_for_all(waiting, 2)

    async def refused(known: Database, idents: Sequence[str], *args: Any) -> dict[str, Case]:
        if "c0001" in idents:
            raise RefusedByDatabase("the database refused the data")
        return await refresh_all(known, idents, *args)

    monkeypatch.setattr("app.api.waiting.refresh_all", refused)
    async with db.write() as conn:
        await untrack(conn, "c0000", NOON)
    waiting.look_at(None)
    async with asyncio.timeout(10):
        first, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, Case)
    assert isinstance(second, RefusedByDatabase)
