"""Reading the parameters of Seam's API, and refusing them in its words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from app.sandbox.state import Json, whole_milliseconds


class ApiError(Exception):
    """An answer other than 2xx, in the shape of Seam's error objects."""

    def __init__(
        self, status_code: int, error_type: str, message: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.headers = dict(headers or {})
        self.error = {"type": error_type, "message": message, **more}


def invalid(field: str, message: str) -> ApiError:
    errors = {"_errors": [], field: {"_errors": [message]}}
    return ApiError(400, "invalid_input", f"{message} for {field}", validation_errors=errors)


def not_found(kind: str) -> ApiError:
    """``kind`` as in ``access_code``: the type becomes ``access_code_not_found``."""
    words = kind.replace("_", " ").capitalize()
    return ApiError(404, f"{kind}_not_found", f"{words} not found")


class Params:
    """Query and JSON body in one. Repeated keys and JSON lists are lists; ``null`` is as good as absent."""

    def __init__(self, values: Mapping[str, Sequence[Any]]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def texts(self, name: str) -> list[str]:
        values = self._values.get(name, ())
        if not all(isinstance(value, str) for value in values):
            raise invalid(name, "Expected string")
        return [value for value in values if value]

    def text(self, name: str) -> str | None:
        values = self.texts(name)
        return values[0] if values else None

    def needed(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise invalid(name, "Required")
        return value

    def either(self, one: str, many: str) -> set[str] | None:
        """The ids of ``access_code_id`` and ``access_code_ids`` together; ``None`` when neither was given."""
        if one not in self and many not in self:
            return None
        return {*self.texts(one), *self.texts(many)}

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self._first(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        if value in {"true", "false"}:
            return bool(value == "true")
        raise invalid(name, "Expected boolean")

    def number(self, name: str) -> float | None:
        value = self._first(name)
        if value is None or isinstance(value, bool):
            return None
        try:
            return float(value)
        except (TypeError, ValueError):
            raise invalid(name, "Expected number") from None

    def limit(self, default: int, most: int) -> int:
        value = self.number("limit")
        limit = default if value is None else int(value)
        if not 1 <= limit <= most:
            raise invalid("limit", f"Expected a number from 1 to {most}")
        return limit

    def time(self, name: str) -> datetime | None:
        times = self.times(name)
        return times[0] if times else None

    def times(self, name: str) -> list[datetime]:
        return [_time(name, value) for value in self.texts(name)]

    def _first(self, name: str) -> Any:
        values = self._values.get(name, ())
        return values[0] if values else None


def _time(name: str, value: str) -> datetime:
    """An aware time in UTC, cut to the milliseconds that Seam's answers show."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise invalid(name, "Invalid datetime") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return whole_milliseconds(moment.astimezone(UTC))


async def read_params(request: Request) -> Params:
    values: dict[str, list[Any]] = {}
    for name, text in request.query_params.multi_items():
        values.setdefault(name, []).append(text)
    for name, value in (await read_json(request)).items():
        if value is not None:
            values[name] = value if isinstance(value, list) else [value]
    return Params(values)


async def read_json(request: Request) -> Json:
    body = await request.body()
    if not body:
        return {}
    try:
        value = json.loads(body)
    except ValueError:
        raise ApiError(400, "invalid_json", "The request body is not JSON.") from None
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "The request body is not a JSON object.")
    return value


def page(items: Iterable[Json], params: Params, *, default: int = 500) -> tuple[list[Json], Json]:
    """The page that ``limit`` and ``page_cursor`` ask for, and Seam's ``pagination`` object."""
    everything = list(items)
    cursor = params.text("page_cursor") or "0"
    if not cursor.isdecimal():
        raise invalid("page_cursor", "Invalid cursor")
    start = int(cursor)
    end = start + params.limit(default, 1_000)
    more = end < len(everything)
    pagination = {"has_next_page": more, "next_page_cursor": str(end) if more else None, "next_page_url": None}
    return everything[start:end], pagination
