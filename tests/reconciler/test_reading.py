"""Asking Seam for many codes: a hundred a call, and only a typed answer is an absence."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.domain.codes import Read
from app.reconciler.reading import NO_KEY, Unread, read_codes
from app.seam.errors import SeamRateLimited, SeamUnanswered, SeamUnauthorized
from tests.api.worlds import WORKSPACE, Clock, FakeSeam


@pytest.fixture
def seam() -> FakeSeam:
    return FakeSeam(Clock())


async def _read(seam: FakeSeam | None, *ids: str, at_once: int = 8) -> dict[str, Any]:
    gateway = seam.gateway() if seam is not None else None
    return await read_codes(gateway, dict.fromkeys(ids, WORKSPACE), asyncio.Semaphore(at_once))


async def test_a_list_tells_of_those_that_are_there(seam: FakeSeam) -> None:
    codes = {f"ac-{number}": seam.add_code(f"ac-{number}", pin=str(number)) for number in range(250)}
    assert await _read(seam, *codes) == {ident: Read(seam.clock.now, code) for ident, code in codes.items()}
    assert seam.calls == 3 * ["list_codes"]


async def test_what_the_list_leaves_out_is_asked_for_by_name(seam: FakeSeam) -> None:
    there = seam.add_code("ac-1")
    now = seam.clock.now
    assert await _read(seam, "ac-1", "ac-2") == {"ac-1": Read(now, there), "ac-2": Read(now, None)}
    assert seam.calls == ["list_codes", "get_code"]


async def test_a_call_that_fails_touches_only_its_own_codes(seam: FakeSeam) -> None:
    ids = [f"ac-{number:03}" for number in range(150)]
    for number, ident in enumerate(ids):
        seam.add_code(ident, pin=str(number))
    seam.refuse("list_codes", SeamUnanswered("It timed out."))
    readings = await _read(seam, *ids)
    assert {ident for ident, reading in readings.items() if isinstance(reading, Unread)} == set(ids[:100])
    assert readings["ac-000"] == Unread("Seam did not answer: It timed out.")


@pytest.mark.parametrize("error", [SeamUnauthorized("Who?", status_code=401), SeamUnanswered("Late.")])
async def test_a_refusal_is_no_absence(seam: FakeSeam, error: Any) -> None:
    seam.refuse("get_code", error)
    assert isinstance((await _read(seam, "ac-1"))["ac-1"], Unread)


async def test_how_long_seam_wants_to_be_left_alone_is_kept(seam: FakeSeam) -> None:
    wait = timedelta(seconds=33)
    seam.refuse("list_codes", SeamRateLimited("Slow down.", retry_after=wait))
    assert (await _read(seam, "ac-1"))["ac-1"].retry_after == wait


async def test_without_a_key_nothing_is_asked() -> None:
    assert await _read(None, "ac-1") == {"ac-1": Unread(NO_KEY)}


async def test_nothing_wanted_is_nothing_asked(seam: FakeSeam) -> None:
    assert await _read(seam) == {}
    assert seam.calls == []
