"""A reconciler with a Seam in memory, a clock that the test moves, and news that comes in through the real inbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import select

from app.domain.assessment import Policy
from app.domain.codes import CodeType, Read, Snapshot
from app.domain.news import News, NewsKind
from app.reconciler.loop import Reconciler
from app.reconciler.steps import refresh
from app.seam.errors import SeamError
from app.seam.values import Answer
from app.storage.binding import bind
from app.storage.codes import Case, CodeRow, NewCode, ask_end, insert_requested, load_case, mark_call_sent
from app.storage.engine import Database
from app.storage.inbox import Delivery, store_batch
from app.storage.tables import alerts, flags, transitions
from tests.api.worlds import DEVICE, FINGERPRINTER, Clock, FakeSeam
from tests.storage.arrivals import delivery, event

POLICY = Policy()
PIN = FINGERPRINTER.pin(DEVICE, "4821")


class Seam(FakeSeam):
    """Refuses every call with ``silence`` while that is set. Checks that nobody calls it from inside a transaction."""

    silence: SeamError | None = None
    db: Database | None = None

    async def _outside_of_transactions(self) -> None:
        if self.db is not None and self.db.dialect == "sqlite":
            # SQLite has one writer: this hangs, and then fails, if the caller holds it.
            async with self.db.write():
                pass
        if self.silence is not None:
            raise self.silence

    async def list_codes(self, access_code_ids: Any) -> Answer[dict[str, Snapshot]]:
        await self._outside_of_transactions()
        return await super().list_codes(access_code_ids)

    async def get_code(self, access_code_id: str, *, workspace_id: str | None = None) -> Read:
        await self._outside_of_transactions()
        return await super().get_code(access_code_id, workspace_id=workspace_id)

    async def list_device_codes(self, device_id: str) -> Answer[tuple[Snapshot, ...]]:
        await self._outside_of_transactions()
        return await super().list_device_codes(device_id)

    async def delete_code(self, access_code_id: str) -> Answer[bool]:
        await self._outside_of_transactions()
        self._called("delete_code")
        existed = access_code_id in self.codes
        if existed:
            self.change(access_code_id, status="removing", pending=("deleting",))
        return Answer(self.clock(), existed)

    def change(self, access_code_id: str, **fields: Any) -> None:
        self.show(access_code_id, **fields)


@dataclass
class World:
    db: Database
    clock: Clock = field(default_factory=Clock)
    has_key: bool = True
    is_pressed: bool = False

    def __post_init__(self) -> None:
        self.seam = Seam(self.clock)
        self.seam.db = self.db
        self.reconciler = self.new_reconciler()
        self._told = 0

    def new_reconciler(self, db: Database | None = None) -> Reconciler:
        return Reconciler(
            db=db or self.db,
            gateway=self.seam.gateway() if self.has_key else None,
            policy=POLICY,
            clock=self.clock,
            registry=CollectorRegistry(),
            is_pressed=lambda: self.is_pressed,
        )

    async def run(self, **later: float) -> None:
        """Let time pass, and the reconciler do all that is due then."""
        self.clock.advance(**later)
        while await self.reconciler.run_once():
            pass

    async def request(self, *, pin: str | None = PIN, **fields: Any) -> CodeRow:
        """The row of a create call that has left, and whose answer is not known."""
        starts_at = fields.get("starts_at")
        kind = CodeType.TIME_BOUND if starts_at is not None else CodeType.ONGOING
        now = self.clock()
        async with self.db.write() as conn:
            row = await insert_requested(conn, NewCode(device_id=DEVICE, type=kind, pin=pin, **fields), now)
            await mark_call_sent(conn, row.id, now, now)
        return row

    async def create(self, **fields: Any) -> CodeRow:
        """A code that Seam accepted: ``setting`` on the lock, or ``unset`` until its start."""
        row = await self.request(**fields)
        name = f"ac-{row.id}"
        window: dict[str, Any] = {"starts_at": row.starts_at, "ends_at": row.ends_at, "type": CodeType(row.type)}
        snapshot = self.seam.add_code(name, pending=("creating",), **window)
        async with self.db.write() as conn:
            return await bind(conn, row.id, snapshot, self.clock(), self.clock())

    async def end(self, code_id: str) -> None:
        async with self.db.write() as conn:
            await ask_end(conn, code_id, self.clock())

    async def tell(self, kind: NewsKind, access_code_id: str | None, **fields: Any) -> None:
        await store_batch(self.db, [self.news(kind, access_code_id, **fields)])

    def news(self, kind: NewsKind, access_code_id: str | None, **fields: Any) -> Delivery:
        self._told += 1
        now = self.clock()
        told = News(occurred_at=now, event_id=f"ev-{self._told}", **fields)
        fields = {"access_code_id": access_code_id, "device_id": DEVICE, "connected_account_id": None}
        times: dict[str, Any] = {"occurred_at": now, "created_at": now}
        return delivery(event(told.event_id, **fields, **times, news=(kind, told)), received_at=now)

    async def case(self, code_id: str) -> Case:
        async with self.db.read() as conn:
            case = await load_case(conn, code_id)
        assert case is not None
        return case

    async def verdict(self, code_id: str) -> str:
        return (await self.case(code_id)).row.verdict

    async def seen(self, code_id: str) -> str:
        """The verdict as a GET answers it."""
        case = await refresh(self.db, code_id, POLICY, self.clock)
        assert case is not None
        return case.row.verdict

    async def flags_of(self, code_id: str) -> list[tuple[str, bool]]:
        """``(kind, is_open)`` of each flag that the code ever had."""
        async with self.db.read() as conn:
            query = select(flags.c.kind, flags.c.closed_at).where(flags.c.code_id == code_id)
            found = await conn.execute(query.order_by(flags.c.created_at, flags.c.kind))
            return [(kind, closed_at is None) for kind, closed_at in found]

    async def verdicts_of(self, code_id: str) -> list[str]:
        async with self.db.read() as conn:
            query = select(transitions.c.to_verdict).where(transitions.c.code_id == code_id).order_by(transitions.c.id)
            return list((await conn.execute(query)).scalars())

    async def alert_ids(self) -> Sequence[str]:
        async with self.db.read() as conn:
            return list((await conn.execute(select(alerts.c.id).order_by(alerts.c.id))).scalars())


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)
