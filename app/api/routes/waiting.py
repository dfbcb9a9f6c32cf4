"""Waiting for one code to be settled: a long poll."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from app.api import present, schemas
from app.api.auth import Reader
from app.api.context import Ident, ServicesOf, found
from app.api.documents import COMMON, NOT_FOUND
from app.storage.codes import Case

router = APIRouter(prefix="/v1/access-codes", tags=["access codes"], responses=COMMON)

LONGEST_SECONDS = 120
# Nobody reads it: the number that nginx logs for a client that went away.
_GONE = 499


class WaitQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    timeout: Annotated[
        float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False, description="In seconds; how long at most.")
    ] = 30


@router.get(
    "/{id}/wait",
    response_model=schemas.AccessCode,
    responses=NOT_FOUND,
    summary="One code, once its verdict is settled",
)
async def wait(
    services: ServicesOf, _: Reader, ident: Ident, request: Request, query: Annotated[WaitQuery, Query()]
) -> schemas.AccessCode | Response:
    """A long poll. The answer comes as soon as the code may be shared, a flag is open, or the verdict is final; at the
    latest after `timeout`, with the code as it is then. Ask again while it is none of these: `safe_to_share` and
    `flags` tell."""
    waiting = services.waiting.until_settled(ident, timedelta(seconds=query.timeout))
    answered = await _unless_gone(request, waiting)
    if not answered:
        return Response(status_code=_GONE)
    return present.access_code(found(answered[0]))


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Case | None]) -> tuple[Case | None] | None:
    """What ``work`` gives. ``None``: the client hung up first, and the work was given up."""
    working, gone = asyncio.create_task(work), asyncio.create_task(_hang_up(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        return (working.result(),) if working.done() else None
    finally:
        working.cancel()
        gone.cancel()


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
