"""Deliveries: one message on one channel. Claimed under a lease, channel by channel, so that none delays another.

At least once: the outcome is written after the message was sent, and a process that dies in between leaves a lease
that runs out; then the message is sent again under the same id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.alerting import AlertState, Change, DeliveryState, state_of
from app.storage.tables import alert_deliveries, alert_messages, alerts

_columns = alert_deliveries.c
_due_at, _leased_until = _columns.next_attempt_at, _columns.leased_until
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this process may make until ``leased_until``. ``attempts`` counts this one as well;
    ``tried_since`` is when the first was due."""

    message_id: str
    channel: str
    content: dict[str, Any]
    attempts: int
    tried_since: datetime
    leased_until: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    channel: str
    state: str
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """``oldest_unsent_at``: since when the oldest news waits that is not on every channel yet and was not given up.
    ``dead``: deliveries that were given up, by channel."""

    oldest_unsent_at: datetime | None
    dead: dict[str, int]


async def has_due(conn: AsyncConnection, channel: str, now: datetime) -> bool:
    """Whether a claim would find something: a look that writes nothing."""
    return (await conn.execute(due_query(channel, now, 1))).first() is not None


async def claim_deliveries(
    conn: AsyncConnection, channel: str, now: datetime, lease: timedelta, limit: int
) -> list[Claim]:
    """Lease up to ``limit`` due deliveries of this channel that nobody else has, the longest waiting first."""
    due = due_query(channel, now, limit).with_for_update(skip_locked=True, of=alert_deliveries).cte("due")
    claimed = await conn.execute(
        update(alert_deliveries)
        .where(_columns.channel == channel, _columns.message_id.in_(select(due.c.message_id)))
        .values(leased_until=now + lease, attempts=_columns.attempts + 1)
        .returning(_columns.message_id, _columns.attempts, _columns.created_at)
    )
    rows = {row.message_id: row for row in claimed}
    found = await conn.execute(
        select(alert_messages).where(alert_messages.c.id.in_(sorted(rows))).order_by(alert_messages.c.created_at)
    )
    return [
        Claim(
            message_id=message.id,
            channel=channel,
            content=message.content,
            attempts=rows[message.id].attempts,
            tried_since=rows[message.id].created_at,
            leased_until=now + lease,
        )
        for message in found
    ]


def due_query(channel: str, now: datetime, limit: int) -> Select[Any]:
    return (
        select(_columns.message_id)
        .where(
            _columns.channel == channel,
            _due_at <= now,
            or_(_leased_until.is_(None), _leased_until <= now),
            ~_is_overtaking(),
        )
        .order_by(_due_at)
        .limit(limit)
    )


def _is_overtaking() -> ColumnElement[bool]:
    """Whether earlier news of one of its flags is still on its way on this channel: that a flag closed means nothing to
    somebody who was not told yet that it opened."""
    mine, earlier, other = alerts.alias("mine"), alerts.alias("earlier"), alert_deliveries.alias("other")
    is_earlier = or_(
        earlier.c.created_at < mine.c.created_at,
        and_(earlier.c.created_at == mine.c.created_at, earlier.c.change == Change.OPENED),
    )
    return (
        select(mine.c.id)
        .join(earlier, earlier.c.flag_id == mine.c.flag_id)
        .join(other, other.c.message_id == earlier.c.message_id)
        .where(
            mine.c.message_id == _columns.message_id,
            earlier.c.message_id != _columns.message_id,
            is_earlier,
            other.c.channel == _columns.channel,
            other.c.state == DeliveryState.PENDING,
        )
        .correlate(alert_deliveries)
        .exists()
    )


async def note_sent(conn: AsyncConnection, claim: Claim, now: datetime) -> None:
    """It arrived, also if the lease has run out meanwhile and somebody else sends it again."""
    await _lock_message(conn, claim.message_id)
    sent = {"state": DeliveryState.SENT.value, "sent_at": now, "last_error": None}
    await conn.execute(
        update(alert_deliveries)
        .where(_is(claim), _columns.state != DeliveryState.SENT)
        .values(**sent, next_attempt_at=None, leased_until=None)
    )
    await _tell_state(conn, claim.message_id)


async def note_failed(conn: AsyncConnection, claim: Claim, error: str, next_attempt_at: datetime | None) -> None:
    """It did not arrive; without a next attempt it is given up. What somebody else took over is left to them."""
    await _lock_message(conn, claim.message_id)
    state = DeliveryState.DEAD if next_attempt_at is None else DeliveryState.PENDING
    await conn.execute(
        update(alert_deliveries)
        .where(_is(claim), _columns.state == DeliveryState.PENDING, _leased_until == claim.leased_until)
        .values(
            state=state.value,
            next_attempt_at=next_attempt_at,
            leased_until=None,
            last_error=error[:_LONGEST_ERROR],
        )
    )
    await _tell_state(conn, claim.message_id)


async def abandon_channels(conn: AsyncConnection, known: Collection[str], before: datetime, error: str) -> list[str]:
    """Give up what waits since ``before`` for channels that are not ``known``. The ids of its messages come back."""
    abandoned = await conn.execute(
        update(alert_deliveries)
        .where(
            _columns.state == DeliveryState.PENDING,
            _columns.channel.not_in(sorted(known)),
            _due_at.is_not(None),
            _columns.created_at < before,
        )
        .values(state=DeliveryState.DEAD.value, next_attempt_at=None, leased_until=None, last_error=error)
        .returning(_columns.message_id)
    )
    message_ids = sorted(set(abandoned.scalars()))
    for message_id in message_ids:
        await _lock_message(conn, message_id)
        await _tell_state(conn, message_id)
    return message_ids


async def retry_dead(conn: AsyncConnection, message_ids: Sequence[str] | None, now: datetime) -> list[str]:
    """Try again what was given up, for another day, under the same id: ``None`` all of it. The ids of the messages
    come back.

    What has closed since, and was told as closed there, stays dead: telling it now would say that it is open.
    """
    dead = select(_columns.message_id).where(_columns.state == DeliveryState.DEAD, ~_is_overtaken())
    if message_ids is not None:
        dead = dead.where(_columns.message_id.in_(message_ids))
    found = sorted(set((await conn.execute(dead)).scalars()))
    for message_id in found:
        await _lock_message(conn, message_id)
        await conn.execute(
            update(alert_deliveries)
            .where(_columns.message_id == message_id, _columns.state == DeliveryState.DEAD, ~_is_overtaken())
            .values(state=DeliveryState.PENDING.value, attempts=0, next_attempt_at=now, created_at=now)
        )
        await _tell_state(conn, message_id)
    return found


def _is_overtaken() -> ColumnElement[bool]:
    """Whether that all of its flags have closed was told on this channel, by other messages."""
    mine, end, told = alerts.alias("mine"), alerts.alias("ended"), alert_deliveries.alias("told")
    was_told = (
        select(end.c.id)
        .join(told, told.c.message_id == end.c.message_id)
        .where(
            end.c.flag_id == mine.c.flag_id,
            end.c.change == Change.CLOSED,
            told.c.channel == _columns.channel,
            told.c.state == DeliveryState.SENT,
        )
        # Said outright: from two levels further out it would be taken for a table of its own.
        .correlate(alert_deliveries, mine)
        .exists()
    )
    is_news = select(mine.c.id).where(mine.c.message_id == _columns.message_id, ~was_told)
    return ~is_news.correlate(alert_deliveries).exists()


async def load_deliveries(conn: AsyncConnection, message_ids: Collection[str]) -> dict[str, list[DeliveryRow]]:
    """The deliveries of these messages, by channel."""
    query = select(alert_deliveries).where(_columns.message_id.in_(sorted(message_ids))).order_by(_columns.channel)
    found: dict[str, list[DeliveryRow]] = defaultdict(list)
    for row in await conn.execute(query):
        found[row.message_id].append(
            DeliveryRow(row.channel, row.state, row.attempts, row.next_attempt_at, row.last_error, row.sent_at)
        )
    return dict(found)


async def load_backlog(conn: AsyncConnection) -> Backlog:
    # Written as more than the column: else SQLite looks for the first such row along all that ever were, by their age.
    made_at = func.coalesce(alerts.c.created_at, alerts.c.next_attempt_at)
    waiting = select(func.min(made_at)).where(alerts.c.next_attempt_at.is_not(None))
    sending = (
        select(func.min(alert_messages.c.created_at))
        .join(alert_deliveries, _columns.message_id == alert_messages.c.id)
        .where(_due_at.is_not(None))
    )
    oldest = [(await conn.execute(query)).scalar_one() for query in (waiting, sending)]
    dead = await conn.execute(
        select(_columns.channel, func.count()).where(_columns.state == DeliveryState.DEAD).group_by(_columns.channel)
    )
    return Backlog(
        oldest_unsent_at=min((moment for moment in oldest if moment is not None), default=None),
        dead={row[0]: row[1] for row in dead},
    )


def _is(claim: Claim) -> ColumnElement[bool]:
    return and_(_columns.message_id == claim.message_id, _columns.channel == claim.channel)


async def _lock_message(conn: AsyncConnection, message_id: str) -> None:
    """First of all: two channels that end at the same time must see each other's outcome."""
    await conn.execute(select(alert_messages.c.id).where(alert_messages.c.id == message_id).with_for_update())


async def _tell_state(conn: AsyncConnection, message_id: str) -> None:
    states = await conn.execute(select(_columns.state).where(_columns.message_id == message_id))
    state = state_of(states.scalars())
    await conn.execute(
        update(alerts)
        .where(alerts.c.message_id == message_id, alerts.c.state != state, alerts.c.state != AlertState.SKIPPED)
        .values(state=state.value)
    )
