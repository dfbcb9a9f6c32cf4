"""Group commit: each commit takes what gathered while the one before ran.

Nobody waits for company: a delivery that comes alone is committed alone, at once. The busier it gets, the larger the
batches become, and the cost of a commit is shared by as many. Where the database takes several writers, the next batch
is made and sent while the one before is being committed, so that neither side waits for the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from time import perf_counter
from typing import NamedTuple, TypeVar

import structlog

from app.domain.events import Event
from app.receiver.failures import describe
from app.receiver.metrics import ReceiverMetrics
from app.storage.errors import StorageUnavailable
from app.storage.inbox import Delivery, Outcome

log = structlog.get_logger(__name__)

Store = Callable[[Sequence[Delivery]], Awaitable[list[Outcome]]]

_VERBS = {
    Outcome.STORED: "event_stored",
    Outcome.DUPLICATE: "event_duplicate",
    Outcome.UNREADABLE: "event_unreadable",
}


class Shed(StrEnum):
    """Why a delivery was not kept, or may not have been: the sender has to come again."""

    FULL = "full"  # too many wait already
    UNAVAILABLE = "unavailable"  # storage is away, or the outcome of the commit is not known
    CLOSED = "closed"  # shutting down, or not started


_ANSWERS: tuple[Outcome | Shed, ...] = (*Outcome, *Shed)

# A smaller batch would cost more for each event than sharing out saves.
_SMALLEST_SHARE = 16
# Deliveries press while more than so many wait or are being committed, and for so many seconds after.
_PRESSING = 8
_PRESSES_FOR = 0.25


@dataclass(frozen=True, slots=True)
class CommitLimits:
    """``waiting`` and ``waiting_bytes`` bound what may wait for an answer, the running commit included.

    4096 deliveries are a few seconds of work at most. ``commit_seconds`` bounds a commit that hangs: one and the next
    together stay inside the 15 s after which the sender gives up on an answer. ``in_flight`` is how many may run at a
    time: more than one only where the database has more than one writer.
    """

    waiting: int = 4096
    waiting_bytes: int = 32 * 1024 * 1024
    batch: int = 500
    commit_seconds: float = 7.0
    in_flight: int = 1


Reply = Callable[[Outcome | Shed], None]
Told = TypeVar("Told")


class _Waiting(NamedTuple):
    delivery: Delivery
    reply: Reply


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Deliveries that share a commit, and are not answered yet."""

    waiting: list[_Waiting]


class Committer:
    """``store`` commits a batch and says for each delivery, in order, what became of it. ``on_stored`` is called after
    each commit that brought something new, with all deliveries of its batch.

    Commits in flight together may end in any order, and hold the same event twice: the inbox sees to both."""

    def __init__(
        self,
        store: Store,
        *,
        metrics: ReceiverMetrics,
        on_stored: Callable[[Sequence[Delivery]], None],
        limits: CommitLimits | None = None,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._on_stored = on_stored
        self._limits = limits or CommitLimits()
        self._queue: deque[_Waiting] = deque()
        self._in_flight: set[_Batch] = set()
        self._held = 0  # deliveries in either
        self._held_bytes = 0
        self._turn = asyncio.Event()  # set when there may be something to do
        self._open = False
        self._task: asyncio.Task[None] | None = None
        self._presses_until = 0.0
        metrics.queue_depth.set_function(lambda: self._held)

    @property
    def is_pressed(self) -> bool:
        """Whether deliveries come in faster than commits are done, one by one: what can wait should give way."""
        return self._held > _PRESSING or perf_counter() < self._presses_until

    def start(self) -> None:
        """Call once, inside the running loop, before the first delivery."""
        self._open = True
        self._task = asyncio.create_task(self._run(), name="committer")

    def submit(self, delivery: Delivery, reply: Reply) -> None:
        """``reply`` is called once: as soon as the delivery is committed, or at once if it cannot be accepted.

        A plain call for each delivery: a future and a task that waits for it would cost more than storing it."""
        shed = self.shed(delivery.size)
        if shed is not None:
            reply(shed)
            return
        self._queue.append(_Waiting(delivery, reply))
        self._held += 1
        self._held_bytes += delivery.size
        if self._is_time():
            self._turn.set()

    def shed(self, size: int) -> Shed | None:
        """Turn a delivery of ``size`` bytes away when it cannot be accepted now; counted if so."""
        shed = self._obstacle(size)
        if shed is not None:
            self._metrics.deliveries.labels(shed.value).inc()
        return shed

    async def close(self) -> None:
        """Refuse what comes from now on, and return once everything that was accepted is answered."""
        self._open = False
        self._turn.set()
        if self._task is not None:
            await asyncio.wait([self._task])  # does not cancel the draining if the caller is cancelled

    def _obstacle(self, size: int) -> Shed | None:
        if not self._open:
            return Shed.CLOSED
        if self._held >= self._limits.waiting or self._held_bytes + size > self._limits.waiting_bytes:
            return Shed.FULL
        return None

    def _is_time(self) -> bool:
        """Whether the next batch should begin.

        Beside another one it is worth a commit of its own from half the size of what is in flight on: smaller ones cost
        more for each event than their deliveries would save by not waiting.
        """
        gathered = len(self._queue)
        if not gathered or not self._in_flight:
            return gathered > 0
        return len(self._in_flight) < self._limits.in_flight and 2 * gathered >= self._held - gathered

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as writers:
                for _ in range(self._limits.in_flight):
                    writers.create_task(self._write())
        finally:
            # With anything left only when this task is cancelled: nobody may wait for an answer that never comes.
            self._open = False
            for batch in (*self._in_flight, _Batch(list(self._queue))):
                self._give_up(batch)
            self._in_flight.clear()
            self._queue.clear()

    async def _write(self) -> None:
        """Commit one batch after the other. The next is on its way to storage before the one that ended is answered:
        those who get their answers come back at once, and reading what they bring would keep it waiting."""
        while await self._has_turn():
            batch = self._take()
            if self._is_time():
                self._turn.set()  # for another writer
            await self._commit_or_tell(batch)
        self._turn.set()

    async def _has_turn(self) -> bool:
        """Wait until the next batch should begin; ``False``: there will be none."""
        while not self._is_time():
            if not self._open and not self._queue:
                return False
            self._turn.clear()
            await self._turn.wait()
        return True

    async def _commit_or_tell(self, batch: _Batch) -> None:
        try:
            await self._commit(batch)
        except (StorageUnavailable, TimeoutError) as error:
            log.warning("batch_unavailable", count=len(batch.waiting), **describe(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next batch must get its chance
            log.error("batch_failed", count=len(batch.waiting), **describe(error))
        else:
            return
        self._metrics.commit_failures.inc()
        self._in_flight.discard(batch)
        self._give_up(batch)

    async def _commit(self, batch: _Batch) -> None:
        deliveries = [waiting.delivery for waiting in batch.waiting]
        started = perf_counter()
        async with asyncio.timeout(self._limits.commit_seconds):
            outcomes = await self._store(deliveries)
        ended = perf_counter()
        if len(outcomes) != len(deliveries):
            raise RuntimeError("the inbox answered for another number of deliveries than it was given")
        if self._held > _PRESSING:
            self._presses_until = ended + _PRESSES_FOR
        self._in_flight.discard(batch)
        self._let_go(batch)
        asyncio.get_running_loop().call_soon(self._conclude, batch, deliveries, outcomes, ended - started)

    def _conclude(
        self, batch: _Batch, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome], seconds: float
    ) -> None:
        self._settle(batch, outcomes)
        try:
            self._report(deliveries, outcomes, seconds)
            if Outcome.STORED in outcomes:
                self._on_stored(deliveries)
        except Exception as error:  # noqa: BLE001 - they are stored and answered
            log.error("report_failed", count=len(deliveries), **describe(error))

    def _take(self) -> _Batch:
        """Senders that each wait for their answers come back together. Where several commits may be in flight, what
        gathered is shared out among them: the next deliveries of those of one that ends first are read while the others
        run, so that neither side waits for the other."""
        gathered, free = len(self._queue), self._limits.in_flight - len(self._in_flight)
        share = -(-gathered // free) if gathered >= free * _SMALLEST_SHARE else gathered
        batch = _Batch([self._queue.popleft() for _ in range(min(share, self._limits.batch))])
        self._in_flight.add(batch)
        return batch

    def _give_up(self, batch: _Batch) -> None:
        self._let_go(batch)
        self._settle(batch, [Shed.UNAVAILABLE] * len(batch.waiting))

    def _let_go(self, batch: _Batch) -> None:
        self._held -= len(batch.waiting)
        self._held_bytes -= sum(waiting.delivery.size for waiting in batch.waiting)

    def _settle(self, batch: _Batch, answers: Sequence[Outcome | Shed]) -> None:
        """Answer everyone in the batch. Who has gone away since is counted all the same."""
        for waiting, answer in zip(batch.waiting, answers, strict=True):
            tell(waiting.reply, answer)
        for kind in _ANSWERS:
            if count := answers.count(kind):
                self._metrics.deliveries.labels(kind.value).inc(count)

    def _report(self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome], seconds: float) -> None:
        """One line for each kind of outcome in the batch, with all its ids: a line for each delivery would cost as much
        as storing it."""
        self._metrics.batch_size.observe(len(deliveries))
        self._metrics.commit_seconds.observe(seconds)
        self._metrics.last_delivery.set(deliveries[-1].received_at.timestamp())
        for outcome, verb in _VERBS.items():
            ids = [_id_of(delivery) for delivery, its in zip(deliveries, outcomes, strict=True) if its is outcome]
            if ids:
                log.info(verb, count=len(ids), ids=ids)


def tell(reply: Callable[[Told], None], answer: Told) -> None:
    try:
        reply(answer)
    except Exception as error:  # noqa: BLE001 - one that cannot be told must not keep the others waiting
        log.error("reply_failed", **describe(error))


def _id_of(delivery: Delivery) -> str:
    return delivery.reading.event_id if isinstance(delivery.reading, Event) else delivery.delivery_id
