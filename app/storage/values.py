"""Values of the domain as JSON, for the columns that keep them whole. What is ``None`` or empty is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from app.domain.assessment import Problem
from app.domain.changes import Change, Unanswered, Window
from app.domain.codes import CodeType, Read, Snapshot
from app.domain.health import DeviceRead
from app.domain.news import Issue, IssueSource

JsonObject = dict[str, Any]


def encode_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def decode_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def encode_issue(issue: Issue) -> JsonObject:
    return _encode(issue)


def decode_issue(data: Mapping[str, Any]) -> Issue:
    known = _known(Issue, data)
    return Issue(**{**known, "source": IssueSource(data["source"]), **_times(known, "created_at")})


def encode_snapshot(snapshot: Snapshot) -> JsonObject:
    return _encode(snapshot)


def decode_snapshot(data: Mapping[str, Any]) -> Snapshot:
    known = _known(Snapshot, data)
    return Snapshot(
        **{
            **known,
            **_times(known, "starts_at", "ends_at", "created_at"),
            **_issues(known),
            "type": CodeType(data["type"]),
            "pending": tuple(data["pending"]) if "pending" in data else None,
        }
    )


def encode_read(read: Read) -> JsonObject:
    return {"at": encode_time(read.at), "snapshot": encode_snapshot(read.snapshot) if read.snapshot else None}


def decode_read(data: Mapping[str, Any]) -> Read:
    snapshot = data["snapshot"]
    return Read(at=decode_time(data["at"]), snapshot=decode_snapshot(snapshot) if snapshot else None)


def encode_device_read(read: DeviceRead) -> JsonObject:
    return _encode(read)


def decode_device_read(data: Mapping[str, Any]) -> DeviceRead:
    known = _known(DeviceRead, data)
    lengths = tuple(data.get("supported_code_lengths", ()))
    return DeviceRead(**{**known, **_times(known, "at"), **_issues(known), "supported_code_lengths": lengths})


def encode_problem(problem: Problem) -> JsonObject:
    return asdict(problem)


def decode_problem(data: Mapping[str, Any]) -> Problem:
    return Problem(**data)


def encode_unanswered(unanswered: Unanswered) -> JsonObject:
    change = unanswered.change
    encoded: JsonObject = {"sent_at": encode_time(unanswered.sent_at), "name": change.name, "pin": change.pin}
    if change.window is not None:
        encoded["window"] = _encode(change.window)
    if change.pulls_backup:
        encoded["backup"] = True
    return {name: item for name, item in encoded.items() if item is not None}


def decode_unanswered(data: Mapping[str, Any]) -> Unanswered:
    change = Change(
        name=data.get("name"),
        pin=data.get("pin"),
        window=_decode_window(data["window"]) if "window" in data else None,
        pulls_backup=data.get("backup", False),
    )
    return Unanswered(change, decode_time(data["sent_at"]))


def _decode_window(data: Mapping[str, Any]) -> Window:
    known = _known(Window, data)
    return Window(**{**known, **_times(known, "starts_at", "ends_at"), "type": CodeType(data["type"])})


def _encode(value: Any) -> JsonObject:
    """A frozen dataclass as JSON. Empty tuples stay only where they say something else than ``None``."""
    encoded: JsonObject = {}
    for field in fields(value):
        item = getattr(value, field.name)
        if item is None or (item == () and field.default == ()):
            continue
        encoded[field.name] = _encode_item(item)
    return encoded


def _encode_item(item: Any) -> Any:
    if isinstance(item, datetime):
        return encode_time(item)
    if isinstance(item, Issue):
        return _encode(item)
    if isinstance(item, tuple):
        return [_encode_item(part) for part in item]
    return item


def _known(kind: type[Any], data: Mapping[str, Any]) -> JsonObject:
    """Only fields that exist: a row written by a newer release must not stop an older one during an upgrade."""
    names = {field.name for field in fields(kind)}
    return {name: item for name, item in data.items() if name in names}


def _times(data: Mapping[str, Any], *names: str) -> dict[str, datetime]:
    return {name: decode_time(data[name]) for name in names if name in data}


def _issues(data: Mapping[str, Any]) -> dict[str, tuple[Issue, ...]]:
    return {name: tuple(decode_issue(issue) for issue in data[name]) for name in ("errors", "warnings") if name in data}
