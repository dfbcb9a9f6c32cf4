"""Where a microsecond goes: the parts of taking one delivery, each by itself. Run by hand:

    .venv/bin/python -m benchmarks.parts

The CPU time of this process for each event, the smallest of several passes over the same deliveries: what the parts
cost when nothing else gets in the way. What PostgreSQL does in its own process is in ``benchmarks.scaling``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import orjson
import structlog
import uvloop
from prometheus_client import CollectorRegistry
from svix.webhooks import Webhook

from app.domain.events import read_event
from app.domain.fingerprints import Fingerprinter
from app.domain.redaction import redact
from app.receiver.answers import KEPT, Answer
from app.receiver.committer import Committer
from app.receiver.examiner import Examiner
from app.receiver.metrics import ReceiverMetrics
from app.receiver.signature import parse_secrets, verify
from app.storage.codec import PAYLOADS
from app.storage.engine import Database, open_database
from app.storage.inbox import Delivery, Outcome, store_batch
from app.storage.inbox_rows import sort_out
from benchmarks.databases import postgres_in
from benchmarks.deliveries import SECRET, make_event, some_kinds
from benchmarks.tracked import make_database

_EVENTS = 1_000
_BATCH = 50
_PASSES = 9
_TOLERANCE = timedelta(minutes=5)
_SECRETS = parse_secrets(SECRET)
_FINGERPRINTER = Fingerprinter(b"0123456789abcdef" * 4)

Request = tuple[list[tuple[bytes, bytes]], bytes]
Part = Callable[[], object]


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    requests = _requests()
    print(f"microseconds of CPU for an event of {sum(len(body) for _, body in requests) // _EVENTS} bytes on average")
    for name, part in _parts(requests).items():
        _tell(name, min(_timed(part) for _ in range(_PASSES)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        _tell("examining and handing on, with an inbox that keeps nothing", runner.run(_examining(requests)))
        with tempfile.TemporaryDirectory(prefix="bench", ignore_cleanup_errors=True) as name, _databases(name) as urls:
            for title, url in urls:
                _tell(f"{title}: rows, statements and commit, {_BATCH} in a batch", runner.run(_inbox(url)))


def _parts(requests: Sequence[Request]) -> dict[str, Part]:
    now = datetime.now(UTC)
    bodies = [body for _, body in requests]
    objects = [orjson.loads(body) for body in bodies]
    deliveries = _deliveries(bodies, now)
    keyed = _SECRETS[0].keyed
    return {
        "signature: headers, HMAC, comparison": lambda: [
            verify(headers, body, secrets=_SECRETS, now=now, tolerance=_TOLERANCE) for headers, body in requests
        ],
        "  of which HMAC": lambda: [keyed.digest(body) for body in bodies],
        "reading the event": lambda: _deliveries(bodies, now),
        "  of which JSON, read and written": lambda: [orjson.dumps(orjson.loads(body)) for body in bodies],
        "  (the same by the standard library)": lambda: [json.dumps(json.loads(body)) for body in bodies],
        "  of which cutting PINs out": lambda: [redact(each, encode=PAYLOADS.encode) for each in objects],
        "rows for the database": lambda: sort_out(deliveries),
    }


def _timed(part: Part) -> float:
    began = time.process_time()
    part()
    return (time.process_time() - began) / _EVENTS


def _tell(name: str, seconds: float) -> None:
    print(f"{name:62} {seconds * 1e6:7.1f}", flush=True)


async def _examining(requests: Sequence[Request]) -> float:
    async def forget(deliveries: Sequence[Delivery]) -> list[Outcome]:
        return [Outcome.STORED] * len(deliveries)

    metrics = ReceiverMetrics(CollectorRegistry())
    committer = Committer(forget, metrics=metrics, on_stored=lambda _: None)
    examiner = Examiner(
        secrets=_SECRETS,
        tolerance=_TOLERANCE,
        clock=lambda: datetime.now(UTC),
        fingerprinter=_FINGERPRINTER,
        committer=committer,
        metrics=metrics,
    )
    committer.start()
    seconds = [await _pass(lambda: _ask(examiner, requests)) for _ in range(_PASSES)]
    await committer.close()
    return min(seconds)


async def _ask(examiner: Examiner, requests: Sequence[Request]) -> None:
    replied: asyncio.Queue[Answer] = asyncio.Queue()
    for headers, body in requests:
        examiner.take(headers, body, replied.put_nowait)
    for _ in requests:
        assert await replied.get() is KEPT


async def _inbox(url: str) -> float:
    db = open_database(url)
    try:
        return min([await _pass(partial(_store, db, _batches())) for _ in range(_PASSES)])
    finally:
        await db.close()


def _batches() -> list[list[Delivery]]:
    now = datetime.now(UTC)
    deliveries = _deliveries([body for _, body in _requests()], now)
    return [deliveries[start : start + _BATCH] for start in range(0, _EVENTS, _BATCH)]


async def _store(db: Database, batches: Sequence[Sequence[Delivery]]) -> None:
    for batch in batches:
        outcomes = await store_batch(db, batch)
        assert set(outcomes) == {Outcome.STORED}, outcomes


async def _pass(work: Callable[[], Awaitable[object]]) -> float:
    began = time.process_time()
    await work()
    return (time.process_time() - began) / _EVENTS


@contextmanager
def _databases(name: str) -> Iterator[list[tuple[str, str]]]:
    folder = Path(name)
    folder.chmod(0o755)  # PostgreSQL runs as another user, if this one is root
    with postgres_in(folder / "postgres") as postgres:
        urls = [
            ("SQLite, the engine included", f"sqlite:///{folder / 'parts.db'}"),
            ("PostgreSQL", postgres.create("parts")),
        ]
        for _, url in urls:
            make_database(url)
        yield urls


def _requests() -> list[Request]:
    chance, now, webhook = random.Random(), datetime.now(UTC), Webhook(SECRET)  # noqa: S311 - load, no secret
    requests: list[Request] = []
    for kind in some_kinds(chance, _EVENTS):
        body = orjson.dumps(make_event(str(uuid4()), kind, now, chance)).decode()
        delivery_id = f"msg_{uuid4().hex}"
        headers = {
            "host": "127.0.0.1",
            "user-agent": "Svix-Webhooks/1.99",
            "content-type": "application/json",
            "content-length": str(len(body.encode())),
            "accept": "*/*",
            "svix-id": delivery_id,
            "svix-timestamp": str(int(now.timestamp())),
            "svix-signature": webhook.sign(delivery_id, now, body),
        }
        requests.append(([(name.encode(), value.encode()) for name, value in headers.items()], body.encode()))
    return requests


def _deliveries(bodies: Sequence[bytes], now: datetime) -> list[Delivery]:
    readings = (
        read_event(body, delivery_id="msg", received_at=now, fingerprinter=_FINGERPRINTER, fast=PAYLOADS)
        for body in bodies
    )
    return [Delivery("msg", now, 500, lambda: "digest", reading, "webhook") for reading in readings]


if __name__ == "__main__":
    main()
