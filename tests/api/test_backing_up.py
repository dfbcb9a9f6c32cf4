"""Pulling a backup code: the guest gets another PIN that works, and that code is watched from then on."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.domain.news import NewsKind
from app.domain.scopes import Scope
from app.reconciler.mentions import Mentions
from app.seam.errors import SeamInvalidInput, SeamUnanswered, SeamUnreached
from app.storage.tokens import create_token
from tests.api.test_acting import actions
from tests.api.test_changing import END, START, fetch, reconcile, told
from tests.api.worlds import DEVICE, NOON, World, client_of

PIN = "606606"


async def stay(world: World, *, has_pool: bool = True, **body: Any) -> str:
    """A time-bound code on a lock with a pool."""
    world.seam.add_device(DEVICE, supports_backup_pool=has_pool)
    body = {"code": "4821", "starts_at": START, "ends_at": END, "reference": "r-1", "metadata": {"room": 4}, **body}
    return str((await world.create(**body)).json()["id"])


async def pull(world: World, ident: str) -> httpx.Response:
    return await world.client.post(f"/v1/access-codes/{ident}/backup")


async def watch_mentions(world: World) -> None:
    mentions = Mentions(
        db=world.db, gateway=world.services.gateway, clock=world.clock, track_all=False, on_tracked=lambda: None
    )
    while await mentions.run_once():
        pass


async def test_the_backup_code_comes_with_its_pin_and_is_linked(world: World) -> None:
    ident = await stay(world)
    answer = await pull(world, ident)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    backup, first = answer.json(), await fetch(world, ident)
    assert backup["code"] == PIN
    assert [backup[name] for name in ("reference", "metadata", "starts_at")] == ["r-1", {"room": 4}, START]
    assert (first["verdict"], first["replaced_by"]) == ("replaced", backup["access_code_id"])
    assert (await fetch(world, backup["id"]))["verdict"] == "verified"
    assert (await actions(world, ident))[-2:] == ["backup_asked", "backup_pulled"]


async def test_pulling_again_hands_out_the_same_one(world: World) -> None:
    ident = await stay(world)
    first = (await pull(world, ident)).json()
    again = await pull(world, ident)
    assert (again.status_code, again.json()["id"], again.json()["code"]) == (200, first["id"], PIN)
    assert world.seam.calls.count("pull_backup") == 1
    assert (await actions(world, first["id"]))[-1] == "pin_read"


async def test_one_that_somebody_else_pulled_is_handed_out(world: World) -> None:
    ident = await stay(world)
    world.seam.pull("ac-1")
    answer = await pull(world, ident)
    assert (answer.status_code, answer.json()["code"]) == (200, PIN)
    assert (await fetch(world, ident))["verdict"] == "replaced"


async def test_a_lost_answer_is_found_by_a_read(world: World) -> None:
    ident = await stay(world)
    world.seam.lost = SeamUnanswered("timed out")
    answer = await pull(world, ident)
    assert (answer.status_code, answer.json()["id"], "code" in answer.json()) == (202, ident, False)
    await reconcile(world, seconds=6)
    first = await fetch(world, ident)
    assert (first["verdict"], first["replaced_by"]) == ("replaced", "ac-1-backup")
    await watch_mentions(world)
    backup = await fetch(world, "ac-1-backup")
    assert (backup["reference"], backup["metadata"]) == ("r-1", {"room": 4})
    assert (await actions(world, ident))[-1] == "change_found"


async def test_news_of_a_backup_code_puts_it_under_watch(world: World) -> None:
    ident = await stay(world)
    world.seam.pull("ac-1")
    world.clock.advance(seconds=5)
    await told(world, NewsKind.BACKUP_PULLED, backup_access_code_id="ac-1-backup")
    await reconcile(world, seconds=1)
    assert (await fetch(world, ident))["replaced_by"] == "ac-1-backup"
    await watch_mentions(world)
    backup = await fetch(world, "ac-1-backup")
    assert (backup["reference"], backup["verdict"]) == ("r-1", "verified")


async def test_what_seam_does_not_have_is_told(world: World) -> None:
    ident = await stay(world)
    world.seam.refuse("pull_backup", SeamInvalidInput("None left", status_code=400, seam_type="none_left"))
    answer = await pull(world, ident)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:latchwatch:problem:no-backup")
    world.seam.refuse("pull_backup", SeamUnreached("Nobody"))
    answer = await pull(world, ident)
    assert (answer.status_code, answer.json()["type"]) == (502, "urn:latchwatch:problem:seam-unreached")
    assert (await pull(world, ident)).status_code == 201


@pytest.mark.parametrize(
    ("window", "has_pool"), [({"starts_at": None, "ends_at": None}, True), ({}, False)], ids=["ongoing", "no pool"]
)
async def test_there_is_one_only_for_time_bound_codes_and_locks_with_a_pool(
    world: World, window: dict[str, Any], has_pool: bool
) -> None:
    ident = await stay(world, has_pool=has_pool, **window)
    answer = await pull(world, ident)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:latchwatch:problem:no-backup")
    assert "pull_backup" not in world.seam.calls


async def test_a_code_that_ends_has_none(world: World) -> None:
    ident = await stay(world)
    await world.client.delete(f"/v1/access-codes/{ident}")
    assert (await pull(world, ident)).json()["type"] == "urn:latchwatch:problem:cannot-change"


async def test_it_needs_the_scope_of_pins(world: World) -> None:
    ident = await stay(world)
    token = await create_token(world.db, name="desk", scopes=[Scope.READ, Scope.WRITE], now=NOON)
    async with client_of(world.api, token) as client:
        answer = await client.post(f"/v1/access-codes/{ident}/backup")
    assert (answer.status_code, answer.json()["scope"]) == (403, "pins")
