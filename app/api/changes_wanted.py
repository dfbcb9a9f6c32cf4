"""What a request to change a code comes to, and whether the code can be changed at all. Nothing is written here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from app.api.bodies import ChangeAccessCode
from app.api.problems import CannotChange, NotAtSeamYet, NotTracked, invalid, invalid_fields
from app.domain.assessment import Verdict
from app.domain.changes import Change, Window
from app.domain.codes import Binding, CodeType
from app.domain.fingerprints import Fingerprinter, same_pin
from app.storage.codes import Case, CodeRow

_DIGITS = re.compile(r"[0-9]{4,}")
_LONGEST_RUN = 16
_PIN_LENGTHS = range(4, 13)
_SHOWN = ("name", "reference", "metadata")


def change_wanted(fingerprinter: Fingerprinter, row: CodeRow, body: ChangeAccessCode, now: datetime) -> Change:
    """The difference between what is asked for and what is. Raises ``InvalidInput`` for a window that cannot be."""
    pin = fingerprinter.pin(row.device_id or "", body.code) if body.code is not None else None
    window = _window_wanted(row, body, now)
    return Change(
        name=body.name if body.name != row.name else None,
        pin=pin if same_pin(pin, row.pin) is not True else None,
        window=window if window != Window(CodeType(row.type), row.starts_at, row.ends_at) else None,
    )


def _window_wanted(row: CodeRow, body: ChangeAccessCode, now: datetime) -> Window | None:
    """The whole window that this comes to; ``None``: the body says nothing of it."""
    if not body.asked_of_seam() & {"type", "starts_at", "ends_at"}:
        return None
    if body.type is CodeType.ONGOING:
        return Window(CodeType.ONGOING)
    starts_at, ends_at = body.starts_at or row.starts_at, body.ends_at or row.ends_at
    if starts_at is None or ends_at is None:
        missing = [name for name, moment in (("starts_at", starts_at), ("ends_at", ends_at)) if moment is None]
        raise invalid_fields([{"field": name, "message": "is required: a window has both ends"} for name in missing])
    if ends_at <= starts_at:
        raise invalid(
            "ends_at" if body.ends_at is not None else "starts_at",
            f"must leave a window: it ends at {_text(ends_at)} and starts at {_text(starts_at)}",
        )
    if ends_at <= now:
        raise invalid("ends_at", "must be in the future")
    return Window(CodeType.TIME_BOUND, starts_at, ends_at)


def refuse_unchangeable(case: Case, body: ChangeAccessCode) -> None:
    """Raises ``Conflict`` for a code that Seam cannot be asked to change."""
    row = case.row
    if row.binding == Binding.REQUESTED:
        raise NotAtSeamYet("It can be changed once Seam has confirmed the code.")
    if row.binding == Binding.REFUSED:
        raise CannotChange("Seam refused to make it. Create a new one.")
    if row.untracked_at is not None:
        raise NotTracked("Track it again first: what is not watched cannot be confirmed as changed.")
    if row.is_offline:
        raise CannotChange("The lock checks an offline code by itself. Create a new one.")
    if row.end_asked_at is not None:
        raise CannotChange("Its removal was asked for. Create a new one.")
    if row.is_terminal and not _can_be_extended(row):
        raise CannotChange("It is off the lock for good. Create a new one.")
    if row.is_terminal and not body.asked_of_seam() & {"type", "ends_at"}:
        raise CannotChange("Its window has ended. Move ends_at as well, or create a new one.")


def _can_be_extended(row: CodeRow) -> bool:
    """Whether all that ended it is its window: Seam may still take a later end."""
    return row.verdict in {Verdict.REMOVED, Verdict.MISSED} and row.ends_at is not None and not row.is_one_time_use


def refuse_leaked_pin(fingerprinter: Fingerprinter, row: CodeRow, body: ChangeAccessCode) -> None:
    """What is kept and shown must not hold the PIN, neither a new one nor the one that stays. Raises ``InvalidInput``.

    Of the one that stays only the fingerprint is known, so every run of digits is compared with it.
    """
    errors = [{"field": field, "message": "must not contain the PIN"} for field in _leaks(fingerprinter, row, body)]
    if errors:
        raise invalid_fields(errors)


def _leaks(fingerprinter: Fingerprinter, row: CodeRow, body: ChangeAccessCode) -> Iterator[str]:
    for field in _SHOWN:
        value = getattr(body if field in body.model_fields_set else row, field)
        if value is None:
            continue
        if body.code is not None:
            if body.code in str(value):
                yield field
        elif field in body.model_fields_set and _holds(fingerprinter, row, str(value)):
            yield field


def _holds(fingerprinter: Fingerprinter, row: CodeRow, text: str) -> bool:
    if row.pin is None or row.device_id is None:
        return False
    return any(same_pin(row.pin, fingerprinter.pin(row.device_id, digits)) is True for digits in _candidates(text))


def _candidates(text: str) -> Iterator[str]:
    for run in _DIGITS.findall(text):
        if len(run) > _LONGEST_RUN:
            continue
        for length in _PIN_LENGTHS:
            for start in range(len(run) - length + 1):
                yield run[start : start + length]


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
