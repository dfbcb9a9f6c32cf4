"""``POST /webhooks/seam``: genuine deliveries are read and stored, and acknowledged once they are.

A raw ASGI application, so that the busiest route does no framework work for each request. What came in whole, as nearly
all deliveries do, is handed over by ``app.receiver.protocol`` without even that.
"""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from app.receiver.answers import ONLY_POST, TO_UNREAD, Answer
from app.receiver.body import BodyLimits, BodyReader, Unread, Upload
from app.receiver.examiner import Examiner
from app.receiver.metrics import ReceiverMetrics

# The slash at the end is served alike: a redirect would count as a failed delivery.
PATHS = frozenset({"/webhooks/seam", "/webhooks/seam/"})


class WebhookEndpoint:
    """Answers 204 once a delivery is committed (also for a duplicate, and for a genuine one that cannot be read), and
    401, 405, 408, 413, 429 or 503 otherwise. Never a redirect, never 410."""

    def __init__(self, examiner: Examiner, metrics: ReceiverMetrics, limits: BodyLimits | None = None) -> None:
        limits = limits or BodyLimits()
        self.examiner = examiner
        self.largest_body = limits.body_bytes
        self._bodies = BodyReader(limits)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole way: a body is waited for."""
        upload = Upload(receive)
        try:
            answer = await self._read_and_take(scope, upload)
        except Exception as error:  # noqa: BLE001 - anything unforeseen: Seam is asked to come again
            answer = self.examiner.excuse(error)
        if answer is None:
            return
        if answer.closes:
            await self._send_and_close(answer, upload, send)
        else:
            await answer(scope, receive, send)

    async def _read_and_take(self, scope: Scope, upload: Upload) -> Answer | None:
        """``None``: nobody is there to be answered."""
        if scope["method"] != "POST":
            return ONLY_POST
        body = await self._bodies.read(scope["headers"], upload)
        if isinstance(body, Unread):
            self._metrics.deliveries.labels(body.value).inc()
            return TO_UNREAD[body]
        replied: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.examiner.take(scope["headers"], body, partial(_settle, replied))
        return await replied

    async def _send_and_close(self, answer: Answer, upload: Upload, send: Send) -> None:
        await send(answer.start)
        await send({**answer.end, "more_body": True})
        await self._bodies.discard(upload)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _settle(replied: asyncio.Future[Answer], answer: Answer) -> None:
    if not replied.done():  # cancelled: nobody waits any more
        replied.set_result(answer)


def put_in_front(endpoint: WebhookEndpoint, app: ASGIApp) -> ASGIApp:
    """Let ``endpoint`` serve the webhook's path, and ``app`` everything else (the lifespan included)."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        serves = endpoint if scope["type"] == "http" and scope["path"] in PATHS else app
        await serves(scope, receive, send)

    return dispatch
