"""What callers may send. Strict: a field that is not known here, or a value of another kind, is refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

from app.api import examples
from app.api.problems import invalid_fields
from app.domain.codes import CodeType

MOST_METADATA = 50
LONGEST_VALUE = 500
LARGEST_INTEGER = 2**53  # beyond, JSON readers differ
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LONGEST_SET_WITHIN = 7 * 24 * 3600
_PIN = re.compile(r"[0-9]{4,12}")


def _is_text_of_time(value: object) -> object:
    # Pydantic would take numbers for seconds since 1970.
    if not isinstance(value, str) or "-" not in value:
        raise ValueError("must be a time like 2026-08-01T15:00:00Z")
    return value


def _is_sane_time(value: datetime) -> datetime:
    if not EARLIEST <= value <= LATEST:
        raise ValueError("must be between the years 2000 and 2200")
    return value.astimezone(UTC)


def _is_storable(value: str) -> str:
    # JSON can spell both; no database keeps them.
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError("must not contain NUL or half of a surrogate pair")
    return value


def _is_not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _is_pin(value: str) -> str:
    if not _PIN.fullmatch(value):
        raise ValueError("must be 4 to 12 digits")
    return value


def _is_flat(value: dict[str, Any]) -> dict[str, Any]:
    for name, item in value.items():
        if not name or len(name) > 100 or len(str(item)) > LONGEST_VALUE:
            raise ValueError(f"names may have 1 to 100 characters, values at most {LONGEST_VALUE}")
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError("numbers must be finite")
        if isinstance(item, int) and abs(item) > LARGEST_INTEGER:
            raise ValueError("integers must fit into 53 bits")
        _is_storable(f"{name}{item}")
    return value


UtcTime = Annotated[AwareDatetime, BeforeValidator(_is_text_of_time), AfterValidator(_is_sane_time)]
Text = Annotated[str, AfterValidator(_is_storable), AfterValidator(_is_not_blank)]
PinText = Annotated[str, AfterValidator(_is_pin)]
MetadataText = Annotated[str, Field(strict=True)]
Metadata = Annotated[
    dict[MetadataText, MetadataText | StrictBool | StrictInt | Annotated[float, Field(strict=True)] | None],
    Field(max_length=MOST_METADATA),
    AfterValidator(_is_flat),
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CreateAccessCode(Body):
    """Both of ``starts_at`` and ``ends_at``, or none of them for an ongoing code."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CREATE]})

    device_id: Annotated[Text, Field(max_length=200)]
    name: Annotated[Text | None, Field(max_length=200)] = None
    code: Annotated[
        PinText | None, Field(description="The PIN, 4 to 12 digits. Without it one is chosen.", repr=False)
    ] = None
    starts_at: UtcTime | None = None
    ends_at: UtcTime | None = None
    preferred_code_length: Annotated[StrictInt | None, Field(ge=4, le=12)] = None
    use_backup_access_code_pool: StrictBool | None = None
    prefer_native_scheduling: StrictBool | None = None
    is_offline_access_code: StrictBool | None = None
    is_one_time_use: StrictBool | None = None
    max_time_rounding: Literal["1hour", "1day", "1h", "1d"] | None = None
    common_code_key: Annotated[Text | None, Field(max_length=200)] = None
    is_external_modification_allowed: StrictBool | None = None
    attempt_for_offline_device: StrictBool | None = None
    reference: Annotated[Text | None, Field(max_length=200, description="Your id, e.g. of a reservation.")] = None
    metadata: Metadata | None = None
    set_within_seconds: Annotated[
        StrictInt | None,
        Field(ge=1, le=LONGEST_SET_WITHIN, description="Replaces LATCHWATCH_SET_WITHIN for this code."),
    ] = None

    def check(self) -> None:
        """What no single field can tell. Raises ``InvalidInput`` naming the fields."""
        errors = [{"field": field, "message": message} for field, message in self._contradictions()]
        if errors:
            raise invalid_fields(errors)

    def _contradictions(self) -> Iterator[tuple[str, str]]:
        if self.starts_at is not None and self.ends_at is None:
            yield "ends_at", "is required with starts_at"
        if self.ends_at is not None and self.starts_at is None:
            yield "starts_at", "is required with ends_at"
        if self.starts_at is not None and self.ends_at is not None and self.ends_at <= self.starts_at:
            yield "ends_at", "must be after starts_at"
        if self.use_backup_access_code_pool and self.starts_at is None:
            yield "use_backup_access_code_pool", "is for time-bound codes: starts_at and ends_at are required"
        if self.code is not None:
            yield from self._contradictions_of_pin(self.code)

    def _contradictions_of_pin(self, pin: str) -> Iterator[tuple[str, str]]:
        if self.preferred_code_length is not None:
            yield "preferred_code_length", "is for codes without `code`"
        # These are kept and shown; the PIN must not be.
        for field in ("name", "reference", "metadata"):
            value = getattr(self, field)
            if value is not None and pin in str(value):
                yield field, "must not contain the PIN"


class ChangeAccessCode(Body):
    """What is left out stays as it is. ``null`` clears ``reference``, ``metadata`` and ``set_within_seconds``."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CHANGE]})

    name: Annotated[Text | None, Field(max_length=200)] = None
    code: Annotated[PinText | None, Field(description="A new PIN, 4 to 12 digits.", repr=False)] = None
    type: Annotated[
        CodeType | None, Field(description="`ongoing` drops the window; `time_bound` needs both its ends.")
    ] = None
    starts_at: UtcTime | None = None
    ends_at: UtcTime | None = None
    reference: Annotated[Text | None, Field(max_length=200)] = None
    metadata: Metadata | None = None
    set_within_seconds: Annotated[StrictInt | None, Field(ge=1, le=LONGEST_SET_WITHIN)] = None

    def check(self) -> None:
        """What no single field can tell. Raises ``InvalidInput`` naming the fields."""
        if not self.model_fields_set:
            raise invalid_fields([{"field": "body", "message": "must name what to change"}])
        errors = [{"field": field, "message": message} for field, message in self._contradictions()]
        if errors:
            raise invalid_fields(errors)

    def asked_of_seam(self) -> frozenset[str]:
        """The fields that Seam has to be told of."""
        return frozenset(self.model_fields_set) & _AT_SEAM

    def own(self) -> dict[str, Any]:
        """The fields that only Latchwatch knows, with their new values."""
        return {name: getattr(self, name) for name in _OWN if name in self.model_fields_set}

    def _contradictions(self) -> Iterator[tuple[str, str]]:
        for field in sorted(self.asked_of_seam()):
            if getattr(self, field) is None:
                yield field, "must not be null; leave it out to keep it"
        if self.type is CodeType.ONGOING:
            for field in ("starts_at", "ends_at"):
                if getattr(self, field) is not None:
                    yield field, "is for time-bound codes; an ongoing one has no window"
        if self.starts_at is not None and self.ends_at is not None and self.ends_at <= self.starts_at:
            yield "ends_at", "must be after starts_at"


_AT_SEAM = frozenset({"name", "code", "type", "starts_at", "ends_at"})
_OWN = ("reference", "metadata", "set_within_seconds")


class TrackAccessCodes(Body):
    """Either ids of Seam, or all codes of one device."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRACK]})

    access_code_ids: Annotated[
        list[Annotated[Text, Field(max_length=200)]] | None, Field(min_length=1, max_length=500)
    ] = None
    device_id: Annotated[Text | None, Field(max_length=200)] = None
    reference: Annotated[Text | None, Field(max_length=200)] = None

    def check(self) -> None:
        """Raises ``InvalidInput`` unless exactly one of the two is given."""
        if (self.access_code_ids is None) == (self.device_id is None):
            told = "give either access_code_ids or device_id"
            raise invalid_fields([{"field": "access_code_ids", "message": told}])


class AcknowledgeFlag(Body):
    """``until`` snoozes the flag: no reminder before then."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ACKNOWLEDGE]})

    until: UtcTime | None = None
