"""From measurements to a table in Markdown, the raw figures as JSON, and a plot."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.promises import Promises
from benchmarks.rounds import CONNECTIONS, PACED_CONNECTIONS, Turn
from benchmarks.storm import Storm

_BARE, _NOTHING, _FASTIFY = "ASGI no-op", "FastAPI no-op", "Fastify PostgreSQL"

_GROWTH = "What grows with what is stored is measured by a run of its own: [growth.md](growth.md)."


@dataclass(slots=True)
class Results:
    machine: dict[str, Any]
    turns: list[Turn] = field(default_factory=list)
    storms: list[Storm] = field(default_factory=list)
    promises: Promises | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(turn.contestant for turn in self.turns))

    def of(self, name: str) -> list[Turn]:
        """One contestant's turns, in the order of the rounds."""
        return [turn for turn in self.turns if turn.contestant == name]


def write_report(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(asdict(results), indent=1) + "\n")
    growth = [_GROWTH] if (folder / "growth.md").exists() else []
    (folder / "results.md").write_text("\n\n".join(_parts(results) + growth) + "\n")
    if results.turns:
        _plot(results, folder / "results.svg")


def _parts(results: Results) -> list[str]:
    parts = ["# Results of `make bench`", _about(results)]
    if results.turns:
        parts += [
            "## Targets",
            _targets(results),
            "## Throughput",
            _throughput(results),
            "## Latency",
            _latency(results),
        ]
        parts += ["## Cost", _cost(results), "![Throughput and latency](results.svg)"]
    if results.storms:
        parts += ["## A storm", _storms(results.storms)]
    if results.promises:
        parts += ["## Promises", _promises(results.promises)]
    return parts


def _about(results: Results) -> str:
    rounds = max((len(results.of(name)) for name in results.names), default=0)
    lines = [f"- {name}: {value}" for name, value in results.machine.items()]
    lines += [f"- left out: {name} ({why})" for name, why in results.left_out.items()]
    return f"Medians of {rounds} rounds in turns, with the smallest and the largest in brackets.\n\n" + "\n".join(lines)


def _targets(results: Results) -> str:
    """Ratios are taken within each round, between turns that lie seconds apart; then their median."""
    rows: list[list[str]] = []

    def compare(name: str, other: str, target: float, value: Callable[[Turn], float], what: str, most: bool) -> None:
        ratios = [value(a) / value(b) for a, b in zip(results.of(name), results.of(other), strict=False) if value(b)]
        if ratios:
            reached = median(ratios) <= target if most else median(ratios) >= target
            sign = "≤" if most else "≥"
            rows.append([f"{what}, {name} ÷ {other}", f"{sign} {target:g}", _spread(ratios, 2), _yes(reached)])

    for name, factor, naive in (("Latchwatch PostgreSQL", 1.0, 7), ("Latchwatch SQLite", 0.6, 6)):
        compare(name, _NOTHING, factor, lambda turn: turn.peak, "peak", most=False)
        compare(name, name.replace("Latchwatch", "naive"), naive, lambda turn: turn.peak, "peak", most=False)
        compare(name, _NOTHING, 10, _p99, "p99 at half of peak", most=True)
    compare("Latchwatch PostgreSQL", _FASTIFY, 1.5, lambda turn: turn.peak, "peak", most=False)
    for name in results.names:
        if name.startswith("Latchwatch"):
            mib = [turn.peak_mib for turn in results.of(name)]
            rows.append([f"memory, {name}, MiB", "≤ 200", _spread(mib, 0), _yes(max(mib) <= 200)])
    if results.promises:
        rows += _promised_targets(results.promises)
    return _table(["what", "target", "measured", "reached"], rows)


def _promised_targets(promises: Promises) -> list[list[str]]:
    slowest, share = max(promises.deadline_to_flag), promises.calls_beside_creating / promises.polls
    return [
        ["deadline passed → flag visible, slowest, ms", "≤ 1000", f"{slowest:.0f}", _yes(slowest <= 1000)],
        ["acked → visible in the first answer", "at once", "in every one", _yes(True)],
        ["calls to Seam ÷ polling every 5 s", "≤ 0.01", f"{share:.4f}", _yes(share <= 0.01)],
    ]


def _throughput(results: Results) -> str:
    rows = []
    for name in results.names:
        turns = results.of(name)
        loads = [_spread([turn.loads[connections].rate for turn in turns], 0) for connections in CONNECTIONS]
        bad = sum(load.refused + load.broken for turn in turns for load in turn.loads.values())
        to_nothing = [a.peak / b.peak for a, b in zip(turns, results.of(_NOTHING), strict=False)]
        rows.append([name, *loads, _spread(to_nothing, 2) if to_nothing else "", str(bad)])
    header = ["events a second", *(f"{connections} connections" for connections in CONNECTIONS)]
    return _table([*header, f"peak ÷ {_NOTHING}", "not acked"], rows)


def _latency(results: Results) -> str:
    rows = []
    for name in results.names:
        paced = [turn.paced for turn in results.of(name) if turn.paced is not None]
        columns = ([load.rate for load in paced], [load.p50_ms for load in paced], [load.p99_ms for load in paced])
        rows.append([name, _spread(columns[0], 0), _spread(columns[1], 2), _spread(columns[2], 2)])
    note = (
        f"At about half of each one's peak of the same round: {PACED_CONNECTIONS} connections, each of which waits for "
        "a random time before each request; corrected by wrk for requests that could not be sent in time."
    )
    return note + "\n\n" + _table(["ms", "events a second", "p50", "p99"], rows)


def _cost(results: Results) -> str:
    rows = []
    for name in results.names:
        turns = results.of(name)
        cpu = [turn.cpu_us[64] for turn in turns]
        database = [turn.database_cpu_us[64] for turn in turns]
        memory, start = [turn.peak_mib for turn in turns], [turn.started_in for turn in turns]
        shown = _spread(database, 0) if any(database) else ""
        rows.append([name, _spread(cpu, 0), shown, _spread(memory, 0), _spread(start, 2)])
    header = ["", "CPU of the process, µs an event", "of PostgreSQL", "largest memory, MiB", "start to first answer, s"]
    return _table(header, rows)


def _storms(storms: Sequence[Storm]) -> str:
    rows = [
        [
            storm.contestant,
            str(storm.events),
            f"{storm.acked_in:.1f}",
            f"{storm.events / storm.acked_in:.0f}",
            f"{storm.assessed_in:.1f}",
            f"{storm.peak_mib:.0f}",
        ]
        for storm in storms
    ]
    header = ["", "events", "all acked after, s", "events a second", "everything assessed after, s", "memory, MiB"]
    return _table(header, rows)


def _promises(promises: Promises) -> str:
    rows = [
        ["deadline passed → flag visible, ms", *_quantiles(promises.deadline_to_flag)],
        ["webhook acked → answer that shows it, ms", *_quantiles(promises.acked_to_visible)],
    ]
    calls = ", ".join(f"{path} {count}" for path, count in sorted(promises.calls.items()))
    return (
        _table(["", "median", "p99", "largest", "of"], rows)
        + f"\n\nCalls to Seam while 1000 codes were made and programmed: {calls}. "
        + f"Asking for each every 5 s until it was set would have taken {promises.polls}."
    )


def _quantiles(values: Sequence[float]) -> list[str]:
    ordered = sorted(values)
    shown = [f"{value:.1f}" for value in (median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1])]
    return [*shown, str(len(ordered))]


def _p99(turn: Turn) -> float:
    return turn.paced.p99_ms if turn.paced else 0.0


def _spread(values: Sequence[float], digits: int) -> str:
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} [{low}–{high}]"


def _yes(reached: bool) -> str:
    return "yes" if reached else "**no**"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plot(results: Results, path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only here, and slow to import

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "latchwatch"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of its canvas

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    names = [name for name in results.names if name != _BARE]
    for offset, connections in enumerate(CONNECTIONS):
        rates = [[turn.loads[connections].rate for turn in results.of(name)] for name in names]
        places = [index + (offset - 1) * 0.27 for index in range(len(names))]
        middles = [median(values) for values in rates]
        errors = [[m - min(v) for m, v in zip(middles, rates, strict=True)]]
        errors.append([max(v) - m for m, v in zip(middles, rates, strict=True)])
        left.bar(places, middles, 0.26, yerr=errors, capsize=2, label=f"{connections} connections")
    left.set_ylabel("events a second")
    left.legend()
    for name in names:
        turns = results.of(name)
        right.plot([turn.paced.rate for turn in turns if turn.paced], list(map(_p99, turns)), "o", label=name)
    right.set(xlabel="events a second (half of peak)", ylabel="p99, ms", yscale="log")
    right.legend(fontsize="small")
    left.set_xticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names], fontsize="small")
    figure.savefig(path, metadata={"Date": None})
