"""Telling Seam to remove a code: what its answers mean."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from app.domain.codes import Read
from app.reconciler.decisions import Seen
from app.reconciler.ends import send_end
from app.reconciler.reading import NO_KEY, Unread
from app.seam.errors import SeamError, SeamRateLimited, SeamUnanswered, SeamUnauthorized
from tests.api.worlds import Clock
from tests.reconciler.rows import bound_row
from tests.reconciler.worlds import Seam

ASKED = Seen(asked=True, access_code_id="ac")


async def _send(seam: Seam | None, access_code_id: str | None = "ac") -> Seen:
    row = bound_row(access_code_id=access_code_id)
    return await send_end(seam.gateway() if seam is not None else None, row, ASKED, asyncio.Semaphore(1))


@pytest.fixture
def seam() -> Seam:
    return Seam(Clock())


async def test_a_delete_call_that_seam_took_is_dated_on_its_clock(seam: Seam) -> None:
    seam.add_code("ac")
    seen = await _send(seam)
    assert (seen.end_sent_at, seen.reading, seen.end_failure, seen.asked) == (seam.clock.now, None, None, True)
    assert seam.calls == ["delete_code"]


async def test_a_code_that_seam_does_not_have_is_read_to_be_certain(seam: Seam) -> None:
    seen = await _send(seam)
    assert (seen.reading, seen.end_sent_at) == (Read(seam.clock.now, None), seam.clock.now)
    assert seam.calls == ["delete_code", "get_code"]


async def test_what_seam_has_after_all_is_deleted_again_later(seam: Seam, monkeypatch: pytest.MonkeyPatch) -> None:
    there = seam.add_code("ac")
    codes = dict(seam.codes)
    del seam.codes["ac"]
    get_code = seam.get_code

    async def back_again(ident: str, *, workspace_id: str | None = None) -> Read:
        seam.codes = codes
        return await get_code(ident)

    monkeypatch.setattr(seam, "get_code", back_again)
    seen = await _send(seam)
    assert (seen.reading, seen.end_sent_at) == (Read(seam.clock.now, there), None)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (SeamUnanswered("Late."), Unread("Seam did not answer: Late.")),
        (SeamUnauthorized("Who?"), Unread("Seam does not accept our API key: Who?")),
        (
            SeamRateLimited("Slow.", retry_after=timedelta(seconds=9)),
            Unread("Seam asks us to slow down: Slow.", timedelta(seconds=9)),
        ),
    ],
)
@pytest.mark.parametrize("call", ["delete_code", "get_code"])
async def test_a_failure_of_either_call_leaves_the_end_unsent(
    seam: Seam, call: str, error: SeamError, failure: Unread
) -> None:
    seam.refuse(call, error)
    seen = await _send(seam)
    assert (seen.end_failure, seen.end_sent_at, seen.reading) == (failure, None, None)


async def test_without_a_key_nobody_can_be_told() -> None:
    assert (await _send(None)).end_failure == Unread(NO_KEY)
