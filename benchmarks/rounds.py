"""The rounds: everybody in turns, on the same requests, with their rows counted after each turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contestants import Contestant
from benchmarks.databases import Postgres
from benchmarks.deliveries import Prepared, prepare
from benchmarks.load import Load, VoidRun, full_load, paced_load
from benchmarks.processes import Server

CONNECTIONS = (16, 64, 256)
PACED_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Options:
    rounds: int
    seconds: int  # of each load
    most: int  # requests a second that anybody could answer: so many are prepared


@dataclass(slots=True)
class Turn:
    """One contestant in one round. CPU is that of its process and of PostgreSQL while ``loads`` ran, in µs an event."""

    contestant: str
    started_in: float
    loads: dict[int, Load] = field(default_factory=dict)
    cpu_us: dict[int, float] = field(default_factory=dict)
    database_cpu_us: dict[int, float] = field(default_factory=dict)
    paced: Load | None = None
    peak_mib: float = 0.0

    @property
    def peak(self) -> float:
        return max(load.rate for load in self.loads.values())


@contextmanager
def requests_for(folder: Path, round_number: int, options: Options) -> Iterator[list[Prepared]]:
    """One file for each number of connections, and one for the paced load; made just before they are sent."""
    count = options.most * options.seconds
    numbers = range(round_number * 4, round_number * 4 + 4)
    with ProcessPoolExecutor(2) as pool:
        files = [prepare(folder / f"requests-{number}", count, number, pool) for number in numbers]
    yield files
    for file in files:
        file.path.unlink()


def take_turn(contestant: Contestant, files: Sequence[Prepared], options: Options, postgres: Postgres) -> Turn:
    """Raises ``VoidRun`` if an acked event is not there afterwards."""
    with contestant.running() as server:
        turn = Turn(contestant.name, server.started_in)
        for connections, prepared in zip(CONNECTIONS, files, strict=False):
            with _cpu_of(server, postgres if contestant.is_postgres else None) as used:
                load = full_load(server, prepared, connections, options.seconds)
            turn.loads[connections] = load
            turn.cpu_us[connections], turn.database_cpu_us[connections] = (
                seconds * 1e6 / max(load.acked, 1) for seconds in used()
            )
            # What was under way when wrk stopped may be kept without being counted as acked.
            _check(contestant, prepared, load, spare=connections)
        turn.paced = paced_load(server, files[-1], PACED_CONNECTIONS, options.seconds, turn.peak / 2)
        _check(contestant, files[-1], turn.paced, spare=PACED_CONNECTIONS)
        turn.peak_mib = server.peak_mib()
    return turn


def _check(contestant: Contestant, prepared: Prepared, load: Load, spare: int) -> None:
    rows = contestant.rows(prepared.mark)
    if rows is not None and not load.acked <= rows <= load.acked + spare + load.refused + load.broken:
        raise VoidRun(f"{contestant.name} acked {load.acked} events, and {rows} are there")


@contextmanager
def _cpu_of(server: Server, postgres: Postgres | None) -> Iterator[Callable[[], tuple[float, float]]]:
    def read() -> tuple[float, float]:
        return server.cpu_seconds(), postgres.cpu_seconds() if postgres else 0.0

    before = read()
    after = before

    def used() -> tuple[float, float]:
        return after[0] - before[0], after[1] - before[1]

    yield used
    after = read()
