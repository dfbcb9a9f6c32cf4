"""What ``latchwatch doctor`` says about one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_WIDTH = 12


class Mark(StrEnum):
    """Only ``WRONG`` makes the command end with exit code 1."""

    WELL = "✓"
    WRONG = "✗"
    NOTE = "!"  # worth knowing
    SKIPPED = "-"


@dataclass(frozen=True, slots=True)
class Finding:
    """``remedy`` is what to do about it. Neither text holds a secret."""

    mark: Mark
    what: str
    detail: str
    remedy: str = ""


def well(what: str, detail: str) -> Finding:
    return Finding(Mark.WELL, what, detail)


def wrong(what: str, detail: str, remedy: str) -> Finding:
    return Finding(Mark.WRONG, what, detail, remedy)


def note(what: str, detail: str, remedy: str = "") -> Finding:
    return Finding(Mark.NOTE, what, detail, remedy)


def skipped(what: str, detail: str) -> Finding:
    return Finding(Mark.SKIPPED, what, detail)


def render(finding: Finding) -> str:
    remedy = f" → {finding.remedy}" if finding.remedy else ""
    return f"{finding.mark} {finding.what:<{_WIDTH}} {finding.detail}{remedy}"
