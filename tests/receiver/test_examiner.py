"""Deliveries of one turn of the loop are examined together: each gets its own answer, and none waits for long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial

import pytest

from app.receiver.answers import KEPT, NOT_GENUINE, UNAVAILABLE, Answer
from app.receiver.committer import Shed
from app.storage.inbox import Delivery, Outcome
from tests.receiver.deliveries import headers_for
from tests.receiver.inboxes import until
from tests.receiver.posts import Post


def body_of(name: str, size: int = 0) -> bytes:
    return json.dumps({"event_id": name, "event_type": "access_code.created", "filler": "x" * size}).encode()


def take(post: Post, answers: dict[str, Answer], name: str, *, size: int = 0, is_signed: bool = True) -> None:
    body = body_of(name, size)
    headers = headers_for(body, delivery_id=name) if is_signed else []
    post.endpoint.examiner.take(headers, body, partial(answers.__setitem__, name))


async def test_each_of_several_at_once_gets_its_own_answer_and_keeps_its_place(post: Post) -> None:
    answers: dict[str, Answer] = {}
    for name, is_signed in (("a", True), ("b", False), ("c", True), ("d", False), ("e", True)):
        take(post, answers, name, is_signed=is_signed)
    assert answers == {}
    await until(lambda: len(answers) == 5)

    assert answers == {"a": KEPT, "b": NOT_GENUINE, "c": KEPT, "d": NOT_GENUINE, "e": KEPT}
    assert post.station.inbox.kept == ["a", "c", "e"]
    assert len(post.station.inbox.batches) == 1


async def test_a_few_dozen_are_examined_at_a_time_so_that_commits_get_their_turns(post: Post) -> None:
    answers: dict[str, Answer] = {}
    accepted = []
    post.station.inbox.gate.clear()
    for number in range(80):
        take(post, answers, f"m{number:02}")
    for _ in range(4):
        accepted.append(post.station.waiting)
        await asyncio.sleep(0)
    post.station.inbox.gate.set()
    await until(lambda: len(answers) == 80)

    assert accepted == [0, 32, 64, 80]
    assert post.station.inbox.kept == [f"m{number:02}" for number in range(80)]


async def test_large_bodies_are_not_gathered(post: Post) -> None:
    answers: dict[str, Answer] = {}
    for number in range(8):
        take(post, answers, f"m{number}", size=200_000)
    accepted = post.station.waiting
    await until(lambda: len(answers) == 8)

    assert accepted == 6
    assert list(answers.values()) == [KEPT] * 8


async def test_one_that_cannot_be_told_keeps_nobody_waiting(post: Post) -> None:
    answers: dict[str, Answer] = {}

    def broken(_: Answer) -> None:
        raise RuntimeError("nobody is there")

    post.endpoint.examiner.take([], b"", broken)
    for number in range(80):
        take(post, answers, f"m{number:02}")
    await until(lambda: len(answers) == 80)

    assert list(answers.values()) == [KEPT] * 80


async def test_a_fault_is_told_to_those_that_it_struck(post: Post) -> None:
    answers: dict[str, Answer] = {}
    post.clock_fault = RuntimeError("no time")
    take(post, answers, "early")
    await asyncio.sleep(0)
    post.clock_fault = None
    take(post, answers, "late")
    await until(lambda: len(answers) == 2)

    assert answers == {"early": UNAVAILABLE, "late": KEPT}
    assert post.station.count("failed") == 1


async def test_a_fault_in_handing_on_is_told_and_harms_no_other(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, Answer] = {}
    submit = post.station.committer.submit

    def broken(delivery: Delivery, reply: Callable[[Outcome | Shed], None]) -> None:
        if delivery.delivery_id == "b":
            raise RuntimeError("a fault of ours")
        submit(delivery, reply)

    monkeypatch.setattr(post.station.committer, "submit", broken)
    for name in "abc":
        take(post, answers, name)
    await until(lambda: len(answers) == 3)

    assert answers == {"a": KEPT, "b": UNAVAILABLE, "c": KEPT}
