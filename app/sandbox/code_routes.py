"""``/access_codes/*`` of the simulated Seam."""

from __future__ import annotations

import math
import re
from datetime import datetime
from uuid import uuid4

from app.sandbox.objects import access_code_object, unmanaged_object
from app.sandbox.requests import ApiError, Params, invalid, not_found, page
from app.sandbox.sandbox import Sandbox
from app.sandbox.state import AccessCode, Change, Device, Json, UnmanagedCode, iso

PIN = re.compile(r"[0-9]{4,12}")
DEFAULT_PIN_LENGTH = 4


def create(sandbox: Sandbox, params: Params) -> Json:
    device = device_named(sandbox, params.needed("device_id"))
    _limit(sandbox, "create", device.device_id)
    code = _offline_code(sandbox, params, device) if _is_offline(params) else _online_code(sandbox, params, device)
    sandbox.life.begin(code)
    return _answer(sandbox, code)


def get(sandbox: Sandbox, params: Params) -> Json:
    ident, device_id, pin = params.text("access_code_id"), params.text("device_id"), params.text("code")
    if ident is not None:
        return _answer(sandbox, _code(sandbox, ident))
    if device_id is None or pin is None:
        raise invalid("access_code_id", "Required")
    for code in sandbox.world.codes_on(device_named(sandbox, device_id).device_id):
        if code.pin == pin:
            return _answer(sandbox, code)
    raise not_found("access_code")


def list_(sandbox: Sandbox, params: Params) -> Json:
    idents, device_id = params.either("access_code_id", "access_code_ids"), params.text("device_id")
    if idents is None and device_id is None:
        raise invalid("device_id", "Give a device_id or access_code_ids")
    if device_id is not None:
        device_named(sandbox, device_id)
    found = [
        access_code_object(code, sandbox.world.device_of(code))
        for code in sandbox.world.codes.values()
        if (idents is None or code.access_code_id in idents) and device_id in {None, code.device_id}
    ]
    codes, pagination = page(found, params)
    return {"access_codes": codes, "pagination": pagination}


def update(sandbox: Sandbox, params: Params) -> Json:
    code = _code(sandbox, params.needed("access_code_id"))
    _limit(sandbox, "update", code.device_id)
    if code.end_asked or code.is_offline:
        raise ApiError(
            400, "access_code_cannot_be_updated", "This access code is being deleted, or is an offline code."
        )
    pin = _checked_pin(sandbox, params, code.device_id, own=code)
    starts_at, ends_at = _new_window(sandbox, params, code)
    name = params.text("name") or code.name
    changes = _changes(code, name, pin or code.pin, (starts_at, ends_at), sandbox.now)
    code.name, code.pin, code.starts_at, code.ends_at = name, pin or code.pin, starts_at, ends_at
    code.is_external_modification_allowed = _allows_modification(params, default=code.is_external_modification_allowed)
    if changes:
        sandbox.life.change(code, changes)
    return {}


def delete(sandbox: Sandbox, params: Params) -> Json:
    code = _code(sandbox, params.needed("access_code_id"))
    _limit(sandbox, "delete", code.device_id)
    if code.is_offline:
        raise ApiError(400, "cannot_delete_offline_access_code", "An offline access code cannot be revoked.")
    sandbox.life.ask_end(code)
    return {}


def generate_code(sandbox: Sandbox, params: Params) -> Json:
    device = device_named(sandbox, params.needed("device_id"))
    pin = sandbox.world.free_pin(device.device_id, _pin_length(params, device))
    return {"generated_code": {"device_id": device.device_id, "code": pin}}


def pull_backup(sandbox: Sandbox, params: Params) -> Json:
    code = _code(sandbox, params.needed("access_code_id"))
    if not code.uses_backup_pool or code.pulled_backup_id is not None:
        raise ApiError(400, "no_backup_access_code_available", "There is no backup access code for this access code.")
    return _answer(sandbox, sandbox.life.pull_backup(code))


def get_unmanaged(sandbox: Sandbox, params: Params) -> Json:
    code = sandbox.world.unmanaged.get(params.needed("access_code_id"))
    if code is None:
        raise not_found("access_code")
    return {"access_code": unmanaged_object(code)}


def list_unmanaged(sandbox: Sandbox, params: Params) -> Json:
    device_id = device_named(sandbox, params.needed("device_id")).device_id
    found = [unmanaged_object(code) for code in sandbox.world.unmanaged.values() if code.device_id == device_id]
    codes, pagination = page(found, params)
    return {"access_codes": codes, "pagination": pagination}


def simulate_unmanaged(sandbox: Sandbox, params: Params) -> Json:
    device = device_named(sandbox, params.needed("device_id"))
    code = UnmanagedCode(
        access_code_id=str(uuid4()),
        device_id=device.device_id,
        name=params.needed("name"),
        pin=params.needed("code"),
        created_at=sandbox.now,
    )
    sandbox.life.add_foreign_code(code)
    return {"access_code": unmanaged_object(code)}


def device_named(sandbox: Sandbox, device_id: str) -> Device:
    device = sandbox.world.devices.get(device_id)
    if device is None:
        raise not_found("device")
    return device


def _answer(sandbox: Sandbox, code: AccessCode) -> Json:
    return {"access_code": access_code_object(code, sandbox.world.device_of(code))}


def _code(sandbox: Sandbox, access_code_id: str) -> AccessCode:
    code = sandbox.world.codes.get(access_code_id)
    if code is None:
        raise not_found("access_code")
    return code


def _limit(sandbox: Sandbox, action: str, device_id: str) -> None:
    wait = sandbox.limits.admit(action, device_id, sandbox.now)
    if wait is not None:
        seconds = math.ceil(wait.total_seconds())
        message = f"Too many {action} requests for this device. Try again in {seconds} s."
        raise ApiError(429, "too_many_requests", message, headers={"Retry-After": str(seconds)})


def _online_code(sandbox: Sandbox, params: Params, device: Device) -> AccessCode:
    if not device.takes_online_codes:
        raise ApiError(400, "device_does_not_support_access_codes", "This device cannot program access codes.")
    pin = _checked_pin(sandbox, params, device.device_id)
    starts_at, ends_at = _window(sandbox, params)
    uses_pool = params.flag("use_backup_access_code_pool")
    if uses_pool and starts_at is None:
        raise invalid("use_backup_access_code_pool", "Only for time-bound access codes")
    return AccessCode(
        access_code_id=str(uuid4()),
        device_id=device.device_id,
        name=params.text("name"),
        pin=pin or sandbox.world.free_pin(device.device_id, _pin_length(params, device)),
        created_at=sandbox.now,
        starts_at=starts_at,
        ends_at=ends_at,
        common_code_key=params.text("common_code_key"),
        prefer_native_scheduling=params.flag("prefer_native_scheduling", default=True),
        is_external_modification_allowed=_allows_modification(params),
        is_one_time_use=params.flag("is_one_time_use"),
        uses_backup_pool=uses_pool and device.spec.supports_backup_pool,
    )


def _offline_code(sandbox: Sandbox, params: Params, device: Device) -> AccessCode:
    """A code that the vendor computes: the caller chooses neither PIN nor length."""
    if not device.spec.can_program_offline:
        raise ApiError(400, "device_does_not_support_access_codes", "This device has no offline access codes.")
    if params.text("code") is not None:
        raise invalid("code", "The vendor chooses the code of an offline access code")
    starts_at, ends_at = _window(sandbox, params)
    if starts_at is None:
        raise invalid("starts_at", "Required")
    return AccessCode(
        access_code_id=str(uuid4()),
        device_id=device.device_id,
        name=params.text("name"),
        pin=sandbox.world.free_pin(device.device_id, 9),
        created_at=sandbox.now,
        starts_at=starts_at,
        ends_at=ends_at,
        is_offline=True,
        is_one_time_use=params.flag("is_one_time_use"),
    )


def _is_offline(params: Params) -> bool:
    return params.flag("is_offline_access_code") or params.flag("use_offline_access_code")


def _allows_modification(params: Params, *, default: bool = False) -> bool:
    older = params.flag("allow_external_modification", default=default)
    return params.flag("is_external_modification_allowed", default=older)


def _checked_pin(sandbox: Sandbox, params: Params, device_id: str, own: AccessCode | None = None) -> str | None:
    pin = params.text("code")
    if pin is None:
        return None
    if PIN.fullmatch(pin) is None:
        raise invalid("code", "Expected 4 to 12 digits")
    is_its_own = own is not None and own.pin == pin
    if pin in sandbox.world.pins_on(device_id) and not is_its_own:
        message = "An access code with the same code exists on this device already."
        raise ApiError(409, "duplicate_access_code", message)
    return pin


def _pin_length(params: Params, device: Device) -> int:
    lengths = device.spec.supported_code_lengths
    preferred = params.number("preferred_code_length")
    wanted = DEFAULT_PIN_LENGTH if preferred is None else int(preferred)
    return wanted if wanted in lengths else min(lengths)


def _window(sandbox: Sandbox, params: Params) -> tuple[datetime | None, datetime | None]:
    starts_at, ends_at = params.time("starts_at"), params.time("ends_at")
    if (starts_at is None) != (ends_at is None):
        raise invalid("starts_at" if starts_at is None else "ends_at", "starts_at and ends_at are required together")
    if starts_at is None or ends_at is None:
        return None, None
    if ends_at <= starts_at:
        raise invalid("ends_at", "Expected a time after starts_at")
    if ends_at <= sandbox.now:
        raise invalid("ends_at", "Expected a time in the future")
    return starts_at, ends_at


def _new_window(sandbox: Sandbox, params: Params, code: AccessCode) -> tuple[datetime | None, datetime | None]:
    """An update may move one side of a window, or turn the code into an ongoing one."""
    if params.text("type") == "ongoing":
        return None, None
    starts_at, ends_at = params.time("starts_at"), params.time("ends_at")
    if starts_at is None and ends_at is None:
        return code.starts_at, code.ends_at
    completed = {"starts_at": starts_at or code.starts_at, "ends_at": ends_at or code.ends_at}
    return _window(sandbox, Params({name: [iso(moment)] for name, moment in completed.items() if moment is not None}))


def _changes(
    code: AccessCode, name: str | None, pin: str, window: tuple[datetime | None, datetime | None], now: datetime
) -> list[Change]:
    changes = []
    if name != code.name:
        changes.append(Change("updating_name", now, {"name": code.name}, {"name": name}))
    if pin != code.pin:
        changes.append(Change("updating_code", now, {"code": code.pin}, {"code": pin}))
    if window != (code.starts_at, code.ends_at):
        before = _time_frame(code.starts_at, code.ends_at)
        changes.append(Change("updating_time_frame", now, before, _time_frame(*window)))
    return changes


def _time_frame(starts_at: datetime | None, ends_at: datetime | None) -> Json:
    return {"starts_at": starts_at and iso(starts_at), "ends_at": ends_at and iso(ends_at)}
