"""What may be logged of an error that met a delivery."""

from __future__ import annotations

import traceback

_FRAMES = 6


def describe(error: BaseException) -> dict[str, object]:
    """The kinds of the error and of its causes, and where it was raised (innermost last).

    Never its message: a driver's messages repeat the values that it was given, a parser's the text that it read.
    """
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return {
        "error": " from ".join(_kinds(error)),
        "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _kinds(error: BaseException) -> list[str]:
    kinds: list[str] = []
    link: BaseException | None = error
    while link is not None:
        kinds.append(type(link).__name__)
        link = link.__cause__
    return kinds
