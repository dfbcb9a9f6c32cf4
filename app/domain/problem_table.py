"""The table behind ``problems``: one row for each code of Seam's, with its older names."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.news import IssueSource


@dataclass(frozen=True, slots=True)
class Row:
    """``codes`` holds the current name first. ``source`` is ``None`` when codes, devices and accounts may all have it.
    A symptom says that something fails, and not why."""

    codes: tuple[str, ...]
    source: IssueSource | None
    is_error: bool
    is_permanent: bool
    meaning: str
    remedy: str
    is_symptom: bool = False


ROWS: tuple[Row, ...] = ()
