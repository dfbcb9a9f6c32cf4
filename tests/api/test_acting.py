"""Tracking, untracking, checking, ending, reading a PIN, acknowledging: acts, each in the audit log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.api.app import create_api
from app.domain.news import Issue, IssueSource, NewsKind
from app.seam.errors import SeamError, SeamRefused, SeamUnanswered, SeamUnauthorized
from app.storage.engine import Database
from app.storage.inbox import store_batch
from tests.api.test_reading import event
from tests.api.worlds import DEVICE, NOON, Clock, World, client_of, make_services


async def actions(world: World, ident: str) -> list[str]:
    items = (await world.get(f"/v1/access-codes/{ident}/timeline", limit=500)).json()["items"]
    return [item["action"] for item in items if item["kind"] == "action"]


async def track(world: World, **body: Any) -> Any:
    return await world.client.post("/v1/access-codes/track", json=body)


class TestTracking:
    async def test_codes_are_adopted_by_their_ids(self, world: World) -> None:
        world.seam.add_code("x-1", name="Ada", status="set")
        answer = await track(world, access_code_ids=["x-1", "x-1", "gone"], reference="r-1")
        assert answer.status_code == 200
        (code,) = answer.json()["items"]
        assert (code["access_code_id"], code["name"], code["reference"]) == ("x-1", "Ada", "r-1")
        assert answer.json()["not_found"] == ["gone"]
        assert await actions(world, code["id"]) == ["code_tracked"]
        assert world.wakes

    async def test_all_codes_of_a_device_are_adopted(self, world: World) -> None:
        world.seam.add_code("x-1")
        world.seam.add_code("x-2", pin="5555")
        world.seam.add_code("elsewhere", device_id="lock-2")
        answer = await track(world, device_id=DEVICE)
        assert {code["access_code_id"] for code in answer.json()["items"]} == {"x-1", "x-2"}

    async def test_a_code_that_the_list_leaves_out_is_read_alone(self, world: World) -> None:
        world.seam.add_code("x-1", is_managed=False)
        world.seam.add_code("x-2")
        answer = await track(world, access_code_ids=["x-1", "x-2"])
        assert answer.json()["not_found"] == ["x-1"]

    async def test_codes_that_seam_does_not_have_are_a_404(self, world: World) -> None:
        answer = await track(world, access_code_ids=["gone"])
        assert (answer.status_code, answer.json()["not_found"]) == (404, ["gone"])

    async def test_tracking_twice_changes_nothing(self, world: World) -> None:
        world.seam.add_code("x-1")
        first, second = [(await track(world, access_code_ids=["x-1"])).json()["items"][0]["id"] for _ in range(2)]
        assert first == second
        assert len((await world.get("/v1/access-codes")).json()["items"]) == 1

    async def test_news_from_before_the_tracking_counts(self, world: World) -> None:
        """A webhook that arrived before Latchwatch knew of the code is no special case."""
        world.seam.add_code("x-1", pending=())
        await store_batch(world.db, [event(NewsKind.SET, "x-1", "e1", NOON - timedelta(minutes=1))])
        (code,) = (await track(world, access_code_ids=["x-1"])).json()["items"]
        assert code["signals"]["set_at"] == "2026-08-03T11:59:00Z"
        assert code["verdict"] == "verified"

    async def test_when_seam_cannot_be_read_nothing_is_tracked(self, world: World) -> None:
        world.seam.add_code("x-1")
        world.seam.refuse("list_codes", SeamUnanswered("timed out"))
        answer = await track(world, access_code_ids=["x-1"])
        assert (answer.status_code, answer.json()["type"]) == (502, "urn:latchwatch:problem:seam-unanswered")
        assert (await world.get("/v1/access-codes")).json()["items"] == []

    async def test_untracking_stops_the_watch_and_leaves_the_lock_alone(self, world: World) -> None:
        made = (await world.create()).json()
        calls = list(world.seam.calls)
        for _ in range(2):
            answer = await world.client.post(f"/v1/access-codes/{made['id']}/untrack")
            assert (answer.status_code, answer.json()["untracked_at"]) == (200, "2026-08-03T12:00:00Z")
        assert world.seam.calls == calls
        assert await actions(world, made["id"]) == ["code_requested", "code_untracked"]
        assert (await world.get("/v1/access-codes")).json()["items"] == []

    async def test_an_untracked_code_can_be_tracked_again(self, world: World) -> None:
        made = (await world.create()).json()
        await world.client.post(f"/v1/access-codes/{made['id']}/untrack")
        (code,) = (await track(world, access_code_ids=["ac-1"])).json()["items"]
        assert (code["id"], code["untracked_at"]) == (made["id"], None)


class TestChecking:
    async def check(self, world: World, ident: str) -> Any:
        return await world.client.post(f"/v1/access-codes/{ident}/check")

    async def test_a_check_asks_seam_and_assesses_at_once(self, world: World) -> None:
        made = (await world.create()).json()
        world.clock.advance(seconds=30)
        snapshot = world.seam.codes["ac-1"]
        world.seam.add_code("ac-1", pin="7391", name=snapshot.name, status="set", pending=())
        answer = await self.check(world, made["id"])
        assert (answer.status_code, answer.json()["verdict"]) == (200, "verified")
        assert answer.json()["seam"] == {
            "status": "set",
            "errors": [],
            "warnings": [],
            "checked_at": "2026-08-03T12:00:30Z",
        }
        assert "code_checked" in await actions(world, made["id"])

    async def test_what_seam_complains_of_is_shown(self, world: World) -> None:
        made = (await world.create()).json()
        world.clock.advance(seconds=30)
        issue = Issue("device_disconnected", "The lock is offline.", IssueSource.DEVICE, True)
        world.seam.add_code("ac-1", pin="7391", status="setting", pending=("creating",), errors=(issue,))
        answer = (await self.check(world, made["id"])).json()
        assert answer["seam"]["errors"][0]["code"] == "device_disconnected"

    @pytest.mark.parametrize(
        "error",
        [SeamUnanswered("timed out"), SeamUnauthorized("Bad key", status_code=401), SeamRefused("No", status_code=403)],
    )
    async def test_when_seam_cannot_be_read_the_code_is_answered_with_the_problem(
        self, world: World, error: SeamError
    ) -> None:
        made = (await world.create()).json()
        world.seam.refuse("get_code", error)
        answer = await self.check(world, made["id"])
        assert answer.status_code == 200
        assert (answer.json()["id"], answer.json()["problem"]["kind"]) == (made["id"], "seam")
        assert error.message in answer.json()["problem"]["message"]

    async def test_a_requested_code_is_looked_for_on_its_lock(self, world: World) -> None:
        world.seam.lost = SeamUnanswered("timed out")
        made = (await world.create(code="4821")).json()
        assert made["verdict"] == "requested"
        answer = (await self.check(world, made["id"])).json()
        assert (answer["id"], answer["access_code_id"]) == (made["id"], "ac-1")

    async def test_an_untracked_code_is_not_checked(self, world: World) -> None:
        made = (await world.create()).json()
        await world.client.post(f"/v1/access-codes/{made['id']}/untrack")
        answer = await self.check(world, made["id"])
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:latchwatch:problem:not-tracked")


class TestEnding:
    async def test_an_end_is_remembered_for_the_reconciler(self, world: World) -> None:
        made = (await world.create()).json()
        world.wakes.clear()
        answer = await world.client.delete(f"/v1/access-codes/{made['id']}")
        assert (answer.status_code, answer.json()["verdict"]) == (202, "removing")
        assert world.wakes

    async def test_ending_twice_is_one_end(self, world: World) -> None:
        made = (await world.create()).json()
        first = await world.client.delete(f"/v1/access-codes/{made['id']}")
        world.clock.advance(seconds=60)
        second = await world.client.delete(f"/v1/access-codes/{made['access_code_id']}")
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json()["deadline"] == second.json()["deadline"]
        assert (await actions(world, made["id"])).count("end_asked") == 1

    async def test_an_offline_code_cannot_be_ended(self, world: World) -> None:
        world.seam.add_device("lock-2", can_program_offline=True)
        made = await world.create(
            device_id="lock-2",
            is_offline_access_code=True,
            starts_at="2026-08-04T15:00:00Z",
            ends_at="2026-08-06T10:00:00Z",
        )
        answer = await world.client.delete(f"/v1/access-codes/{made.json()['id']}")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:latchwatch:problem:offline-code")

    async def test_the_end_of_a_requested_code_is_remembered(self, world: World) -> None:
        world.seam.lost = SeamUnanswered("timed out")
        made = (await world.create(code="4821")).json()
        answer = await world.client.delete(f"/v1/access-codes/{made['id']}")
        assert (answer.status_code, answer.json()["verdict"]) == (202, "requested")
        found = (await world.client.post(f"/v1/access-codes/{made['id']}/check")).json()
        assert found["verdict"] == "removing"

    async def test_ending_a_refused_code_changes_nothing(self, world: World) -> None:
        world.seam.refuse("create", SeamRefused("No", status_code=403))
        await world.create()
        (stored,) = (await world.get("/v1/access-codes")).json()["items"]
        answer = await world.client.delete(f"/v1/access-codes/{stored['id']}")
        assert (answer.status_code, answer.json()["verdict"]) == (202, "refused")

    async def test_an_untracked_code_is_not_ended(self, world: World) -> None:
        made = (await world.create()).json()
        await world.client.post(f"/v1/access-codes/{made['id']}/untrack")
        answer = await world.client.delete(f"/v1/access-codes/{made['id']}")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:latchwatch:problem:not-tracked")


class TestReadingAPin:
    async def test_a_pin_is_read_from_seam_and_the_asking_is_kept(self, world: World) -> None:
        made = (await world.create(code="4821")).json()
        answer = await world.get(f"/v1/access-codes/{made['id']}/pin")
        assert answer.json() == {"access_code_id": "ac-1", "code": "4821"}
        assert answer.headers["cache-control"] == "no-store"
        assert "pin_read" in await actions(world, made["id"])

    async def test_there_is_no_pin_before_seam_has_the_code(self, world: World) -> None:
        world.seam.refuse("create", SeamUnanswered("timed out"))
        made = (await world.create()).json()
        answer = await world.get(f"/v1/access-codes/{made['id']}/pin")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:latchwatch:problem:not-at-seam-yet")

    async def test_a_code_that_seam_lost_is_told_in_seams_words(self, world: World) -> None:
        made = (await world.create()).json()
        world.seam.pins.clear()
        answer = await world.get(f"/v1/access-codes/{made['id']}/pin")
        assert (answer.status_code, answer.json()["seam_type"]) == (502, "access_code_not_found")


class TestFlags:
    async def flagged(self, world: World) -> Any:
        made = (await world.create(reference="r-1")).json()
        await store_batch(world.db, [event(NewsKind.FAILED, "ac-1", "e1", NOON + timedelta(seconds=5))])
        world.clock.advance(seconds=10)
        return (await world.get(f"/v1/access-codes/{made['id']}")).json()

    async def test_an_open_flag_stands_with_its_code_and_in_the_list(self, world: World) -> None:
        code = await self.flagged(world)
        (flag,) = code["flags"]
        assert set(flag) == {
            *("id", "kind", "severity", "code_id", "access_code_id", "device_id", "opened_at", "closed_at"),
            *("acknowledged_at", "acknowledged_by", "snoozed_until", "reason", "problem"),
        }
        assert (flag["kind"], flag["severity"], flag["opened_at"]) == ("failed", "critical", "2026-08-03T12:00:05Z")
        assert (await world.get("/v1/flags")).json()["items"] == [flag]

    async def test_flags_are_filtered(self, world: World) -> None:
        await self.flagged(world)
        table: list[tuple[dict[str, str], int]] = [
            ({"state": "open"}, 1),
            ({"state": "closed"}, 0),
            ({"acknowledged": "false"}, 1),
            ({"acknowledged": "true"}, 0),
            ({"kind": "failed"}, 1),
            ({"kind": "stuck"}, 0),
            ({"severity": "critical"}, 1),
            ({"severity": "warning"}, 0),
            ({"device_id": DEVICE}, 1),
            ({"device_id": "none"}, 0),
        ]
        for params, count in table:
            assert len((await world.get("/v1/flags", **params)).json()["items"]) == count, params
        assert len((await world.get("/v1/access-codes", flagged="true")).json()["items"]) == 1

    async def test_an_acknowledgement_keeps_who_and_when(self, world: World) -> None:
        code = await self.flagged(world)
        path = f"/v1/flags/{code['flags'][0]['id']}/acknowledge"
        first = (await world.client.post(path)).json()
        assert (first["acknowledged_by"], first["acknowledged_at"]) == ("admin token", "2026-08-03T12:00:10Z")
        world.clock.advance(seconds=60)
        again = await world.client.post(path, json={"until": "2026-08-03T14:00:00Z"})
        assert again.json()["acknowledged_at"] == "2026-08-03T12:00:10Z"
        assert again.json()["snoozed_until"] == "2026-08-03T14:00:00Z"
        assert again.json()["closed_at"] is None
        assert (await actions(world, code["id"])).count("flag_acknowledged") == 2

    @pytest.mark.parametrize("body", [{"until": "2026-08-03T11:00:00Z"}, {"until": "soon"}, {"till": None}])
    async def test_a_snooze_ends_in_the_future(self, world: World, body: dict[str, Any]) -> None:
        code = await self.flagged(world)
        answer = await world.client.post(f"/v1/flags/{code['flags'][0]['id']}/acknowledge", json=body)
        assert answer.status_code == 422

    async def test_every_change_of_a_flag_waits_in_the_outbox(self, world: World) -> None:
        code = await self.flagged(world)
        (alert,) = (await world.get("/v1/alerts", state="pending")).json()["items"]
        assert (alert["flag_id"], alert["change"], alert["attempts"]) == (code["flags"][0]["id"], "opened", 0)


class TestWithoutASeamKey:
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/v1/access-codes/track", {"device_id": DEVICE}),
            ("POST", "/v1/access-codes/x/check", None),
            ("DELETE", "/v1/access-codes/x", None),
            ("GET", "/v1/access-codes/x/pin", None),
        ],
    )
    async def test_what_needs_seam_says_that_the_key_is_missing(
        self, db: Database, clock: Clock, method: str, path: str, body: Any
    ) -> None:
        async with client_of(create_api(make_services(db, clock, None))) as client:
            answer = await client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:latchwatch:problem:seam-not-configured")
