"""The root of every error that Latchwatch raises on purpose.

    LatchwatchError                 status 500
    ├── storage.errors.StorageError
    ├── seam.errors.SeamError
    ├── api.problems.ApiError       what a caller did wrong
    └── config.SettingsError        what an operator must put right before a start

``status`` and ``type`` become the problem+json answer; the message says what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class LatchwatchError(Exception):
    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal"
    title: ClassVar[str] = "Latchwatch failed"
