"""Asking Seam for many codes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.domain.codes import Read
from app.seam.errors import SeamError, SeamRateLimited
from app.seam.gateway import IDS_PER_CALL, Gateway

NO_KEY = "No SEAM_API_KEY is set, so Seam cannot be asked: set it and start again."


@dataclass(frozen=True, slots=True)
class Unread:
    """Seam could not be asked, or did not answer. ``retry_after`` is how long Seam wants to be left alone."""

    failure: str
    retry_after: timedelta | None = None

    @property
    def wants_key(self) -> bool:
        """Whether asking again is in vain until this process is started with a key."""
        return self.failure == NO_KEY


Reading = Read | Unread


def unread(error: SeamError) -> Unread:
    retry_after = error.retry_after if isinstance(error, SeamRateLimited) else None
    return Unread(f"{error.title}: {error}", retry_after)


async def read_codes(
    gateway: Gateway | None, wanted: Mapping[str, str | None], limiter: asyncio.Semaphore
) -> dict[str, Reading]:
    """What Seam says about each of these codes: ``{access_code_id: workspace_id | None}``.

    Lists them, a hundred a call, and asks for those that the list leaves out one by one: only Seam's typed answer is an
    absence. A failure of one call touches only the codes of that call. ``limiter`` bounds the calls at a time.
    """
    if gateway is None:
        return {ident: Unread(NO_KEY) for ident in wanted}
    chunks = _chunks(sorted(wanted))
    listed = await asyncio.gather(*(_list(gateway, chunk, limiter) for chunk in chunks))
    readings = {ident: reading for answers in listed for ident, reading in answers.items()}
    missing = [ident for ident in wanted if ident not in readings]
    got = await asyncio.gather(*(_get(gateway, ident, wanted[ident], limiter) for ident in missing))
    return readings | dict(zip(missing, got, strict=True))


async def _list(gateway: Gateway, ids: Sequence[str], limiter: asyncio.Semaphore) -> dict[str, Reading]:
    async with limiter:
        try:
            answer = await gateway.list_codes(ids)
        except SeamError as error:
            return dict.fromkeys(ids, unread(error))
    # By our own ids: an answer may hold codes that nobody asked for.
    return {ident: Read(answer.at, answer.value[ident]) for ident in ids if ident in answer.value}


async def _get(gateway: Gateway, ident: str, workspace_id: str | None, limiter: asyncio.Semaphore) -> Reading:
    async with limiter:
        try:
            return await gateway.get_code(ident, workspace_id=workspace_id)
        except SeamError as error:
            return unread(error)


def _chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return [ids[start : start + IDS_PER_CALL] for start in range(0, len(ids), IDS_PER_CALL)]
