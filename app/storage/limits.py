"""How long a request waits for the database before it is told that storage is not available."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """All in seconds."""

    connect: float = 5
    queue: float = 10  # for a connection of the pool, while all are busy
    lock: float = 5  # for what another transaction holds
    statement: float = 15  # PostgreSQL gives up by itself then, and says why
    silence: float = 20  # for a server that does not even say that
