"""The silence watch at work: one flag, with its cause, that closes when webhooks come again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.domain.assessment import FlagKind
from app.seam.errors import SeamUnanswered
from app.storage.engine import Database
from app.storage.flags import FlagRow, open_flag_of_service
from tests.reconciler.histories import IntakeWorld
from tests.reconciler.worlds import seconds

SET = "access_code.set_on_device"


@pytest.fixture
def world(db: Database) -> IntakeWorld:
    return IntakeWorld(db)


async def flag_of(world: IntakeWorld) -> FlagRow | None:
    async with world.db.read() as conn:
        return await open_flag_of_service(conn, FlagKind.WEBHOOK_SILENT)


async def silenced(world: IntakeWorld) -> FlagRow:
    """Seam makes an event, no webhook brings it, and the time of patience passes."""
    await world.live(30)
    await world.bring(world.seam.make(SET, "ac-0"))
    await world.live(10)
    world.seam.make(SET, "ac-1")
    await world.live(960)
    flag = await flag_of(world)
    assert flag is not None
    return flag


async def test_silence_opens_one_flag_with_its_cause_dated_when_it_began(world: IntakeWorld) -> None:
    began = world.clock.now + seconds(40)
    flag = await silenced(world)
    assert (flag.code_id, flag.severity, flag.opened_at) == (None, "critical", began)
    assert flag.problem is not None
    assert flag.problem["code"] == "webhooks_not_arriving"
    assert "do not arrive" in flag.reason
    await world.live(60)
    assert await world.alert_ids() == [f"{flag.id}:opened"]


async def test_nothing_is_flagged_while_seam_has_nothing_to_tell(world: IntakeWorld) -> None:
    await world.live(3600, step=20)
    assert await flag_of(world) is None
    assert "list_webhooks" not in world.seam.calls


async def test_it_closes_when_webhooks_come_again_and_nothing_else_was_lost(world: IntakeWorld) -> None:
    flag = await silenced(world)
    await world.bring(world.seam.make(SET, "ac-2"))
    await world.live(90)
    assert await flag_of(world) is None
    assert await world.alert_ids() == [f"{flag.id}:closed", f"{flag.id}:opened"]
    await world.live(1200, step=20)
    assert await flag_of(world) is None


async def test_a_part_that_gets_lost_is_flagged_although_the_rest_arrives(world: IntakeWorld) -> None:
    await world.live(30)
    flag, number = None, 0
    while flag is None and number < 100:
        made = world.seam.make(SET, f"ac-{number}")
        if number % 5:
            await world.bring(made)
        await world.live(15, step=15)
        flag, number = await flag_of(world), number + 1
    assert flag is not None
    assert flag.problem is not None
    assert flag.problem["code"] == "webhooks_partly_lost"
    assert (await world.intake()).lost_in_a_row >= 5


async def test_our_own_downtime_is_no_silence(world: IntakeWorld) -> None:
    await world.live(30)
    for number in range(30):
        world.clock.advance(seconds=120)
        world.seam.make(SET, f"ac-{number}")
    world.start()
    await world.live(1800, step=15)
    assert len(await world.sources()) == 30
    assert await flag_of(world) is None


async def test_a_webhook_that_somebody_deleted_at_seam_is_named(world: IntakeWorld) -> None:
    world.seam.hooks = []
    flag = await silenced(world)
    assert flag.problem is not None
    assert flag.problem["code"] == "webhook_not_registered"


async def test_another_cause_that_comes_to_light_is_named_without_another_alert(world: IntakeWorld) -> None:
    flag = await silenced(world)
    world.seam.hooks = [replace(world.seam.hooks[0], event_types=("lock.unlocked",))]
    await world.live(70)
    corrected = await flag_of(world)
    assert corrected is not None
    assert corrected.id == flag.id
    assert corrected.problem is not None
    assert corrected.problem["code"] == "event_types_missing"
    assert await world.alert_ids() == [f"{flag.id}:opened"]


async def test_signatures_that_do_not_fit_are_named(world: IntakeWorld) -> None:
    await world.live(30)
    world.seam.make(SET, "ac-1")
    world.receiver_metrics.rejections.labels("wrong_signature").inc(4)
    await world.live(960)
    flag = await flag_of(world)
    assert flag is not None
    assert flag.problem is not None
    assert flag.problem["code"] == "wrong_secret"


async def test_seam_that_does_not_list_its_webhooks_keeps_nobody_from_flagging(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses() -> Any:
        raise SeamUnanswered("Seam did not answer in time.")

    monkeypatch.setattr(world.seam, "list_webhooks", refuses)
    flag = await silenced(world)
    assert flag.problem is not None
    assert flag.problem["code"] == "webhooks_not_arriving"


async def test_two_replicas_that_notice_it_at_once_open_one_flag_and_close_it_once(world: IntakeWorld) -> None:
    other = IntakeWorld(world.db, clock=world.clock)
    other.seam.hooks = world.seam.hooks
    await world.live(30)
    world.seam.make(SET, "ac-1")
    while (await world.intake()).lost == 0:
        await world.live(10)
    for _ in range(90):
        world.clock.advance(seconds=10)
        await world.receipts.keep()
    await asyncio.gather(world.watch.run_once(), other.watch.run_once())
    flag = await flag_of(world)
    assert flag is not None
    await world.bring(world.seam.make(SET, "ac-2"))
    world.clock.advance(seconds=61)
    await world.backfill.run_once()
    await world.receipts.keep()
    await asyncio.gather(world.watch.run_once(), other.watch.run_once())
    assert await flag_of(world) is None
    assert await world.alert_ids() == [f"{flag.id}:closed", f"{flag.id}:opened"]


async def test_it_stops_when_told(world: IntakeWorld) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(world.watch.run(stop))
    stop.set()
    await asyncio.wait_for(running, 10)
