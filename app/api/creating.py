"""Creating an access code: the row first, then the call to Seam, then its answer. Each commits before the next begins.

What can go wrong at each point, and what becomes of it:

    before the call       nothing is at Seam; the key is let go, and the same request again carries it out
    Seam refuses          the row is ``refused``, and the same request again gets the same refusal
    no answer             202: the row stays ``requested``, and the reconciler looks for the code on its lock
    we die after the call the same: PIN (its fingerprint), lock and time of the call were committed before it
    a repeat after that   first looks for the code on its lock, and only then asks Seam again
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import orjson
import structlog

from app.api.auth import Principal
from app.api.bodies import CreateAccessCode
from app.api.context import gateway_of
from app.api.finding import find_on_lock
from app.api.problems import (
    ApiError,
    CannotTakeCodes,
    KeyInFlight,
    KeyReused,
    Repeated,
    invalid,
    of_seam,
)
from app.api.services import Services
from app.domain.assessment import FlagKind
from app.domain.codes import Binding, CodeType
from app.domain.health import DeviceRead
from app.reconciler.steps import refresh
from app.seam.capability import can_program
from app.seam.errors import (
    SeamConflict,
    SeamError,
    SeamRateLimited,
    SeamRefused,
    SeamUnanswered,
    SeamUnauthorized,
    SeamUnreached,
)
from app.seam.gateway import Gateway
from app.seam.values import Answer, CreatedCode, CreateRequest
from app.storage import audit
from app.storage.binding import bind, bind_found
from app.storage.codes import Case, CodeRow, NewCode, insert_requested, load_case, refuse
from app.storage.health import load_device, save_device_read
from app.storage.idempotency import (
    KeyRef,
    KeyRow,
    find_key,
    finish_key,
    forget_expired_keys,
    release_key,
    reserve_key,
    take_over_key,
)
from app.storage.requests import before_call, reopen

log = structlog.get_logger(__name__)

IN_FLIGHT = timedelta(seconds=120)
"""Longer than all calls to Seam of one request together: who holds a key for longer is dead."""
CAPABILITY_KEPT = timedelta(hours=1)
CREATED, ACCEPTED = 201, 202


@dataclass(frozen=True, slots=True)
class Created:
    """``status`` is 201, or 202 when Seam's answer is not known. ``pin`` in clear comes with the first answer only."""

    status: int
    code_id: str
    pin: str | None = field(default=None, repr=False)
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One request on its way to Seam. ``may_exist``: an earlier call may have made the code."""

    services: Services
    gateway: Gateway
    body: CreateAccessCode
    key: KeyRef | None
    row: CodeRow
    may_exist: bool = False


async def create_code(services: Services, principal: Principal, key: str | None, body: CreateAccessCode) -> Created:
    """Make this code at Seam, once. Raises ``ApiError``; what it says has been committed.

    Must not be cancelled half-way: run it by ``Background.complete``.
    """
    gateway = gateway_of(services)
    ref = KeyRef(principal.token_id, key) if key is not None else None
    opened = await _open(services, gateway, principal, ref, body)
    if isinstance(opened, Created):
        return opened
    created = await _carry_out(opened)
    log.info("code_requested", code_id=created.code_id, status=created.status, replayed=created.replayed)
    return created


async def _open(
    services: Services, gateway: Gateway, principal: Principal, ref: KeyRef | None, body: CreateAccessCode
) -> _Attempt | Created:
    """A new row and key in one commit; or what became of the first request with this key."""
    now, digest = services.clock(), _digest(services, body)
    if ref is not None:
        async with services.db.read() as conn:
            seen = await find_key(conn, ref)
            case = await load_case(conn, seen.code_id) if seen is not None else None
        if seen is not None and case is not None and not seen.is_expired(now):
            if seen.body_digest != digest:
                raise KeyReused("It came with another body before. Use a new key for a new request.")
            return await _again(_Attempt(services, gateway, body, ref, case.row), case, seen, now)
    _refuse_past(body, now)
    async with services.db.write() as conn:
        row = await insert_requested(conn, _new_code(services, body), now)
        if ref is not None:
            await forget_expired_keys(conn, now)
            until = now + IN_FLIGHT
            if not await reserve_key(conn, ref, body_digest=digest, code_id=row.id, until=until, now=now):
                raise KeyInFlight
        details = {"device_id": body.device_id, "reference": body.reference}
        await audit.record(conn, at=now, actor=principal.name, action="code_requested", code_id=row.id, details=details)
    return _Attempt(services, gateway, body, ref, row)


async def _again(attempt: _Attempt, case: Case, seen: KeyRow, now: datetime) -> _Attempt | Created:
    """The same request: gets the same answer, or is carried out if nothing of it is at Seam and nobody is at it."""
    if seen.is_in_flight(now):
        raise KeyInFlight
    if seen.status is not None and not _was_lost(case):
        if seen.problem is not None:
            raise Repeated(seen.problem)
        return Created(seen.status, case.row.id, replayed=True)
    if case.row.binding == Binding.BOUND:
        # Found by the reconciler, or tracked, after the first request was given up.
        return await _finish(attempt, CREATED)
    _refuse_past(attempt.body, now)
    async with attempt.services.db.write() as conn:
        if not await take_over_key(conn, seen, now + IN_FLIGHT):
            raise KeyInFlight
        row = await reopen(conn, case.row.id, now) or case.row
    return replace(attempt, row=row, may_exist=row.call_sent_at is not None)


def _was_lost(case: Case) -> bool:
    """Whether a read has proven that Seam never made it: then the same request again may make it."""
    return any(flag.kind == FlagKind.REQUEST_LOST for flag in case.flags)


async def _carry_out(attempt: _Attempt) -> Created:
    if attempt.may_exist and (found := await _find_earlier(attempt)) is not None:
        return found
    device = await _capable_device(attempt)
    pin = attempt.body.code or await _choose_pin(attempt)
    sent = await _note_call(attempt, device, pin)
    if sent is None:
        # Bound meanwhile: somebody tracked the code that an earlier call had made.
        return await _finish(attempt, CREATED)
    attempt = replace(attempt, row=sent)
    try:
        answer = await attempt.gateway.create(_request(attempt.body, pin))
    except SeamError as error:
        return await _after_error(attempt, error)
    return await _record_made(attempt, answer, pin)


async def _find_earlier(attempt: _Attempt) -> Created | None:
    """The code that an earlier call made, if it is on its lock. Raises ``ApiError`` if that cannot be told."""
    services = attempt.services
    try:
        found = await find_on_lock(services, attempt.gateway, attempt.row)
    except SeamError as error:
        # Without knowing, a second call could make a second code.
        await _let_go(attempt)
        raise of_seam(error) from error
    if found is None:
        return None
    async with services.db.write() as conn:
        bound = await bind_found(conn, attempt.row.id, *found, services.clock())
    return await _finish(attempt, CREATED) if bound is not None else None


async def _capable_device(attempt: _Attempt) -> DeviceRead | None:
    """What is known of the lock, once it is known not to refuse such codes. ``None``: it cannot be read now."""
    services, device_id = attempt.services, attempt.body.device_id
    async with services.db.read() as conn:
        known = await load_device(conn, device_id)
    if known is not None and services.clock() - known.at < CAPABILITY_KEPT and _can_take(attempt.body, known):
        return known
    try:
        # Also when an earlier read said no: it may have been put right a minute ago.
        read = await attempt.gateway.get_device(device_id)
    except SeamRefused as error:
        raise await _refused(attempt, of_seam(error), error) from error
    except SeamError:
        return known
    async with services.db.write() as conn:
        await save_device_read(conn, read)
    if not _can_take(attempt.body, read):
        kind = "offline" if attempt.body.is_offline_access_code else "online"
        told = f"Seam says that this device does not take {kind} access codes. Choose another device."
        raise await _refused(attempt, CannotTakeCodes(told, device_id=device_id), None)
    return read


def _can_take(body: CreateAccessCode, read: DeviceRead) -> bool:
    return can_program(read, offline=bool(body.is_offline_access_code)) is not False


async def _choose_pin(attempt: _Attempt) -> str | None:
    """A PIN chosen before the call: a lost code can be found by it. ``None``: Seam or the vendor chooses."""
    body = attempt.body
    if body.is_offline_access_code:
        return None
    try:
        pin = await attempt.gateway.generate_code(body.device_id)
    except SeamError:
        return None
    wanted = body.preferred_code_length
    return pin if pin is None or wanted is None or len(pin) == wanted else None


async def _note_call(attempt: _Attempt, device: DeviceRead | None, pin: str | None) -> CodeRow | None:
    services, body, row = attempt.services, attempt.body, attempt.row
    now = services.clock()
    fingerprint = services.fingerprinter.pin(body.device_id, pin) if pin is not None else None
    # A code that an earlier call with the same PIN made is older than this call.
    sent_at = row.call_sent_at if fingerprint is not None and fingerprint == row.pin else None
    natively = device.schedules_natively if device is not None else None
    async with services.db.write() as conn:
        return await before_call(
            conn,
            row.id,
            pin=fingerprint,
            schedules_natively=False if body.prefer_native_scheduling is False else natively,
            device=device,
            sent_at=sent_at or now,
            now=now,
        )


async def _after_error(attempt: _Attempt, error: SeamError) -> Created:
    match error:
        case SeamConflict() if attempt.may_exist and (found := await _find_earlier(attempt)) is not None:
            return found
        case SeamUnreached() | SeamRateLimited() | SeamUnauthorized():
            raise await _refused(attempt, of_seam(error), error, again=True) from error
        case SeamUnanswered():
            return await _finish(attempt, ACCEPTED)
        case _:
            # With a PIN that we chose, a conflict is bad luck: the same request again gets another one.
            again = isinstance(error, SeamConflict) and attempt.body.code is None
            raise await _refused(attempt, of_seam(error), error, again=again) from error


async def _record_made(attempt: _Attempt, answer: Answer[CreatedCode], pin: str | None) -> Created:
    services, made = attempt.services, answer.value
    async with services.db.write() as conn:
        await bind(conn, attempt.row.id, made.snapshot, answer.at, services.clock())
        if attempt.key is not None:
            await finish_key(conn, attempt.key, status=CREATED)
    await _assess(attempt)
    return Created(CREATED, attempt.row.id, pin=made.pin or pin)


async def _finish(attempt: _Attempt, status: int) -> Created:
    if attempt.key is not None:
        async with attempt.services.db.write() as conn:
            await finish_key(conn, attempt.key, status=status)
    await _assess(attempt)
    return Created(status, attempt.row.id)


async def _refused(attempt: _Attempt, problem: ApiError, error: SeamError | None, *, again: bool = False) -> ApiError:
    """Keep the refusal and return it. ``again``: the same request may try again, since it is not to blame."""
    services, now = attempt.services, attempt.services.clock()
    refusal = {"status": problem.status, "type": problem.type, "message": _reason(problem, error)}
    async with services.db.write() as conn:
        refused = await refuse(conn, attempt.row.id, refusal, now)
        if attempt.key is not None:
            if again or refused is None:
                await release_key(conn, attempt.key, now)
            else:
                await finish_key(conn, attempt.key, status=problem.status, problem=problem.document())
    await _assess(attempt)
    log.info("code_refused", code_id=attempt.row.id, problem=problem.type, seam_status=error and error.status_code)
    return problem


def _reason(problem: ApiError, error: SeamError | None) -> str:
    return f"{problem.title}: {error.message}" if error is not None else problem.detail


async def _let_go(attempt: _Attempt) -> None:
    if attempt.key is not None:
        async with attempt.services.db.write() as conn:
            await release_key(conn, attempt.key, attempt.services.clock())


async def _assess(attempt: _Attempt) -> None:
    services = attempt.services
    await refresh(services.db, attempt.row.id, services.policy, services.clock)
    services.wake()


def _refuse_past(body: CreateAccessCode, now: datetime) -> None:
    if body.ends_at is not None and body.ends_at <= now:
        raise invalid("ends_at", "must be in the future")


def _new_code(services: Services, body: CreateAccessCode) -> NewCode:
    return NewCode(
        device_id=body.device_id,
        type=CodeType.TIME_BOUND if body.starts_at is not None else CodeType.ONGOING,
        name=body.name,
        starts_at=body.starts_at,
        ends_at=body.ends_at,
        pin=services.fingerprinter.pin(body.device_id, body.code) if body.code is not None else None,
        is_offline=bool(body.is_offline_access_code),
        is_one_time_use=bool(body.is_one_time_use),
        set_within_seconds=body.set_within_seconds,
        reference=body.reference,
        metadata=body.metadata,
    )


def _request(body: CreateAccessCode, pin: str | None) -> CreateRequest:
    asked: dict[str, Any] = body.model_dump(exclude={"code", "reference", "metadata", "set_within_seconds"})
    if pin is not None:
        asked["preferred_code_length"] = None
    return CreateRequest(**asked, code=pin)


def _digest(services: Services, body: CreateAccessCode) -> str:
    """The same for the same request, however it was spelled. Keyed, as bodies hold PINs."""
    content = orjson.dumps(body.model_dump(mode="json", exclude_none=True), option=orjson.OPT_SORT_KEYS)
    return services.fingerprinter.digest(content)
