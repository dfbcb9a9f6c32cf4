"""What storing an event costs with few and with many stored, in turns: long after a checkpoint, and soon after one.

The first change of a page after a checkpoint writes all of it to PostgreSQL's log. The more is stored, the more pages
there are for events to fall on, and the longer that goes on. As ``docker-compose.yml`` sets the server, it is a
twentieth of the events between two checkpoints of a busy service (docs/performance.md), and so long events are stored
before anything is measured. What it is soon after a checkpoint is a figure of its own.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from sqlalchemy import text

from app.domain.events import Event
from app.domain.news import News, NewsKind
from app.storage.counts import fold
from app.storage.engine import Database
from app.storage.inbox import Delivery, Outcome, store_batch
from benchmarks.growth_data import Size, lock_id, seam_id

ROLES = ("few events", "large")

_BATCH = 100
_TARGET = 1.2
_SETTLED = 1.25
"""Times the log that an event writes with few stored: one in sixteen still writes a whole page."""
_SETTLE_BATCHES = 50
_MOST_SETTLING = 200
_CHANCE = random.Random(1)  # noqa: S311 - nothing secret


@dataclass(slots=True)
class Measured:
    """Milliseconds of every turn, by what was measured and at which size."""

    milliseconds: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    targets: dict[str, float] = field(default_factory=dict)

    async def take(
        self, what: str, size: str, target: float, work: Callable[[], Awaitable[None]], per: int = 1
    ) -> None:
        began = time.perf_counter()
        await work()
        self.milliseconds[what][size].append((time.perf_counter() - began) * 1000 / per)
        self.targets[what] = target


async def ingest(measured: Measured, dbs: Mapping[str, Database], sizes: Mapping[str, Size]) -> None:
    for _ in range(5):
        for role in ROLES:
            await _take(measured, "one event", role, dbs[role], sizes[role])
    for role in ROLES:
        while await fold(dbs[role]):
            pass


async def ingest_after_checkpoint(
    measured: Measured, dbs: Mapping[str, Database], sizes: Mapping[str, Size], rounds: int
) -> None:
    """When it is worst: the few pages of the small database are written whole by then, those of the large one are not.
    Of PostgreSQL alone: SQLite writes whole pages at any time."""
    async with dbs["large"].maintain() as conn:
        await conn.execute(text("CHECKPOINT"))
    for turn in range(rounds + 2):
        for role in ROLES:
            into = measured if turn > 1 else Measured()
            await _take(into, "one event, soon after a checkpoint", role, dbs[role], sizes[role])


async def settle(dbs: Mapping[str, Database], sizes: Mapping[str, Size], say: Callable[[str], None]) -> None:
    """Store events until those of the large database write hardly more to the log than those of the small one."""
    small, large = ROLES
    await _log_bytes(dbs[small], sizes[small])  # its few pages may be new to the log
    usual = await _log_bytes(dbs[small], sizes[small])
    for turn in range(_MOST_SETTLING):
        found = await _log_bytes(dbs[large], sizes[large])
        if turn % 10 == 0 or found <= _SETTLED * usual:
            say(f"an event writes {found:.0f} bytes of log, {usual:.0f} with few stored")
        if found <= _SETTLED * usual:
            return
    raise RuntimeError("events of the large database write ever more to the log: are there checkpoints all the time?")


async def _log_bytes(db: Database, size: Size) -> float:
    began = await _log_end(db)
    for _ in range(_SETTLE_BATCHES):
        await store_batch(db, _batch(size))
    return (await _log_end(db) - began) / _SETTLE_BATCHES / _BATCH


async def _log_end(db: Database) -> int:
    async with db.read() as conn:
        return int((await conn.execute(text("SELECT pg_current_wal_insert_lsn() - '0/0'"))).scalar_one())


async def _take(measured: Measured, what: str, role: str, db: Database, size: Size) -> None:
    batches = [_batch(size) for _ in range(10)]

    async def store() -> None:
        for batch in batches:
            assert set(await store_batch(db, batch)) == {Outcome.STORED}

    await measured.take(what, role, _TARGET, store, per=10 * _BATCH)


def _batch(size: Size) -> list[Delivery]:
    """News of codes among the newest tenth."""
    now = datetime.now(UTC)
    return [_delivery(_CHANCE.randrange(size.codes - size.codes // 10, size.codes), now) for _ in range(_BATCH)]


def _delivery(code: int, now: datetime) -> Delivery:
    event_id = str(uuid4())
    event = Event(
        event_id=event_id,
        event_type="access_code.set_on_device",
        occurred_at=now,
        created_at=now,
        workspace_id="workspace",
        access_code_id=seam_id(code),
        device_id=lock_id(code),
        connected_account_id="account",
        payload=f'{{"event_id":"{event_id}","more":"{240 * "x"}"}}',
        news=(NewsKind.SET, News(now, event_id)),
        device_state=None,
        account_state=None,
    )
    return Delivery(f"msg_{event_id}", now, 500, lambda: "key:digest", event, "webhook")
