"""What is known of locks and accounts: their latest reports from events, and what Seam's device object said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType

from sqlalchemy import RowMapping, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.health import AccountFacet, DeviceFacet, DeviceRead, Health, State
from app.storage.codec import decode_state
from app.storage.dialects import insert_into
from app.storage.tables import accounts, devices
from app.storage.values import decode_device_read, encode_device_read

_MANY = 500

Place = tuple[str | None, str | None]
"""Where a code is: device_id and connected_account_id."""


async def load_health(conn: AsyncConnection, places: Sequence[Place]) -> dict[Place, Health]:
    """The health of each of these places; one that was never heard of has an empty one."""
    locks = await _by_id(conn, devices, "device_id", {device for device, _ in places if device})
    owners = await _by_id(conn, accounts, "connected_account_id", {account for _, account in places if account})
    return {place: _health(locks.get(place[0] or ""), owners.get(place[1] or "")) for place in places}


async def accounts_of(conn: AsyncConnection, device_ids: Iterable[str]) -> dict[str, str]:
    """The connected account of each of these locks, where it is known."""
    locks = await _by_id(conn, devices, "device_id", set(device_ids))
    return {ident: row["connected_account_id"] for ident, row in locks.items() if row["connected_account_id"]}


async def save_device_read(conn: AsyncConnection, read: DeviceRead) -> None:
    """Keep what Seam's device object said. An older answer than the stored one changes nothing."""
    told = {"connected_account_id": read.connected_account_id, "workspace_id": read.workspace_id}
    known = {name: ident for name, ident in told.items() if ident is not None}
    values = {**known, "read": encode_device_read(read), "read_at": read.at}
    statement = insert_into(conn, devices).values(device_id=read.device_id, **values)
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=[devices.c.device_id],
            set_={name: statement.excluded[name] for name in values},
            where=devices.c.read_at.is_(None) | (devices.c.read_at <= read.at),
        )
    )


async def load_device(conn: AsyncConnection, device_id: str) -> DeviceRead | None:
    """What Seam's device object said last, ``at`` telling when; ``None`` if it was never read."""
    found = await conn.execute(select(devices.c.read).where(devices.c.device_id == device_id))
    read = found.scalar_one_or_none()
    return decode_device_read(read) if read is not None else None


async def _by_id(conn: AsyncConnection, table: Table, column: str, ids: Iterable[str]) -> dict[str, RowMapping]:
    found: dict[str, RowMapping] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), _MANY):
        rows = await conn.execute(select(table).where(table.c[column].in_(wanted[start : start + _MANY])))
        found |= {row[column]: row for row in rows.mappings()}
    return found


def _health(device: RowMapping | None, account: RowMapping | None) -> Health:
    read = device["read"] if device is not None else None
    return Health(
        device=MappingProxyType({facet: state for facet in DeviceFacet if (state := _state(device, facet.value))}),
        account=MappingProxyType({facet: state for facet in AccountFacet if (state := _state(account, facet.value))}),
        device_read=decode_device_read(read) if read is not None else None,
    )


def _state(row: RowMapping | None, column: str) -> State | None:
    text = row[column] if row is not None else None
    return decode_state(text) if text is not None else None
