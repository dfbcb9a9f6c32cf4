"""The signed webhook, over HTTP: what any svix library verifies, and what each answer means."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from svix.webhooks import WebhookVerificationError

from app.alerts.channels import Arrived, Failed, Message, Outcome
from app.alerts.webhook import WebhookChannel
from app.clock import utc_now
from app.domain.alert_texts import document
from tests.alerts.receivers import SECRET, Receiver
from tests.domain.test_alerting import alert, later
from tests.receiver.servers import serving

MESSAGE = Message("msg_1", document([alert("a", name="Adélaïde 👋")], later(5)))


@asynccontextmanager
async def channel_to(receiver: Receiver, timeout_seconds: float = 10) -> AsyncIterator[WebhookChannel]:
    async with serving(receiver) as (_, port):
        url = f"http://127.0.0.1:{port}/alerts"
        channel = WebhookChannel(url, SECRET, utc_now, timedelta(seconds=timeout_seconds))
        try:
            yield channel
        finally:
            await channel.aclose()


async def test_a_receiver_verifies_it_with_svix() -> None:
    receiver = Receiver()
    async with channel_to(receiver) as channel:
        assert await channel.send(MESSAGE) == Arrived()
    (post,) = receiver.posts
    assert post.verified() == MESSAGE.content
    assert post.path == "/alerts"
    assert post.headers["webhook-id"] == "msg_1"
    assert post.headers["content-type"] == "application/json"
    assert post.headers["user-agent"] == "Latchwatch"


async def test_a_changed_body_is_noticed() -> None:
    receiver = Receiver()
    async with channel_to(receiver) as channel:
        await channel.send(MESSAGE)
    post = receiver.posts[0]
    post.body = post.body.replace(b"critical", b"harmless")
    with pytest.raises(WebhookVerificationError):
        post.verified()


async def test_every_attempt_has_the_same_id_and_body() -> None:
    receiver = Receiver(statuses=[503])
    async with channel_to(receiver) as channel:
        await channel.send(MESSAGE)
        await channel.send(MESSAGE)
    first, second = receiver.posts
    assert first.verified() == second.verified()
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)


ANSWERS: dict[int, Outcome] = {
    200: Arrived(),
    202: Arrived(),
    204: Arrived(),
    301: Failed("answered 301", is_permanent=True),
    307: Failed("answered 307", is_permanent=True),
    400: Failed("answered 400", is_permanent=True),
    401: Failed("answered 401", is_permanent=True),
    404: Failed("answered 404", is_permanent=True),
    408: Failed("answered 408"),
    410: Failed("answered 410", is_permanent=True),
    425: Failed("answered 425"),
    429: Failed("answered 429"),
    500: Failed("answered 500"),
    503: Failed("answered 503"),
}


async def test_each_answer_has_its_meaning() -> None:
    receiver = Receiver(statuses=list(ANSWERS), headers={"location": "/elsewhere"})
    async with channel_to(receiver) as channel:
        found = {status: await channel.send(MESSAGE) for status in ANSWERS}
    assert found == ANSWERS
    assert {post.path for post in receiver.posts} == {"/alerts"}


async def test_a_pause_that_is_asked_for_is_told() -> None:
    receiver = Receiver(statuses=[429], headers={"retry-after": "120"})
    async with channel_to(receiver) as channel:
        assert await channel.send(MESSAGE) == Failed("answered 429", retry_after=timedelta(seconds=120))


async def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    receiver = Receiver(gate=asyncio.Event())
    async with channel_to(receiver, timeout_seconds=0.2) as channel:
        assert await channel.send(MESSAGE) == Failed("no answer within 0.2 s")
        receiver.gate.set()  # type: ignore[union-attr]


async def test_a_body_that_never_ends_is_not_waited_for() -> None:
    receiver = Receiver(endless=True)
    async with channel_to(receiver) as channel:
        assert await channel.send(MESSAGE) == Arrived()


async def test_nobody_there_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    channel = WebhookChannel(f"http://127.0.0.1:{port}", SECRET, utc_now)
    assert await channel.send(MESSAGE) == Failed("no connection (ConnectError)")
    await channel.aclose()
