"""``POST /webhooks/seam``: genuine deliveries are read and stored, and acknowledged once they are.

A raw ASGI application, so that the busiest route does no framework work for each request. What came in whole, as nearly
all deliveries do, is handed over by ``app.receiver.protocol`` without even that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache, partial

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.events import Event, Unreadable, is_probe, read_event
from app.domain.fingerprints import Fingerprinter
from app.receiver.answers import NOT_GENUINE, ONLY_POST, TO_RESULT, TO_UNREAD, UNAVAILABLE, Answer
from app.receiver.body import BodyLimits, BodyReader, Unread, Upload
from app.receiver.committer import Committer
from app.receiver.failures import describe
from app.receiver.metrics import ReceiverMetrics
from app.receiver.signature import Headers, Reason, Rejection, Secret, Verified, verify
from app.storage.codec import PAYLOADS
from app.storage.inbox import Delivery

log = structlog.get_logger(__name__)

# The slash at the end is served alike: a redirect would count as a failed delivery.
PATHS = frozenset({"/webhooks/seam", "/webhooks/seam/"})

_TELL_EVERY = timedelta(minutes=1)


class WebhookEndpoint:
    """Answers 204 once a delivery is committed (also for a duplicate, and for a genuine one that cannot be read), and
    401, 405, 408, 413, 429 or 503 otherwise. Never a redirect, never 410."""

    def __init__(
        self,
        *,
        secrets: Sequence[Secret],
        tolerance: timedelta,
        clock: Callable[[], datetime],
        fingerprinter: Fingerprinter,
        committer: Committer,
        metrics: ReceiverMetrics,
        limits: BodyLimits | None = None,
    ) -> None:
        self._secrets = tuple(secrets)
        self._tolerance = tolerance
        self._clock = clock
        self._fingerprinter = fingerprinter
        self._committer = committer
        self._metrics = metrics
        limits = limits or BodyLimits()
        self.largest_body = limits.body_bytes
        self._bodies = BodyReader(limits)
        self._rejections = _RejectionLog()
        self._verified = cache(metrics.verified.labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole way: a body is waited for."""
        upload = Upload(receive)
        try:
            answer = await self._read_and_take(scope, upload)
        except Exception as error:  # noqa: BLE001 - anything unforeseen: Seam is asked to come again
            answer = self._excuse(error)
        if answer is None:
            return
        if answer.closes:
            await self._send_and_close(answer, upload, send)
        else:
            await answer(scope, receive, send)

    def take(self, headers: Headers, body: bytes, reply: Callable[[Answer], None]) -> None:
        """A delivery whose body is there, and within ``BodyLimits``. ``reply`` is called once with its answer: at once,
        or when it is committed. Never raises. Who goes away gives up the answer, never the write."""
        try:
            answer = self._judge(headers, body, reply)
        except Exception as error:  # noqa: BLE001 - anything unforeseen: Seam is asked to come again
            answer = self._excuse(error)
        if answer is not None:
            reply(answer)

    async def _read_and_take(self, scope: Scope, upload: Upload) -> Answer | None:
        """``None``: nobody is there to be answered."""
        if scope["method"] != "POST":
            return ONLY_POST
        body = await self._bodies.read(scope["headers"], upload)
        if isinstance(body, Unread):
            self._metrics.deliveries.labels(body.value).inc()
            return TO_UNREAD[body]
        replied: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.take(scope["headers"], body, partial(_settle, replied))
        return await replied

    def _judge(self, headers: Headers, body: bytes, reply: Callable[[Answer], None]) -> Answer | None:
        """``None``: it is accepted, and replied to when it is committed."""
        now = self._clock()
        proof = verify(headers, body, secrets=self._secrets, now=now, tolerance=self._tolerance)
        if isinstance(proof, Rejection):
            self._note(proof.reason, now)
            return NOT_GENUINE
        # Asked before the body is read as an event: under too much load that work would be for nothing.
        shed = self._committer.shed(len(body))
        if shed is not None:
            return TO_RESULT[shed]
        self._keep(proof, body, now, reply)
        return None

    def _keep(self, proof: Verified, body: bytes, now: datetime, reply: Callable[[Answer], None]) -> None:
        reading = self._read(body, proof.delivery_id, now)
        if not is_probe(reading):  # of our own making: no proof that a webhook at Seam has this secret
            self._verified(proof.secret).inc()
        digest = partial(self._fingerprinter.digest, body)
        delivery = Delivery(proof.delivery_id, now, len(body), digest, reading, "webhook")
        self._committer.submit(delivery, lambda result: reply(TO_RESULT[result]))

    def _excuse(self, error: Exception) -> Answer:
        log.error("delivery_failed", **describe(error))
        self._metrics.deliveries.labels("failed").inc()
        return UNAVAILABLE

    def _read(self, body: bytes, delivery_id: str, now: datetime) -> Event | Unreadable:
        try:
            return read_event(
                body, delivery_id=delivery_id, received_at=now, fingerprinter=self._fingerprinter, fast=PAYLOADS
            )
        except Exception as error:  # noqa: BLE001 - a fault in reading must not lose a genuine delivery
            log.error("event_reading_failed", delivery_id=delivery_id, **describe(error))
            return Unreadable("reading_failed")

    def _note(self, reason: Reason, now: datetime) -> None:
        self._metrics.deliveries.labels("rejected").inc()
        self._metrics.rejections.labels(reason.value).inc()
        self._rejections.note(reason, now)

    async def _send_and_close(self, answer: Answer, upload: Upload, send: Send) -> None:
        await send(answer.start)
        await send({**answer.end, "more_body": True})
        await self._bodies.discard(upload)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _settle(replied: asyncio.Future[Answer], answer: Answer) -> None:
    if not replied.done():  # cancelled: nobody waits any more
        replied.set_result(answer)


class _RejectionLog:
    """At most one line a minute for each reason, with the number since the last: anybody can cause rejections, so that
    a line for each would let them fill the disk."""

    def __init__(self) -> None:
        self._told: dict[Reason, datetime] = {}
        self._untold: dict[Reason, int] = {}

    def note(self, reason: Reason, now: datetime) -> None:
        count = self._untold.get(reason, 0) + 1
        told = self._told.get(reason)
        if told is not None and now - told < _TELL_EVERY:
            self._untold[reason] = count
            return
        log.warning("delivery_rejected", reason=reason.value, count=count)
        self._told[reason] = now
        self._untold[reason] = 0


def put_in_front(endpoint: WebhookEndpoint, app: ASGIApp) -> ASGIApp:
    """Let ``endpoint`` serve the webhook's path, and ``app`` everything else (the lifespan included)."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        serves = endpoint if scope["type"] == "http" and scope["path"] in PATHS else app
        await serves(scope, receive, send)

    return dispatch
