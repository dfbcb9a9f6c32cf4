"""How much of a body is read, how long it may take, and who goes away in the middle of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from app.receiver.body import BodyLimits
from tests.receiver.deliveries import headers_for
from tests.receiver.exchanges import Exchange
from tests.receiver.inboxes import Station, until
from tests.receiver.posts import Post

LARGEST = 256 * 1024
BODY = b'{"event_id":"e1","event_type":"access_code.created"}'
GOOD = headers_for(BODY)


async def test_the_largest_body_is_taken(post: Post) -> None:
    body = b'"' + b"x" * (LARGEST - 2) + b'"'

    exchange = await Exchange([*headers_for(body), (b"content-length", b"262144")], [body]).run(post.endpoint)

    assert exchange.status == 204


@pytest.mark.parametrize("size", [b"262145", b"307200", b"9" * 19, b"9" * 5000])
async def test_a_body_that_announces_too_much_is_refused_before_any_of_it_is_read(post: Post, size: bytes) -> None:
    exchange = await Exchange([*GOOD, (b"content-length", size)], [b"x" * 1000, b""]).run(post.endpoint)

    assert exchange.status == 413
    assert exchange.asked_first == 0
    assert exchange.answered["connection"] == "close"
    assert post.station.count("too_large") == 1
    assert post.station.inbox.attempts == 0


@pytest.mark.parametrize("length", [None, b"10", b"-1", b"", b"1e9", b"\xb2"])
async def test_a_body_that_grows_too_large_is_refused_whatever_it_announced(post: Post, length: bytes | None) -> None:
    headers = GOOD if length is None else [*GOOD, (b"content-length", length)]
    pieces = [b"x" * 65536] * 4 + [b"x"]

    exchange = await Exchange(headers, pieces).run(post.endpoint)

    assert exchange.status == 413
    assert json.loads(exchange.body)["type"] == "urn:latchwatch:problem:body-too-large"


async def test_one_piece_that_is_too_large_is_refused(post: Post) -> None:
    exchange = await Exchange(GOOD, [b"x" * (LARGEST + 1)]).run(post.endpoint)

    assert exchange.status == 413
    assert exchange.asked == 1


async def test_of_an_endless_body_little_more_than_the_cap_is_read_and_nothing_is_kept() -> None:
    """The rest is thrown away within bounds, so that the client gets to read the answer."""
    post = Post(Station(), BodyLimits(discard_bytes=100_000))
    exchange = Exchange(GOOD, [b"x" * 65536] * 1000, ends=False)

    await exchange.run(post.endpoint)

    assert exchange.status == 413
    assert (exchange.asked_first, exchange.asked) == (5, 5 + 2)
    assert post.endpoint._bodies._unfinished == 0


async def test_the_answer_to_a_large_body_does_not_wait_for_a_client_that_falls_silent() -> None:
    post = Post(Station(), BodyLimits(discard_seconds=0.01))
    exchange = Exchange([*GOOD, (b"content-length", b"300000")], [b"x"], ends=False)

    await exchange.run(post.endpoint)

    assert exchange.status == 413
    assert exchange.body


async def test_a_body_that_does_not_arrive_in_time_is_given_up() -> None:
    post = Post(Station(), BodyLimits(body_seconds=0.01))

    for pieces in ([], [BODY[:10]]):
        exchange = await Exchange(GOOD, pieces, ends=False).run(post.endpoint)
        assert exchange.status == 408
        assert exchange.answered["connection"] == "close"
    assert post.station.count("too_slow") == 2
    assert post.endpoint._bodies._unfinished == 0


async def test_many_unfinished_bodies_are_refused_and_do_not_keep_out_whole_ones() -> None:
    post = Post(Station(), BodyLimits(unfinished_bytes=100))
    post.station.committer.start()
    holding = Exchange(GOOD, [b"x" * 90], ends=False)
    held = asyncio.create_task(holding.run(post.endpoint))
    await until(lambda: holding.asked == 2)

    crowded = await Exchange(GOOD, [BODY[:20], BODY[20:]]).run(post.endpoint)
    whole = await Exchange(GOOD, [BODY]).run(post.endpoint)

    assert (crowded.status, whole.status) == (429, 204)
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)
    assert post.endpoint._bodies._unfinished == 0
    assert (await Exchange(GOOD, [BODY[:20], BODY[20:]]).run(post.endpoint)).status == 204
    await post.station.committer.close()


@pytest.mark.parametrize("pieces", [[], [b""], [BODY[:10]], [BODY]], ids=["at once", "empty", "half", "end missing"])
async def test_a_client_that_goes_away_before_the_end_of_its_body_stores_nothing(
    post: Post, pieces: list[bytes]
) -> None:
    exchange = await Exchange(GOOD, pieces, ends=False, leaves=True).run(post.endpoint)

    assert exchange.sent == []
    assert post.station.inbox.attempts == 0
    assert post.station.count("disconnected") == 1
