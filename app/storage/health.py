"""What is known of locks and accounts: their latest reports from events, and what Seam's device object said."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.health import AccountFacet, DeviceFacet, DeviceRead, Health, State
from app.storage.codec import decode_state
from app.storage.dialects import insert_into
from app.storage.rows import fetch_by
from app.storage.tables import accounts, devices
from app.storage.values import decode_device_read, encode_device_read

_DEVICE_FACETS, _ACCOUNT_FACETS = tuple(DeviceFacet), tuple(AccountFacet)
_DEVICE = ("device_id", "connected_account_id", "read", *(facet.value for facet in _DEVICE_FACETS))
_ACCOUNT = ("connected_account_id", *(facet.value for facet in _ACCOUNT_FACETS))

_NOTHING = (None, None)
Facet = TypeVar("Facet", DeviceFacet, AccountFacet)

Place = tuple[str | None, str | None]
"""Where a code is: device_id and connected_account_id."""


async def load_health(conn: AsyncConnection, places: Sequence[Place]) -> dict[Place, Health]:
    """The health of each of these places; one that was never heard of has an empty one."""
    locks = await _by_id(conn, devices, _DEVICE, {device for device, _ in places if device})
    owners = await _by_id(conn, accounts, _ACCOUNT, {account for _, account in places if account})
    return {place: _health(locks.get(place[0] or ""), owners.get(place[1] or "")) for place in set(places)}


async def accounts_of(conn: AsyncConnection, device_ids: Iterable[str]) -> dict[str, str]:
    """The connected account of each of these locks, where it is known."""
    rows = await fetch_by(conn, devices, _DEVICE[:2], "device_id", set(device_ids))
    return {ident: account for ident, account in rows if account}


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


async def _by_id(
    conn: AsyncConnection, table: Table, columns: tuple[str, ...], ids: Collection[str]
) -> dict[str, list[Any]]:
    """What follows the key of each row, by the key."""
    return {row[0]: row[1:] for row in await fetch_by(conn, table, columns, columns[0], ids)}


def _health(device: Sequence[Any] | None, account: Sequence[Any] | None) -> Health:
    _, read, *told = device or _NOTHING
    return Health(
        device=_states(_DEVICE_FACETS, told),
        account=_states(_ACCOUNT_FACETS, account or ()),
        device_read=decode_device_read(read) if read is not None else None,
    )


def _states(facets: Sequence[Facet], texts: Sequence[str | None]) -> Mapping[Facet, State]:
    return MappingProxyType(
        {facet: decode_state(text) for facet, text in zip(facets, texts, strict=False) if text is not None}
    )
