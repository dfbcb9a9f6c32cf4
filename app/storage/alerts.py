"""The outbox: alerts that wait to be composed into messages, and reminders of flags that nobody took on.

An alert is told in one message: composing is a compare-and-set on its state, so any number of replicas may try.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, Select, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.alerting import Alert, AlertState, Change, DeliveryState, alert_id
from app.storage.tables import access_codes, alert_deliveries, alert_messages, alerts, devices, flags
from app.storage.types import UtcDateTime

_opening = alerts.alias("opening")


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What is told as one. ``remind_at`` is when its flags are told again unless somebody takes them on."""

    id: str
    content: Mapping[str, Any]
    alerts: Sequence[Alert]
    remind_at: datetime | None


async def load_pending(conn: AsyncConnection, now: datetime, after: timedelta, limit: int) -> list[Alert]:
    """The pending alerts, the longest waiting first; openings only once they have waited for ``after``."""
    rows = await conn.execute(pending_query(now, after, limit))
    return [_alert(row) for row in rows.mappings()]


def pending_query(now: datetime, after: timedelta, limit: int) -> Select[Any]:
    due = alerts.c.next_attempt_at
    return (
        select(
            alerts.c.id,
            alerts.c.change,
            alerts.c.created_at,
            *[flags.c[name] for name in _FLAG],
            flags.c.id.label("flag_id"),
            flags.c.created_at.label("flagged_at"),
            _opening.c.state.label("opening"),
            access_codes.c.name,
            access_codes.c.reference,
            func.coalesce(access_codes.c.connected_account_id, devices.c.connected_account_id).label("account_id"),
            devices.c.read,
        )
        .join(flags, flags.c.id == alerts.c.flag_id)
        .join(_opening, _opening.c.id == alerts.c.flag_id + literal(f":{Change.OPENED}"), isouter=True)
        .join(access_codes, access_codes.c.id == flags.c.code_id, isouter=True)
        .join(devices, devices.c.device_id == flags.c.device_id, isouter=True)
        .where(
            alerts.c.state == AlertState.PENDING,
            due <= now,
            or_(alerts.c.change != Change.OPENED, due <= literal(now - after, UtcDateTime())),
        )
        .order_by(due)
        .limit(limit)
    )


_FLAG = (
    *("kind", "severity", "reason", "opened_at", "closed_at", "acknowledged_at", "problem"),
    *("code_id", "access_code_id", "device_id"),
)


def _alert(row: RowMapping) -> Alert:
    values = dict(row)
    read = values.pop("read") or {}
    change = Change(values.pop("change"))
    # A flag of an older release may have no alert of its opening: its end is told all the same.
    opening = AlertState(values.pop("opening") or AlertState.SENT)
    return Alert(**values, change=change, opening=opening, device_name=read.get("name"))


async def save_message(conn: AsyncConnection, message: NewMessage, channels: Iterable[str], now: datetime) -> bool:
    """Write the message with a delivery for each channel, if all its alerts still wait. False: nothing was written."""
    ids = [alert.id for alert in message.alerts]
    if len(await _lock_pending(conn, ids)) < len(ids):
        return False
    await conn.execute(
        insert(alert_messages).values(id=message.id, content=dict(message.content), created_at=now),
    )
    await conn.execute(
        insert(alert_deliveries),
        [
            {
                "message_id": message.id,
                "channel": channel,
                "state": DeliveryState.PENDING.value,
                "next_attempt_at": now,
                "created_at": now,
            }
            for channel in channels
        ],
    )
    told = {"state": AlertState.SENDING.value, "message_id": message.id, "next_attempt_at": None}
    await conn.execute(update(alerts).where(alerts.c.id.in_(ids)).values(told))
    await _remind_later(conn, [alert.flag_id for alert in message.alerts], message.remind_at)
    return True


async def skip_alerts(conn: AsyncConnection, ids: Sequence[str]) -> None:
    """Nobody is told of these, if they still wait."""
    await conn.execute(
        update(alerts)
        .where(alerts.c.id.in_(await _lock_pending(conn, ids)))
        .values(state=AlertState.SKIPPED.value, next_attempt_at=None)
    )


async def postpone_alerts(conn: AsyncConnection, ids: Sequence[str], until: datetime) -> None:
    """They cannot be composed now: try again later, and leave the others alone."""
    await conn.execute(
        update(alerts).where(alerts.c.id.in_(await _lock_pending(conn, ids))).values(next_attempt_at=until)
    )


async def write_reminders(conn: AsyncConnection, now: datetime, repeat: timedelta, limit: int) -> list[str]:
    """Put the reminders that are due into the outbox. The ids of their alerts come back. ``repeat`` zero: once."""
    due = (
        select(flags.c.id)
        .where(flags.c.remind_at <= now)
        .order_by(flags.c.remind_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    reminded = await conn.execute(
        update(flags)
        .where(flags.c.id.in_(select(due.c.id)), flags.c.remind_at <= now, flags.c.closed_at.is_(None))
        .values(remind_at=now + repeat if repeat else None, reminders=flags.c.reminders + 1)
        .returning(flags.c.id, flags.c.reminders)
    )
    written = [(row.id, alert_id(row.id, Change.REMINDER, row.reminders)) for row in reminded]
    if written:
        await conn.execute(
            insert(alerts),
            [
                {
                    "id": ident,
                    "flag_id": flag_id,
                    "change": Change.REMINDER.value,
                    "state": AlertState.PENDING.value,
                    "next_attempt_at": now,
                    "created_at": now,
                }
                for flag_id, ident in written
            ],
        )
    return [ident for _, ident in written]


async def has_reminders(conn: AsyncConnection, now: datetime) -> bool:
    found = await conn.execute(select(flags.c.id).where(flags.c.remind_at <= now).limit(1))
    return found.first() is not None


async def _lock_pending(conn: AsyncConnection, ids: Sequence[str]) -> list[str]:
    """Those that still wait; nobody else composes them before this transaction ends. In one order, so that two
    replicas wait for each other instead of blocking each other."""
    query = (
        select(alerts.c.id)
        .where(alerts.c.id.in_(ids), alerts.c.state == AlertState.PENDING)
        .order_by(alerts.c.id)
        .with_for_update()
    )
    return list((await conn.execute(query)).scalars())


async def _remind_later(conn: AsyncConnection, flag_ids: Sequence[str], remind_at: datetime | None) -> None:
    if remind_at is None:
        return
    await conn.execute(
        update(flags)
        .where(
            flags.c.id.in_(flag_ids),
            flags.c.closed_at.is_(None),
            flags.c.acknowledged_at.is_(None),
            flags.c.remind_at.is_(None),
        )
        .values(remind_at=remind_at)
    )
