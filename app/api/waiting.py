"""Those who wait for a code to be settled (long polls).

Nobody polls: a waiter costs a place in a table until there is news of its code, its time is up, or the service ends.
Then one look, shared by all whose turn it is, brings the codes up to date and answers who can be answered. It is how a
waiter begins as well: a thousand who come back after a restart are read together.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice

import structlog
from prometheus_client import CollectorRegistry, Gauge

from app.domain.assessment import Policy
from app.domain.events import Event
from app.reconciler.steps import refresh_all
from app.storage.codes import Case
from app.storage.engine import Database
from app.storage.errors import StorageUnavailable
from app.storage.inbox import Delivery

_AT_ONCE = 200  # codes of one look, which may write all of them in one transaction
_AGAIN_SECONDS = 1.0  # while storage is away

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Waiter:
    """``ident`` is what the client named, and our id after the first look; ``access_code_id`` is Seam's, once it is
    known. ``is_over``: whatever the next look finds is the answer."""

    answer: asyncio.Future[Case | None]
    ident: str
    access_code_id: str | None = None
    is_over: bool = False

    def known_by(self) -> set[str]:
        return {self.ident, self.access_code_id or self.ident}


class Waiting:
    """All waiters of this process. The database tells it which codes changed, and whoever stores news ``news_came``."""

    def __init__(
        self, db: Database, policy: Policy, clock: Callable[[], datetime], registry: CollectorRegistry
    ) -> None:
        self._db = db
        self._policy = policy
        self._clock = clock
        self._waiters: defaultdict[str, set[_Waiter]] = defaultdict(set)  # by our id and by Seam's
        self._stale: dict[str, None] = {}  # idents, in the order in which they are looked at
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False
        waiting = Gauge("latchwatch_waiting_clients", "Clients that wait for a code to be settled.", registry=registry)
        waiting.set_function(lambda: self.number)
        db.subscribe(self.look_at)

    @property
    def number(self) -> int:
        return len(set(chain.from_iterable(self._waiters.values())))

    async def until_settled(self, ident: str, within: timedelta) -> Case | None:
        """The code once it is settled or not watched, at the latest after ``within``. ``None``: no such code.

        ``ident`` is ours or Seam's. Raises ``StorageError`` if storage is away when the time is up.
        """
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), ident, is_over=self._is_closed)
        timer = loop.call_later(within.total_seconds(), self._end, waiter)
        self._add(waiter)
        try:
            return await waiter.answer
        finally:
            timer.cancel()
            self._remove(waiter)

    def look_at(self, ids: Collection[str] | None) -> None:
        """These codes (our ids) changed. ``None``: it could be any of them."""
        if self._waiters:
            self._mark(chain.from_iterable(self._waiters.values() if ids is None else map(self._of, ids)))

    def news_came(self, deliveries: Sequence[Delivery]) -> None:
        """These deliveries were stored in this process just now. Costs next to nothing while nobody waits."""
        if self._waiters:
            events = (each.reading for each in deliveries if isinstance(each.reading, Event))
            self._mark(chain.from_iterable(self._of(event.access_code_id) for event in events))

    def close(self) -> None:
        """Answer everybody at once with the current state, and from now on whoever comes."""
        self._is_closed = True
        for waiter in set(chain.from_iterable(self._waiters.values())):
            self._end(waiter)

    async def drain(self) -> None:
        """Until nothing is read or written for waiters any more."""
        while self._looking is not None:
            await asyncio.wait([self._looking])

    def _of(self, ident: str | None) -> Iterable[_Waiter]:
        return self._waiters.get(ident, ()) if ident is not None else ()

    def _add(self, waiter: _Waiter) -> None:
        """It is looked at, also under new ids: what changed before they were in the table was not told to it."""
        for key in waiter.known_by():
            self._waiters[key].add(waiter)
        self._mark([waiter])

    def _remove(self, waiter: _Waiter) -> None:
        for key in waiter.known_by():
            self._waiters[key].discard(waiter)
            if not self._waiters[key]:
                del self._waiters[key]

    def _end(self, waiter: _Waiter) -> None:
        waiter.is_over = True
        self._mark([waiter])

    def _mark(self, waiters: Iterable[_Waiter]) -> None:
        for waiter in waiters:
            self._stale[waiter.ident] = None
        if self._stale and self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look_around(), name="waiting")
            self._looking.add_done_callback(self._looked)

    def _looked(self, _: asyncio.Task[None]) -> None:
        self._looking = None
        self._mark(())

    async def _look_around(self) -> None:
        while self._stale:
            idents = list(islice(self._stale, _AT_ONCE))
            for ident in idents:
                del self._stale[ident]
            await self._look_safely([ident for ident in idents if ident in self._waiters])

    async def _look_safely(self, idents: Sequence[str]) -> None:
        """One code that raises takes no other's answer away."""
        try:
            await self._look(idents)
        except StorageUnavailable as error:
            self._postpone(idents, error)
            await asyncio.sleep(_AGAIN_SECONDS)
        except Exception as error:  # noqa: BLE001 - it goes to those who wait for this code
            if len(idents) == 1:
                for waiter in self._of(idents[0]):
                    _answer(waiter, error)
                return
            for ident in idents:
                await self._look_safely([ident])

    async def _look(self, idents: Sequence[str]) -> None:
        waiters = list(dict.fromkeys(each for ident in idents for each in self._of(ident) if not each.answer.done()))
        if not waiters:  # answered, but not out of the table yet
            return
        # Seam's id as well: a row that is gone was merged into another one with the same code of Seam's.
        known_by = list(dict.fromkeys(chain.from_iterable(waiter.known_by() for waiter in waiters)))
        cases = await refresh_all(self._db, known_by, self._policy, self._clock)
        for waiter in waiters:
            case = cases.get(waiter.ident) or cases.get(waiter.access_code_id or waiter.ident)
            if case is None or waiter.is_over or _is_done(case):
                _answer(waiter, case)
            elif waiter in self._of(waiter.ident):
                self._follow(waiter, case)

    def _follow(self, waiter: _Waiter, case: Case) -> None:
        """News may come under other ids than before: a code gets Seam's, or is merged into another row."""
        ids = (case.row.id, case.row.access_code_id)
        if ids != (waiter.ident, waiter.access_code_id):
            self._remove(waiter)
            waiter.ident, waiter.access_code_id = ids
            self._add(waiter)

    def _postpone(self, idents: Sequence[str], error: StorageUnavailable) -> None:
        _log.warning("waiting_for_storage", error=type(error).__name__, codes=len(idents))
        for waiter in tuple(chain.from_iterable(map(self._of, idents))):
            if waiter.is_over:
                _answer(waiter, error)
            else:
                self._stale[waiter.ident] = None


def _is_done(case: Case) -> bool:
    return case.row.is_settled or case.row.untracked_at is not None


def _answer(waiter: _Waiter, answer: Case | Exception | None) -> None:
    if waiter.answer.done():
        return
    if isinstance(answer, Exception):
        waiter.answer.set_exception(answer)
    else:
        waiter.answer.set_result(answer)
