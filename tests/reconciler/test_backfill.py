"""The backfill: everything that Seam made is here afterwards, and it is known until when; what got lost is counted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from app.domain.spans import LOOK_BACK, OVERLAP, SETTLED
from app.reconciler import fetching
from app.reconciler.backfill import Backfill
from app.seam.errors import SeamRateLimited, SeamUnanswered, SeamUnreached
from app.storage.engine import Database
from app.storage.errors import StorageUnavailable
from app.storage.inbox import store_batch
from app.storage.leases import take_lease
from tests.reconciler.histories import EVERY, IntakeWorld
from tests.reconciler.worlds import seconds

SET = "access_code.set_on_device"


@pytest.fixture
def world(db: Database) -> IntakeWorld:
    return IntakeWorld(db)


async def test_what_no_webhook_brought_is_fetched_through_the_same_inbox(world: IntakeWorld) -> None:
    code = await world.create()
    world.seam.make(SET, code.access_code_id, code="4821")
    found = await world.backfill.run_once()
    assert found is not None
    assert (found.listed, found.new) == (1, 1)
    await world.run()
    assert await world.verdict(code.id) == "verified"
    assert await world.sources() == {"event-0": "backfill"}
    assert not [payload for payload in await world.payloads() if "4821" in payload]


async def test_what_a_webhook_brought_is_not_stored_twice(world: IntakeWorld) -> None:
    await world.bring(world.seam.make(SET, "ac"))
    found = await world.backfill.run_once()
    assert found is not None
    assert (found.listed, found.new) == (1, 0)
    assert await world.sources() == {"event-0": "webhook"}
    assert (await world.intake()).backfilled == 0


async def test_the_first_comparison_begins_a_short_while_before_the_start(world: IntakeWorld) -> None:
    began = world.clock.now
    await world.backfill.run_once()
    assert world.seam.spans == [(began - LOOK_BACK - OVERLAP, began + seconds(2))]
    assert (await world.intake()).proven_until == began - SETTLED


async def test_the_next_begins_where_the_proof_ends_with_an_overlap(world: IntakeWorld) -> None:
    began = world.clock.now
    await world.backfill.run_once()
    assert await world.backfill.run_once() is None, "it is not time yet"
    world.clock.advance(seconds=EVERY.total_seconds())
    # Somebody has received all the time: only what has settled is asked for.
    world.receipts.since = began - seconds(3600)
    await world.receipts.keep()
    await world.backfill.run_once()
    assert world.seam.spans[1][0] == began - SETTLED - OVERLAP
    assert (await world.intake()).proven_until == world.clock.now - SETTLED


async def test_nothing_in_seams_future_is_called_proven_when_our_clock_is_ahead(world: IntakeWorld) -> None:
    world.seam.ahead = timedelta(hours=-1)
    await world.backfill.run_once()
    seams_now = world.clock.now - timedelta(hours=1)
    proven = (await world.intake()).proven_until
    assert proven is not None
    assert proven <= seams_now - SETTLED
    world.seam.make(SET, "ac")
    world.clock.advance(seconds=EVERY.total_seconds())
    await world.backfill.run_once()
    assert set(await world.sources()) == {"event-0"}


async def test_all_is_fetched_when_our_clock_is_behind(world: IntakeWorld) -> None:
    world.seam.ahead = timedelta(hours=1)
    made = world.seam.make(SET, "ac")
    assert made["created_at"] > world.clock.now.isoformat()
    await world.backfill.run_once()
    assert set(await world.sources()) == {"event-0"}
    assert (await world.intake()).proven_until == world.clock.now + timedelta(hours=1) - SETTLED


@pytest.mark.parametrize("heeds_limit", [True, False], ids=["like Seam", "like its stand-in"])
async def test_a_full_answer_is_halved_until_nothing_can_be_left_out(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch, *, heeds_limit: bool
) -> None:
    monkeypatch.setattr(fetching, "LIMIT", 10)
    world.seam.heeds_limit = heeds_limit
    await world.backfill.run_once()
    for number in range(60):
        world.clock.advance(seconds=1 if number < 30 else 0.02)
        world.seam.make(SET, f"ac-{number}")
    world.clock.advance(seconds=EVERY.total_seconds())
    found = await world.backfill.run_once()
    assert found is not None
    assert found.new == 60
    assert len(await world.sources()) == 60
    assert (await world.intake()).proven_until == world.clock.now - SETTLED


async def test_a_crowd_within_one_millisecond_is_taken_as_it_is(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "LIMIT", 10)
    world.seam.heeds_limit = False
    for number in range(35):
        world.seam.make(SET, f"ac-{number}")
    await world.backfill.run_once()
    assert len(await world.sources()) == 35


async def test_the_proof_moves_in_the_commit_that_holds_the_events(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies at any moment leaves behind what it proved, and no more."""
    await world.backfill.run_once()
    before = (await world.intake()).proven_until
    for _ in range(3):
        world.clock.advance(seconds=60)
        world.seam.make(SET, "ac")

    async def dies(*arguments: Any, **options: Any) -> Any:
        await store_batch(*arguments, **options)
        raise StorageUnavailable("the process was killed after the commit")

    monkeypatch.setattr(fetching, "store_batch", dies)
    world.clock.advance(seconds=EVERY.total_seconds())
    with pytest.raises(StorageUnavailable):
        await world.backfill.run_once()
    after = (await world.intake()).proven_until
    assert before is not None
    assert after is not None
    assert after > before
    assert len(await world.sources()) == 3


async def test_a_commit_that_fails_moves_nothing(world: IntakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.backfill.run_once()
    before = (await world.intake()).proven_until
    world.seam.make(SET, "ac")

    async def fails(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("no")

    monkeypatch.setattr(fetching, "store_batch", fails)
    world.clock.advance(seconds=EVERY.total_seconds())
    with pytest.raises(StorageUnavailable):
        await world.backfill.run_once()
    assert (await world.intake()).proven_until == before
    monkeypatch.undo()
    await world.backfill.run_once()
    assert len(await world.sources()) == 1


async def test_one_replica_compares_at_a_time_and_a_dead_ones_lease_runs_out(world: IntakeWorld) -> None:
    async with world.db.write() as conn:
        await take_lease(conn, "backfill", "another that dies", world.clock.now, seconds(60))
    assert await world.backfill.run_once() is None
    assert world.seam.calls == []
    world.clock.advance(seconds=60)
    assert await world.backfill.run_once() is not None


async def test_it_stops_between_two_calls_when_told_and_goes_on_where_it_was(world: IntakeWorld) -> None:
    stop = asyncio.Event()
    stop.set()
    world.seam.make(SET, "ac")
    assert await world.backfill.run_once(stop) is None
    assert world.seam.spans == []
    assert (await world.intake()).compared_at is None
    assert await world.backfill.run_once() is not None


async def test_seam_that_cannot_be_reached_is_left_alone_for_longer_and_longer(world: IntakeWorld) -> None:
    world.seam.silence = SeamUnreached("Seam cannot be reached (ConnectError: no route).")
    looks: list[float] = []
    began = world.clock.now
    while world.clock.now - began < timedelta(minutes=5):
        world.clock.advance(seconds=1)
        # The test's Seam refuses before it counts: what it was asked shows in the failures that are noted.
        before = (await world.intake()).compare_failed_at
        await world.backfill.run_once()
        if (await world.intake()).compare_failed_at != before:
            looks.append((world.clock.now - began).total_seconds())
    pauses = [later - sooner for sooner, later in pairwise(looks)]
    assert pauses == [5, 10, 20, 40, 60, 60, 60]
    intake = await world.intake()
    assert intake.compare_failure == "Seam cannot be reached: Seam cannot be reached (ConnectError: no route)."
    world.seam.silence = None
    world.clock.advance(seconds=60)
    assert await world.backfill.run_once() is not None
    assert (await world.intake()).compare_failure is None


@pytest.mark.parametrize("jump", [timedelta(seconds=40), -timedelta(hours=2)])
async def test_after_a_break_seam_is_asked_at_once_however_long_it_was_to_be_left_alone(
    world: IntakeWorld, jump: timedelta
) -> None:
    """The machine slept, or its clock was set back to before all that."""
    world.seam.silence = SeamUnreached("Seam cannot be reached.")
    for _ in range(100):
        world.clock.advance(seconds=1)
        await world.backfill.run_once()
    world.seam.silence = None
    assert await world.backfill.run_once() is None, "it is left alone"
    world.clock.now += jump
    async with world.db.read() as conn:
        await world.catch_up.is_over(conn)
    assert await world.backfill.run_once() is not None


async def test_a_clock_that_is_set_back_does_not_keep_the_comparison_waiting(world: IntakeWorld) -> None:
    assert await world.backfill.run_once() is not None
    world.clock.advance(hours=-2)
    async with world.db.read() as conn:
        await world.catch_up.is_over(conn)
    assert await world.backfill.run_once() is not None
    assert await world.backfill.run_once() is None


async def test_seam_that_asks_to_slow_down_is_waited_for_and_counts_as_reachable(world: IntakeWorld) -> None:
    world.seam.silence = SeamRateLimited("slow down", retry_after=timedelta(seconds=90))
    await world.backfill.run_once()
    assert (await world.intake()).compare_failed_at is None
    world.seam.silence = None
    world.clock.advance(seconds=89)
    assert await world.backfill.run_once() is None
    world.clock.advance(seconds=1)
    assert await world.backfill.run_once() is not None


class TestLostWebhooks:
    async def test_what_only_the_backfill_found_after_a_minute_is_lost(self, world: IntakeWorld) -> None:
        await world.live(60)
        world.seam.make(SET, "ac-1")
        await world.bring(world.seam.make(SET, "ac-2"))
        await world.live(660)
        intake = await world.intake()
        assert (intake.lost, intake.lost_in_a_row) == (1, 1)
        assert intake.lost_at == intake.lost_since == world.clock.now - seconds(660)

    async def test_what_was_found_early_is_lost_unless_its_webhook_still_comes(self, world: IntakeWorld) -> None:
        await world.live(600)
        late, lost = world.seam.make(SET, "ac-1"), world.seam.make(SET, "ac-2")
        await world.live(10)  # 610 s after the start: compared again
        assert await world.sources() == {"event-0": "backfill", "event-1": "backfill"}
        assert (await world.intake()).lost == 0
        await world.bring(late)
        await world.live(60)
        assert (await world.intake()).lost == 1
        assert await world.sources() == {"event-0": "webhook", "event-1": "backfill"}
        assert (await world.intake()).lost_at == world.clock.now - seconds(70)
        assert lost["event_id"] == "event-1"

    async def test_many_that_were_found_early_are_counted_a_part_at_a_time(
        self, world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A database takes a bounded number of values in one statement."""
        monkeypatch.setattr("app.reconciler.backfill._AT_ONCE", 2)
        await world.live(600)
        for number in range(5):
            world.seam.make(SET, f"ac-{number}")
        await world.live(50)
        counted = []
        for _ in range(4):
            await world.live(10)
            counted.append((await world.intake()).lost)
        assert counted == [2, 4, 5, 5]

    async def test_what_was_made_while_we_were_down_is_not_lost(self, world: IntakeWorld) -> None:
        await world.live(120)
        for number in range(20):
            world.clock.advance(seconds=60)
            world.seam.make(SET, f"ac-{number}")
        world.start()
        await world.live(300)
        intake = await world.intake()
        assert len(await world.sources()) == 20
        assert (intake.lost, intake.backfilled) == (0, 20)
        assert await world.alert_ids() == []

    async def test_what_was_made_while_storage_was_away_is_not_lost(self, world: IntakeWorld) -> None:
        await world.live(120)
        world.clock.advance(seconds=20)
        world.seam.make(SET, "ac")
        world.receiver_metrics.commit_failures.inc()
        await world.live(900)
        assert (await world.intake()).lost == 0
        assert len(await world.sources()) == 1


class TestCatchingUp:
    async def test_codes_set_while_we_were_down_are_never_accused(self, world: IntakeWorld) -> None:
        """Their webhooks are gone for good; and Seam's object lags behind its own events."""
        codes = [await world.create(pin=f"k:{number}") for number in range(5)]
        await world.run()
        await world.live(30)
        world.clock.advance(seconds=60)
        for code in codes:
            world.seam.make(SET, code.access_code_id)
        world.clock.advance(seconds=3600)
        world.start()
        await _work_for(world, 30)
        assert {await world.verdict(code.id) for code in codes} == {"verified"}
        assert [await world.verdicts_of(code.id) for code in codes] == [["pending", "verified"]] * 5
        assert [await world.flags_of(code.id) for code in codes] == [[]] * 5

    async def test_a_code_that_came_and_went_while_we_were_down_was_not_missed(self, world: IntakeWorld) -> None:
        start = world.clock.now + seconds(600)
        code = await world.create(starts_at=start, ends_at=start + seconds(600))
        await world.run()
        await world.live(30)
        world.clock.advance(seconds=600)
        world.seam.make(SET, code.access_code_id)
        world.clock.advance(seconds=600)
        world.seam.make("access_code.removed_from_device", code.access_code_id)
        del world.seam.codes[f"ac-{code.id}"]
        world.clock.advance(seconds=3600)
        world.start()
        await _work_for(world, 30)
        assert await world.verdict(code.id) == "removed"
        assert await world.flags_of(code.id) == []

    async def test_without_the_backfill_that_code_would_be_accused(self, world: IntakeWorld) -> None:
        """So the test before this one means something."""
        start = world.clock.now + seconds(600)
        code = await world.create(starts_at=start, ends_at=start + seconds(600))
        await world.run()
        del world.seam.codes[f"ac-{code.id}"]
        await world.run(seconds=4830)
        assert await world.flags_of(code.id) == [("missed", True)]

    async def test_nothing_is_judged_before_and_everything_after(self, world: IntakeWorld) -> None:
        code = await world.create()
        assert await world.reconciler._until_next() is None
        await world.backfill.run_once()
        assert await world.reconciler._until_next() == seconds(0)
        await world.run()
        assert await world.verdict(code.id) == "pending"

    async def test_where_seam_cannot_be_reached_nobody_waits_and_the_verdict_is_unknown(
        self, world: IntakeWorld
    ) -> None:
        code = await world.create()
        world.seam.silence = SeamUnanswered("Seam did not answer in time.")
        await world.backfill.run_once()
        assert await world.reconciler._until_next() is not None
        await world.run(seconds=601)
        assert await world.verdict(code.id) == "unknown"

    async def test_a_replica_that_starts_beside_healthy_ones_does_not_wait(self, world: IntakeWorld) -> None:
        await world.create()
        await world.live(60)
        world.clock.advance(seconds=9)
        other_receipts = world.receipts
        world.start()
        assert await world.reconciler._until_next() is None, "nobody has been heard of since its start"
        world.clock.advance(seconds=1)
        await other_receipts.keep()
        assert await world.reconciler._until_next() is not None
        assert len(world.seam.spans) == 1

    async def test_a_machine_that_slept_catches_up_first(self, world: IntakeWorld) -> None:
        await world.backfill.run_once()
        assert await world.reconciler._until_next() is not None
        world.clock.advance(seconds=3600)
        assert await world.reconciler._until_next() is None
        await world.backfill.run_once()
        assert await world.reconciler._until_next() is not None

    async def test_after_a_clock_that_was_ahead_it_is_compared_at_once_and_judged(self, world: IntakeWorld) -> None:
        """While it was, genuine webhooks looked too old, and what was noted then lies in the future now."""
        code = await world.create()
        await world.live(60)
        ahead = seconds(7200)
        world.clock.advance(seconds=7200)
        world.seam.ahead = -ahead
        for _ in range(3):
            await world.reconciler._until_next()
            await world.live(10)
        world.seam.make(SET, code.access_code_id)
        world.clock.now -= ahead
        world.seam.ahead = seconds(0)
        for _ in range(4):
            await world.reconciler._until_next()
            await world.live(10)
        assert await world.sources() == {"event-0": "backfill"}
        intake = await world.intake()
        assert intake.compared_at is not None
        assert intake.receiving_since is not None
        assert intake.receiving_since <= intake.compared_at <= world.clock.now
        assert await world.reconciler._until_next() is not None
        spans = len(world.seam.spans)
        await world.live(60)
        assert len(world.seam.spans) == spans, "and then as seldom as always"

    async def test_storage_that_was_away_makes_everybody_catch_up(self, world: IntakeWorld) -> None:
        await world.live(30)
        assert await world.reconciler._until_next() is not None
        world.clock.advance(seconds=1)
        world.catch_up.interrupted_by(StorageUnavailable("the database is away"))
        world.clock.advance(seconds=1)
        assert await world.reconciler._until_next() is None
        await world.backfill.run_once()
        assert await world.reconciler._until_next() is not None


class TestRunning:
    async def test_it_survives_storage_that_is_away_and_stops_when_told(
        self, world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures = 0
        take = Backfill._take

        async def failing(backfill: Backfill, now: Any) -> bool:
            nonlocal failures
            failures += 1
            if failures == 1:
                raise StorageUnavailable("the database is away")
            return await take(backfill, now)

        monkeypatch.setattr(Backfill, "_take", failing)
        stop = asyncio.Event()
        running = asyncio.create_task(world.backfill.run(stop))
        await _until_compared(world)
        stop.set()
        await asyncio.wait_for(running, 10)
        assert failures >= 2
        assert world.backfill.last_pass_at == world.clock.now


async def _until_compared(world: IntakeWorld) -> None:
    async with asyncio.timeout(20):
        while True:
            if (await world.intake()).compared_at is not None:
                return
            await asyncio.sleep(0.01)


async def _work_for(world: IntakeWorld, number: int) -> None:
    """As many seconds with every loop at work, each in its turn, the reconciler first."""
    for _ in range(number):
        world.clock.advance(seconds=1)
        if await world.reconciler._until_next() is not None:
            await world.run()
        await world.receipts.keep()
        await world.backfill.run_once()
