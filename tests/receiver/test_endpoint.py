"""What a delivery is answered, driven through ASGI: the table of bad input, and what is kept of good input."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from starlette.types import Scope
from structlog.testing import capture_logs

from app.domain.events import Event, Unreadable
from app.receiver import examiner as examiner_module
from app.receiver.committer import CommitLimits
from app.receiver.endpoint import put_in_front
from app.storage.errors import StorageUnavailable
from app.storage.inbox import Delivery
from tests.receiver.deliveries import NOW, Headers, changed, headers_for, secret_text, sign, sign_bytes
from tests.receiver.exchanges import Exchange
from tests.receiver.inboxes import Station, until
from tests.receiver.posts import FINGERPRINTER, Post

LARGEST = 256 * 1024
BODY = json.dumps(
    {
        "event_id": "e1",
        "event_type": "access_code.set_on_device",
        "access_code_id": "ac1",
        "device_id": "d1",
        "workspace_id": "w1",
        "created_at": "2026-03-01T11:59:58.000Z",
        "occurred_at": "2026-03-01T11:59:57.000Z",
        "code": "4711",
    }
).encode()


def genuine(body: bytes = BODY, delivery_id: str = "msg_1") -> Exchange:
    return Exchange(headers_for(body, delivery_id=delivery_id), [body])


def only(station: Station) -> Delivery:
    ((delivery,),) = station.inbox.batches
    return delivery


async def test_a_genuine_delivery_is_stored_and_answered_204_without_a_body(post: Post) -> None:
    exchange = await genuine().run(post.endpoint)

    assert (exchange.status, exchange.answered, exchange.body) == (204, {}, b"")
    delivery = only(post.station)
    assert isinstance(delivery.reading, Event)
    assert delivery.reading.event_id == "e1"
    assert delivery == Delivery("msg_1", NOW, len(BODY), delivery.digest, delivery.reading, "webhook")
    assert delivery.digest() == FINGERPRINTER.digest(BODY)


async def test_nothing_is_acknowledged_before_it_is_committed(post: Post) -> None:
    post.station.inbox.gate.clear()
    exchange = genuine()
    request = asyncio.create_task(exchange.run(post.endpoint))
    await until(lambda: post.station.inbox.attempts == 1)
    assert exchange.status is None

    post.station.inbox.gate.set()
    await request
    assert exchange.status == 204


async def test_a_duplicate_is_answered_like_the_first(post: Post) -> None:
    first, second = [await genuine().run(post.endpoint) for _ in range(2)]

    assert first.sent == second.sent
    assert (post.station.count("stored"), post.station.count("duplicate")) == (1, 1)


@pytest.mark.parametrize("cut", [1, 7, 100])
async def test_a_body_in_pieces_is_put_together_exactly(post: Post, cut: int) -> None:
    pieces = [BODY[start : start + cut] for start in range(0, len(BODY), cut)] + [b""]

    exchange = await Exchange(headers_for(BODY), pieces).run(post.endpoint)

    assert exchange.status == 204
    assert only(post.station).digest() == FINGERPRINTER.digest(BODY)


async def test_a_delivery_that_waits_shows_nothing_of_the_body_to_whoever_prints_it(post: Post) -> None:
    """What makes its digest holds the body, and that the PIN."""
    await genuine().run(post.endpoint)

    assert b'"code": "4711"' in BODY
    assert "4711" not in repr(only(post.station))


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b'"text"', b"null", b"{}", b'{"event_id":"e1"}', b'{"event_type":7}', b"[" * 100_000],
)
async def test_a_genuine_payload_that_is_no_event_is_kept_as_unreadable(post: Post, body: bytes) -> None:
    exchange = await genuine(body).run(post.endpoint)

    assert exchange.status == 204
    delivery = only(post.station)
    assert isinstance(delivery.reading, Unreadable)
    assert (delivery.size, delivery.digest()) == (len(body), FINGERPRINTER.digest(body))


async def test_a_genuine_payload_that_is_not_text_is_kept_as_unreadable(post: Post) -> None:
    body = b"\xff\xfe{}"

    exchange = await Exchange(changed(GOOD, SIGNATURE, sign_bytes(body)), [body]).run(post.endpoint)

    assert exchange.status == 204
    assert isinstance(only(post.station).reading, Unreadable)


async def test_a_fault_in_reading_an_event_loses_nothing(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(body: bytes, **_: object) -> Event:
        raise ValueError(body.decode())

    monkeypatch.setattr(examiner_module, "read_event", broken)

    with capture_logs() as lines:
        exchange = await genuine().run(post.endpoint)

    assert exchange.status == 204
    assert only(post.station).reading == Unreadable("reading_failed")
    assert "4711" not in str(lines)


async def test_an_encoded_body_is_bytes_like_any_other(post: Post) -> None:
    """The signature is over what was sent. Nothing is unpacked, so nothing can blow up."""
    exchange = await Exchange([*headers_for(BODY), (b"content-encoding", b"gzip")], [BODY]).run(post.endpoint)

    assert exchange.status == 204


GOOD = headers_for(BODY)
OLD = headers_for(BODY, at=NOW - timedelta(seconds=301))
FUTURE = headers_for(BODY, at=NOW + timedelta(seconds=301))
SIGNATURE = b"svix-signature"

# What is wrong | headers | body | counted as
NOT_GENUINE: list[tuple[str, Headers, bytes, str]] = [
    ("no headers", [], BODY, "missing_header"),
    ("no signature", GOOD[:2], BODY, "missing_header"),
    ("old", OLD, BODY, "too_old"),
    ("future", FUTURE, BODY, "too_new"),
    ("malformed time", changed(GOOD, b"svix-timestamp", b"1614265330.5"), BODY, "malformed_timestamp"),
    ("malformed signature", changed(GOOD, SIGNATURE, b"v1"), BODY, "no_known_signature"),
    ("two commas", changed(GOOD, SIGNATURE, sign(BODY) + b",x"), BODY, "wrong_signature"),
    ("wrong secret", headers_for(BODY, secret=secret_text(b"k" * 24)), BODY, "wrong_signature"),
    ("two ids", [*GOOD, (b"svix-id", b"msg_2")], BODY, "repeated_header"),
    ("ids of two families", [*GOOD, (b"webhook-id", b"msg_1")], BODY, "mixed_families"),
    ("made with a public key", changed(GOOD, SIGNATURE, b"v1a," + sign(BODY)[3:]), BODY, "no_known_signature"),
    ("altered by a proxy", GOOD, BODY.replace(b", ", b","), "wrong_signature"),
    ("not text", GOOD, b"\xff\xfe", "wrong_signature"),
    ("empty", GOOD, b"", "wrong_signature"),
]


@pytest.mark.parametrize(
    ("headers", "body", "reason"), [row[1:] for row in NOT_GENUINE], ids=[r[0] for r in NOT_GENUINE]
)
async def test_what_is_not_genuine_gets_one_and_the_same_401_and_is_counted_by_its_reason(
    post: Post, headers: Headers, body: bytes, reason: str
) -> None:
    exchange = await Exchange(headers, [body]).run(post.endpoint)
    plain = await Exchange([], [b""]).run(Post(Station()).endpoint)

    assert exchange.status == 401
    assert exchange.sent == plain.sent
    assert exchange.answered["content-type"] == "application/problem+json"
    assert json.loads(exchange.body)["type"] == "urn:latchwatch:problem:webhook-not-genuine"
    assert post.station.inbox.attempts == 0
    assert post.station.sample("latchwatch_webhook_rejections_total", reason=reason) == 1
    assert post.station.count("rejected") == 1


async def test_the_secret_in_use_is_counted_by_its_label(post: Post) -> None:
    await genuine().run(post.endpoint)

    (secret,) = post.endpoint.examiner._secrets
    assert post.station.sample("latchwatch_webhook_verified_total", secret=secret.label) == 1


async def test_a_probe_of_our_own_is_kept_and_is_no_use_of_the_secret(post: Post) -> None:
    body = json.dumps({"event_type": "latchwatch.probe", "event_id": "probe"}).encode()
    exchange = await genuine(body).run(post.endpoint)

    (secret,) = post.endpoint.examiner._secrets
    assert exchange.status == 204
    assert post.station.inbox.kept == ["msg_1"]
    assert post.station.sample("latchwatch_webhook_verified_total", secret=secret.label) == 0


async def test_a_client_that_goes_away_after_its_body_loses_nothing(post: Post) -> None:
    """Some servers then cancel the request."""
    post.station.inbox.gate.clear()
    request = asyncio.create_task(genuine().run(post.endpoint))
    await until(lambda: post.station.inbox.attempts == 1)

    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    post.station.inbox.gate.set()
    await post.station.committer.close()

    assert post.station.inbox.kept == ["msg_1"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post"])
async def test_other_methods_are_told_which_one_to_use(post: Post, method: str) -> None:
    exchange = await Exchange(GOOD, [BODY], method=method).run(post.endpoint)

    assert exchange.status == 405
    assert exchange.answered["allow"] == "POST"
    assert post.station.inbox.attempts == 0


async def test_a_full_queue_is_answered_429_with_a_time_to_come_again() -> None:
    post = Post(Station(limits=CommitLimits(waiting=1)))
    post.station.committer.start()
    post.station.inbox.gate.clear()
    first = asyncio.create_task(genuine().run(post.endpoint))
    await until(lambda: post.station.inbox.attempts == 1)

    second = await genuine(delivery_id="msg_2").run(post.endpoint)

    assert (second.status, second.answered["retry-after"]) == (429, "5")
    assert post.station.count("full") == 1
    post.station.inbox.gate.set()
    assert (await first).status == 204
    assert (await genuine(delivery_id="msg_2").run(post.endpoint)).status == 204
    await post.station.committer.close()


async def test_under_too_much_load_bodies_are_not_even_read_as_events(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def recording(body: bytes, **_: object) -> Unreadable:
        read.append(body)
        return Unreadable("not_json")

    monkeypatch.setattr(examiner_module, "read_event", recording)
    post = Post(Station(limits=CommitLimits(waiting=0)))
    post.station.committer.start()

    assert (await genuine().run(post.endpoint)).status == 429

    assert read == []
    assert post.station.count("full") == 1
    await post.station.committer.close()


async def test_while_storage_is_away_deliveries_are_answered_503_and_kept_once_it_is_back(post: Post) -> None:
    post.station.inbox.failure = StorageUnavailable("gone")
    away = await genuine().run(post.endpoint)
    post.station.inbox.failure = None
    back = await genuine().run(post.endpoint)

    assert (away.status, away.answered["retry-after"]) == (503, "5")
    assert json.loads(away.body)["type"] == "urn:latchwatch:problem:storage-unavailable"
    assert back.status == 204
    assert post.station.inbox.kept == ["msg_1"]


async def test_during_the_shutdown_deliveries_are_sent_away_with_503(post: Post) -> None:
    await post.station.committer.close()

    exchange = await genuine().run(post.endpoint)

    assert (exchange.status, exchange.answered["retry-after"]) == (503, "5")


async def test_whatever_goes_wrong_is_answered_503_and_logged_without_the_payload(post: Post) -> None:
    post.clock_fault = RuntimeError(BODY.decode())

    with capture_logs() as lines:
        exchange = await genuine().run(post.endpoint)

    assert (exchange.status, exchange.answered["retry-after"]) == (503, "5")
    assert post.station.count("failed") == 1
    (line,) = lines
    assert (line["event"], line["error"]) == ("delivery_failed", "RuntimeError")
    assert "4711" not in str(line)


async def _storage_away(post: Post) -> Exchange:
    post.station.inbox.failure = StorageUnavailable("MARK")
    return await Exchange(headers_for(b"MARK", delivery_id="MARK"), [b"MARK"]).run(post.endpoint)


async def _rejected(post: Post) -> Exchange:
    return await Exchange([(name, b"MARK") for name, _ in GOOD], [b"MARK"]).run(post.endpoint)


async def _too_large(post: Post) -> Exchange:
    return await Exchange([(b"MARK", b"MARK")], [b"MARK" * LARGEST]).run(post.endpoint)


async def _wrong_method(post: Post) -> Exchange:
    return await Exchange([(b"MARK", b"MARK")], [b"MARK"], method="MARK").run(post.endpoint)


@pytest.mark.parametrize("make", [_storage_away, _rejected, _too_large, _wrong_method])
async def test_no_answer_echoes_anything_of_the_request(
    post: Post, make: Callable[[Post], Awaitable[Exchange]]
) -> None:
    exchange = await make(post)

    assert exchange.status is not None
    assert exchange.status >= 400
    assert "MARK" not in str(exchange.sent)


async def test_rejections_are_logged_once_a_minute_for_each_reason(post: Post) -> None:
    async def reject(times: int, headers: Headers) -> None:
        for _ in range(times):
            await Exchange(headers, [BODY]).run(post.endpoint)

    with capture_logs() as lines:
        await reject(3, GOOD[:2])
        await reject(1, [*GOOD, GOOD[0]])
        post.now += timedelta(seconds=60)
        await reject(2, GOOD[:2])
        post.now += timedelta(seconds=60)
        await reject(1, GOOD[:2])

    assert [(line["event"], line["reason"], line["count"]) for line in lines] == [
        ("delivery_rejected", "missing_header", 1),
        ("delivery_rejected", "repeated_header", 1),
        ("delivery_rejected", "missing_header", 3),
        ("delivery_rejected", "missing_header", 2),
    ]


@pytest.mark.parametrize(
    ("path", "served"),
    [
        ("/webhooks/seam", True),
        ("/webhooks/seam/", True),
        ("/webhooks", False),
        ("/webhooks/seam/x", False),
        ("/v1/events", False),
    ],
)
async def test_in_front_of_the_application_only_the_path_of_the_webhook_is_taken(
    post: Post, path: str, served: bool
) -> None:
    seen: list[str] = []

    async def application(scope: Scope, receive: object, send: object) -> None:
        seen.append(scope["path"])

    exchange = genuine()
    exchange.path = path
    await exchange.run(put_in_front(post.endpoint, application))

    assert (exchange.status, seen) == ((204, []) if served else (None, [path]))


async def test_what_is_no_request_goes_to_the_application(post: Post) -> None:
    seen: list[str] = []

    async def application(scope: Scope, receive: object, send: object) -> None:
        seen.append(scope["type"])

    exchange = Exchange()
    for kind in ("lifespan", "websocket"):
        app = put_in_front(post.endpoint, application)
        await app({"type": kind, "path": "/webhooks/seam"}, exchange._receive, exchange._send)

    assert seen == ["lifespan", "websocket"]
