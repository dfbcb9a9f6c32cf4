"""Repeating a create with an Idempotency-Key: the same answer, and never a second code at Seam."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from app.domain.assessment import FlagKind
from app.domain.scopes import Scope
from app.seam.errors import (
    SeamConflict,
    SeamError,
    SeamInvalidInput,
    SeamRateLimited,
    SeamUnanswered,
    SeamUnauthorized,
    SeamUnreached,
)
from app.storage.errors import StorageUnavailable
from app.storage.flags import open_flag
from app.storage.tokens import create_token
from tests.api.worlds import DEVICE, World


async def test_a_repeat_gets_the_same_code_and_status_without_the_pin(world: World) -> None:
    first = await world.create(key="k", code="4821", name="Ada")
    again = await world.create(key="k", code="4821", name="Ada")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["id"] == first.json()["id"]
    assert "code" not in again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert world.seam.calls.count("create") == 1


async def test_the_same_request_may_be_spelled_differently(world: World) -> None:
    window = {"starts_at": "2026-08-04T15:00:00Z", "ends_at": "2026-08-06T10:00:00Z"}
    first = await world.create(key="k", code="4821", **window)
    spelled = {"ends_at": "2026-08-06T12:00:00+02:00", "starts_at": "2026-08-04T15:00:00.000Z", "name": None}
    again = await world.create(key="k", **spelled, code="4821")
    assert again.json()["id"] == first.json()["id"]


async def test_another_body_with_the_same_key_is_refused(world: World) -> None:
    await world.create(key="k", code="4821")
    answer = await world.create(key="k", code="4822")
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:latchwatch:problem:idempotency-key-reused"
    assert world.seam.calls.count("create") == 1


async def test_a_key_belongs_to_its_token(world: World) -> None:
    token = await create_token(world.db, name="other", scopes=[Scope.WRITE], now=world.clock())
    await world.create(key="k", code="4821")
    other = await world.client.post(
        "/v1/access-codes",
        json={"device_id": DEVICE, "code": "4822"},
        headers={"Idempotency-Key": "k", "Authorization": f"Bearer {token}"},
    )
    assert other.status_code == 201


async def test_without_a_key_every_request_is_a_new_one(world: World) -> None:
    first, second = await world.create(), await world.create()
    assert first.json()["id"] != second.json()["id"]


async def test_of_two_simultaneous_requests_one_waits_its_turn(world: World) -> None:
    world.seam.gate = asyncio.Event()
    first = asyncio.create_task(world.create(key="k", code="4821"))
    await world.seam.entered.wait()
    second = await world.create(key="k", code="4821")
    assert second.status_code == 409
    assert second.json()["type"] == "urn:latchwatch:problem:idempotency-key-in-flight"
    assert int(second.headers["retry-after"]) >= 1
    world.seam.gate.set()
    assert (await first).status_code == 201
    assert (await world.create(key="k", code="4821")).json()["id"] == (await first).json()["id"]


async def test_many_at_once_make_one_code(world: World) -> None:
    answers = await asyncio.gather(*(world.create(key="k", code="4821") for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert world.seam.calls.count("create") == 1
    assert len((await world.get("/v1/access-codes")).json()["items"]) == 1


async def test_a_refusal_is_repeated_without_asking_seam(world: World) -> None:
    world.seam.refuse("create", SeamInvalidInput("Too short", status_code=422, seam_type="invalid_input"))
    first = await world.create(key="k", code="4821")
    again = await world.create(key="k", code="4821")
    assert (first.status_code, again.status_code) == (502, 502)
    assert again.json() == first.json()
    assert world.seam.calls.count("create") == 1


async def test_a_device_that_cannot_take_codes_is_refused_again(world: World) -> None:
    world.seam.add_device("thermostat", can_program_online=False)
    first = await world.create(key="k", device_id="thermostat")
    again = await world.create(key="k", device_id="thermostat")
    assert (again.status_code, again.json()) == (409, first.json())


@pytest.mark.parametrize(
    "error",
    [
        SeamUnreached("Connection refused"),
        SeamRateLimited("Slow", status_code=429, retry_after=timedelta(seconds=1)),
        SeamUnauthorized("Bad key", status_code=401),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_repeat_carries_out_what_never_was_done(world: World, error: SeamError) -> None:
    """Under the same row, and the caller gets the PIN: it is the first answer that holds one."""
    world.seam.refuse("create", error)
    assert (await world.create(key="k")).status_code == 502
    (stored,) = (await world.get("/v1/access-codes")).json()["items"]
    again = await world.create(key="k")
    assert (again.status_code, again.json()["id"]) == (201, stored["id"])
    assert again.json()["code"] == "8264"
    assert len(world.seam.codes) == 1


async def test_a_conflict_over_a_pin_that_we_chose_may_be_tried_again(world: World) -> None:
    world.seam.add_code("foreign", pin="7391")
    assert (await world.create(key="k")).status_code == 409
    again = await world.create(key="k")
    assert (again.status_code, again.json()["code"]) == (201, "8264")


async def test_a_repeat_after_a_lost_answer_waits_for_the_proof(world: World) -> None:
    world.seam.lost = SeamUnanswered("timed out")
    first = await world.create(key="k", code="4821")
    again = await world.create(key="k", code="4821")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert world.seam.calls.count("create") == 1


async def test_a_repeat_of_a_request_that_is_proven_lost_carries_it_out(world: World) -> None:
    world.seam.refuse("create", SeamUnanswered("timed out"))
    first = await world.create(key="k", code="4821")
    await flag_as_lost(world, first.json()["id"])
    again = await world.create(key="k", code="4821")
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert world.seam.calls.count("create") == 2


async def test_what_was_called_lost_but_is_there_is_found_instead(world: World) -> None:
    world.seam.lost = SeamUnanswered("timed out")
    first = await world.create(key="k", code="4821")
    await flag_as_lost(world, first.json()["id"])
    again = await world.create(key="k", code="4821")
    assert (again.status_code, again.json()["access_code_id"]) == (201, "ac-1")
    assert world.seam.calls.count("create") == 1


async def test_while_the_lock_cannot_be_listed_nothing_is_made_a_second_time(world: World) -> None:
    world.seam.refuse("create", SeamUnanswered("timed out"))
    first = await world.create(key="k", code="4821")
    await flag_as_lost(world, first.json()["id"])
    world.seam.refuse("list_device_codes", SeamUnanswered("timed out"))
    assert (await world.create(key="k", code="4821")).status_code == 502
    assert world.seam.calls.count("create") == 1
    assert (await world.create(key="k", code="4821")).status_code == 201


async def test_after_a_crash_behind_the_call_the_code_is_found_and_not_made_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage is gone when Seam has answered: as if the process had died there."""

    async def gone(*_: object, **__: object) -> None:
        raise StorageUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr("app.api.creating.bind", gone)
        assert (await world.create(key="k", code="4821")).status_code == 503
    assert (await world.create(key="k", code="4821")).status_code == 409
    world.clock.advance(minutes=3)
    again = await world.create(key="k", code="4821")
    assert (again.status_code, again.json()["access_code_id"]) == (201, "ac-1")
    assert world.seam.calls.count("create") == 1


async def test_after_a_crash_before_the_call_it_is_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(*_: object, **__: object) -> None:
        raise StorageUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr("app.api.creating.before_call", gone)
        assert (await world.create(key="k", code="4821")).status_code == 503
    world.clock.advance(minutes=3)
    again = await world.create(key="k", code="4821")
    assert (again.status_code, again.json()["code"]) == (201, "4821")


async def test_a_conflict_behind_a_crash_means_that_the_code_is_ours(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of the lock lags behind, so the code is not seen at first; its PIN is in the way then."""

    async def gone(*_: object, **__: object) -> None:
        raise StorageUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr("app.api.creating.bind", gone)
        await world.create(key="k", code="4821")
    world.clock.advance(minutes=3)
    hidden = dict(world.seam.codes)
    world.seam.codes.clear()
    world.seam.gate = asyncio.Event()
    world.seam.entered.clear()
    asking = asyncio.create_task(world.create(key="k", code="4821"))
    await world.seam.entered.wait()
    world.seam.codes.update(hidden)
    world.seam.refuse("create", SeamConflict("Duplicate", status_code=409))
    world.seam.gate.set()
    answer = await asking
    assert (answer.status_code, answer.json()["access_code_id"]) == (201, "ac-1")


async def test_a_key_is_forgotten_after_seven_days(world: World) -> None:
    first = await world.create(key="k", code="4821")
    world.clock.advance(days=7, seconds=1)
    again = await world.create(key="k", code="4822")
    assert (again.status_code, again.json()["id"] != first.json()["id"]) == (201, True)


async def flag_as_lost(world: World, code_id: str) -> None:
    """As the reconciler does once it has read the lock and did not find the code."""
    async with world.db.write() as conn:
        await open_flag(
            conn,
            kind=FlagKind.REQUEST_LOST,
            code_id=code_id,
            access_code_id=None,
            device_id=DEVICE,
            opened_at=world.clock(),
            reason="Seam does not have it.",
            problem=None,
            now=world.clock(),
        )
