"""Two commits at a time, as on a database with several writers: when the second begins, and that each answers for its
own deliveries alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import pytest

from app.receiver.committer import CommitLimits, Shed
from app.storage.errors import StorageUnavailable
from app.storage.inbox import Delivery, Outcome
from tests.receiver.inboxes import Station, delivery, until

Tasks = list[asyncio.Task[Outcome | Shed]]
TWO = CommitLimits(waiting=40, waiting_bytes=10_000, batch=8, commit_seconds=5, in_flight=2)


class Commit(NamedTuple):
    ids: list[str]
    end: asyncio.Future[None]


class Commits:
    """An inbox whose commits end when the test says so, and as it says."""

    def __init__(self) -> None:
        self.begun: list[Commit] = []

    async def store(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        commit = Commit([each.delivery_id for each in deliveries], asyncio.get_running_loop().create_future())
        self.begun.append(commit)
        await commit.end
        return [Outcome.STORED] * len(deliveries)

    def end_all(self) -> None:
        for commit in self.begun:
            if not commit.end.done():
                commit.end.set_result(None)

    @property
    def sizes(self) -> list[int]:
        return [len(commit.ids) for commit in self.begun]


class TwoAtATime(Station):
    def __init__(self, limits: CommitLimits = TWO) -> None:
        self.commits = Commits()
        super().__init__(self.commits.store, limits=limits)
        self.committer.start()
        self._sent = 0

    async def send(self, count: int) -> Tasks:
        """So many deliveries at once; returns when whatever they set off has begun."""
        names = [f"m{number}" for number in range(self._sent, self._sent + count)]
        self._sent += count
        tasks = [asyncio.create_task(self.submit(delivery(name))) for name in names]
        await settled()
        return tasks

    async def close(self) -> None:
        closing = asyncio.create_task(self.committer.close())
        while not closing.done():
            self.commits.end_all()
            await asyncio.sleep(0)


@pytest.fixture
async def station() -> AsyncIterator[TwoAtATime]:
    station = TwoAtATime()
    yield station
    await station.close()


async def settled() -> None:
    """More turns of the loop than anything here takes that does not wait for a commit."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("running", "gathered", "begun"),
    [(1, 1, [1, 1]), (4, 1, [4]), (4, 2, [4, 2]), (5, 2, [5]), (8, 3, [8]), (8, 4, [8, 4]), (8, 12, [8, 8])],
)
async def test_a_second_commit_begins_beside_the_first_when_half_as_much_has_gathered(
    station: TwoAtATime, running: int, gathered: int, begun: list[int]
) -> None:
    await station.send(running)

    await station.send(gathered)

    assert station.commits.sizes == begun


@pytest.mark.parametrize(
    ("together", "begun"), [(31, [31]), (32, [16, 16]), (101, [51, 50]), (700, [300, 300])], ids=str
)
async def test_many_that_gathered_are_shared_out_among_the_commits(together: int, begun: list[int]) -> None:
    station = TwoAtATime(CommitLimits(waiting=1_000, waiting_bytes=1_000_000, batch=300, in_flight=2))

    await station.send(together)

    assert station.commits.sizes == begun
    await station.close()


async def test_what_was_too_little_for_a_commit_beside_another_has_its_own_when_that_one_ends(
    station: TwoAtATime,
) -> None:
    await station.send(8)
    (small,) = await station.send(1)
    assert station.commits.sizes == [8]

    station.commits.begun[0].end.set_result(None)
    await settled()
    assert station.commits.sizes == [8, 1]
    station.commits.begun[1].end.set_result(None)
    assert await small is Outcome.STORED


async def test_never_more_than_so_many_are_in_flight(station: TwoAtATime) -> None:
    await station.send(4)
    await station.send(4)
    await station.send(7)
    assert station.commits.sizes == [4, 4]

    station.commits.begun[1].end.set_result(None)
    await settled()

    assert station.commits.sizes == [4, 4, 7]


async def test_the_later_commit_may_end_first_and_is_answered_then(station: TwoAtATime) -> None:
    first = await station.send(2)
    second = await station.send(2)

    station.commits.begun[1].end.set_result(None)

    assert await asyncio.gather(*second) == [Outcome.STORED] * 2
    assert not any(task.done() for task in first)
    assert station.waiting == 2
    assert station.told == ["m2", "m3"]


async def test_a_commit_that_fails_is_told_to_its_own_deliveries_alone(station: TwoAtATime) -> None:
    first = await station.send(2)
    second = await station.send(2)

    station.commits.begun[0].end.set_exception(StorageUnavailable("gone"))
    station.commits.begun[1].end.set_result(None)

    assert await asyncio.gather(*first) == [Shed.UNAVAILABLE] * 2
    assert await asyncio.gather(*second) == [Outcome.STORED] * 2
    assert station.sample("latchwatch_commit_failures_total") == 1
    assert (station.count("unavailable"), station.count("stored"), station.waiting) == (2, 2, 0)


async def test_a_commit_that_hangs_is_given_up_and_takes_no_other_with_it() -> None:
    station = TwoAtATime(CommitLimits(commit_seconds=0.2, in_flight=2))
    (hangs,) = await station.send(1)
    (goes_on,) = await station.send(1)

    station.commits.begun[1].end.set_result(None)

    assert await goes_on is Outcome.STORED
    assert await hangs is Shed.UNAVAILABLE
    await station.close()


async def test_what_is_in_flight_counts_among_what_may_wait(station: TwoAtATime) -> None:
    accepted = [*await station.send(8), *await station.send(8), *await station.send(24)]
    assert (station.commits.sizes, station.waiting) == ([8, 8], 40)

    assert await station.submit(delivery("late")) is Shed.FULL

    station.commits.begun[1].end.set_result(None)
    await settled()
    assert station.commits.sizes == [8, 8, 8]
    assert station.waiting == 32
    accepted += await station.send(8)
    await station.close()
    assert await asyncio.gather(*accepted) == [Outcome.STORED] * 48


async def test_the_bytes_in_flight_count_as_well(station: TwoAtATime) -> None:
    large = [asyncio.create_task(station.submit(delivery(name, size=5_000))) for name in ("one", "two")]
    await settled()

    assert await station.submit(delivery("too much", size=1)) is Shed.FULL

    station.commits.begun[0].end.set_result(None)
    await large[0]
    room = asyncio.create_task(station.submit(delivery("room again", size=5_000)))
    await station.close()
    assert [await large[1], await room] == [Outcome.STORED] * 2


async def test_closing_waits_for_every_commit_and_for_what_gathered_behind_them(station: TwoAtATime) -> None:
    accepted = [*await station.send(8), *await station.send(8), *await station.send(3)]
    closing = asyncio.create_task(station.committer.close())

    for number, begun in enumerate([[8, 8], [8, 8], [8, 8, 3]]):
        await settled()
        assert not closing.done()
        assert station.commits.sizes == begun
        station.commits.begun[number].end.set_result(None)
    await closing

    assert [task.done() and task.result() for task in accepted] == [Outcome.STORED] * 19
    assert await station.submit(delivery("late")) is Shed.CLOSED


@pytest.mark.parametrize("turns", range(6))
async def test_nobody_waits_for_ever_when_the_writer_is_cancelled(turns: int) -> None:
    """Whether the commits have begun by then, are about to, or not even that."""
    station = TwoAtATime()
    (writer,) = [task for task in asyncio.all_tasks() if task.get_name() == "committer"]
    await settled()
    waiting = [asyncio.create_task(station.submit(delivery(f"m{number}"))) for number in range(19)]
    for _ in range(turns):
        await asyncio.sleep(0)
    writer.cancel()

    assert set(await asyncio.gather(*waiting)) <= {Shed.UNAVAILABLE, Shed.CLOSED}
    assert await station.submit(delivery("late")) is Shed.CLOSED
    assert station.waiting == 0


async def test_sixteen_connections_press_although_no_commit_is_large(station: TwoAtATime) -> None:
    """Each commit has at most half of them, and a third of them are on their way meanwhile."""
    await station.send(5)
    await station.send(5)
    assert station.committer.is_pressed

    station.commits.end_all()
    await until(lambda: station.waiting == 0)

    assert station.committer.is_pressed
    async with asyncio.timeout(5):
        while station.committer.is_pressed:  # noqa: ASYNC110 - it ends by the clock
            await asyncio.sleep(0.01)


async def test_metrics_count_each_commit_by_itself(station: TwoAtATime) -> None:
    accepted = [*await station.send(4), *await station.send(3)]
    assert station.waiting == 7
    station.commits.end_all()
    await asyncio.gather(*accepted)

    assert station.sample("latchwatch_commit_batch_size_count") == 2
    assert station.sample("latchwatch_commit_batch_size_sum") == 7
    assert station.sample("latchwatch_commit_seconds_count") == 2
    assert (station.count("stored"), station.waiting, station.wakes) == (7, 0, 2)
