"""Locks as far as they are known, and figures of the whole service."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.api import present, schemas
from app.api.auth import Reader
from app.api.context import ServicesOf
from app.api.documents import COMMON, NOT_FOUND
from app.api.pagination import PageQuery, decode_name_cursor, encode_cursor
from app.api.problems import NotFound
from app.storage.queries import list_devices, load_device_row
from app.storage.summary import device_figures, summarize

router = APIRouter(prefix="/v1", tags=["overview"], responses=COMMON)


@router.get("/devices", summary="List locks, by id")
async def devices(
    services: ServicesOf, _: Reader, query: Annotated[PageQuery, Query()]
) -> schemas.PageOf[schemas.Device]:
    after = decode_name_cursor(query.cursor)
    async with services.db.read() as conn:
        page = await list_devices(conn, after=after, limit=query.limit)
        figures = await device_figures(conn, [row.device_id for row in page.items])
    items = [present.device(row, figures[row.device_id]) for row in page.items]
    return schemas.PageOf(items=items, next_cursor=encode_cursor(page.next_after))


@router.get("/devices/{device_id}", responses=NOT_FOUND, summary="One lock")
async def device(services: ServicesOf, _: Reader, device_id: str) -> schemas.Device:
    async with services.db.read() as conn:
        row = await load_device_row(conn, device_id)
        if row is None:
            raise NotFound("Nothing was heard of a device with this id.")
        figures = await device_figures(conn, [device_id])
    return present.device(row, figures[device_id])


@router.get("/summary", summary="Codes by verdict, flags, arrivals, ingest health")
async def summary(services: ServicesOf, _: Reader) -> schemas.Summary:
    now = services.clock()
    async with services.db.read() as conn:
        found = await summarize(conn, now)
    return present.summary(found, now)
