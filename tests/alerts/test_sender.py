"""From messages to channels: at least once under one id, in order, and no channel waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from app.alerts import sender as sending
from app.alerts.channels import Arrived, Failed
from app.alerts.sender import LEASE
from app.domain.alerting import AlertPolicy
from app.domain.assessment import FlagKind
from app.storage.deliveries import retry_dead
from app.storage.engine import Database, open_database
from app.storage.errors import StorageUnavailable
from app.storage.queries import list_alerts
from app.storage.tables import alert_deliveries
from tests.alerts.worlds import FakeChannel, World
from tests.receiver.inboxes import until

NO_REMINDERS = AlertPolicy(repeat=timedelta(0))
BUSY = Failed("answered 503")
REFUSED = Failed("answered 410", is_permanent=True)


class Killed(BaseException):
    """Nothing that was begun is tidied up."""


@asynccontextmanager
async def under_way(world: World) -> AsyncIterator[asyncio.Task[bool]]:
    """A sender whose message is on its way, until the channel's gate opens."""
    gate = world.channels[0].gate = asyncio.Event()
    task = asyncio.create_task(world.sender.run_once())
    await until(lambda: bool(world.channels[0].got))
    yield task
    gate.set()
    await task


async def composed(db: Database, *channels: FakeChannel) -> World:
    world = World(db, *channels, policy=NO_REMINDERS)
    await world.open("Ada")
    world.clock.advance(seconds=5)
    assert await world.alerts.composer.run_once()
    return world


async def test_a_process_that_dies_between_sending_and_noting_it_sends_again_under_the_same_id(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await composed(db, FakeChannel())

    async def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(sending, "note_sent", die)
        with pytest.raises(Killed):
            await world.sender.run_once()
    assert (await world.states()) == {"Ada opened": "sending"}
    world.alerts = world.replica()
    await world.run(seconds=LEASE.total_seconds() - 1)
    assert len(world.channels[0].got) == 1
    await world.run(seconds=1)
    first, second = world.channels[0].got
    assert first == second
    assert await world.states() == {"Ada opened": "sent"}
    (delivery,) = await world.deliveries()
    assert (delivery["attempts"], delivery["sent_at"]) == (2, world.clock())


async def test_storage_that_is_away_when_it_is_noted_loses_nothing(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await composed(db, FakeChannel())

    async def fail(*_: Any) -> None:
        raise StorageUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(sending, "note_sent", fail)
        with pytest.raises(StorageUnavailable):
            await world.sender.run_once()
    await world.run(seconds=LEASE.total_seconds())
    assert [got.id for got in world.channels[0].got] == [world.channels[0].got[0].id] * 2
    assert await world.states() == {"Ada opened": "sent"}


async def test_two_replicas_send_once(db: Database, database_url: str) -> None:
    world = await composed(db, FakeChannel())
    for number in range(10):
        await world.open(f"code {number}", device_id=f"lock {number}")
    world.clock.advance(seconds=5)
    assert await world.alerts.composer.run_once()
    other_db = open_database(database_url)
    other = world.replica(other_db).senders[0]
    for _ in range(10):
        await asyncio.gather(world.sender.run_once(), other.run_once())
    await other_db.close()
    ids = [got.id for got in world.channels[0].got]
    assert len(ids) == len(set(ids)) == 11
    assert set((await world.states()).values()) == {"sent"}


async def test_a_lease_that_runs_out_is_taken_over_and_both_ends_are_told_rightly(db: Database) -> None:
    """The slow first attempt arrives after all, the second fails: it arrived."""
    world = await composed(db, FakeChannel(answers=[BUSY]))
    async with under_way(world) as task:
        world.clock.advance(seconds=LEASE.total_seconds())
        other = world.replica(channels=[FakeChannel()]).senders[0]
        assert await other.run_once()
        world.channels[0].gate.set()  # type: ignore[union-attr]
        await task
    (delivery,) = await world.deliveries()
    assert (delivery["state"], delivery["attempts"], delivery["last_error"]) == ("sent", 2, None)
    assert await world.states() == {"Ada opened": "sent"}


async def test_a_dead_channel_delays_no_other(db: Database) -> None:
    world = await composed(db, FakeChannel(forever=BUSY), FakeChannel("slack-1"))
    await world.run()
    assert {each["channel"]: each["state"] for each in await world.deliveries()} == {
        "webhook": "pending",
        "slack-1": "sent",
    }
    assert await world.states() == {"Ada opened": "sending"}


async def test_a_slow_channel_delays_no_other(db: Database) -> None:
    world = World(db, FakeChannel(), FakeChannel("slack-1"), policy=AlertPolicy(group_within=timedelta(0)))
    slow, quick = world.channels
    slow.gate = asyncio.Event()
    stop = asyncio.Event()
    loops = [world.alerts.composer.run, *(sender.run for sender in world.alerts.senders)]
    tasks = [asyncio.create_task(run(stop)) for run in loops]
    await world.open("Ada")
    world.alerts.wake()
    await until(lambda: bool(slow.got) and bool(quick.got))
    await world.open("Bob", kind=FlagKind.LOST)
    world.alerts.wake()
    await until(lambda: len(quick.got) == 2)
    assert slow.told == ["opened Ada"]
    slow.gate.set()
    await until(lambda: len(slow.got) == 2)
    stop.set()
    await asyncio.gather(*tasks)
    assert slow.closed
    assert quick.closed
    assert set((await world.states()).values()) == {"sent"}


async def test_stopping_lets_what_is_under_way_arrive(db: Database) -> None:
    world = await composed(db, FakeChannel(gate=asyncio.Event()))
    stop = asyncio.Event()
    task = asyncio.create_task(world.sender.run(stop))
    await until(lambda: bool(world.channels[0].got))
    stop.set()
    world.channels[0].gate.set()  # type: ignore[union-attr]
    await task
    assert await world.states() == {"Ada opened": "sent"}


async def test_stopping_does_not_wait_for_a_channel_that_hangs(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "STOP_WITHIN", timedelta(seconds=0.05))
    world = await composed(db, FakeChannel(gate=asyncio.Event()))
    stop = asyncio.Event()
    task = asyncio.create_task(world.sender.run(stop))
    await until(lambda: bool(world.channels[0].got))
    stop.set()
    await asyncio.wait_for(task, 10)
    (delivery,) = await world.deliveries()
    assert (delivery["state"], delivery["last_error"]) == ("pending", sending._STOPPED.error)
    world.channels[0].gate = None
    world.alerts = world.replica()
    await world.run(seconds=5)
    assert await world.states() == {"Ada opened": "sent"}


class TestFailures:
    async def test_what_fails_is_tried_again_after_growing_pauses(self, db: Database) -> None:
        world = await composed(db, FakeChannel(answers=[BUSY, BUSY, RuntimeError("4821")]))
        world.sender._spread = lambda: 1.0
        for pause, attempts in ((0, 1), (5, 2), (10, 3), (20, 4)):
            if pause:
                await world.run(seconds=pause - 0.1)
                assert len(world.channels[0].got) == attempts - 1
            await world.run(seconds=0.1)
            assert len(world.channels[0].got) == attempts
        assert len({got.id for got in world.channels[0].got}) == 1
        assert await world.states() == {"Ada opened": "sent"}
        assert await world.metric("alert_deliveries_total", channel="webhook", outcome="failed") == 3

    async def test_the_answer_to_why_is_kept(self, db: Database) -> None:
        world = await composed(db, FakeChannel(answers=[RuntimeError("4821")]))
        await world.run()
        async with db.read() as conn:
            (shown,) = (await list_alerts(conn, state="sending", after=None, limit=10)).items
        assert (shown.attempts, shown.last_error) == (1, "it raised RuntimeError")
        assert shown.next_attempt_at is not None
        assert world.clock() < shown.next_attempt_at <= world.clock() + timedelta(seconds=5)

    async def test_a_receiver_may_ask_for_a_pause(self, db: Database) -> None:
        world = await composed(db, FakeChannel(answers=[Failed("answered 429", retry_after=timedelta(minutes=10))]))
        await world.run()
        await world.run(minutes=9.9)
        assert len(world.channels[0].got) == 1
        await world.run(minutes=0.1)
        assert await world.states() == {"Ada opened": "sent"}

    async def test_a_permanent_failure_is_given_up_at_once(self, db: Database) -> None:
        world = await composed(db, FakeChannel(forever=REFUSED), FakeChannel("slack-1"))
        await world.run()
        await world.run(days=2)
        assert len(world.channels[0].got) == 1
        assert await world.states() == {"Ada opened": "dead"}
        assert await world.metric("alert_deliveries_total", channel="webhook", outcome="dead") == 1
        assert await world.metric("alert_deliveries_dead") == 1

    async def test_what_fails_for_a_day_is_given_up(self, db: Database) -> None:
        world = await composed(db, FakeChannel(forever=BUSY))
        began = world.clock()
        await world.run()
        for _ in range(24):
            await world.run(hours=0.99)
        assert await world.states() == {"Ada opened": "sending"}
        assert await world.metric("alert_oldest_unsent_seconds") > 85_000  # type: ignore[operator]
        await world.run(hours=0.24)
        assert world.clock() == began + timedelta(days=1)
        assert await world.states() == {"Ada opened": "dead"}
        assert 20 < len(world.channels[0].got) < 40
        await world.run(minutes=1)
        assert await world.metric("alert_oldest_unsent_seconds") == 0

    async def test_after_a_day_without_a_process_it_is_tried_once_more(self, db: Database) -> None:
        world = await composed(db, FakeChannel())
        await world.run(days=3)
        assert await world.states() == {"Ada opened": "sent"}


class TestOrder:
    async def test_closed_waits_for_opened_on_each_channel(self, db: Database) -> None:
        world = World(db, FakeChannel(answers=[BUSY, BUSY]), FakeChannel("slack-1"), policy=NO_REMINDERS)
        world.sender._spread = lambda: 1.0
        (flag_id,) = await world.open("Ada")
        await world.run(seconds=5)
        await world.close(flag_id)
        await world.open("Bob", kind=FlagKind.LOST)
        await world.run(seconds=5)
        assert world.channels[0].told == ["opened Ada", "opened Ada", "opened Bob"]
        assert sorted(world.channels[1].told) == ["closed Ada", "opened Ada", "opened Bob"]
        await world.run(seconds=10)
        assert world.channels[0].told[3:] == ["opened Ada", "closed Ada"]

    async def test_both_composed_at_once_go_out_in_order(self, db: Database) -> None:
        world = World(db, FakeChannel(), policy=NO_REMINDERS)
        first, second = await world.open("Ada", "Bob")
        await world.close(first, second)
        await world.run(seconds=5)
        assert world.channels[0].told == ["opened Ada+Bob", "closed Ada+Bob"]

    async def test_once_opened_is_given_up_closed_is_told(self, db: Database) -> None:
        world = World(db, FakeChannel(answers=[REFUSED]), policy=NO_REMINDERS)
        (flag_id,) = await world.open("Ada")
        await world.run(seconds=5)
        await world.close(flag_id)
        await world.run(seconds=5)
        assert world.channels[0].told == ["opened Ada", "closed Ada"]
        assert await world.states() == {"Ada opened": "dead", "Ada closed": "sent"}


class TestRetrying:
    async def test_what_was_given_up_is_tried_again_for_another_day_under_the_same_id(self, db: Database) -> None:
        world = await composed(db, FakeChannel(answers=[REFUSED, BUSY]), FakeChannel("slack-1"))
        await world.run()
        await world.run(days=3)
        async with db.write() as conn:
            (message_id,) = await retry_dead(conn, None, world.clock())
        assert await world.states() == {"Ada opened": "sending"}
        await world.run()
        await world.run(hours=23)
        assert [got.id for got in world.channels[0].got] == [message_id] * 3
        assert len(world.channels[1].got) == 1
        assert await world.states() == {"Ada opened": "sent"}

    async def test_only_what_is_named_is_tried_again(self, db: Database) -> None:
        world = await composed(db, FakeChannel(forever=REFUSED))
        await world.open("Bob", kind=FlagKind.LOST)
        await world.run(seconds=5)
        first, second = [got.id for got in world.channels[0].got]
        async with db.write() as conn:
            assert await retry_dead(conn, [second, "msg_unknown"], world.clock()) == [second]
        await world.run()
        assert [got.id for got in world.channels[0].got] == [first, second, second]

    async def test_what_was_told_as_closed_meanwhile_stays_given_up(self, db: Database) -> None:
        world = World(db, FakeChannel(answers=[REFUSED]), FakeChannel("slack-1", answers=[REFUSED, REFUSED]))
        (flag_id,) = await world.open("Ada")
        await world.run(seconds=5)
        await world.close(flag_id)
        await world.run(seconds=5)
        async with db.write() as conn:
            assert len(await retry_dead(conn, None, world.clock())) == 2
        await world.run()
        assert world.channels[0].told == ["opened Ada", "closed Ada"]
        assert world.channels[1].told == ["opened Ada", "closed Ada", "opened Ada", "closed Ada"]
        async with db.write() as conn:
            assert await retry_dead(conn, None, world.clock()) == []

    async def test_what_is_not_given_up_is_left_alone(self, db: Database) -> None:
        world = await composed(db, FakeChannel())
        async with db.write() as conn:
            assert await retry_dead(conn, None, world.clock()) == []
        await world.run()
        async with db.write() as conn:
            assert await retry_dead(conn, [world.channels[0].got[0].id], world.clock()) == []


async def test_a_channel_that_is_gone_from_the_settings_is_given_up_after_a_day(db: Database) -> None:
    world = await composed(db, FakeChannel("old-1"), FakeChannel())
    world.channels = (FakeChannel(),)
    world.alerts = world.replica()
    await world.run(hours=24)
    assert await world.states() == {"Ada opened": "sending"}
    await world.run(seconds=15)
    assert await world.states() == {"Ada opened": "dead"}
    (old,) = [each for each in await world.deliveries() if each["channel"] == "old-1"]
    assert old["last_error"] == "this channel is not configured any more"


async def test_channels_that_end_at_the_same_time_see_each_other(db: Database) -> None:
    world = await composed(db, FakeChannel(), FakeChannel("slack-1"), FakeChannel("ntfy-1"))
    await asyncio.gather(*(sender.run_once() for sender in world.alerts.senders))
    assert await world.states() == {"Ada opened": "sent"}


@pytest.mark.parametrize("outcome", [Arrived(), BUSY, REFUSED])
async def test_an_attempt_holds_no_transaction(db: Database, outcome: Arrived | Failed) -> None:
    world = await composed(db, FakeChannel(answers=[outcome]))
    async with under_way(world), db.write() as conn:
        await conn.execute(alert_deliveries.update().values(last_error="written meanwhile"))
