"""A storm: a day of deliveries recovered at once, and the time until every code that they concern is assessed."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.contestants import Contestant
from benchmarks.deliveries import prepare
from benchmarks.load import VoidRun, whole_load

_CONNECTIONS = 256
_LONGEST_SECONDS = 600.0
_NUMBER = 0xFFF


@dataclass(frozen=True, slots=True)
class Storm:
    """``assessed_in``: seconds from the first delivery until every code had been assessed after the last one."""

    contestant: str
    events: int
    acked_in: float
    assessed_in: float
    peak_mib: float


def take_storm(contestant: Contestant, events: int, folder: Path) -> Storm:
    with contestant.running() as server:
        _wait_until_assessed(contestant)
        with ProcessPoolExecutor(2) as pool:
            prepared = prepare(folder / "storm", events, _NUMBER, pool)
        began = time.monotonic()
        load = whole_load(server, prepared, _CONNECTIONS)
        kept = contestant.rows(prepared.mark)
        if (load.acked, kept) != (events, events):
            raise VoidRun(f"of {events} events {load.acked} were acked, and {kept} are there")
        _wait_until_assessed(contestant)
        assessed_in = time.monotonic() - began
        prepared.path.unlink()
        return Storm(contestant.name, events, load.seconds, assessed_in, server.peak_mib())


def _wait_until_assessed(contestant: Contestant) -> None:
    deadline, ended = time.monotonic() + _LONGEST_SECONDS, datetime.now(UTC)
    while (due := contestant.due(datetime.now(UTC), ended)) > 0:
        if time.monotonic() > deadline:
            raise VoidRun(f"{contestant.name} still has {due} codes to assess")
        time.sleep(0.5)
