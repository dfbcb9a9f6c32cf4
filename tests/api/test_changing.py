"""Changing a code: what Seam accepts is the intent from then on, and is verified like a new code."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from app.domain.codes import CodeType
from app.domain.news import NewsKind
from app.reconciler.loop import Reconciler
from app.seam.errors import (
    SeamConflict,
    SeamError,
    SeamInvalidInput,
    SeamRateLimited,
    SeamUnanswered,
    SeamUnauthorized,
    SeamUnreached,
)
from app.seam.values import Answer
from app.storage.inbox import store_batch
from tests.api.test_acting import actions
from tests.api.test_reading import event
from tests.api.worlds import DEVICE, FINGERPRINTER, NOON, World

START, END = "2026-08-03T11:00:00Z", "2026-08-03T16:00:00Z"
LATER = "2026-08-03T18:00:00Z"
OLD, NEW = "4821", "7733"


async def change(world: World, ident: str, **body: Any) -> httpx.Response:
    return await world.client.patch(f"/v1/access-codes/{ident}", json=body)


async def fetch(world: World, ident: str) -> Any:
    return (await world.get(f"/v1/access-codes/{ident}")).json()


async def told(world: World, kind: NewsKind, **fields: Any) -> None:
    await store_batch(world.db, [event(kind, "ac-1", f"e-{kind}-{world.clock()}", world.clock(), **fields)])


async def stay(world: World, **body: Any) -> str:
    """A time-bound code that is on its lock since a minute."""
    body = {"code": OLD, "name": "Ada", "starts_at": START, "ends_at": END, **body}
    made = (await world.create(**body)).json()
    world.clock.advance(seconds=60)
    await told(world, NewsKind.SET)
    world.seam.show("ac-1", status="set", pending=())
    world.clock.advance(seconds=60)
    assert (await fetch(world, made["id"]))["verdict"] == "verified"
    return str(made["id"])


async def reconcile(world: World, **later: float) -> None:
    services = world.services
    reconciler = Reconciler(
        db=world.db,
        gateway=services.gateway,
        policy=services.policy,
        clock=world.clock,
        registry=CollectorRegistry(),
    )
    world.clock.advance(**later)
    while await reconciler.run_once():
        pass


class TestAccepted:
    async def test_a_new_window_is_outdated_until_the_lock_confirms_it(self, world: World) -> None:
        ident = await stay(world)
        answer = await change(world, ident, ends_at=LATER)
        assert (answer.status_code, answer.json()["verdict"], answer.json()["ends_at"]) == (200, "outdated", LATER)
        (request,) = world.seam.updated
        assert (request.type, request.name, request.code) == (CodeType.TIME_BOUND, None, None)
        assert request.ends_at == NOON + timedelta(hours=6)
        world.clock.advance(seconds=5)
        await told(world, NewsKind.TIME_FRAME_CHANGED)
        code = await fetch(world, ident)
        assert (code["verdict"], code["ends_at"]) == ("verified", LATER)

    async def test_a_new_pin_is_outdated_until_the_lock_confirms_it(self, world: World) -> None:
        ident = await stay(world)
        answer = await change(world, ident, code=NEW)
        assert (answer.status_code, answer.json()["verdict"]) == (200, "outdated")
        assert NEW not in answer.text
        assert world.seam.updated[0].code == NEW
        world.clock.advance(seconds=5)
        await told(world, NewsKind.CODE_CHANGED, pin=FINGERPRINTER.pin(DEVICE, NEW))
        assert (await fetch(world, ident))["verdict"] == "verified"

    async def test_the_old_pin_set_again_is_a_mismatch(self, world: World) -> None:
        ident = await stay(world)
        await change(world, ident, code=NEW)
        world.clock.advance(seconds=5)
        await told(world, NewsKind.SET, pin=FINGERPRINTER.pin(DEVICE, OLD))
        assert (await fetch(world, ident))["verdict"] == "mismatched"

    async def test_what_no_event_confirms_a_read_does(self, world: World) -> None:
        ident = await stay(world)
        await change(world, ident, code=NEW)
        world.seam.show("ac-1", pending=())
        await reconcile(world, seconds=121)
        assert (await fetch(world, ident))["verdict"] == "verified"

    async def test_a_change_that_never_reaches_the_lock_is_flagged(self, world: World) -> None:
        ident = await stay(world)
        await change(world, ident, ends_at=LATER)
        await reconcile(world, seconds=601)
        code = await fetch(world, ident)
        assert (code["verdict"], [flag["kind"] for flag in code["flags"]]) == ("outdated", ["outdated"])

    async def test_a_change_before_the_lock_has_the_code_keeps_it_pending(self, world: World) -> None:
        made = (await world.create(code=OLD)).json()
        answer = await change(world, made["id"], code=NEW)
        assert answer.json()["verdict"] == "pending"
        world.clock.advance(seconds=5)
        await told(world, NewsKind.SET, pin=FINGERPRINTER.pin(DEVICE, NEW))
        assert (await fetch(world, made["id"]))["verdict"] == "verified"

    async def test_a_stay_becomes_ongoing_and_back(self, world: World) -> None:
        ident = await stay(world)
        answer = await change(world, ident, type="ongoing")
        assert [answer.json()[name] for name in ("type", "starts_at", "ends_at")] == ["ongoing", None, None]
        assert (await change(world, ident, starts_at=START, ends_at=LATER)).json()["type"] == "time_bound"

    async def test_a_name_is_changed_without_verifying_anew(self, world: World) -> None:
        ident = await stay(world)
        answer = await change(world, ident, name="Ada Lovelace")
        assert (answer.json()["name"], answer.json()["verdict"]) == ("Ada Lovelace", "verified")
        assert world.seam.updated[0].name == "Ada Lovelace"

    async def test_what_already_is_so_is_not_asked_for(self, world: World) -> None:
        ident = await stay(world)
        answer = await change(world, ident, name="Ada", code=OLD, starts_at=START, ends_at=END, type="time_bound")
        assert (answer.status_code, answer.json()["verdict"], world.seam.updated) == (200, "verified", [])

    async def test_it_stands_in_the_timeline(self, world: World) -> None:
        ident = await stay(world)
        await change(world, ident, ends_at=LATER, reference="r-2")
        assert (await actions(world, ident))[-2:] == ["change_asked", "change_accepted"]
        assert (await fetch(world, ident))["reference"] == "r-2"


class TestOwnFields:
    async def test_they_change_without_seam_and_null_clears_them(self, world: World) -> None:
        ident = await stay(world, reference="r-1", metadata={"room": 1})
        calls = list(world.seam.calls)
        answer = await change(world, ident, reference=None, metadata={"room": 2}, set_within_seconds=30)
        assert (answer.status_code, answer.json()["reference"], answer.json()["metadata"]) == (200, None, {"room": 2})
        assert world.seam.calls == calls
        assert (await actions(world, ident))[-1] == "code_changed"

    async def test_a_shorter_time_to_set_is_a_nearer_deadline(self, world: World) -> None:
        made = (await world.create()).json()
        answer = await change(world, made["id"], set_within_seconds=30)
        assert answer.json()["deadline"] == "2026-08-03T12:00:30Z"


class TestExtendingAfterTheEnd:
    async def test_a_removed_stay_is_verified_again_when_its_window_is_moved_on(self, world: World) -> None:
        ident = await stay(world)
        world.clock.advance(hours=4)
        await told(world, NewsKind.REMOVED)
        assert (await fetch(world, ident))["verdict"] == "removed"
        answer = await change(world, ident, ends_at=LATER)
        assert (answer.status_code, answer.json()["verdict"]) == (200, "pending")
        assert answer.json()["next_check_at"] is not None
        world.clock.advance(seconds=9)
        await told(world, NewsKind.SET)
        assert (await fetch(world, ident))["verdict"] == "verified"

    async def test_a_missed_stay_leaves_its_flag_behind(self, world: World) -> None:
        made = (await world.create(code=OLD, starts_at=START, ends_at=END)).json()
        world.seam.show("ac-1", status="unset", pending=())
        await reconcile(world, hours=5)
        code = await fetch(world, made["id"])
        assert (code["verdict"], [flag["kind"] for flag in code["flags"]]) == ("missed", ["missed"])
        answer = await change(world, made["id"], ends_at=LATER)
        assert (answer.json()["verdict"], answer.json()["flags"]) == ("pending", [])

    async def test_its_pin_alone_is_not_changed(self, world: World) -> None:
        ident = await stay(world)
        world.clock.advance(hours=4)
        await told(world, NewsKind.REMOVED)
        answer = await change(world, ident, code=NEW)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:latchwatch:problem:cannot-change")

    async def test_what_seam_has_no_more_cannot_be_extended(self, world: World) -> None:
        ident = await stay(world)
        world.clock.advance(hours=4)
        await told(world, NewsKind.DELETED)
        world.seam.codes.clear()
        answer = await change(world, ident, ends_at=LATER)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:latchwatch:problem:cannot-change")
        assert (await fetch(world, ident))["verdict"] == "removed"


class TestRefusals:
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (SeamConflict("Taken", status_code=409, seam_type="duplicate_access_code"), 409),
            (SeamInvalidInput("Bad", status_code=400, seam_type="invalid_input"), 502),
            (SeamUnauthorized("No", status_code=401), 502),
            (SeamRateLimited("Slow", status_code=429), 502),
            (SeamUnreached("Nobody"), 502),
        ],
    )
    async def test_what_seam_refuses_changes_nothing(self, world: World, error: SeamError, status: int) -> None:
        ident = await stay(world)
        before = await fetch(world, ident)
        world.seam.refuse("update_code", error)
        answer = await change(world, ident, code=NEW, reference="r-2")
        assert answer.status_code == status
        assert NEW not in answer.text
        after = await fetch(world, ident)
        assert {**after, "updated_at": None} == {**before, "updated_at": None}
        assert (await actions(world, ident))[-1] == "change_refused"
        # Nothing stays behind that would hold up the next one.
        assert (await change(world, ident, ends_at=LATER)).status_code == 200

    async def test_some_codes_cannot_be_changed(self, world: World) -> None:
        world.seam.add_device("lock-2", can_program_offline=True)
        window = {"starts_at": START, "ends_at": END}
        offline = (await world.create(device_id="lock-2", is_offline_access_code=True, **window)).json()
        untracked = (await world.create(code="1111")).json()
        await world.client.post(f"/v1/access-codes/{untracked['id']}/untrack")
        ended = (await world.create(code="2222")).json()
        await world.client.delete(f"/v1/access-codes/{ended['id']}")
        world.seam.refuse("create", SeamUnanswered("timed out"))
        requested = (await world.create(code="3333")).json()
        table = [
            (offline, "cannot-change"),
            (untracked, "not-tracked"),
            (ended, "cannot-change"),
            (requested, "not-at-seam-yet"),
        ]
        for code, problem in table:
            answer = await change(world, code["id"], name="Other")
            assert (answer.status_code, answer.json()["type"]) == (409, f"urn:latchwatch:problem:{problem}")
            assert (await change(world, code["id"], reference="r-1")).status_code == 200
        assert world.seam.updated == []

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "body"),
            ({"nmae": "x"}, "nmae"),
            ({"name": None}, "name"),
            ({"code": None}, "code"),
            ({"ends_at": None}, "ends_at"),
            ({"code": "12"}, "code"),
            ({"type": "ongoing", "ends_at": LATER}, "ends_at"),
            ({"starts_at": LATER}, "starts_at"),
            ({"ends_at": "2026-08-03T10:00:00Z"}, "ends_at"),
            ({"ends_at": "2026-08-03T11:30:00Z"}, "ends_at"),
            ({"code": NEW, "name": f"Ada {NEW}"}, "name"),
            ({"code": NEW, "metadata": {"pin": NEW}}, "metadata"),
            ({"name": f"Ada {OLD}"}, "name"),
            ({"reference": f"x{OLD}9"}, "reference"),
            ({"set_within_seconds": 0}, "set_within_seconds"),
        ],
    )
    async def test_bad_input_is_refused_by_name(self, world: World, body: dict[str, Any], field: str) -> None:
        ident = await stay(world)
        answer = await change(world, ident, **body)
        assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
        assert world.seam.updated == []

    async def test_an_ongoing_code_needs_both_ends_to_become_a_stay(self, world: World) -> None:
        made = (await world.create()).json()
        answer = await change(world, made["id"], type="time_bound", ends_at=LATER)
        assert [error["field"] for error in answer.json()["errors"]] == ["starts_at"]

    async def test_a_code_that_is_not_there(self, world: World) -> None:
        assert (await change(world, "nobody", name="x")).status_code == 404


class TestRaces:
    async def test_a_read_from_before_the_change_neither_confirms_nor_reverts_it(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its answer comes after that of the change, and yet shows what was before it."""
        ident = await stay(world)
        await told(world, NewsKind.TIME_FRAME_CHANGED)  # somebody did something: Seam is asked
        list_codes = world.seam.list_codes

        async def overtaken(access_code_ids: Any) -> Any:
            answer = await list_codes(access_code_ids)
            monkeypatch.setattr(world.seam, "list_codes", list_codes)
            assert (await change(world, ident, code=NEW, ends_at=LATER)).status_code == 200
            return Answer(world.clock(), answer.value)

        monkeypatch.setattr(world.seam, "list_codes", overtaken)
        await reconcile(world, seconds=1)
        code = await fetch(world, ident)
        assert (code["verdict"], code["ends_at"]) == ("outdated", LATER)

    async def test_two_changes_at_once_are_one_after_the_other(self, world: World) -> None:
        ident = await stay(world)
        answers = await asyncio.gather(change(world, ident, code=NEW), change(world, ident, ends_at=LATER))
        assert sorted(answer.status_code for answer in answers) in ([200, 200], [200, 409])
        for body in ({"code": NEW}, {"ends_at": LATER}):
            assert (await change(world, ident, **body)).status_code == 200
        code = await fetch(world, ident)
        assert (code["verdict"], code["ends_at"]) == ("outdated", LATER)
        assert world.seam.pins["ac-1"] == NEW


class TestUnanswered:
    """Seam's answer got lost: what was asked for was written down before, and a read finds out."""

    async def test_a_change_that_seam_took_is_found(self, world: World) -> None:
        ident = await stay(world)
        world.seam.lost = SeamUnanswered("timed out")
        answer = await change(world, ident, code=NEW, ends_at=LATER, reference="r-2")
        assert (answer.status_code, answer.json()["ends_at"], answer.json()["reference"]) == (202, END, "r-2")
        await reconcile(world, seconds=6)
        code = await fetch(world, ident)
        assert (code["verdict"], code["ends_at"]) == ("outdated", LATER)
        assert (await actions(world, ident))[-1] == "change_found"
        world.clock.advance(seconds=5)
        await told(world, NewsKind.SET, pin=FINGERPRINTER.pin(DEVICE, NEW))
        assert (await fetch(world, ident))["verdict"] == "verified"

    async def test_a_change_that_seam_did_not_take_is_dropped_after_a_while(self, world: World) -> None:
        ident = await stay(world)
        world.seam.refuse("update_code", SeamUnanswered("timed out"))
        assert (await change(world, ident, code=NEW)).status_code == 202
        await reconcile(world, seconds=6)
        assert "change_lost" not in await actions(world, ident)
        await reconcile(world, seconds=55)
        assert (await actions(world, ident))[-1] == "change_lost"
        assert (await fetch(world, ident))["verdict"] == "verified"
        assert (await change(world, ident, ends_at=LATER)).status_code == 200

    async def test_another_change_has_to_wait_and_the_same_may_be_repeated(self, world: World) -> None:
        ident = await stay(world)
        world.seam.refuse("update_code", SeamUnanswered("timed out"))
        assert (await change(world, ident, code=NEW)).status_code == 202
        other = await change(world, ident, code="5555")
        assert (other.status_code, other.json()["type"]) == (409, "urn:latchwatch:problem:change-unanswered")
        assert other.headers["retry-after"] == "5"
        assert (await change(world, ident, code=NEW)).status_code == 200
        assert (await fetch(world, ident))["verdict"] == "outdated"

    async def test_a_crash_after_the_call_is_found_as_well(self, world: World) -> None:
        ident = await stay(world)
        world.seam.lost = RuntimeError("whatever ends us on the way back")
        assert (await change(world, ident, ends_at=LATER)).status_code == 500
        assert (await fetch(world, ident))["ends_at"] == END
        await reconcile(world, seconds=6)
        assert (await fetch(world, ident))["ends_at"] == LATER

    async def test_an_extension_of_a_stay_that_was_over_is_found(self, world: World) -> None:
        ident = await stay(world)
        world.clock.advance(hours=4)
        await told(world, NewsKind.REMOVED)
        assert (await fetch(world, ident))["verdict"] == "removed"
        world.seam.show("ac-1", status="removing")
        world.seam.lost = SeamUnanswered("timed out")
        assert (await change(world, ident, ends_at=LATER)).status_code == 202
        await reconcile(world, seconds=6)
        code = await fetch(world, ident)
        assert (code["ends_at"], code["verdict"]) == (LATER, "pending")


class TestElsewhere:
    async def test_a_new_name_at_seam_is_taken_over(self, world: World) -> None:
        ident = await stay(world)
        world.seam.show("ac-1", name="Ada of room 12")
        world.clock.advance(seconds=5)
        await told(world, NewsKind.NAME_CHANGED)
        await reconcile(world, seconds=1)
        assert (await fetch(world, ident))["name"] == "Ada of room 12"
