"""Alerts with channels in memory, a clock that the test moves, and flags that come about through storage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import select

from app.alerts.alerts import Alerts
from app.alerts.channels import Arrived, Message, Outcome
from app.alerts.sender import Sender
from app.domain.alerting import AlertPolicy
from app.domain.assessment import FlagKind, Problem
from app.storage.engine import Database
from app.storage.flags import acknowledge, close_flags, load_flag, open_flag
from app.storage.tables import access_codes, alert_deliveries, alert_messages, alerts, devices, flags
from tests.api.worlds import Clock
from tests.storage.made import rows_of
from tests.storage.tracked import row, track

POLICY = AlertPolicy()
OFFLINE = Problem(
    kind="device", code="device_disconnected", message="The lock is offline.", temporary=True, remedy="Check its power."
)


@dataclass
class FakeChannel:
    """Answers what was put into ``answers``, then that everything arrives; ``gate`` keeps messages on their way."""

    name: str = "webhook"
    at_once: int = 4
    answers: list[Outcome | Exception] = field(default_factory=list)
    forever: Outcome | None = None
    gate: asyncio.Event | None = None
    got: list[Message] = field(default_factory=list)
    closed: bool = False

    async def send(self, message: Message) -> Outcome:
        self.got.append(message)
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else self.forever or Arrived()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        self.closed = True

    @property
    def told(self) -> list[str]:
        """What it was told, in order: "opened a+b"."""
        return [told_by(message.content) for message in self.got]


def told_by(content: Any) -> str:
    names = "+".join(sorted(flag["name"] or flag["kind"] for flag in content["data"]["flags"]))
    return f"{content['type'].removeprefix('flag.')} {names}"


class World:
    def __init__(self, db: Database, *channels: FakeChannel, policy: AlertPolicy = POLICY) -> None:
        self.db = db
        self.clock = Clock()
        self.policy = policy
        self.channels = channels
        self.registry = CollectorRegistry()
        self.alerts = self.replica()

    def replica(self, db: Database | None = None, channels: Sequence[FakeChannel] | None = None) -> Alerts:
        """The alerts of another process, with the same channels if no others are given."""
        return Alerts(
            db=db or self.db,
            channels=self.channels if channels is None else channels,
            policy=self.policy,
            clock=self.clock,
            registry=CollectorRegistry() if hasattr(self, "alerts") else self.registry,
        )

    @property
    def sender(self) -> Sender:
        return self.alerts.senders[0]

    async def run(self, **later: float) -> None:
        """Let time pass, and do all that is due then. Senders wait for the same moment each, so one after the other."""
        self.clock.advance(**later)
        while await self.alerts.composer.run_once():
            pass
        for sender in self.alerts.senders:
            while await sender.run_once():
                pass

    async def code(self, name: str, **columns: Any) -> str:
        await track(self.db, row(name, name=name, **columns))
        return name

    async def open(self, *names: str, kind: FlagKind = FlagKind.STUCK, **known: Any) -> list[str]:
        """A flag for each of these codes, which are made first if need be. Their ids come back."""
        found: list[str] = []
        for name in names:
            if not await self._has(name):
                await self.code(name)
            values: dict[str, Any] = {"reason": "It is not on the lock.", "problem": None, "device_id": "device"}
            async with self.db.write() as conn:
                found.append(
                    await open_flag(
                        conn,
                        kind=kind,
                        code_id=name,
                        access_code_id=f"seam_{name}",
                        opened_at=self.clock(),
                        now=self.clock(),
                        **{**values, **known},
                    )
                )
        return found

    async def close(self, *flag_ids: str) -> None:
        async with self.db.write() as conn:
            found = [await load_flag(conn, flag_id) for flag_id in flag_ids]
            await close_flags(conn, [flag for flag in found if flag is not None], self.clock())

    async def acknowledge(self, flag_id: str, snooze: timedelta | None = None) -> None:
        until = self.clock() + snooze if snooze is not None else None
        async with self.db.write() as conn:
            await acknowledge(conn, flag_id, "Grace", until, self.clock())

    async def _has(self, code_id: str) -> bool:
        async with self.db.read() as conn:
            found = await conn.execute(select(access_codes.c.id).where(access_codes.c.id == code_id))
            return found.first() is not None

    async def states(self) -> dict[str, str]:
        """The state of each alert, by the name of its code and the change."""
        names = {flag["id"]: flag["code_id"] or flag["kind"] for flag in await rows_of(self.db, flags)}
        return {
            f"{names[alert['flag_id']]} {alert['id'].partition(':')[2]}": alert["state"]
            for alert in await rows_of(self.db, alerts)
        }

    async def deliveries(self) -> list[dict[str, Any]]:
        return await rows_of(self.db, alert_deliveries)

    async def messages(self) -> list[dict[str, Any]]:
        return await rows_of(self.db, alert_messages)

    async def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"latchwatch_{name}", labels)


async def name_device(db: Database, name: str) -> None:
    async with db.write() as conn:
        read = {"at": "2026-08-03T12:00:00+00:00", "device_id": "device", "name": name}
        await conn.execute(devices.insert().values(device_id="device", read=read))
