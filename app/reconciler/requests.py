"""Finding the code of a create call whose answer was lost, among the codes on its lock. In doubt, none is adopted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.codes import Snapshot
from app.domain.fingerprints import same_pin
from app.reconciler.reading import NO_KEY, Unread, unread
from app.seam.errors import SeamError
from app.seam.gateway import Gateway
from app.storage.binding import ADOPTED, CLOCKS_APART, could_be_made_by
from app.storage.codes import CodeRow

_ROUNDING = timedelta(hours=1)
"""By how much Seam may have rounded a window."""

_CALL_TAKES = timedelta(minutes=10)
"""A code made later than this after the call is not what the call made."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """All codes on one lock, as Seam listed them ``at``."""

    at: datetime
    codes: tuple[Snapshot, ...]


async def list_locks(
    gateway: Gateway | None, device_ids: Collection[str], limiter: asyncio.Semaphore
) -> dict[str, Shelf | Unread]:
    """The codes on each of these locks: one call for each, however many requests wait there."""
    if gateway is None:
        return {device_id: Unread(NO_KEY) for device_id in device_ids}
    ordered = sorted(device_ids)
    shelves = await asyncio.gather(*(_list_lock(gateway, device_id, limiter) for device_id in ordered))
    return dict(zip(ordered, shelves, strict=True))


async def _list_lock(gateway: Gateway, device_id: str, limiter: asyncio.Semaphore) -> Shelf | Unread:
    async with limiter:
        try:
            answer = await gateway.list_device_codes(device_id)
        except SeamError as error:
            return unread(error)
    return Shelf(answer.at, tuple(answer.value))


def match(requests: Sequence[CodeRow], codes: Sequence[Snapshot], held: Mapping[str, str]) -> dict[str, Snapshot]:
    """Which code each of these requests for one lock made: ``{our id: snapshot}``; who is left out was not found.

    A PIN is on a lock once, so its fingerprint identifies the code. Where the vendor chose the PIN, window, name and
    time of creation have to do, and only if one free code fits one request. ``held`` are the codes that rows have
    already, with the origin of the row: one that was only tracked may turn out to be ours, one that we made is taken.
    """
    found: dict[str, Snapshot] = {}
    taken = {ident for ident, origin in held.items() if origin not in ADOPTED}
    # Of two calls with one PIN Seam refuses the second.
    for request in sorted(requests, key=_called_at):
        by_pin = [code for code in codes if code.access_code_id not in taken and _has_pin(request, code)]
        if len(by_pin) == 1:
            found[request.id] = by_pin[0]
            taken.add(by_pin[0].access_code_id)
    taken |= set(held)
    free = [code for code in codes if code.access_code_id not in taken]
    return found | _by_looks([request for request in requests if request.id not in found], free)


def _by_looks(requests: Sequence[CodeRow], codes: Sequence[Snapshot]) -> dict[str, Snapshot]:
    fitting = {request.id: [code for code in codes if _looks_like(request, code)] for request in requests}
    wanted_by: dict[str, list[str]] = defaultdict(list)
    for code_id, candidates in fitting.items():
        for code in candidates:
            wanted_by[code.access_code_id].append(code_id)
    return {
        code_id: candidates[0]
        for code_id, candidates in fitting.items()
        if len(candidates) == 1 and len(wanted_by[candidates[0].access_code_id]) == 1
    }


def _has_pin(request: CodeRow, code: Snapshot) -> bool:
    return same_pin(request.pin, code.pin) is True and could_be_made_by(code, _called_at(request))


def _looks_like(request: CodeRow, code: Snapshot) -> bool:
    if request.pin is not None and same_pin(request.pin, code.pin) is False:
        return False
    called_at = _called_at(request)
    if code.created_at is None or not could_be_made_by(code, called_at):
        return False
    if code.created_at > called_at + _CALL_TAKES + CLOCKS_APART or (request.name or None) != (code.name or None):
        return False
    return _close(request.starts_at, code.starts_at) and _close(request.ends_at, code.ends_at)


def _close(asked: datetime | None, accepted: datetime | None) -> bool:
    if asked is None or accepted is None:
        return asked is accepted
    return abs(asked - accepted) <= _ROUNDING


def _called_at(request: CodeRow) -> datetime:
    return request.call_sent_at or request.requested_at
