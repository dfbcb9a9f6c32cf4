"""What the gateway sends to Seam, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app.domain.codes import CodeType
from app.seam.errors import (
    SeamConflict,
    SeamError,
    SeamNotFound,
    SeamRateLimited,
    SeamRefused,
    SeamUnanswered,
    SeamUnauthorized,
)
from app.seam.values import CreateRequest, UpdateRequest, Webhook
from tests.seam.support import (
    API_KEY,
    CODE,
    DATE,
    DEVICE,
    FINGERPRINTER,
    OUR_TIME,
    PIN,
    WORKSPACE,
    Json,
    Seam,
    access_code,
    html,
    make_gateway,
    no_such_code,
    refusal,
)

GET = "/access_codes/get"
UNMANAGED = "/access_codes/unmanaged/get"
LIST = "/access_codes/list"
WORKSPACES = "/workspaces/get"
STARTS = datetime(2026, 8, 4, 14, tzinfo=UTC)


def _sent(seam: Seam) -> Json:
    sent: Json = json.loads(seam.requests[-1].content)
    return sent


def _asked(seam: Seam) -> list[tuple[str, str]]:
    """Without the SDK's own ``_strict``."""
    return [(name, value) for name, value in seam.requests[-1].url.params.multi_items() if name != "_strict"]


class TestCreate:
    async def test_only_what_was_asked_for_is_sent(self) -> None:
        seam = Seam({"/access_codes/create": {"access_code": access_code()}})
        await seam.gateway().create(CreateRequest(device_id=DEVICE, code=PIN))
        assert seam.requests[0].method == "POST"
        assert seam.requests[0].headers["authorization"] == f"Bearer {API_KEY}"
        assert _sent(seam) == {"device_id": DEVICE, "code": PIN}

    async def test_every_parameter_reaches_seam_under_its_own_name_with_times_in_utc(self) -> None:
        seam = Seam({"/access_codes/create": {"access_code": access_code()}})
        two_hours = STARTS.astimezone(datetime.fromisoformat("2026-01-01T00:00:00+02:00").tzinfo)
        parameters: Json = {
            "device_id": DEVICE,
            "name": "Ada",
            "preferred_code_length": 6,
            "use_backup_access_code_pool": True,
            "prefer_native_scheduling": False,
            "is_offline_access_code": True,
            "is_one_time_use": False,
            "max_time_rounding": "1h",
            "common_code_key": "auto",
            "is_external_modification_allowed": True,
            "attempt_for_offline_device": True,
        }
        await seam.gateway().create(
            CreateRequest(starts_at=two_hours, ends_at=STARTS + timedelta(days=1), **parameters)
        )
        window = {"starts_at": "2026-08-04T14:00:00.000Z", "ends_at": "2026-08-05T14:00:00.000Z"}
        assert _sent(seam) == parameters | window

    async def test_the_answer_carries_the_pin_the_snapshot_and_seams_time(self) -> None:
        answer = await (
            Seam({"/access_codes/create": {"access_code": access_code()}}).gateway().create(CreateRequest(DEVICE))
        )
        assert answer.at == OUR_TIME
        assert answer.value.pin == PIN
        assert answer.value.snapshot.access_code_id == CODE
        assert answer.value.snapshot.pin == FINGERPRINTER.pin(DEVICE, PIN)

    def test_no_request_shows_its_pin(self) -> None:
        assert PIN not in repr(CreateRequest(DEVICE, code=PIN))
        assert PIN not in repr(UpdateRequest(CODE, code=PIN))


class TestGetCode:
    async def test_a_code_that_is_there_takes_one_call(self) -> None:
        seam = Seam({GET: {"access_code": access_code()}})
        read = await seam.gateway().get_code(CODE, workspace_id=WORKSPACE)
        assert read.at == OUR_TIME
        assert read.snapshot is not None
        assert read.snapshot.access_code_id == CODE
        assert seam.paths == [GET]

    @pytest.mark.parametrize(
        "missing", [no_such_code(), refusal(404, "not_found", "Access Code Not Found")], ids=["seam", "stand-in"]
    )
    async def test_a_typed_not_found_in_the_right_workspace_is_absence(self, missing: httpx.Response) -> None:
        seam = Seam({GET: missing, UNMANAGED: no_such_code(), WORKSPACES: {"workspace": {"workspace_id": WORKSPACE}}})
        read = await seam.gateway().get_code(CODE, workspace_id=WORKSPACE)
        assert (read.at, read.snapshot) == (OUR_TIME, None)

    async def test_the_workspace_is_asked_for_once(self) -> None:
        workspace = {"workspace": {"workspace_id": WORKSPACE}}
        seam = Seam({GET: no_such_code(), UNMANAGED: no_such_code(), WORKSPACES: workspace})
        gateway = seam.gateway()
        await gateway.get_code(CODE, workspace_id=WORKSPACE)
        await gateway.get_code(CODE, workspace_id=WORKSPACE)
        assert seam.paths.count(WORKSPACES) == 1

    async def test_in_another_workspace_a_not_found_says_nothing(self) -> None:
        seam = Seam({GET: no_such_code(), WORKSPACES: {"workspace": {"workspace_id": "workspace-2"}}})
        with pytest.raises(SeamUnanswered, match="another workspace"):
            await seam.gateway().get_code(CODE, workspace_id=WORKSPACE)

    async def test_a_code_that_is_only_unmanaged_is_not_absent(self) -> None:
        seam = Seam({GET: no_such_code(), UNMANAGED: {"access_code": access_code(is_managed=False)}})
        read = await seam.gateway().get_code(CODE)
        assert read.snapshot is not None
        assert not read.snapshot.is_managed

    @pytest.mark.parametrize(
        "doubt",
        [html(200), refusal(401, "unauthorized", "No"), refusal(400, "invalid_input", "No"), html(503)],
        ids=["html", "unauthorized", "not understood", "server error"],
    )
    async def test_while_it_may_be_unmanaged_nothing_is_said(self, doubt: httpx.Response) -> None:
        with pytest.raises(SeamUnanswered):
            await Seam({GET: no_such_code(), UNMANAGED: doubt}).gateway().get_code(CODE)

    async def test_a_stand_in_without_workspaces_and_unmanaged_codes_can_say_absent(self) -> None:
        seam = Seam({GET: no_such_code(), UNMANAGED: html(404), WORKSPACES: html(404)})
        assert (await seam.gateway().get_code(CODE, workspace_id=WORKSPACE)).snapshot is None

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (refusal(404, "device_not_found", "Device not found"), SeamNotFound),
            (refusal(404, "not_found", "Not found"), SeamNotFound),
            (html(404), SeamRefused),
            (refusal(401, "unauthorized", "No"), SeamUnauthorized),
            (refusal(429, "rate_limited", "No"), SeamRateLimited),
            ({"access_code": access_code(access_code_id="code-2")}, SeamUnanswered),
        ],
    )
    async def test_no_other_answer_is_absence(self, answer: object, expected: type[SeamError]) -> None:
        with pytest.raises(SeamError) as caught:
            await Seam({GET: answer}).gateway().get_code(CODE)
        assert type(caught.value) is expected


class TestListCodes:
    async def test_ids_go_as_repeated_keys_at_most_a_hundred_a_call(self) -> None:
        seam = Seam({LIST: {"access_codes": []}})
        await seam.gateway().list_codes(f"code-{number}" for number in range(250))
        assert [len(request.url.params.get_list("access_code_ids")) for request in seam.requests] == [100, 100, 50]

    async def test_an_id_given_twice_is_asked_for_once(self) -> None:
        seam = Seam({LIST: {"access_codes": []}})
        await seam.gateway().list_codes([CODE, CODE])
        assert _asked(seam) == [("access_code_ids", CODE)]

    async def test_nothing_wanted_takes_no_call(self) -> None:
        seam = Seam({})
        assert (await seam.gateway().list_codes([])).value == {}
        assert seam.requests == []

    async def test_what_was_not_asked_for_is_left_out(self) -> None:
        listed = [access_code(), access_code(access_code_id="code-2")]
        answer = await Seam({LIST: {"access_codes": listed}}).gateway().list_codes([CODE, "code-3"])
        assert list(answer.value) == [CODE]

    async def test_of_several_calls_the_earliest_time_counts(self) -> None:
        """An event after the first call may be missing from its answer, so the whole is no younger than that."""
        pages = [
            httpx.Response(200, json={"access_codes": []}, headers={"date": f"Mon, 03 Aug 2026 12:00:0{second} GMT"})
            for second in (5, 3)
        ]
        answer = await Seam({LIST: pages}).gateway().list_codes(f"code-{number}" for number in range(101))
        assert answer.at == datetime(2026, 8, 3, 12, 0, 3, tzinfo=UTC)


def _page(access_code_id: str, cursor: str | None) -> Json:
    return {
        "access_codes": [access_code(access_code_id=access_code_id)],
        "pagination": {"has_next_page": cursor is not None, "next_page_cursor": cursor},
    }


class TestListDeviceCodes:
    async def test_every_page_is_followed(self) -> None:
        seam = Seam({LIST: [_page("code-1", "a"), _page("code-2", "b"), _page("code-3", None)]})
        answer = await seam.gateway().list_device_codes(DEVICE)
        assert [code.access_code_id for code in answer.value] == ["code-1", "code-2", "code-3"]
        assert _asked(seam) == [("device_id", DEVICE), ("page_cursor", "b")]

    async def test_codes_of_other_locks_are_left_out(self) -> None:
        listed = [access_code(), access_code(access_code_id="code-2", device_id="device-2")]
        answer = await Seam({LIST: {"access_codes": listed}}).gateway().list_device_codes(DEVICE)
        assert [code.access_code_id for code in answer.value] == [CODE]

    @pytest.mark.parametrize(
        "answer",
        [
            [_page("code-1", "a"), _page("code-2", "a")],
            [_page("code-1", "a"), httpx.Response(500), httpx.Response(500)],
            [{"access_codes": [access_code(), None]}],
            [{"access_codes": [access_code(access_code_id=None)]}],
            [{"access_codes": {}}],
        ],
        ids=["the cursor comes again", "the second page fails", "a code is none", "a code has no id", "no list"],
    )
    async def test_an_incomplete_list_is_no_answer(self, answer: object) -> None:
        """A lost create is looked for here: half a list would make it look as if Seam never had it."""
        with pytest.raises(SeamUnanswered):
            await Seam({LIST: answer}).gateway().list_device_codes(DEVICE)


class TestChanges:
    async def test_an_update_sends_what_changes(self) -> None:
        seam = Seam({"/access_codes/update": {"ok": True}})
        answer = await seam.gateway().update_code(UpdateRequest(CODE, code=PIN, type=CodeType.ONGOING))
        assert answer.at == OUR_TIME
        assert seam.requests[0].method == "POST"
        assert _sent(seam) == {"access_code_id": CODE, "code": PIN, "type": "ongoing"}

    async def test_a_backup_code_comes_with_its_pin(self) -> None:
        backup = {"access_code_id": "spare", "device_id": "lock", "code": "60660", "is_backup": True}
        seam = Seam({"/access_codes/pull_backup_access_code": {"access_code": backup}})
        pulled = (await seam.gateway().pull_backup(CODE)).value
        assert (pulled.pin, pulled.snapshot.access_code_id, pulled.snapshot.is_backup) == ("60660", "spare", True)
        assert "60660" not in repr(pulled)

    async def test_an_update_to_a_pin_that_is_taken_is_a_conflict_without_the_pin(self) -> None:
        seam = Seam({"/access_codes/update": refusal(409, "duplicate_access_code", "XK7P is taken")})
        with pytest.raises(SeamConflict, match=r"^••• is taken$"):
            await seam.gateway().update_code(UpdateRequest(CODE, code="XK7P"))

    async def test_a_removal_goes_by_post(self) -> None:
        seam = Seam({"/access_codes/delete": {"ok": True}})
        answer = await seam.gateway().delete_code(CODE)
        assert (answer.at, answer.value) == (OUR_TIME, True)
        assert (seam.requests[0].method, _sent(seam)) == ("POST", {"access_code_id": CODE})

    async def test_removing_what_is_gone_is_a_value(self) -> None:
        answer = await Seam({"/access_codes/delete": no_such_code()}).gateway().delete_code(CODE)
        assert (answer.at, answer.value) == (OUR_TIME, False)

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (refusal(404, "device_not_found", "No"), SeamNotFound),
            (html(404), SeamRefused),
            (html(200), SeamUnanswered),
            (refusal(400, "cannot_delete", "Offline codes stay"), SeamRefused),
        ],
    )
    async def test_only_seams_own_words_say_that_a_code_is_gone(
        self, answer: object, expected: type[SeamError]
    ) -> None:
        with pytest.raises(expected):
            await Seam({"/access_codes/delete": answer}).gateway().delete_code(CODE)


class TestPins:
    async def test_a_pin_is_read_live(self) -> None:
        assert await Seam({GET: {"access_code": access_code()}}).gateway().read_pin(CODE) == PIN

    async def test_a_pin_that_is_not_assigned_yet_is_none(self) -> None:
        assert await Seam({GET: {"access_code": access_code(code=None)}}).gateway().read_pin(CODE) is None

    async def test_the_pin_of_another_code_is_no_answer(self) -> None:
        with pytest.raises(SeamUnanswered):
            await Seam({GET: {"access_code": access_code(access_code_id="code-2")}}).gateway().read_pin(CODE)

    async def test_a_code_is_generated_for_the_lock(self) -> None:
        seam = Seam({"/access_codes/generate_code": {"access_code": {"code": "2468"}}})
        assert await seam.gateway().generate_code(DEVICE) == "2468"
        assert _asked(seam) == [("device_id", DEVICE)]

    async def test_where_the_vendor_chooses_the_pin_none_is_generated(self) -> None:
        answer = refusal(400, "cannot_generate_code", "This lock chooses its codes itself")
        assert await Seam({"/access_codes/generate_code": answer}).gateway().generate_code(DEVICE) is None

    @pytest.mark.parametrize(
        "answer", [refusal(404, "device_not_found", "No"), refusal(401, "unauthorized", "No"), html(403), html(500)]
    )
    async def test_other_failures_to_generate_a_code_are_told(self, answer: httpx.Response) -> None:
        with pytest.raises(SeamError):
            await Seam({"/access_codes/generate_code": answer}).gateway().generate_code(DEVICE)


class TestDevicesAndEvents:
    async def test_a_device_is_read_with_seams_time(self) -> None:
        seam = Seam({"/devices/get": {"device": {"device_id": DEVICE, "properties": {"online": True}}}})
        read = await seam.gateway().get_device(DEVICE)
        assert (read.at, read.device_id, read.online) == (OUR_TIME, DEVICE, True)

    async def test_a_device_that_seam_does_not_have_is_not_found(self) -> None:
        with pytest.raises(SeamNotFound):
            await Seam({"/devices/get": refusal(404, "device_not_found", "No")}).gateway().get_device(DEVICE)

    async def test_events_are_asked_for_by_a_span_with_both_ends(self) -> None:
        seam = Seam({"/events/list": {"events": [{"event_id": "e1", "code": PIN, "odd": [1]}]}})
        answer = await seam.gateway().list_events(between=(STARTS, STARTS + timedelta(hours=1)), limit=200)
        assert answer.at == OUR_TIME
        assert answer.value == ({"event_id": "e1", "code": PIN, "odd": [1]},)
        assert _asked(seam) == [
            ("between", "2026-08-04T14:00:00.000Z"),
            ("between", "2026-08-04T15:00:00.000Z"),
            ("limit", "200"),
        ]

    async def test_events_are_asked_for_since_a_moment(self) -> None:
        seam = Seam({"/events/list": {"events": []}})
        await seam.gateway().list_events(since=STARTS)
        assert _asked(seam) == [("limit", "500"), ("since", "2026-08-04T14:00:00.000Z")]


class TestWebhooks:
    async def test_a_webhook_is_made_with_its_secret_which_it_hides(self) -> None:
        made = {"webhook_id": "w1", "url": "https://x.test/", "event_types": ["*"], "secret": "whsec_abc"}
        seam = Seam({"/webhooks/create": {"webhook": made}})
        webhook = await seam.gateway().create_webhook("https://x.test/")
        assert webhook == Webhook("w1", "https://x.test/", ("*",), "whsec_abc")
        assert "whsec_abc" not in repr(webhook)
        assert _sent(seam) == {"url": "https://x.test/", "event_types": ["*"]}

    async def test_webhooks_are_listed(self) -> None:
        seam = Seam({"/webhooks/list": {"webhooks": [{"webhook_id": "w1", "url": "https://x.test/"}]}})
        assert await seam.gateway().list_webhooks() == (Webhook("w1", "https://x.test/"),)

    async def test_a_webhook_without_an_id_is_no_answer(self) -> None:
        with pytest.raises(SeamUnanswered):
            await Seam({"/webhooks/list": {"webhooks": [{"url": "https://x.test/"}]}}).gateway().list_webhooks()

    @pytest.mark.parametrize(
        ("answer", "was_there"), [({"ok": True}, True), (refusal(404, "webhook_not_found", "No"), False)]
    )
    async def test_removing_a_webhook_tells_whether_it_was_there(self, answer: object, was_there: bool) -> None:
        assert await Seam({"/webhooks/delete": answer}).gateway().delete_webhook("w1") is was_there


async def test_calls_at_the_same_time_keep_their_own_times() -> None:
    """The answer to the second call arrives while the first one is still on its way."""
    second_is_answered = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        device_id = request.url.params["device_id"]
        if device_id == "device-1":
            await second_is_answered.wait()
        date = DATE if device_id == "device-1" else "Mon, 03 Aug 2026 12:00:09 GMT"
        return httpx.Response(200, json={"device": {"device_id": device_id}}, headers={"date": date})

    async def ask_second() -> datetime:
        read = await gateway.get_device("device-2")
        second_is_answered.set()
        return read.at

    gateway = make_gateway(httpx.MockTransport(answer))
    first, second_at = await asyncio.gather(gateway.get_device("device-1"), ask_second())
    assert first.at == OUR_TIME
    assert second_at == datetime(2026, 8, 3, 12, 0, 9, tzinfo=UTC)


async def test_nothing_that_is_logged_on_the_way_holds_a_pin_or_the_key(caplog: pytest.LogCaptureFixture) -> None:
    """At the most talkative level, of every library."""
    caplog.set_level(logging.DEBUG)
    pin = "482119537064"
    seam = Seam(
        {
            "/access_codes/create": {"access_code": access_code(code=pin)},
            "/access_codes/update": refusal(409, "duplicate_access_code", f"{pin} is taken"),
            GET: {"access_code": access_code(code=pin)},
        }
    )
    gateway = seam.gateway()
    await gateway.create(CreateRequest(DEVICE, code=pin))
    await gateway.read_pin(CODE)
    with pytest.raises(SeamConflict):
        await gateway.update_code(UpdateRequest(CODE, code=pin))
    assert CODE in caplog.text
    assert pin not in caplog.text
    assert API_KEY not in caplog.text
