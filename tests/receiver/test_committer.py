"""Group commit: who shares a commit, who is refused, and that nothing accepted is lost."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from functools import partial

import pytest
from structlog.testing import capture_logs

from app.domain.events import Unreadable
from app.receiver.committer import CommitLimits, Shed
from app.storage.errors import StorageUnavailable
from app.storage.inbox import Delivery, Outcome
from tests.receiver.deliveries import NOW
from tests.receiver.inboxes import Station, delivery, until


@pytest.fixture
async def station() -> AsyncIterator[Station]:
    station = Station(limits=CommitLimits(waiting=20, waiting_bytes=10_000, batch=8, commit_seconds=5))
    station.committer.start()
    yield station
    station.inbox.gate.set()
    await station.committer.close()


def submit(station: Station, *deliveries: Delivery) -> list[asyncio.Task[Outcome | Shed]]:
    return [asyncio.create_task(station.submit(each)) for each in deliveries]


async def test_a_delivery_that_comes_alone_is_committed_at_once(station: Station) -> None:
    """A few turns of the loop, no timer."""
    (task,) = submit(station, delivery())

    for _ in range(5):
        await asyncio.sleep(0)

    assert task.done()
    assert task.result() is Outcome.STORED


async def test_what_gathers_while_a_commit_runs_shares_the_next_one(station: Station) -> None:
    station.inbox.gate.clear()
    first = submit(station, delivery("m0"))
    await until(lambda: station.inbox.attempts == 1)
    others = submit(station, *[delivery(f"m{number}") for number in range(1, 6)])
    await until(lambda: station.waiting == 6)

    station.inbox.gate.set()

    assert await asyncio.gather(*first, *others) == [Outcome.STORED] * 6
    assert [len(batch) for batch in station.inbox.batches] == [1, 5]


async def test_the_next_batch_is_on_its_way_before_the_one_that_ended_is_answered(station: Station) -> None:
    answered: list[tuple[str, int]] = []

    def note(name: str, _: Outcome | Shed) -> None:
        answered.append((name, station.inbox.attempts))

    station.inbox.gate.clear()
    for name in ("a", "b"):
        station.committer.submit(delivery(name), partial(note, name))
        await until(lambda: station.inbox.attempts == 1)
    station.inbox.gate.set()
    await until(lambda: len(answered) == 2)

    assert answered == [("a", 2), ("b", 2)]


async def test_a_thousand_at_once_need_few_commits() -> None:
    station = Station()
    station.committer.start()

    answers = await asyncio.gather(*submit(station, *[delivery(f"m{number}") for number in range(1000)]))

    assert answers == [Outcome.STORED] * 1000
    assert len(station.inbox.batches) <= 4
    await station.committer.close()


async def test_a_batch_has_a_largest_size_and_keeps_the_order(station: Station) -> None:
    await asyncio.gather(*submit(station, *[delivery(f"m{number:02}") for number in range(20)]))

    assert max(len(batch) for batch in station.inbox.batches) == 8
    assert station.inbox.kept == [f"m{number:02}" for number in range(20)]


async def test_deliveries_press_while_many_wait_and_for_a_moment_after(station: Station) -> None:
    """What can wait, as assessing can, gives way to them then."""
    station.inbox.gate.clear()
    pressed = [station.committer.is_pressed]
    one = submit(station, delivery("m0"))
    await until(lambda: station.waiting == 1)
    pressed.append(station.committer.is_pressed)
    many = submit(station, *[delivery(f"m{number}") for number in range(1, 12)])
    await until(lambda: station.waiting == 12)
    pressed.append(station.committer.is_pressed)
    assert pressed == [False, False, True]
    station.inbox.gate.set()
    await asyncio.gather(*one, *many)
    async with asyncio.timeout(5):
        while station.committer.is_pressed:  # noqa: ASYNC110 - it ends by the clock
            await asyncio.sleep(0.01)


async def test_each_delivery_gets_its_own_outcome(station: Station) -> None:
    unreadable = Delivery("bad", NOW, 3, lambda: "digest", Unreadable("not_json"), "webhook")
    await station.submit(delivery("old"))

    answers = await asyncio.gather(*submit(station, delivery("old"), delivery("new"), unreadable))

    assert answers == [Outcome.DUPLICATE, Outcome.STORED, Outcome.UNREADABLE]


async def test_more_than_may_wait_is_refused_and_accepted_again_later(station: Station) -> None:
    station.inbox.gate.clear()
    accepted = submit(station, *[delivery(f"m{number}") for number in range(20)])
    await until(lambda: station.waiting == 20)

    assert await station.submit(delivery("late")) is Shed.FULL

    station.inbox.gate.set()
    assert await asyncio.gather(*accepted) == [Outcome.STORED] * 20
    assert await station.submit(delivery("late")) is Outcome.STORED
    assert station.waiting == 0


async def test_what_waits_is_bounded_in_bytes_too(station: Station) -> None:
    station.inbox.gate.clear()
    accepted = submit(station, delivery("large", size=9_000))
    await until(lambda: station.waiting == 1)

    assert await station.submit(delivery("too much", size=1_001)) is Shed.FULL
    accepted += submit(station, delivery("just fits", size=1_000))
    await until(lambda: station.waiting == 2)

    station.inbox.gate.set()
    assert await asyncio.gather(*accepted) == [Outcome.STORED] * 2
    assert await station.submit(delivery("room again", size=10_000)) is Outcome.STORED


@pytest.mark.parametrize(
    "failure",
    [StorageUnavailable("gone"), TimeoutError(), OSError("disk"), ValueError("a fault of ours"), MemoryError()],
)
async def test_a_commit_that_fails_is_told_to_its_whole_batch_and_the_next_one_goes_on(
    station: Station, failure: Exception
) -> None:
    station.inbox.failure = failure
    assert await asyncio.gather(*submit(station, delivery("m1"), delivery("m2"))) == [Shed.UNAVAILABLE] * 2
    assert station.inbox.kept == []

    station.inbox.failure = None
    assert await station.submit(delivery("m1")) is Outcome.STORED
    assert station.waiting == 0
    assert station.sample("latchwatch_commit_failures_total") == 1
    assert (station.count("unavailable"), station.count("stored")) == (2, 1)


async def test_an_inbox_that_forgets_an_answer_counts_as_an_unknown_outcome() -> None:
    async def forgetful(_: object) -> list[Outcome]:
        return [Outcome.STORED]

    station = Station(forgetful)
    station.committer.start()

    assert await asyncio.gather(*submit(station, delivery("m1"), delivery("m2"))) == [Shed.UNAVAILABLE] * 2
    await station.committer.close()


async def test_a_commit_that_hangs_is_given_up() -> None:
    station = Station(limits=CommitLimits(commit_seconds=0.01))
    station.committer.start()
    station.inbox.gate.clear()

    assert await station.submit(delivery("m1")) is Shed.UNAVAILABLE

    station.inbox.gate.set()
    assert await station.submit(delivery("m1")) is Outcome.STORED
    await station.committer.close()


async def test_who_goes_away_while_waiting_loses_nothing(station: Station) -> None:
    station.inbox.gate.clear()
    running = submit(station, delivery("in the commit"))
    await until(lambda: station.inbox.attempts == 1)
    queued = submit(station, delivery("in the queue"))
    await until(lambda: station.waiting == 2)

    for task in running + queued:
        task.cancel()
    await asyncio.gather(*running, *queued, return_exceptions=True)
    station.inbox.gate.set()
    await station.committer.close()

    assert station.inbox.kept == ["in the commit", "in the queue"]
    assert station.count("stored") == 2
    assert station.waiting == 0


async def test_closing_commits_what_was_accepted_and_refuses_what_comes_then(station: Station) -> None:
    station.inbox.gate.clear()
    accepted = submit(station, *[delivery(f"m{number}") for number in range(12)])
    await until(lambda: station.inbox.attempts == 1)

    closing = asyncio.create_task(station.committer.close())
    await asyncio.sleep(0)
    assert await station.submit(delivery("late")) is Shed.CLOSED
    assert not closing.done()
    station.inbox.gate.set()
    await closing

    assert [task.done() and task.result() for task in accepted] == [Outcome.STORED] * 12
    assert len(station.inbox.kept) == 12


async def test_closing_twice_or_without_a_start_is_harmless() -> None:
    station = Station()
    await station.committer.close()
    assert await station.submit(delivery()) is Shed.CLOSED

    station.committer.start()
    await station.committer.close()
    await station.committer.close()
    assert await station.submit(delivery()) is Shed.CLOSED


async def test_closing_that_is_given_up_leaves_the_draining_to_go_on(station: Station) -> None:
    station.inbox.gate.clear()
    (accepted,) = submit(station, delivery())
    await until(lambda: station.inbox.attempts == 1)
    closing = asyncio.create_task(station.committer.close())
    await asyncio.sleep(0)

    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    station.inbox.gate.set()

    assert await accepted is Outcome.STORED


async def test_nobody_waits_for_ever_when_the_writer_is_cancelled(station: Station) -> None:
    """As asyncio does to every task at its end."""
    station.inbox.gate.clear()
    waiting = submit(station, *[delivery(f"m{number}") for number in range(12)])
    await until(lambda: station.inbox.attempts == 1)

    (writer,) = [task for task in asyncio.all_tasks() if task.get_name() == "committer"]
    writer.cancel()

    assert await asyncio.gather(*waiting) == [Shed.UNAVAILABLE] * 12
    assert await station.submit(delivery("late")) is Shed.CLOSED
    assert station.waiting == 0


async def test_the_reconciler_is_woken_once_a_commit_brought_something_new(station: Station) -> None:
    await asyncio.gather(*submit(station, delivery("m1"), delivery("m2")))
    assert station.wakes == 1
    assert station.told == ["m1", "m2"]

    await station.submit(delivery("m1"))
    assert station.wakes == 1


async def test_a_fault_after_the_commit_harms_neither_the_answers_nor_the_writer(station: Station) -> None:
    def broken(_: object) -> None:
        raise ValueError

    station.committer._on_stored = broken

    assert await station.submit(delivery("m1")) is Outcome.STORED
    assert await station.submit(delivery("m2")) is Outcome.STORED


async def test_metrics_tell_sizes_outcomes_and_the_last_delivery(station: Station) -> None:
    await asyncio.gather(*submit(station, *[delivery(f"m{number}") for number in range(8)]))
    await station.submit(delivery("m0"))

    assert station.count("stored") == 8
    assert station.count("duplicate") == 1
    assert station.sample("latchwatch_commit_batch_size_sum") == 9
    assert station.sample("latchwatch_commit_seconds_count") == len(station.inbox.batches)
    assert station.sample("latchwatch_webhook_last_delivery_timestamp_seconds") == NOW.timestamp()


async def test_a_batch_is_logged_in_one_line_for_each_outcome_with_ids_alone(station: Station) -> None:
    bad = Delivery("msg_bad", NOW, 3, lambda: "digest", Unreadable("not_json"), "webhook")
    with capture_logs() as lines:
        await asyncio.gather(*submit(station, delivery("msg_1", event_id="e1"), bad, delivery("msg_2", event_id="e2")))

    assert lines == [
        {"event": "event_stored", "count": 2, "ids": ["e1", "e2"], "log_level": "info"},
        {"event": "event_unreadable", "count": 1, "ids": ["msg_bad"], "log_level": "info"},
    ]


async def test_a_failure_is_logged_without_its_message(station: Station) -> None:
    """A driver's message may quote what it was given to store."""
    station.inbox.failure = StorageUnavailable("INSERT ... parameters: PIN 1234")
    station.inbox.failure.__cause__ = OSError("1234")
    with capture_logs() as lines:
        await station.submit(delivery())

    (line,) = lines
    assert (line["event"], line["error"]) == ("batch_unavailable", "StorageUnavailable from OSError")
    assert any("inboxes.py" in place for place in line["where"])
    assert "1234" not in str(line)


async def test_failed_batches_leave_no_unread_errors_behind(station: Station) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    station.inbox.failure = StorageUnavailable("gone")
    tasks = submit(station, delivery("m1"), delivery("m2"))
    await until(lambda: station.inbox.attempts == 1)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    del tasks
    gc.collect()
    await asyncio.sleep(0)

    assert complaints == []
