"""Waiting for a code, with real processes: by webhooks, across processes, over a restart of PostgreSQL, to the end.

Each client certainly waits before the news comes: the service's own metric tells.
"""

from __future__ import annotations

import asyncio
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.services import TOKEN, Service, deliver, event, serving, serving_beside_a_sandbox, working
from tests.postgres import run_apart, start_postgres
from tests.postgres_databases import migrate_at
from tests.processes import get

WAITS_SECONDS = 110  # far longer than the tests have patience: the end of the time answers as well
SECONDS = 25


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def wait_at(service: Service, ident: str, threads: ThreadPoolExecutor) -> Future[Any]:
    """A client of this process, once it waits there."""
    answer = threads.submit(ask, f"{service.url}/v1/access-codes/{ident}/wait")
    deadline = time.monotonic() + SECONDS
    while not re.search(r"^latchwatch_waiting_clients [1-9]", get(f"{service.url}/metrics").text, re.MULTILINE):
        assert not answer.done(), answer.result()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return answer


def ask(url: str) -> Any:
    headers, params = {"Authorization": f"Bearer {TOKEN}"}, {"timeout": WAITS_SECONDS}
    answer = httpx.get(url, headers=headers, params=params, timeout=WAITS_SECONDS + 10, trust_env=False)
    return answer.raise_for_status().json()


def tell(service: Service, made: dict[str, Any], number: int = 1) -> None:
    """Seam's webhook: the code is on its lock."""
    news = event(number, access_code_id=made["access_code_id"], code=made["code"], device_id=made["device_id"])
    answers = asyncio.run(deliver([service.url], [news], on_ack=lambda _: None))
    assert [status for _, status in answers] == [204]


def create(service: Service) -> dict[str, Any]:
    made: dict[str, Any] = service.post("/v1/access-codes", device_id="lock_silent").json()
    return made


@contextmanager
def timed(record: Callable[[str, object], None]) -> Iterator[None]:
    started = time.monotonic()
    yield
    record("seconds from the acked webhook to the answer", round(time.monotonic() - started, 3))


def test_a_receiver_alone_answers_who_waits_for_the_news_that_it_acked(
    tmp_path: Path, database_url: str, threads: ThreadPoolExecutor, record_property: Callable[[str, object], None]
) -> None:
    with serving_beside_a_sandbox(tmp_path, database_url, "--no-background") as (service, _):
        made = create(service)
        answer = wait_at(service, made["id"], threads)
        tell(service, made)
        with timed(record_property):
            assert answer.result(SECONDS)["verdict"] == "verified"


def test_who_waits_at_one_process_is_answered_by_news_that_another_one_acked(
    tmp_path: Path, postgres_url: str, threads: ThreadPoolExecutor, record_property: Callable[[str, object], None]
) -> None:
    """Two receivers and a worker: it is told that something became due, and tells who has another verdict."""
    with (
        serving_beside_a_sandbox(tmp_path, postgres_url, "--no-background") as (first, _),
        serving(tmp_path, postgres_url, "--no-background") as second,
        working(tmp_path, postgres_url),
    ):
        made = create(first)
        answer = wait_at(second, made["access_code_id"], threads)
        tell(first, made)
        with timed(record_property):
            assert answer.result(SECONDS)["verdict"] == "verified"


def test_who_waits_is_answered_although_postgresql_was_restarted_meanwhile(
    tmp_path: Path, postgres_server: str, threads: ThreadPoolExecutor
) -> None:
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = start_postgres(Path(folder))
        url = server.get_uri(database="postgres")
        run_apart(migrate_at(url))
        with serving_beside_a_sandbox(tmp_path, url) as (first, _), serving(tmp_path, url) as second:
            made = create(first)
            answer = wait_at(second, made["id"], threads)
            server.cleanup()
            second.process.wait_for("notices_lost")
            server = start_postgres(Path(folder))
            tell(first, made)
            assert answer.result(SECONDS)["verdict"] == "verified"
        server.cleanup()


def test_the_end_of_a_process_answers_who_waits_there_with_the_current_state(
    tmp_path: Path, sqlite_url: str, threads: ThreadPoolExecutor
) -> None:
    with serving_beside_a_sandbox(tmp_path, sqlite_url) as (service, _):
        made = create(service)
        answer = wait_at(service, made["id"], threads)
        assert service.process.stop(signal.SIGTERM) == 0
        assert answer.result(1)["verdict"] == "pending"
