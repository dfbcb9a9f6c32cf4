"""From flags to messages: once, together, and with a delivery for each channel."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.alerts import composer as composing
from app.domain.alert_texts import document
from app.domain.alerting import AlertPolicy
from app.domain.assessment import FlagKind, Problem
from app.storage.alerts import NewMessage, load_pending, save_message
from app.storage.engine import Database, open_database
from app.storage.tables import devices, flags
from tests.alerts.worlds import OFFLINE, FakeChannel, World, name_device
from tests.storage.waiting import until_waiting


async def test_flags_of_one_cause_on_one_lock_are_told_as_one(db: Database) -> None:
    world = World(db, FakeChannel(), FakeChannel("slack-1"))
    await name_device(db, "Front door")
    await world.open("Ada", "Bob")
    await world.run(seconds=4)
    await world.open("Cleo")
    await world.open("Dan", kind=FlagKind.LOST)
    await world.run(seconds=1)
    assert world.channels[0].told == world.channels[1].told == ["opened Ada+Bob+Cleo"]
    await world.run(seconds=4)
    assert world.channels[0].told == ["opened Ada+Bob+Cleo", "opened Dan"]
    flag = world.channels[0].got[0].content["data"]["flags"][0]
    assert flag["device"] == {"id": "device", "name": "Front door"}
    assert set((await world.states()).values()) == {"sent"}


async def test_flags_of_one_account_are_told_as_one_if_the_account_is_the_cause(db: Database) -> None:
    world = World(db, FakeChannel())
    lost = Problem("connected_account", "account_disconnected", "Log-in lost.", temporary=False, remedy="Reconnect.")
    await world.code("Ada", device_id="front")
    await world.code("Bob", device_id="back", connected_account_id=None)
    async with db.write() as conn:
        await conn.execute(devices.insert().values(device_id="back", connected_account_id="account"))
    for name, device in (("Ada", "front"), ("Bob", "back")):
        await world.open(name, kind=FlagKind.UNKNOWN, problem=lost, device_id=device)
    await world.run(seconds=5)
    assert world.channels[0].told == ["opened Ada+Bob"]


async def test_a_message_never_changes_and_has_the_same_id_everywhere(db: Database) -> None:
    world = World(db, FakeChannel(), FakeChannel("slack-1"))
    (flag_id,) = await world.open("Ada", problem=OFFLINE)
    await world.run(seconds=5)
    (message,) = await world.messages()
    assert {message["id"]} == {got.id for channel in world.channels for got in channel.got}
    assert message["content"] == world.channels[0].got[0].content
    await world.close(flag_id)
    await world.run(seconds=5)
    assert (await world.messages())[0]["content"] in [got.content for got in world.channels[0].got]
    assert world.channels[0].told == ["opened Ada", "closed Ada"]


async def test_without_a_channel_nobody_is_told(db: Database) -> None:
    world = World(db)
    (flag_id,) = await world.open("Ada")
    await world.close(flag_id)
    await world.run()
    assert await world.states() == {"Ada opened": "skipped", "Ada closed": "skipped"}
    assert await world.messages() == []
    world.channels = (FakeChannel(),)
    world.alerts = world.replica()
    await world.run(hours=1)
    assert world.channels[0].got == []


async def test_a_flag_that_closes_within_its_first_seconds_is_not_told(db: Database) -> None:
    world = World(db, FakeChannel(), policy=AlertPolicy(after=timedelta(seconds=60)))
    short, long = await world.open("Ada", "Bob")
    await world.run(seconds=59)
    await world.close(short)
    await world.run(seconds=1)
    await world.close(long)
    await world.run(seconds=5)
    assert world.channels[0].told == ["opened Bob", "closed Bob"]
    states = await world.states()
    assert states == {"Ada opened": "skipped", "Ada closed": "skipped", "Bob opened": "sent", "Bob closed": "sent"}


async def test_the_end_of_what_was_told_to_nobody_is_told_to_nobody(db: Database) -> None:
    world = World(db)
    (flag_id,) = await world.open("Ada")
    await world.run()
    world.channels = (FakeChannel(),)
    world.alerts = world.replica()
    await world.close(flag_id)
    await world.run(seconds=5)
    assert await world.states() == {"Ada opened": "skipped", "Ada closed": "skipped"}


async def test_two_replicas_compose_each_alert_once(db: Database, database_url: str) -> None:
    world = World(db, FakeChannel())
    other_db = open_database(database_url)
    other = world.replica(other_db)
    await world.open(*(f"code {number}" for number in range(20)))
    await world.open("late", kind=FlagKind.LOST)
    world.clock.advance(seconds=5)
    await asyncio.gather(*(each.composer.run_once() for each in (world.alerts, other) for _ in range(3)))
    await other_db.close()
    told = [flag["name"] for message in await world.messages() for flag in message["content"]["data"]["flags"]]
    assert sorted(told) == sorted([*(f"code {number}" for number in range(20)), "late"])


async def test_a_replica_that_comes_second_writes_nothing(db: Database, database_url: str) -> None:
    """The second has read the pending alert, and waits for the first to commit."""
    world = World(db, FakeChannel())
    await world.open("Ada")
    now = world.clock()
    async with db.read() as conn:
        (pending,) = await load_pending(conn, now, timedelta(0), 10)
    message = NewMessage("msg", document([pending], now), [pending], None)
    other_db = open_database(database_url)

    async def second() -> bool:
        async with other_db.write() as conn:
            return await save_message(conn, NewMessage("other", message.content, message.alerts, None), ["x"], now)

    async with db.write() as conn:
        assert await save_message(conn, message, ["webhook"], now)
        task = asyncio.create_task(second())
        await until_waiting(other_db)
    assert not await task
    await other_db.close()
    assert [each["id"] for each in await world.messages()] == ["msg"]


@pytest.mark.parametrize("names", [("Ada",), ("Ada", "Bob")])
async def test_an_alert_that_cannot_be_told_keeps_no_other(
    db: Database, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    def refuse_ada(alerts: Any, now: Any) -> Any:
        if any(alert.name == "Ada" for alert in alerts):
            raise KeyError("a PIN may stand here: 4821")
        return document(alerts, now)

    monkeypatch.setattr(composing, "document", refuse_ada)
    world = World(db, FakeChannel())
    await world.open(*names)
    await world.open("Cleo", kind=FlagKind.LOST)
    await world.run(seconds=5)
    assert world.channels[0].told == ["opened Cleo"]
    assert {await world.metric("alerts_total", outcome=each) for each in ("postponed", "told")} == {len(names), 1}
    monkeypatch.setattr(composing, "document", document)
    await world.run(minutes=9)
    assert world.channels[0].told == ["opened Cleo"]
    await world.run(minutes=1)
    assert world.channels[0].told == ["opened Cleo", f"opened {'+'.join(names)}"]


async def test_a_flag_of_the_service_itself_is_told(db: Database) -> None:
    world = World(db, FakeChannel())
    await world.open("Ada", kind=FlagKind.WEBHOOK_SILENT)
    async with db.write() as conn:
        await conn.execute(flags.update().values(code_id=None, device_id=None, access_code_id=None))
    await world.run(seconds=5)
    assert world.channels[0].told == ["opened webhook_silent"]


class TestReminders:
    REPEAT = AlertPolicy(repeat=timedelta(hours=1))

    async def test_an_open_flag_that_nobody_took_on_is_told_again_and_again(self, db: Database) -> None:
        world = World(db, FakeChannel(), policy=self.REPEAT)
        flag_ids = await world.open("Ada", "Bob")
        await world.run(seconds=5)
        await world.run(minutes=59)
        assert world.channels[0].told == ["opened Ada+Bob"]
        for _ in range(2):
            await world.run(minutes=1)
            await world.run(seconds=5)
            await world.run(minutes=59)
        assert world.channels[0].told == ["opened Ada+Bob", "reminder Ada+Bob", "reminder Ada+Bob"]
        ids = [flag["alert_id"] for flag in world.channels[0].got[2].content["data"]["flags"]]
        assert sorted(ids) == sorted(f"{flag_id}:reminder:2" for flag_id in flag_ids)

    async def test_acknowledging_stops_it(self, db: Database) -> None:
        world = World(db, FakeChannel(), policy=self.REPEAT)
        (flag_id,) = await world.open("Ada")
        await world.run(seconds=5)
        await world.acknowledge(flag_id)
        await world.run(days=2)
        assert world.channels[0].told == ["opened Ada"]

    async def test_who_acknowledges_before_it_was_told_is_not_reminded(self, db: Database) -> None:
        world = World(db, FakeChannel(), policy=self.REPEAT)
        (flag_id,) = await world.open("Ada")
        await world.acknowledge(flag_id)
        await world.run(seconds=5)
        await world.run(days=2)
        assert world.channels[0].told == ["opened Ada"]

    async def test_closing_stops_it(self, db: Database) -> None:
        world = World(db, FakeChannel(), policy=self.REPEAT)
        (flag_id,) = await world.open("Ada")
        await world.run(seconds=5)
        await world.close(flag_id)
        await world.run(days=2)
        await world.run(seconds=5)
        assert world.channels[0].told == ["opened Ada", "closed Ada"]

    async def test_what_closes_while_its_reminder_waits_is_not_reminded_of(self, db: Database) -> None:
        world = World(db, FakeChannel(), policy=self.REPEAT)
        (flag_id,) = await world.open("Ada")
        await world.run(seconds=5)
        await world.run(hours=1)
        await world.close(flag_id)
        await world.run(seconds=5)
        assert world.channels[0].told == ["opened Ada", "closed Ada"]
        assert (await world.states())["Ada reminder:1"] == "skipped"

    @pytest.mark.parametrize(("repeat", "later"), [(0, 1), (3600, 2)])
    async def test_after_a_snooze_it_is_told_again(self, db: Database, repeat: int, later: int) -> None:
        """Once if nothing is repeated: that is what the snooze asked for."""
        world = World(db, FakeChannel(), policy=AlertPolicy(repeat=timedelta(seconds=repeat)))
        (flag_id,) = await world.open("Ada")
        await world.run(seconds=5)
        await world.acknowledge(flag_id, snooze=timedelta(hours=8))
        await world.run(hours=7.9)
        assert world.channels[0].told == ["opened Ada"]
        for _ in range(2):
            await world.run(hours=1)
            await world.run(seconds=5)
        assert world.channels[0].told == ["opened Ada"] + ["reminder Ada"] * later

    async def test_without_repeating_it_is_told_once(self, db: Database) -> None:
        world = World(db, FakeChannel(), policy=AlertPolicy(repeat=timedelta(0)))
        await world.open("Ada")
        await world.run(seconds=5)
        await world.run(days=30)
        assert world.channels[0].told == ["opened Ada"]

    async def test_two_replicas_remind_once(self, db: Database, database_url: str) -> None:
        world = World(db, FakeChannel(), policy=self.REPEAT)
        await world.open("Ada", "Bob")
        await world.run(seconds=5)
        other_db = open_database(database_url)
        other = world.replica(other_db)
        world.clock.advance(hours=1)
        await asyncio.gather(world.alerts.composer.run_once(), other.composer.run_once())
        await other_db.close()
        await world.run(seconds=5)
        assert world.channels[0].told == ["opened Ada+Bob", "reminder Ada+Bob"]
