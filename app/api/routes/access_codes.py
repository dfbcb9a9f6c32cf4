"""Access codes: create, track, look at, end."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from app.api import present, schemas
from app.api.auth import PinReader, Reader, Writer
from app.api.backing_up import pull_backup
from app.api.bodies import ChangeAccessCode, CreateAccessCode, Text, TrackAccessCodes, UtcTime
from app.api.changing import change_code
from app.api.checking import check_code, read_pin
from app.api.context import BackgroundOf, Ident, ServicesOf, found, stored_case
from app.api.creating import ACCEPTED, CREATED, Created, create_code
from app.api.documents import COMMON, NOT_FOUND, SEAM, problem
from app.api.ending import end_code
from app.api.pagination import PageQuery, decode_time_cursor, decode_timeline_cursor, encode_cursor
from app.api.tracking import track_codes, untrack_code
from app.domain.assessment import Verdict
from app.reconciler.steps import refresh
from app.storage.code_lists import CodeFilter, list_codes
from app.storage.timeline import load_timeline

router = APIRouter(prefix="/v1/access-codes", tags=["access codes"], responses=COMMON)
NO_STORE = {"Cache-Control": "no-store"}


class CodeQuery(PageQuery):
    verdict: Annotated[list[Verdict], Field(default_factory=list, description="May be repeated.")]
    flagged: Annotated[bool | None, Field(description="With, or without, an open flag.")] = None
    device_id: Text | None = None
    reference: Text | None = None
    starts_before: UtcTime | None = None
    starts_after: UtcTime | None = None
    q: Annotated[Text | None, Field(max_length=200, description="Part of name or reference, or an exact id.")] = None
    tracked: Annotated[bool, Field(description="`false` shows those that are not watched any more.")] = True

    def wanted(self) -> CodeFilter:
        return CodeFilter(
            verdicts=[verdict.value for verdict in self.verdict],
            flagged=self.flagged,
            device_id=self.device_id,
            reference=self.reference,
            starts_before=self.starts_before,
            starts_after=self.starts_after,
            q=self.q,
            tracked=self.tracked,
        )


IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="Makes repeating safe for 7 days: the same key and body never make a second code.",
    ),
]


@router.post(
    "",
    status_code=CREATED,
    response_model=schemas.CreatedAccessCode,
    responses={
        202: {
            "model": schemas.CreatedAccessCode,
            "description": "Seam's answer is not known; the verdict tells later.",
        },
        409: problem("The device cannot take such codes, the PIN is on it already, or the key is in use just now."),
        **SEAM,
    },
    summary="Create a code on the lock",
)
async def create(
    services: ServicesOf,
    background: BackgroundOf,
    principal: Writer,
    body: CreateAccessCode,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> schemas.CreatedAccessCode:
    """201 with the PIN in `code`: the one time that we have it. 202 without it when Seam did not answer."""
    body.check()
    created = await background.complete(create_code(services, principal, idempotency_key, body))
    response.status_code = created.status
    response.headers.update(_created_headers(created))
    return present.created_access_code(await stored_case(services, created.code_id), created.pin)


def _created_headers(created: Created) -> dict[str, str]:
    replayed = {"Idempotent-Replayed": "true"} if created.replayed else {}
    return {"Location": f"/v1/access-codes/{created.code_id}", **NO_STORE, **replayed}


@router.post("/track", responses={**NOT_FOUND, **SEAM}, summary="Watch codes that exist at Seam")
async def track(
    services: ServicesOf, background: BackgroundOf, principal: Writer, body: TrackAccessCodes
) -> schemas.Tracked:
    body.check()
    tracked = await background.complete(track_codes(services, principal, body))
    items = [present.access_code(case) for case in tracked.cases]
    return schemas.Tracked(items=items, not_found=tracked.not_found)


@router.get("", summary="List codes, newest first")
async def list_(
    services: ServicesOf, _: Reader, query: Annotated[CodeQuery, Query()]
) -> schemas.PageOf[schemas.AccessCode]:
    """As they are stored: a single `GET` brings a code up to date first."""
    after = decode_time_cursor(query.cursor)
    async with services.db.read() as conn:
        page = await list_codes(conn, query.wanted(), after=after, limit=query.limit)
    items = [present.access_code(case) for case in page.items]
    return schemas.PageOf(items=items, next_cursor=encode_cursor(page.next_after))


@router.get("/{id}", responses=NOT_FOUND, summary="One code")
async def get(services: ServicesOf, _: Reader, ident: Ident) -> schemas.AccessCode:
    """`{id}` is ours or Seam's. News that came in is assessed before the answer; Seam is not asked."""
    return present.access_code(found(await refresh(services.db, ident, services.policy, services.clock)))


@router.get("/{id}/timeline", responses=NOT_FOUND, summary="All that happened to it, oldest first")
async def timeline(
    services: ServicesOf, _: Reader, ident: Ident, query: Annotated[PageQuery, Query()]
) -> schemas.PageOf[schemas.TimelineEntry]:
    after = decode_timeline_cursor(query.cursor)
    case = found(await refresh(services.db, ident, services.policy, services.clock))
    async with services.db.read() as conn:
        page = await load_timeline(conn, case.row, after=after, limit=query.limit)
    items: list[Any] = [{"at": entry.at, "kind": entry.kind, **entry.facts} for entry in page.items]
    return schemas.PageOf[schemas.TimelineEntry](items=items, next_cursor=encode_cursor(page.next_after))


@router.post(
    "/{id}/check",
    responses={**NOT_FOUND, 409: problem("It is not watched any more."), **SEAM},
    summary="Ask Seam now, assess now",
)
async def check(services: ServicesOf, principal: Writer, ident: Ident) -> schemas.AccessCode:
    """When Seam cannot be read, the answer is the code as it is known, and `problem` says so."""
    case, trouble = await check_code(services, principal, ident)
    answer = present.access_code(case)
    return answer if trouble is None else answer.model_copy(update={"problem": present.problem(trouble)})


@router.post("/{id}/untrack", responses=NOT_FOUND, summary="Stop watching, leave the lock alone")
async def untrack(services: ServicesOf, principal: Writer, ident: Ident) -> schemas.AccessCode:
    return present.access_code(await untrack_code(services, principal, ident))


@router.patch(
    "/{id}",
    responses={
        202: {"model": schemas.AccessCode, "description": "Seam's answer is not known; the timeline tells later."},
        **NOT_FOUND,
        409: problem(
            "The new PIN is on the lock already, the code cannot be changed any more, or an earlier change has no "
            "answer yet."
        ),
        **SEAM,
    },
    summary="Change name, PIN or window, or what is noted beside it",
)
async def change(
    services: ServicesOf,
    background: BackgroundOf,
    principal: Writer,
    ident: Ident,
    body: ChangeAccessCode,
    response: Response,
) -> schemas.AccessCode:
    """A new PIN or window is verified like a new code: until the lock has confirmed it, the code is `outdated`."""
    body.check()
    changed = await background.complete(change_code(services, principal, ident, body))
    response.status_code = changed.status
    return present.access_code(changed.case)


@router.post(
    "/{id}/backup",
    status_code=CREATED,
    response_model=schemas.CreatedAccessCode,
    responses={
        200: {"model": schemas.CreatedAccessCode, "description": "It was pulled before; its PIN was read from Seam."},
        202: {
            "model": schemas.CreatedAccessCode,
            "description": "Seam's answer is not known. This is the first code; its `replaced_by` tells later.",
        },
        **NOT_FOUND,
        409: problem("There is no backup code for it, or the code has come to its end."),
        **SEAM,
    },
    summary="Pull a backup code",
)
async def backup(
    services: ServicesOf, background: BackgroundOf, principal: PinReader, ident: Ident, response: Response
) -> schemas.CreatedAccessCode:
    """The backup code, watched and linked from now on, with its PIN in `code`. Only for time-bound codes."""
    pulled = await background.complete(pull_backup(services, principal, ident))
    response.status_code = pulled.status
    response.headers.update({"Location": f"/v1/access-codes/{pulled.case.row.id}", **NO_STORE})
    return present.created_access_code(pulled.case, pulled.pin)


@router.delete(
    "/{id}",
    status_code=ACCEPTED,
    responses={**NOT_FOUND, 409: problem("An offline code cannot be revoked, or the code is not watched any more.")},
    summary="Remove it from the lock",
)
async def delete(services: ServicesOf, principal: Writer, ident: Ident) -> schemas.AccessCode:
    """The end is remembered and carried out; the verdict `removed` tells when the lock has confirmed it."""
    return present.access_code(await end_code(services, principal, ident))


@router.get(
    "/{id}/pin",
    responses={**NOT_FOUND, 409: problem("Seam has not confirmed this code yet."), **SEAM},
    summary="Its PIN, read live from Seam",
)
async def pin(services: ServicesOf, principal: PinReader, ident: Ident, response: Response) -> schemas.Pin:
    """Never from storage. The asking goes to the audit log."""
    access_code_id, code = await read_pin(services, principal, ident)
    response.headers.update(NO_STORE)
    return schemas.Pin(access_code_id=access_code_id, code=code)
