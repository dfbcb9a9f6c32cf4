"""From what ``benchmarks.scaling`` measured to tables in Markdown, and the raw figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scaling_costs import BATCHES, DROPPED, Cost, Costs

OURS = ("receivers", "worker", "PostgreSQL")


@dataclass(frozen=True, slots=True)
class Turn:
    """One arrangement in one round. ``cores``: how many were busy while the load ran, by whose work; ``machine`` is all
    that the machine did. ``wal_bytes`` (without ``page_images``, whole pages as their first change after a checkpoint
    writes them) are for an event, with what the background work of that time wrote."""

    arrangement: str
    round: int
    rate: float
    p99_ms: float
    cores: dict[str, float]
    cpu_us: dict[str, float]
    wal_bytes: float
    page_images: float


_TURN_HEAD = (
    "| arrangement | events a second | × one process | p99 ms | cores: receivers | worker | PostgreSQL | wrk | all "
    "| µs an event: receivers | worker | PostgreSQL | WAL bytes an event | page images |"
)
_COST_HEAD = "| batch | indexes | µs an event | of PostgreSQL's CPU | WAL records | WAL bytes | bytes of page images |"
_STATEMENT_HEAD = (
    "| statement | calls | ms | found | read | dirtied | written | WAL records | page images | WAL bytes |"
)


@dataclass(slots=True)
class Results:
    machine: dict[str, Any]
    options: dict[str, Any]
    turns: list[Turn] = field(default_factory=list)
    costs: Costs | None = None


def write_results(results: Results, folder: Path) -> str:
    """The table comes back as well."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scaling.json").write_text(json.dumps(asdict(results), indent=1) + "\n")
    table = "\n".join(_lines(results)) + "\n"
    (folder / "scaling.md").write_text(table)
    return table


def _lines(results: Results) -> list[str]:
    about = "; ".join(f"{name}: {value}" for name, value in results.machine.items())
    lines = ["# More processes on one PostgreSQL", "", f"{about}.", ""]
    if results.turns:
        lines += _turn_lines(results.turns)
    if results.costs is not None:
        lines += _cost_lines(results.costs)
    return lines


def _turn_lines(turns: Sequence[Turn]) -> list[str]:
    lines = [
        "Medians of the rounds. Ratios are to one process in the same round, with the smallest and the largest.",
        "Cores are those that were busy while the load ran; PostgreSQL and wrk share the machine with the service.",
        "",
        _TURN_HEAD,
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    first = {turn.round: turn.rate for turn in turns if turn.arrangement == "one process"}
    for name in dict.fromkeys(turn.arrangement for turn in turns):
        mine = [turn for turn in turns if turn.arrangement == name]
        lines.append(
            f"| {name} | {_median(mine, lambda turn: turn.rate):.0f} | {_ratios(mine, first)} | {_cells(mine)} |"
        )
    return [*lines, ""]


def _ratios(turns: Sequence[Turn], first: dict[int, float]) -> str:
    ratios = sorted(turn.rate / first[turn.round] for turn in turns if turn.round in first)
    return f"{median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})" if ratios else ""


def _cells(turns: Sequence[Turn]) -> str:
    def of(figures: Callable[[Turn], float], digits: int) -> str:
        return f"{_median(turns, figures):.{digits}f}"

    cells = [of(lambda turn: turn.p99_ms, 1)]
    cells += [of(lambda turn, who=who: turn.cores[who], 2) for who in turns[0].cores]  # type: ignore[misc]
    cells += [of(lambda turn, who=who: turn.cpu_us[who], 0) for who in OURS]  # type: ignore[misc]
    return " | ".join([*cells, of(lambda turn: turn.wal_bytes, 0), of(lambda turn: turn.page_images, 0)])


def _median(turns: Sequence[Turn], figure: Callable[[Turn], float]) -> float:
    return median(map(figure, turns))


def _cost_lines(costs: Costs) -> list[str]:
    return [
        "## What an event costs the database",
        "",
        "Stored by one process, one batch after the other, with 100 000 tracked codes. WAL is counted by record",
        "(`pg_walinspect`), the images of whole pages that follow a checkpoint apart.",
        "",
        _COST_HEAD,
        "|---|---|---|---|---|---|---|",
        *(_cost_line(costs, batch, without) for batch in BATCHES for without in (None, DROPPED)),
        "",
        f"Of the WAL of an event in batches of {BATCHES[-1]}, in bytes:",
        "",
        *(f"- {kind}: {size:.0f}" for kind, size in sorted(costs.wal.items(), key=lambda item: -item[1])[:12]),
        "",
        f"Statements, for an event in batches of {BATCHES[-1]} (`pg_stat_statements`): pages of 8 KiB",
        "",
        _STATEMENT_HEAD,
        "|---|---|---|---|---|---|---|---|---|---|",
        *map(_statement_line, costs.statements),
        "",
        f"Locks of one batch of {BATCHES[-1]} just before its end (`pg_locks`; an index counts as its table;",
        "locks on rows are kept in the rows):",
        "",
        "| what | mode | locks | of them without the shared table |",
        "|---|---|---|---|",
        *(f"| {' | '.join(map(str, lock.values()))} |" for lock in costs.locks),
        "",
        f"On disk, bytes for each of {costs.events} events: {sum(costs.disk.values()):.0f}",
        "",
        *(f"- {name}: {size:.0f}" for name, size in costs.disk.items()),
    ]


def _cost_line(costs: Costs, batch: int, without: str | None) -> str:
    mine = [cost for cost in costs.costs if (cost.batch, cost.without) == (batch, without)]

    def of(figure: Callable[[Cost], float]) -> str:
        return f"{median(map(figure, mine)):.1f}"

    figures = (
        of(lambda cost: cost.microseconds),
        of(lambda cost: cost.database_cpu_us),
        of(lambda cost: cost.wal_records),
        of(lambda cost: cost.wal_bytes),
        of(lambda cost: cost.page_images),
    )
    return f"| {batch} | {f'without `{without}`' if without else 'all'} | {' | '.join(figures)} |"


def _statement_line(statement: dict[str, Any]) -> str:
    name, *figures = statement.values()
    return f"| `{name}` | {' | '.join(f'{figure:.3g}' for figure in figures)} |"
