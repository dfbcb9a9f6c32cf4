"""What a token of the API may do."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"
    PINS = "pins"
    ADMIN = "admin"  # administration of tokens; does not imply the others


EVERY_SCOPE = frozenset(Scope)
