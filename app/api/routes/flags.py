"""Flags: what needs a person."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from app.api import present, schemas
from app.api.auth import Reader, Writer
from app.api.bodies import AcknowledgeFlag, Text
from app.api.context import ServicesOf
from app.api.documents import COMMON, NOT_FOUND
from app.api.pagination import PageQuery, decode_time_cursor, encode_cursor
from app.api.problems import NotFound, invalid
from app.domain.assessment import Severity
from app.storage import audit
from app.storage.flags import acknowledge
from app.storage.queries import FlagFilter, list_flags

router = APIRouter(prefix="/v1/flags", tags=["flags"], responses=COMMON)


class FlagQuery(PageQuery):
    state: Annotated[Literal["open", "closed"] | None, Field(description="Both when left out.")] = None
    acknowledged: bool | None = None
    kind: Text | None = None
    severity: Severity | None = None
    device_id: Text | None = None

    def wanted(self) -> FlagFilter:
        return FlagFilter(
            is_open=None if self.state is None else self.state == "open",
            acknowledged=self.acknowledged,
            kind=self.kind,
            severity=self.severity,
            device_id=self.device_id,
        )


@router.get("", summary="List flags, newest first")
async def list_(services: ServicesOf, _: Reader, query: Annotated[FlagQuery, Query()]) -> schemas.PageOf[schemas.Flag]:
    after = decode_time_cursor(query.cursor)
    async with services.db.read() as conn:
        page = await list_flags(conn, query.wanted(), after=after, limit=query.limit)
    items = [present.flag(row) for row in page.items]
    return schemas.PageOf(items=items, next_cursor=encode_cursor(page.next_after))


@router.post("/{id}/acknowledge", responses=NOT_FOUND, summary="Somebody knows of it")
async def acknowledge_(
    services: ServicesOf,
    principal: Writer,
    ident: Annotated[str, Path(alias="id")],
    body: AcknowledgeFlag | None = None,
) -> schemas.Flag:
    """`until` snoozes it. A `missed` flag, which nothing heals, is closed. Again: the first name and time stay."""
    now = services.clock()
    until = body.until if body is not None else None
    if until is not None and until <= now:
        raise invalid("until", "must be in the future")
    async with services.db.write() as conn:
        row = await acknowledge(conn, ident, principal.name, until, now)
        if row is None:
            raise NotFound("No flag has this id.")
        details = {"flag_id": row.id, "kind": row.kind, "until": until.isoformat() if until else None}
        await audit.record(
            conn, at=now, actor=principal.name, action="flag_acknowledged", code_id=row.code_id, details=details
        )
    return present.flag(row)
