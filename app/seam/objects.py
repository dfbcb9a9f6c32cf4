"""Seam's objects as values of the domain.

The readers take what JSON brings and never trust a type: a field of another type than expected counts as not said.
They raise ``ValueError`` for what is no such object at all. The SDK's own classes are passed over where they lose
what matters here: they read an absent ``pending_mutations`` as an empty one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from app.domain.codes import CodeType, Snapshot
from app.domain.fingerprints import Fingerprinter
from app.domain.health import DeviceRead
from app.domain.issues import read_issues
from app.domain.news import IssueSource
from app.domain.redaction import cut_pins, redact_text
from app.domain.times import read_time
from app.seam.capability import schedules_natively
from app.seam.values import CreatedCode, Event, Webhook

if TYPE_CHECKING:
    from seam.resources.webhook import Webhook as SdkWebhook
    from seam.resources.workspace import Workspace

Object = Mapping[str, Any]

_BEYOND_MEANING = 1e9
_UPDATED = {"updating_name": ("name",), "updating_code": ("code",), "updating_time_frame": ("starts_at", "ends_at")}


def object_at(answer: object, key: str) -> Object:
    value = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(value, dict):
        raise ValueError(f"no object {key!r} in the answer")
    return value


def objects_at(answer: object, key: str) -> list[Object]:
    values = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ValueError(f"no list of objects {key!r} in the answer")
    return values


def read_acceptance(answer: object) -> None:
    """Seam accepts a change or a removal with a JSON object of one kind or another; HTML is no acceptance."""
    if not isinstance(answer, dict):
        raise ValueError("no object in the answer")


def read_snapshot(obj: Object, fingerprinter: Fingerprinter) -> Snapshot:
    """Raises ValueError when the access code has no id."""
    issues = read_issues(obj, source=IssueSource.ACCESS_CODE, redact=_redactor(obj))
    pins = frozenset(_pins(obj))
    obj = _as_accepted(obj)
    device_id, name = _text(obj, "device_id"), _text(obj, "name")
    pin = _text(obj, "code")
    starts_at, ends_at = read_time(obj.get("starts_at")), read_time(obj.get("ends_at"))
    return Snapshot(
        access_code_id=_id(obj, "access_code_id"),
        device_id=device_id,
        workspace_id=_text(obj, "workspace_id"),
        connected_account_id=_text(obj, "connected_account_id"),
        name=cut_pins(name, pins) if name else None,
        type=_code_type(obj, starts_at),
        status=_text(obj, "status"),
        starts_at=starts_at,
        ends_at=ends_at,
        created_at=read_time(obj.get("created_at")),
        pin=fingerprinter.pin(device_id, pin) if device_id and pin else None,
        pending=_pending(obj),
        errors=tuple(issue for issue in issues if issue.is_error),
        warnings=tuple(issue for issue in issues if not issue.is_error),
        is_managed=obj.get("is_managed") is not False,
        is_backup=obj.get("is_backup") is True,
        is_backup_available=_flag(obj, "is_backup_access_code_available"),
        is_scheduled_on_device=_flag(obj, "is_scheduled_on_device"),
        is_offline=obj.get("is_offline_access_code") is True,
        is_one_time_use=obj.get("is_one_time_use") is True,
        pulled_backup_access_code_id=_text(obj, "pulled_backup_access_code_id"),
    )


def read_unmanaged(obj: Object, fingerprinter: Fingerprinter) -> Snapshot:
    return replace(read_snapshot(obj, fingerprinter), is_managed=False)


def read_created(obj: Object, fingerprinter: Fingerprinter) -> CreatedCode:
    return CreatedCode(snapshot=read_snapshot(obj, fingerprinter), pin=_text(obj, "code"))


def read_pin(obj: Object) -> str | None:
    return _text(obj, "code")


def read_generated_code(answer: object) -> str | None:
    """The documentation puts the PIN under ``access_code``, older answers under ``generated_code``."""
    key = "access_code" if isinstance(answer, dict) and "access_code" in answer else "generated_code"
    return _text(object_at(answer, key), "code")


def read_device(obj: Object, at: datetime) -> DeviceRead:
    """Raises ValueError when the device has no id."""
    properties = _inner(obj, "properties")
    battery = _inner(properties, "battery")
    manufacturer = _text(properties, "manufacturer") or _text(_inner(obj, "device_manufacturer"), "manufacturer")
    issues = read_issues(obj, source=IssueSource.DEVICE, redact=redact_text)
    return DeviceRead(
        at=at,
        device_id=_id(obj, "device_id"),
        workspace_id=_text(obj, "workspace_id"),
        connected_account_id=_text(obj, "connected_account_id"),
        name=_text(obj, "nickname") or _text(obj, "display_name") or _text(properties, "name"),
        device_type=_text(obj, "device_type"),
        is_managed=obj.get("is_managed") is not False,
        online=_flag(properties, "online"),
        battery_level=_number(battery.get("level", properties.get("battery_level"))),
        battery_status=_text(battery, "status"),
        can_program_online=_can_program_online(obj),
        can_program_offline=_flag(obj, "can_program_offline_access_codes"),
        schedules_natively=schedules_natively(_text(obj, "device_type"), manufacturer),
        supports_backup_pool=_flag(properties, "supports_backup_access_code_pool"),
        supported_code_lengths=_lengths(properties),
        errors=tuple(issue for issue in issues if issue.is_error),
        warnings=tuple(issue for issue in issues if not issue.is_error),
    )


def read_workspace_id(workspace: Workspace) -> str:
    workspace_id: object = workspace.workspace_id
    if not isinstance(workspace_id, str) or not workspace_id:
        raise ValueError("no workspace_id in the answer")
    return workspace_id


def read_webhook(webhook: SdkWebhook) -> Webhook:
    webhook_id: object = webhook.webhook_id
    if not isinstance(webhook_id, str) or not webhook_id:
        raise ValueError("no webhook_id in the answer")
    return Webhook(webhook_id, webhook.url, tuple(webhook.event_types or ()), webhook.secret)


def read_events(answer: object) -> tuple[Event, ...]:
    return tuple(dict(event) for event in objects_at(answer, "events"))


def next_cursor(answer: Object) -> str | None:
    pagination = _inner(answer, "pagination")
    return _text(pagination, "next_page_cursor") if pagination.get("has_next_page") is True else None


def _as_accepted(obj: Object) -> Object:
    """The object with its pending updates made. Whether Seam shows the old or the new values until the lock has them,
    nobody says; what it has accepted is what the mutation ends with."""
    mutations = obj.get("pending_mutations")
    accepted = dict(obj)
    for mutation in mutations if isinstance(mutations, list) else ():
        if not isinstance(mutation, dict):
            continue
        to, updated = _inner(mutation, "to"), _UPDATED.get(str(mutation.get("mutation_code")), ())
        accepted |= {name: to[name] for name in updated if name in to}
        if "starts_at" in updated and "starts_at" in to:
            accepted["type"] = CodeType.TIME_BOUND.value if to["starts_at"] else CodeType.ONGOING.value
    return accepted


def _redactor(obj: Object) -> Callable[[str], str]:
    """Cuts the object's own PINs too: some vendors' have letters, which no rule about digits finds."""
    pins = frozenset(_pins(obj))
    return partial(redact_text, pins=pins)


def _pins(obj: Object) -> Iterator[str]:
    mutations = obj.get("pending_mutations")
    holders = [obj]
    for mutation in mutations if isinstance(mutations, list) else ():
        if isinstance(mutation, dict):
            holders += [_inner(mutation, "from"), _inner(mutation, "to")]
    yield from filter(None, (_text(holder, "code") for holder in holders))


def _pending(obj: Object) -> tuple[str, ...] | None:
    mutations = obj.get("pending_mutations")
    if not isinstance(mutations, list):
        return None
    codes = (_text(mutation, "mutation_code") for mutation in mutations if isinstance(mutation, dict))
    return tuple(code for code in codes if code)


def _code_type(obj: Object, starts_at: datetime | None) -> CodeType:
    match obj.get("type"):
        case CodeType.ONGOING:
            return CodeType.ONGOING
        case CodeType.TIME_BOUND:
            return CodeType.TIME_BOUND
        case _:
            return CodeType.TIME_BOUND if starts_at else CodeType.ONGOING


def _can_program_online(obj: Object) -> bool | None:
    """The capability flag; where Seam sent neither flag, the older list, which does not tell online from offline."""
    if "can_program_online_access_codes" in obj or "can_program_offline_access_codes" in obj:
        return _flag(obj, "can_program_online_access_codes")
    capabilities = obj.get("capabilities_supported")
    return "access_code" in capabilities if isinstance(capabilities, list) else None


def _lengths(properties: Object) -> tuple[int, ...]:
    lengths = properties.get("supported_code_lengths")
    if not isinstance(lengths, list):
        return ()
    return tuple(int(length) for length in map(_number, lengths) if length is not None and length.is_integer())


def _id(obj: Object, key: str) -> str:
    value = _text(obj, key)
    if value is None:
        raise ValueError(f"no {key} in the object")
    return value


def _text(obj: Object, key: str) -> str | None:
    value = obj.get(key)
    return value if isinstance(value, str) and value else None


def _flag(obj: Object, key: str) -> bool | None:
    value = obj.get(key)
    return value if isinstance(value, bool) else None


def _number(value: object) -> float | None:
    """Not for what JSON in Python takes besides numbers: NaN, infinities, integers beyond a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < _BEYOND_MEANING else None


def _inner(obj: Object, key: str) -> Object:
    value = obj.get(key)
    return value if isinstance(value, dict) else {}
