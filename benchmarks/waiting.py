"""How long after the acknowledgement of a webhook a waiting client has its answer. Run by hand:

    .venv/bin/python -m benchmarks.waiting --runs 300

Each run: a client waits for a code, its news is delivered, and the clock runs from the 204 to the client's answer. The
delivery goes to one process; where there are two, the client waits at the other one. Nothing else is going on.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from app.storage.engine import open_database
from benchmarks.databases import Postgres, postgres_in
from tests.e2e.services import TOKEN, event, serving, signed, working
from tests.storage.tracked import row, track

_BEGINS_SECONDS = 0.05  # for a client's waiting to have begun
_PATIENCE_SECONDS = 60.0
Urls = tuple[str, str]  # where webhooks go, and where clients wait


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=300)
    runs: int = parser.parse_args().runs
    print(f"{'milliseconds from the ack to the answer':48} median    p99    max")
    with tempfile.TemporaryDirectory(prefix="bench", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user, if this one is root
        with postgres_in(folder / "postgres") as postgres:
            for arrangement in (_sqlite, _postgres, _two_services, _receivers_and_worker):
                with arrangement(folder, postgres) as (title, url, urls):
                    _tell(title, asyncio.run(_measure(url, urls, runs)))


@contextmanager
def _sqlite(folder: Path, _: Postgres) -> Iterator[tuple[str, str, Urls]]:
    url = f"sqlite:///{folder}/waiting.db"
    with serving(folder, url) as service:
        yield "SQLite, one process", url, (service.url, service.url)


@contextmanager
def _postgres(folder: Path, postgres: Postgres) -> Iterator[tuple[str, str, Urls]]:
    url = postgres.create("one")
    with serving(folder, url) as service:
        yield "PostgreSQL, one process", url, (service.url, service.url)


@contextmanager
def _two_services(folder: Path, postgres: Postgres) -> Iterator[tuple[str, str, Urls]]:
    url = postgres.create("two")
    with serving(folder, url) as first, serving(folder, url) as second:
        yield "PostgreSQL, two processes", url, (first.url, second.url)


@contextmanager
def _receivers_and_worker(folder: Path, postgres: Postgres) -> Iterator[tuple[str, str, Urls]]:
    url = postgres.create("apart")
    alone = "--no-background"
    with serving(folder, url, alone) as first, serving(folder, url, alone) as second, working(folder, url):
        yield "PostgreSQL, two receivers and a worker", url, (first.url, second.url)


async def _measure(database_url: str, urls: Urls, runs: int) -> list[float]:
    """Milliseconds of each run."""
    await _make_codes(database_url, runs)
    hook, waits = urls
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=_PATIENCE_SECONDS + 5) as client:
        return [await _run(client, hook, waits, number) for number in range(runs)]


async def _run(client: httpx.AsyncClient, hook: str, waits: str, number: int) -> float:
    params = {"timeout": _PATIENCE_SECONDS}
    waiting = asyncio.create_task(client.get(f"{waits}/v1/access-codes/code-{number}/wait", params=params))
    await asyncio.sleep(_BEGINS_SECONDS)
    headers, body = signed(event(number, access_code_id=f"seam_code-{number}"), f"msg-{number}")
    (await client.post(f"{hook}/webhooks/seam", content=body, headers=headers)).raise_for_status()
    acked = time.perf_counter()
    answer = (await waiting).raise_for_status().json()
    if answer["verdict"] != "verified":
        raise RuntimeError(f"the client was answered {answer['verdict']}")
    return (time.perf_counter() - acked) * 1000


async def _make_codes(url: str, number: int) -> None:
    """Codes that Seam has accepted just now, and that are on no lock yet."""
    now = datetime.now(UTC)
    moments = {"requested_at": now, "asked_at": now, "since": now, "next_check_at": now + timedelta(hours=1)}
    db = open_database(url)
    await track(db, *[row(f"code-{each}", set_within_seconds=3600, **moments) for each in range(number)])
    await db.close()


def _tell(title: str, milliseconds: list[float]) -> None:
    worst = sorted(milliseconds)[int(0.99 * (len(milliseconds) - 1))]
    print(f"{title:48} {statistics.median(milliseconds):6.1f} {worst:6.1f} {max(milliseconds):6.1f}", flush=True)


if __name__ == "__main__":
    main()
