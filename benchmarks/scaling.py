"""What more processes on one PostgreSQL bring, what saturates, and what an event costs the database.

    .venv/bin/python -m benchmarks.scaling [--rounds 3] [--seconds 3] [--skip costs] [--only "two processes"]

The arrangements take turns within each round, on one database and on requests that nobody has sent before; ratios are
taken within a round. Writes ``scaling.json`` and ``scaling.md`` to ``benchmarks/results``; less than four minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.__main__ import machine
from benchmarks.contestants import ROOT, Contestant, latchwatch
from benchmarks.databases import Postgres, ask, carry_out, postgres_in, postgres_in_kept
from benchmarks.deliveries import Prepared, prepare
from benchmarks.load import Load, VoidRun, full_load
from benchmarks.processes import Server, free_port, own_cpu, running
from benchmarks.scaling_costs import PRELOAD, measure_costs
from benchmarks.scaling_report import Results, Turn, write_results
from benchmarks.tracked import make_database

_CONNECTIONS = 64
"""In all, however many processes they are spread over."""
_TEMPLATE = "tracked"
_REST = (
    "UPDATE access_codes SET due_at = NULL, leased_until = NULL WHERE due_at <= now()",
    "UPDATE signals SET marked_at = NULL WHERE marked_at IS NOT NULL",
)

_IMAGES = """
    SELECT coalesce(sum(fpi_size), 0)::bigint
    FROM pg_get_wal_stats('0/0'::pg_lsn + $1::bigint::numeric, '0/0'::pg_lsn + $2::bigint::numeric)"""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """``worker``: receivers alone take the deliveries, and a process of its own does the rest."""

    name: str
    receivers: int
    worker: bool = False


ARRANGEMENTS = (
    Arrangement("one process", 1),
    Arrangement("two processes", 2),
    Arrangement("four processes", 4),
    Arrangement("a receiver and a worker", 1, worker=True),
    Arrangement("two receivers and a worker", 2, worker=True),
)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    results = Results(machine(), vars(chosen) | {"output": None})
    with tempfile.TemporaryDirectory(prefix="scaling", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user, if this one is root
        try:
            with postgres_in(folder / "postgres") as postgres:
                _say("making a database with 100 000 tracked codes")
                make_database(postgres.create(_TEMPLATE))
                results.turns = [*_turns(chosen, folder, postgres)]
                carry_out(postgres.url, PRELOAD)
            if "costs" not in chosen.skip:
                _say("what an event costs the database")
                with postgres_in_kept(folder / "postgres") as postgres:
                    results.costs = measure_costs(postgres, _TEMPLATE, chosen.events)
        except VoidRun as void:
            print(f"This run is void: {void}", file=sys.stderr)
            return 1
    print(write_results(results, chosen.output))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each load (default: 3)")
    parser.add_argument("--requests-per-second", type=int, default=12_000, help="so many are prepared")
    parser.add_argument("--only", default="", help="arrangements whose names hold one of these, separated by commas")
    parser.add_argument("--events", type=int, default=20_000, help="events of each measurement of costs")
    parser.add_argument("--skip", nargs="*", choices=["turns", "costs"], default=[])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser


def _turns(chosen: argparse.Namespace, folder: Path, postgres: Postgres) -> Iterator[Turn]:
    if "turns" in chosen.skip:
        return
    url = postgres.create("scaling", _TEMPLATE)
    carry_out(url, "CREATE EXTENSION pg_walinspect")
    wanted = [each for each in ARRANGEMENTS if any(part in each.name for part in chosen.only.split(","))]
    numbers = iter(range(0xFFF))
    for number in range(chosen.rounds):
        with _requests(folder, wanted, numbers, chosen) as prepared:
            for arrangement in wanted:
                turn = _take_turn(arrangement, number, prepared[arrangement], url, postgres, folder, chosen.seconds)
                _say(f"round {number + 1}: {turn.arrangement:26} {turn.rate:6.0f} events a second")
                yield turn


@contextmanager
def _requests(
    folder: Path, wanted: Sequence[Arrangement], numbers: Iterator[int], chosen: argparse.Namespace
) -> Iterator[dict[Arrangement, list[Prepared]]]:
    """For each arrangement a file for each of its receivers; made just before they are sent."""
    files: dict[Arrangement, list[Prepared]] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for arrangement in wanted:
            count = chosen.requests_per_second * chosen.seconds // arrangement.receivers
            files[arrangement] = [
                prepare(folder / f"requests-{number}", count, number, pool)
                for number, _ in zip(numbers, range(arrangement.receivers), strict=False)
            ]
    yield files
    for each in (file for some in files.values() for file in some):
        each.path.unlink()


def _take_turn(
    arrangement: Arrangement,
    number: int,
    files: Sequence[Prepared],
    url: str,
    postgres: Postgres,
    folder: Path,
    seconds: int,
) -> Turn:
    """Raises ``VoidRun`` if an acked event is not there afterwards."""
    # Everybody begins with nothing due, nothing to vacuum, and the first change of a page yet to come.
    for statement in (*_REST, "VACUUM (ANALYZE) access_codes, signals, events", "CHECKPOINT"):
        carry_out(url, statement)
    service = Contestant(arrangement.name, latchwatch("serve"), url, folder / "latchwatch.log")
    with _processes(arrangement, service) as (servers, pids):
        before = _read(pids, postgres)
        with ThreadPoolExecutor(len(servers)) as threads:
            load = partial(full_load, connections=_CONNECTIONS // len(servers), seconds=seconds)
            loads = list(threads.map(load, servers, files))
        after = _read(pids, postgres)
    images = ask(url, _IMAGES, int(before["wal"]), int(after["wal"]))
    used = {what: figure - before[what] for what, figure in after.items()}
    for file, each in zip(files, loads, strict=True):
        _check(service, file, each, spare=_CONNECTIONS // len(servers))
    return _turn(arrangement, number, loads, used, images)


@contextmanager
def _processes(arrangement: Arrangement, service: Contestant) -> Iterator[tuple[list[Server], dict[str, list[int]]]]:
    with ExitStack() as stack:
        alone = ["--no-background"] if arrangement.worker else []
        receiver = Contestant(service.name, latchwatch("serve", *alone), service.url, service.log)
        servers = [stack.enter_context(receiver.running_at(free_port())) for _ in range(arrangement.receivers)]
        pids = {"receivers": [server.pid for server in servers], "worker": []}
        if arrangement.worker:
            command = [latchwatch("work")(0)[0], "work"]
            pids["worker"] = [stack.enter_context(running(command, ROOT, service.log, service.environment())).pid]
        yield servers, pids


def _read(pids: dict[str, list[int]], postgres: Postgres) -> dict[str, float]:
    """Seconds: of CPU by whose work it is, and on the clock; and bytes of WAL."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # between two readings nobody ends but wrk
    return {
        **{role: sum(map(own_cpu, each)) for role, each in pids.items()},
        "PostgreSQL": postgres.cpu_seconds(),
        "wrk": ended.ru_utime + ended.ru_stime,
        "machine": _busy_seconds(),
        "clock": time.monotonic(),
        "wal": float(postgres.wal_bytes()),
    }


def _busy_seconds() -> float:
    """Of all cores together, but for waiting; what other guests of the host took is not among it."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _turn(arrangement: Arrangement, number: int, loads: Sequence[Load], used: dict[str, float], images: int) -> Turn:
    acked = max(sum(load.acked for load in loads), 1)
    clock, wal = used.pop("clock"), used.pop("wal")
    return Turn(
        arrangement.name,
        number,
        rate=sum(load.rate for load in loads),
        p99_ms=max(load.p99_ms for load in loads),
        cores={whose: seconds / clock for whose, seconds in used.items()},
        cpu_us={whose: seconds / acked * 1e6 for whose, seconds in used.items() if whose != "machine"},
        wal_bytes=(wal - images) / acked,
        page_images=images / acked,
    )


def _check(service: Contestant, file: Prepared, load: Load, spare: int) -> None:
    rows = service.rows(file.mark)
    # What was under way when wrk stopped may be kept without being counted as acked.
    if rows is None or not load.acked <= rows <= load.acked + spare + load.refused + load.broken:
        raise VoidRun(f"{service.name} acked {load.acked} events, and {rows} are there")


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
