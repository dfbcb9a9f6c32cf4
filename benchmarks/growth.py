"""What an event, a pass of the reconciler and an answer cost with little and with much stored.

    .venv/bin/python -m benchmarks.growth [--codes 1000000] [--events 10000000] [--keep FOLDER] [--only sqlite]

Small and large take turns within one run; medians and 95th percentiles of all turns are compared. Writes
``growth.json`` and ``growth.md`` to ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from prometheus_client import CollectorRegistry
from sqlalchemy import update

from app.api.app import create_api
from app.domain.assessment import Policy
from app.reconciler.loop import Reconciler
from app.storage.engine import Database, open_database
from app.storage.tables import access_codes, signals
from benchmarks.__main__ import machine
from benchmarks.databases import Postgres, postgres_in_kept
from benchmarks.growth_data import Size, code_id, lock_id, seam_id, verified_codes
from benchmarks.growth_filling import as_shipped, make_postgres, make_sqlite
from benchmarks.growth_ingest import Measured, ingest, ingest_after_checkpoint, settle
from benchmarks.tracked import migrate_only
from tests.api.worlds import Clock, client_of, make_services

_DUE = 1_000
_LITTLE = 10_000
_CHANCE = random.Random(1)  # noqa: S311 - nothing secret


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    results: dict[str, Measured] = {}
    about = machine()
    with _folder(chosen.keep) as folder, postgres_in_kept(folder / "postgres") as postgres:
        for name in chosen.only:
            urls = _databases(name, folder, postgres, chosen)
            results[name] = asyncio.run(_measure(urls, chosen))
    _write(results, about, chosen)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.growth", description=__doc__)
    parser.add_argument("--codes", type=_much, default=1_000_000, help="codes of the large database")
    parser.add_argument("--events", type=_much, default=10_000_000, help="events of the large database")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--keep", type=Path, help="a folder for the databases, taken again by the next run")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser


def _much(text: str) -> int:
    """No less than the small databases have: a tenth of the codes can be made due, and a pass takes a thousand."""
    if not text.isdecimal() or int(text) < _LITTLE:
        raise argparse.ArgumentTypeError(f"should be a whole number of {_LITTLE} at least, as the small databases have")
    return int(text)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True, mode=0o755)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="growth", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _databases(name: str, folder: Path, postgres: Postgres, chosen: argparse.Namespace) -> dict[str, tuple[str, Size]]:
    """``{role: (url, size)}``, made where they are not there yet."""
    sizes = {
        "thousand": Size(1_000, _LITTLE),
        "ten thousand": Size(_LITTLE, _LITTLE),
        "few events": Size(chosen.codes, _LITTLE),
        "large": Size(chosen.codes, chosen.events),
    }
    made = _Made(folder / "made.txt", name, partial(_make, name, folder, postgres))
    base = Size(chosen.codes, 0)
    for role, size in sizes.items():
        made.make(size, base if role in {"few events", "large"} else None)
    as_shipped(postgres)
    urls = {role: (_url(name, folder, postgres, size), size) for role, size in sizes.items()}
    for url, _ in urls.values():
        migrate_only(url)  # one that was kept may be of an earlier version
    return urls


def _make(name: str, folder: Path, postgres: Postgres, size: Size, base: Size | None) -> None:
    if name == "sqlite":
        make_sqlite(folder, size, base, _say)
    else:
        make_postgres(postgres, size, base, _say)


def _url(name: str, folder: Path, postgres: Postgres, size: Size) -> str:
    if name == "sqlite":
        return f"sqlite:///{folder / size.name}.db"
    return postgres.url.replace("/postgres?", f"/{size.name}?")


@dataclass(frozen=True, slots=True)
class _Made:
    """Notes in a file which databases are whole, and makes the others with what they are based on."""

    file: Path
    name: str
    build: Callable[[Size, Size | None], None]

    def make(self, size: Size, base: Size | None) -> None:
        mark = f"{self.name}_{size.name}"
        if self.file.exists() and mark in self.file.read_text().split():
            return
        if base is not None:
            self.make(base, None)
        began = time.monotonic()
        _say(f"{self.name}: making {size.codes:,} codes and {size.events:,} events")
        self.build(size, base)
        with self.file.open("a") as file:
            file.write(f"{mark}\n")
        _say(f"{self.name}: made in {time.monotonic() - began:.0f} s")


async def _measure(urls: dict[str, tuple[str, Size]], chosen: argparse.Namespace) -> Measured:
    measured = Measured()
    dbs = {role: open_database(url) for role, (url, _) in urls.items()}
    for db in dbs.values():
        await db.start_writer()  # as the service does
    clients = {role: _client(dbs[role]) for role in ("thousand", "large")}
    try:
        sizes = {role: size for role, (_, size) in urls.items()}
        is_postgresql = dbs["large"].dialect == "postgresql"
        if is_postgresql:
            await settle(dbs, sizes, _say)
        for number in range(chosen.rounds + 1):
            into = measured if number else Measured()  # the first round warms up
            await ingest(into, dbs, sizes)
            await _rest(dbs["few events"])  # as the large one's marks are taken away for its pass
            await _passes(into, dbs, sizes)
            await _answers(into, clients, sizes)
            _say(f"round {number} of {chosen.rounds}")
        if is_postgresql:
            await ingest_after_checkpoint(measured, dbs, sizes, chosen.rounds)
    finally:
        for client in clients.values():
            await client.aclose()
        for db in dbs.values():
            await db.close()
    return measured


async def _passes(measured: Measured, dbs: dict[str, Database], sizes: dict[str, Size]) -> None:
    for role in ("ten thousand", "large"):
        db = dbs[role]
        await _rest(db)
        await _make_due(db, _CHANCE.sample(verified_codes(sizes[role]), _DUE))
        reconciler = Reconciler(
            db=db, gateway=None, policy=Policy(), clock=lambda: datetime.now(UTC), registry=CollectorRegistry()
        )

        async def work(reconciler: Reconciler = reconciler) -> None:
            while await reconciler.run_once():
                pass

        await measured.take("a pass with 1 000 due", role, 1.2, work)


async def _rest(db: Database) -> None:
    """What ingest made due is not part of the pass."""
    later = datetime.now(UTC) + timedelta(days=1000)
    async with db.maintain() as conn:
        await conn.execute(update(access_codes).where(access_codes.c.due_at <= datetime.now(UTC)).values(due_at=later))
        await conn.execute(update(signals).where(signals.c.marked_at.is_not(None)).values(marked_at=None))


async def _make_due(db: Database, numbers: Sequence[int]) -> None:
    ids = [code_id(number) for number in numbers]
    async with db.maintain() as conn:
        await conn.execute(
            update(access_codes)
            .where(access_codes.c.id.in_(ids))
            .values(due_at=datetime.now(UTC) - timedelta(seconds=1))
        )


async def _answers(measured: Measured, clients: dict[str, httpx.AsyncClient], sizes: dict[str, Size]) -> None:
    for _ in range(4):
        for what, path in _paths().items():
            for role, client in clients.items():
                asked = path(sizes[role])

                async def ask(client: httpx.AsyncClient = client, asked: str = asked) -> None:
                    answer = await client.get(asked)
                    assert answer.status_code == 200, answer.text

                await measured.take(what, role, 3.0, ask)


def _paths() -> dict[str, Callable[[Size], str]]:
    def some(size: Size) -> int:
        return _CHANCE.randrange(size.codes)

    soon, later = (_text(datetime.now(UTC) + timedelta(days=days)) for days in (3, 4))
    past = _text(datetime.now(UTC) - timedelta(minutes=1))
    codes = "/v1/access-codes"
    fixed = {
        "summary": "/v1/summary",
        "codes": codes,
        "codes: stuck": f"{codes}?verdict=stuck",
        "codes: stuck, missed or verified": f"{codes}?verdict=stuck&verdict=missed&verdict=verified",
        "codes: flagged": f"{codes}?flagged=true",
        "codes: not flagged": f"{codes}?flagged=false",
        "codes: flagged and verified (none)": f"{codes}?flagged=true&verdict=verified",
        "codes: starting on one day": f"{codes}?starts_after={soon}&starts_before={later}",
        "codes: q (none)": f"{codes}?q=nobody",
        "codes: not watched (none)": f"{codes}?tracked=false",
        "flags: open": "/v1/flags?state=open",
        "flags: of no lock": "/v1/flags?device_id=none",
        "events": "/v1/events",
        "events: rare type": "/v1/events?event_type=access_code.rare",
        "events: since a minute": f"/v1/events?since={past}",
        "events: tracked, by backfill (none)": "/v1/events?tracked=true&source=backfill",
        "alerts: dead (none)": "/v1/alerts?state=dead",
        "locks": "/v1/devices",
    }
    return {
        **{what: partial(_fixed, path) for what, path in fixed.items()},
        "codes: of a lock": lambda size: f"{codes}?device_id={lock_id(some(size))}",
        "codes: by reference": lambda size: f"{codes}?reference=reservation-{some(size)}",
        "codes: q is an id": lambda size: f"{codes}?q={seam_id(some(size))}",
        "a code": lambda size: f"{codes}/{code_id(some(size))}",
        "a timeline": lambda size: f"{codes}/{code_id(some(size))}/timeline",
        "a lock": lambda size: f"/v1/devices/{lock_id(some(size))}",
        "events: of a code": lambda size: f"/v1/events?access_code_id={seam_id(some(size))}",
        "events: of a lock": lambda size: f"/v1/events?device_id={lock_id(some(size))}",
    }


def _fixed(path: str, _: Size) -> str:
    return path


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class _Now(Clock):
    def __call__(self) -> datetime:
        return datetime.now(UTC)


def _client(db: Database) -> httpx.AsyncClient:
    """The API in this process, without a server in between."""
    return client_of(create_api(make_services(db, _Now(), None)))


def _write(results: dict[str, Measured], about: dict[str, Any], chosen: argparse.Namespace) -> None:
    rows = [row for name, measured in results.items() for row in _rows(name, measured)]
    chosen.output.mkdir(parents=True, exist_ok=True)
    raw = {
        "machine": about,
        "codes": chosen.codes,
        "events": chosen.events,
        "rounds": chosen.rounds,
        "figures": rows,
        "milliseconds": {name: measured.milliseconds for name, measured in results.items()},
    }
    (chosen.output / "growth.json").write_text(json.dumps(raw, indent=1) + "\n")
    table = _table(rows, about, chosen)
    (chosen.output / "growth.md").write_text(table)
    print(table)


def _rows(name: str, measured: Measured) -> Iterator[dict[str, Any]]:
    for what, by_size in measured.milliseconds.items():
        (_, small), (_, large) = by_size.items()
        # Costs are compared by their median; answers, that somebody waits for, by their slowest twentieth.
        compare = _p95 if measured.targets[what] == 3.0 else median
        yield {
            "database": name,
            "what": what,
            "compared": "p95" if compare is _p95 else "median",
            "small": {"median": median(small), "p95": _p95(small)},
            "large": {"median": median(large), "p95": _p95(large)},
            "ratio": compare(large) / compare(small),
            "target": measured.targets[what],
        }


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


def _table(rows: Sequence[dict[str, Any]], about: dict[str, Any], chosen: argparse.Namespace) -> str:
    lines = [
        "# What grows with what is stored",
        "",
        f"{chosen.rounds} rounds, in turns. Milliseconds, with {chosen.codes:,} codes and {chosen.events:,} events,",
        "and with little of what matters: 10 000 events (of as many codes), 10 000 codes (a pass), 1 000 (answers).",
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
        "",
        "| database | what | little: median | p95 | much: median | p95 | ratio | target | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = [row["small"]["median"], row["small"]["p95"], row["large"]["median"], row["large"]["p95"]]
        cells = " | ".join(f"{figure:.3g}" for figure in figures)
        verdict = "reached" if row["ratio"] <= row["target"] else "**missed**"
        lines.append(
            f"| {row['database']} | {row['what']} | {cells} | {row['ratio']:.2f} ({row['compared']}) "
            f"| ≤ {row['target']} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
