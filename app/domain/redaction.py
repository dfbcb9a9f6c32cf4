"""Cutting PINs out of what Seam sends, before anything is kept (contract, section 9)."""

from __future__ import annotations

import re
from collections.abc import Iterable

CUT = "•••"
_RUN = re.compile(r"\d{4,}")


def redact_text(text: str, pins: Iterable[str] = ()) -> str:
    """Free text without the given PINs and without any run of four or more digits; each is cut to ``•••``."""
    for pin in pins:
        text = text.replace(pin, CUT)
    return _RUN.sub(CUT, text)
