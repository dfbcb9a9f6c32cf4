"""The loop that keeps every verdict true: sleeps until something is due, claims it, asks Seam if needed, and saves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import perf_counter

import structlog
from prometheus_client import CollectorRegistry

from app.domain.assessment import Policy
from app.reconciler.asking import ask_seam
from app.reconciler.catching_up import CatchUp
from app.reconciler.decisions import NOTHING_SEEN, Decision, decide, needs_seam
from app.reconciler.locks import locks_to_read, read_locks
from app.reconciler.metrics import ReconcilerMetrics
from app.reconciler.steps import Saved, save_batch, save_decisions
from app.reconciler.waits import Spread, no_spread, pause
from app.seam.gateway import Gateway
from app.storage.claims import Claimed, claim, decide_again, earliest_due, failures_of, postpone, release
from app.storage.codes import Case, load_cases
from app.storage.engine import Database
from app.storage.errors import StorageError, StorageUnavailable
from app.storage.steps import closed_by, opened_by

BATCH = 100  # one list call at Seam
LEASE = timedelta(seconds=60)
POLL_EVERY = timedelta(seconds=1)
_UNITS_AT_ONCE = 4
# While deliveries press, nine tenths of the time are theirs: they have to be answered within seconds, and verdicts rest
# on them. Who asks for one code is told the latest all the same, as that takes its step first.
_SMALL_BATCH = 50
_DECIDED_AT_ONCE = 20  # a few milliseconds, in which nothing else gets its turn
_REST_FACTOR = 9
_LONGEST_REST = timedelta(seconds=2)
_CALLS_AT_ONCE = 8
_SET_BACK = timedelta(seconds=30)
_FIRST_POSTPONEMENT = timedelta(seconds=5)
_LONGEST_POSTPONEMENT = timedelta(minutes=10)

_log = structlog.get_logger(__name__)


class Reconciler:
    """One process's share of the work. Any number of processes may run one: claims keep them apart, revisions right.
    Nothing is judged before ``catch_up`` is over; without one (no backfill runs here) there is nothing to wait for.

    ``wake`` says that something may have become due in this process. What other processes marked due is noticed
    within ``POLL_EVERY``. While ``is_pressed`` says that deliveries come in faster than they are committed, it works
    little by little. ``on_flags`` is called when flags have opened or closed.
    """

    def __init__(
        self,
        *,
        db: Database,
        gateway: Gateway | None,
        policy: Policy,
        clock: Callable[[], datetime],
        registry: CollectorRegistry,
        spread: Spread = no_spread,
        on_flags: Callable[[], None] = lambda: None,
        catch_up: CatchUp | None = None,
        is_pressed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._db = db
        self._gateway = gateway
        self.catch_up = catch_up
        self._policy = policy
        self._clock = clock
        self._spread = spread
        self._on_flags = on_flags
        self._is_pressed = is_pressed
        self._rest_until = 0.0  # on the loop's clock
        self._metrics = ReconcilerMetrics(registry)
        self._woken = asyncio.Event()
        self._units: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_UNITS_AT_ONCE)
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)
        self.last_pass_at: datetime | None = None

    def wake(self) -> None:
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``; what was begun is brought to its end. Survives storage that is away."""
        stopping = asyncio.create_task(stop.wait())
        failures = 0
        try:
            while not stop.is_set():
                if (rest := self._rest()) > 0:
                    await asyncio.wait({stopping}, timeout=rest)
                    continue
                self._woken.clear()
                try:
                    wait = await self._begin_unit()
                    failures = 0
                except StorageError as error:
                    failures += 1
                    if self.catch_up is not None:
                        self.catch_up.interrupted_by(error)
                    wait = pause(failures, POLL_EVERY, _LONGEST_POSTPONEMENT / 20, self._spread)
                    _log.warning("reconciler_waits_for_storage", error=type(error).__name__, failures=failures)
                await self._sleep(wait, stopping)
        finally:
            stopping.cancel()
            if self._units:
                await asyncio.wait(self._units)

    async def run_once(self) -> bool:
        """One whole unit of work. False: nothing was due. Raises ``StorageError``."""
        claimed, leased_until = await self._claim()
        if claimed.ids:
            await self._work(claimed.ids, leased_until)
        return not claimed.is_last

    async def _begin_unit(self) -> timedelta:
        """Start working on what is due, and say how long to wait for more. A slow answer of Seam delays no other."""
        wait = await self._until_next()
        if wait is None:
            return POLL_EVERY
        if wait > timedelta(0):
            return wait
        if self._slots.locked():
            # All units wait for Seam; the first that ends wakes this loop. It goes on looking meanwhile: it is alive,
            # and where Seam answers late nobody may take the receiver beside it away.
            return POLL_EVERY
        await self._slots.acquire()
        began = asyncio.get_running_loop().time()
        try:
            claimed, leased_until = await self._claim()
        except BaseException:
            self._slots.release()
            raise
        if not claimed.ids:
            self._slots.release()
            self._rest_from(began)
            return POLL_EVERY if claimed.is_last else timedelta(0)
        unit = asyncio.create_task(self._work_and_rest(claimed.ids, leased_until), name="reconciler-unit")
        self._units.add(unit)
        unit.add_done_callback(self._ended)
        return timedelta(0)

    def _rest(self) -> float:
        """Seconds in which nothing is to be begun."""
        if not self._is_pressed():
            return 0.0
        if self._units:
            return 0.05  # one at a time
        return max(self._rest_until - asyncio.get_running_loop().time(), 0.0)

    async def _work_and_rest(self, ids: Sequence[str], leased_until: datetime) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await self._work(ids, leased_until)
        finally:
            self._rest_from(began)

    def _rest_from(self, began: float) -> None:
        now = asyncio.get_running_loop().time()
        self._rest_until = now + _rest_after(now - began)

    def _ended(self, unit: asyncio.Task[None]) -> None:
        self._units.discard(unit)
        self._slots.release()
        self._woken.set()
        if not unit.cancelled() and (error := unit.exception()) is not None:
            # Its leases run out, and then the codes are claimed again.
            _log.warning("reconciler_unit_failed", error=type(error).__name__)

    async def _claim(self) -> tuple[Claimed, datetime]:
        now = self._clock()
        async with self._db.write() as conn:
            claimed = await claim(conn, now, LEASE, _SMALL_BATCH if self._is_pressed() else BATCH)
        return claimed, now + LEASE

    async def _until_next(self) -> timedelta | None:
        """``None``: nothing is judged until what Seam made during a break of our intake has been fetched."""
        now = self._clock()
        async with self._db.read() as conn:
            judges = self.catch_up is None or await self.catch_up.is_over(conn)
            moment = await earliest_due(conn, now)
        if self.last_pass_at is not None and self.last_pass_at - now > _SET_BACK:
            moment = await self._decide_again(now)
        self.last_pass_at = now
        self._metrics.last_pass.set(now.timestamp())
        waits = moment - now if moment is not None else POLL_EVERY
        self._metrics.lag_seconds.set(max(-waits.total_seconds(), 0.0))
        if not judges:
            return None
        return min(max(waits, timedelta(0)), POLL_EVERY)

    async def _decide_again(self, now: datetime) -> datetime:
        _log.warning("clock_set_back", seconds=round((now - (self.last_pass_at or now)).total_seconds()))
        async with self._db.write() as conn:
            await decide_again(conn, now)
        return now

    async def _sleep(self, wait: timedelta, stopping: asyncio.Task[bool]) -> None:
        if wait <= timedelta(0):
            return
        woken = asyncio.create_task(self._woken.wait())
        try:
            waits = {woken, stopping}
            await asyncio.wait(waits, timeout=wait.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _work(self, ids: Sequence[str], leased_until: datetime) -> None:
        """Take the steps of these codes. One that raises is taken apart from the others, and postponed."""
        try:
            with self._metrics.pass_seconds.time():
                await self._step(ids, leased_until)
        except StorageUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a row provokes must not stop the others
            if len(ids) == 1:
                await self._postpone(ids[0], error)
                return
            for code_id in ids:
                await self._work([code_id], leased_until)

    async def _step(self, ids: Sequence[str], leased_until: datetime) -> None:
        cases, now = await self._load(ids), self._clock()
        locks = locks_to_read(cases, self._policy, now)
        if locks and self._gateway is not None:
            await read_locks(self._db, self._gateway, locks, self._policy, now, self._calls)
            cases, now = await self._load(ids), self._clock()
        decisions = await self._decide(cases, now)
        asking = [each.case for each in decisions if needs_seam(each.case.row, each.assessment)]
        at_once = [each for each in decisions if not needs_seam(each.case.row, each.assessment)]
        await self._note(await save_decisions(self._db, at_once, now), leased_until)
        if asking:
            seen = await ask_seam(self._db, self._gateway, asking, self._policy, now, self._calls)
            seen |= dict.fromkeys([case.row.id for case in asking if case.row.id not in seen], NOTHING_SEEN)
            saved = await save_batch(self._db, seen, self._policy, self._clock, self._spread)
            await self._note(saved, leased_until)

    async def _decide(self, cases: Sequence[Case], now: datetime) -> list[Decision]:
        """Outside of any transaction, so that deliveries get their turns in between; and most of the time while they
        press, also where they began to only after these codes were claimed."""
        decisions: list[Decision] = []
        for start in range(0, len(cases), _DECIDED_AT_ONCE):
            began = perf_counter()
            part = cases[start : start + _DECIDED_AT_ONCE]
            decisions += [decide(case, NOTHING_SEEN, self._policy, now, self._spread) for case in part]
            await asyncio.sleep(_rest_after(perf_counter() - began) if self._is_pressed() else 0)
        return decisions

    async def _load(self, ids: Sequence[str]) -> list[Case]:
        async with self._db.read() as conn:
            return [case for case in await load_cases(conn, ids) if case.is_watched]

    async def _note(self, saved: Saved, leased_until: datetime) -> None:
        self._count(saved.decisions)
        self._metrics.steps.labels("overtaken").inc(len(saved.overtaken))
        if saved.overtaken:
            async with self._db.write() as conn:
                await release(conn, saved.overtaken, leased_until)

    async def _postpone(self, code_id: str, error: Exception) -> None:
        """The message of an unexpected error may quote data: its kind is recorded, the trace goes nowhere."""
        async with self._db.write() as conn:
            # Not by loading the case: what is known of this code may be what cannot be read.
            failures = await failures_of(conn, code_id) + 1
            now = self._clock()
            wait = pause(failures, _FIRST_POSTPONEMENT, _LONGEST_POSTPONEMENT, self._spread)
            await postpone(conn, code_id, type(error).__name__, now, now + wait)
        self._metrics.steps.labels("postponed").inc()
        _log.error("code_postponed", code_id=code_id, error=type(error).__name__, failures=failures)

    def _count(self, decisions: Sequence[Decision]) -> None:
        self._metrics.steps.labels("saved").inc(len(decisions))
        for decision in decisions:
            if decision.read is not None:
                self._metrics.reads.labels("absent" if decision.read.snapshot is None else "present").inc()
            if decision.is_dropped:
                self._metrics.reads.labels("dropped").inc()
            self._count_flags(decision)

    def _count_flags(self, decision: Decision) -> None:
        opened, closed = opened_by(decision.case, decision.assessment), closed_by(decision.case, decision.assessment)
        if opened is not None:
            self._metrics.flags.labels(opened.value, "opened").inc()
        for flag in closed:
            self._metrics.flags.labels(flag.kind, "closed").inc()
        if opened is not None or closed:
            self._on_flags()


def _rest_after(seconds: float) -> float:
    """How long to rest after so long a piece of work while deliveries press."""
    return min(seconds * _REST_FACTOR, _LONGEST_REST.total_seconds())
