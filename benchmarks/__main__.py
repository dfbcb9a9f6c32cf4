"""``make bench``: everybody side by side in turns, then the storm and the promises, then the report."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.contestants import ROOT, Contestant, everyone, fastify_obstacle
from benchmarks.databases import Postgres, postgres_in
from benchmarks.load import VoidRun
from benchmarks.promises import keep_promises
from benchmarks.report import Results, write_report
from benchmarks.rounds import Options, Turn, requests_for, take_turn
from benchmarks.storm import take_storm

_RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    results = Results(machine())
    if (obstacle := fastify_obstacle()) is not None:
        results.left_out["Fastify PostgreSQL"] = obstacle
    with tempfile.TemporaryDirectory(prefix="bench", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user, if this one is root
        try:
            with postgres_in(folder / "postgres") as postgres:
                _measure(chosen, folder, postgres, results)
        except VoidRun as void:
            print(f"This run is void: {void}", file=sys.stderr)
            return 1
    results.machine["load average at the end"] = _load_average()
    write_report(results, chosen.output)
    print((chosen.output / "results.md").read_text())
    return 0


def _measure(chosen: argparse.Namespace, folder: Path, postgres: Postgres, results: Results) -> None:
    _say("making databases with 100 000 tracked codes each")
    contestants = [each for each in everyone(folder, postgres) if _takes_part(each, chosen.only)]
    options = Options(chosen.rounds, chosen.seconds, chosen.requests_per_second)
    for number in range(options.rounds):
        with requests_for(folder, number, options) as files:
            for contestant in contestants:
                results.turns.append(take_turn(contestant, files, options, postgres))
                _tell(number, results.turns[-1])
    ours = [each for each in contestants if each.name.startswith("Latchwatch")]
    if "storm" not in chosen.skip:
        for contestant in ours:
            _say(f"storm: {contestant.name}")
            results.storms.append(take_storm(contestant, chosen.storm, folder))
    if "promises" not in chosen.skip and ours:
        _say("promises: deadlines, visibility, calls to Seam")
        results.promises = keep_promises(ours[-1], folder, postgres)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each load (default: 2)")
    parser.add_argument(
        "--requests-per-second", type=int, default=45_000, help="more than the fastest answers: so many are prepared"
    )
    parser.add_argument("--storm", type=int, default=100_000, help="events of the storm")
    parser.add_argument("--only", default="", help="contestants whose names hold one of these, separated by commas")
    parser.add_argument("--skip", nargs="*", choices=["storm", "promises"], default=[])
    parser.add_argument("--output", type=Path, default=_RESULTS)
    return parser


def _takes_part(contestant: Contestant, only: str) -> bool:
    return any(part in contestant.name for part in only.split(","))


def _tell(number: int, turn: Turn) -> None:
    rates = " ".join(f"{load.rate:.0f}" for load in turn.loads.values())
    assert turn.paced is not None
    _say(f"round {number + 1}: {turn.contestant:22} {rates} a second; p99 {turn.paced.p99_ms:.2f} ms")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip() or "unknown",
        "processor": f"{os.cpu_count()} × {cpu}",
        "Python": platform.python_version(),
        "load average at the start": _load_average(),
    }


def _load_average() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main())
