"""Creating a code: what each answer of Seam leads to, and that nothing half-created is forgotten."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.api.app import create_api
from app.domain.news import NewsKind
from app.seam.errors import (
    SeamConflict,
    SeamError,
    SeamInvalidInput,
    SeamNotFound,
    SeamRateLimited,
    SeamRefused,
    SeamUnanswered,
    SeamUnauthorized,
    SeamUnreached,
)
from app.storage.codes import load_case
from app.storage.engine import Database
from app.storage.inbox import store_batch
from app.storage.tables import metadata
from tests.api.test_reading import event
from tests.api.worlds import DEVICE, FINGERPRINTER, Clock, World, client_of, make_services

WINDOW = {"starts_at": "2026-08-04T15:00:00Z", "ends_at": "2026-08-06T10:00:00Z"}


async def test_the_answer_to_a_create_holds_the_code_and_its_pin(world: World) -> None:
    answer = await world.create(code="4821", name="Ada", reference="r-1", metadata={"room": "12"}, **WINDOW)
    assert answer.status_code == 201
    code = answer.json()
    assert (code["code"], code["name"], code["reference"]) == ("4821", "Ada", "r-1")
    assert (code["type"], code["starts_at"], code["ends_at"]) == ("time_bound", *WINDOW.values())
    assert code["access_code_id"] == "ac-1"
    assert code["verdict"] != "requested"
    assert answer.headers["location"] == f"/v1/access-codes/{code['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert world.wakes


async def test_only_the_first_answer_holds_the_pin(world: World) -> None:
    made = (await world.create(code="4821")).json()
    assert "4821" not in (await world.get(f"/v1/access-codes/{made['id']}")).text
    assert "4821" not in (await world.get("/v1/access-codes")).text
    assert "4821" not in (await world.get(f"/v1/access-codes/{made['id']}/timeline")).text


async def test_a_pin_is_chosen_before_the_call_when_none_is_given(world: World) -> None:
    answer = await world.create()
    assert answer.json()["code"] == "7391"
    assert world.seam.created[0].code == "7391"
    assert (await stored_pin(world, answer.json()["id"])) == FINGERPRINTER.pin(DEVICE, "7391")


async def test_without_a_chosen_pin_seam_chooses_it(world: World) -> None:
    world.seam.refuse("generate_code", SeamUnanswered("no answer"))
    answer = await world.create()
    assert answer.status_code == 201
    assert world.seam.created[0].code is None
    assert answer.json()["code"] == "9999"


async def test_a_preferred_length_is_left_to_seam_unless_the_chosen_pin_has_it(world: World) -> None:
    await world.create(preferred_code_length=6)
    assert (world.seam.created[0].code, world.seam.created[0].preferred_code_length) == (None, 6)
    await world.create(preferred_code_length=4)
    assert (world.seam.created[1].code, world.seam.created[1].preferred_code_length) == ("8264", None)


async def test_every_option_reaches_seam(world: World) -> None:
    options: dict[str, Any] = {
        "prefer_native_scheduling": False,
        "use_backup_access_code_pool": True,
        "is_one_time_use": True,
        "max_time_rounding": "1day",
        "common_code_key": "family",
        "is_external_modification_allowed": True,
        "attempt_for_offline_device": True,
    }
    assert (await world.create(code="4821", **WINDOW, **options)).status_code == 201
    request = world.seam.created[0]
    assert {name: getattr(request, name) for name in options} == options


async def test_an_offline_code_gets_its_pin_from_the_vendor(world: World) -> None:
    world.seam.add_device("lock-2", can_program_online=False, can_program_offline=True)
    answer = await world.create(device_id="lock-2", is_offline_access_code=True, **WINDOW)
    assert answer.status_code == 201
    assert "generate_code" not in world.seam.calls
    assert answer.json()["verdict"] == "unverifiable"


async def test_the_row_is_committed_before_seam_is_called(world: World) -> None:
    world.seam.gate = asyncio.Event()
    asking = asyncio.create_task(world.create(code="4821", reference="r-1"))
    await world.seam.entered.wait()
    (stored,) = (await world.get("/v1/access-codes")).json()["items"]
    assert (stored["verdict"], stored["reference"]) == ("requested", "r-1")
    assert await stored_pin(world, stored["id"]) == FINGERPRINTER.pin(DEVICE, "4821")
    world.seam.gate.set()
    assert (await asking).json()["id"] == stored["id"]


async def test_a_caller_who_goes_away_does_not_stop_the_create(world: World) -> None:
    world.seam.gate = asyncio.Event()
    asking = asyncio.create_task(world.create(code="4821"))
    await world.seam.entered.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    world.seam.gate.set()
    await world.api.state.background.drain()
    (stored,) = (await world.get("/v1/access-codes")).json()["items"]
    assert stored["access_code_id"] == "ac-1"


async def test_without_a_seam_key_nothing_is_created(db: Database, clock: Clock) -> None:
    async with client_of(create_api(make_services(db, clock, None))) as client:
        answer = await client.post("/v1/access-codes", json={"device_id": DEVICE})
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:latchwatch:problem:seam-not-configured"
        assert (await client.get("/v1/access-codes")).json()["items"] == []


REFUSALS: list[tuple[SeamError, int, str, dict[str, Any]]] = [
    (SeamUnauthorized("Bad key", status_code=401, seam_type="unauthorized"), 502, "seam-refused", {}),
    (SeamNotFound("No device", status_code=404, seam_type="device_not_found"), 502, "seam-refused", {}),
    (SeamConflict("Duplicate", status_code=409, seam_type="duplicate_access_code"), 409, "duplicate-pin", {}),
    (SeamInvalidInput("Too short", status_code=422, seam_type="invalid_input"), 502, "seam-refused", {}),
    (SeamRefused("No", status_code=403, seam_type="forbidden"), 502, "seam-refused", {}),
    (
        SeamRateLimited("Slow", status_code=429, seam_type="too_many", retry_after=timedelta(seconds=17)),
        502,
        "seam-rate-limited",
        {"retry-after": "17"},
    ),
    (SeamUnreached("Connection refused"), 502, "seam-unreached", {"retry-after": "10"}),
]


@pytest.mark.parametrize(
    ("error", "status", "slug", "headers"), REFUSALS, ids=[type(row[0]).__name__ for row in REFUSALS]
)
async def test_a_refusal_of_seam_is_told_in_its_words(
    world: World, error: SeamError, status: int, slug: str, headers: dict[str, str]
) -> None:
    world.seam.refuse("create", error)
    answer = await world.create(code="4821")
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (status, f"urn:latchwatch:problem:{slug}")
    assert (problem["seam_type"], problem["seam_message"]) == (error.seam_type, error.message)
    assert headers.items() <= dict(answer.headers).items()
    (stored,) = (await world.get("/v1/access-codes")).json()["items"]
    assert stored["verdict"] == "refused"
    assert error.message in stored["reason"]


@pytest.mark.parametrize("error", [SeamUnanswered("timed out"), SeamUnanswered("oops", status_code=500)])
async def test_a_lost_answer_leaves_the_code_requested(world: World, error: SeamError) -> None:
    world.seam.lost = error
    answer = await world.create(code="4821")
    assert answer.status_code == 202
    assert answer.json()["verdict"] == "requested"
    assert "code" not in answer.json()
    assert world.wakes


async def test_a_device_that_cannot_take_codes_is_refused_before_the_call(world: World) -> None:
    world.seam.add_device("thermostat", can_program_online=False)
    answer = await world.create(device_id="thermostat")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:latchwatch:problem:device-cannot-take-codes"
    assert "create" not in world.seam.calls
    (stored,) = (await world.get("/v1/access-codes")).json()["items"]
    assert stored["verdict"] == "refused"


async def test_what_a_device_can_is_remembered_for_an_hour(world: World) -> None:
    for _ in range(3):
        await world.create()
    assert world.seam.calls.count("get_device") == 1
    world.clock.advance(hours=1)
    await world.create()
    assert world.seam.calls.count("get_device") == 2


async def test_a_device_that_could_not_take_codes_is_asked_again(world: World) -> None:
    world.seam.add_device("lock-2", can_program_online=False)
    assert (await world.create(device_id="lock-2")).status_code == 409
    world.seam.add_device("lock-2", can_program_online=True)
    assert (await world.create(device_id="lock-2")).status_code == 201


async def test_a_device_that_cannot_be_read_just_now_does_not_stop_the_create(world: World) -> None:
    world.seam.refuse("get_device", SeamUnanswered("timed out"))
    assert (await world.create()).status_code == 201


async def test_a_device_that_seam_does_not_know_is_refused(world: World) -> None:
    answer = await world.create(device_id="nowhere")
    assert (answer.status_code, answer.json()["seam_type"]) == (502, "device_not_found")


async def test_whether_a_lock_schedules_natively_is_kept_with_the_code(world: World) -> None:
    world.seam.add_device("lock-2", schedules_natively=True)
    rows = [
        await world.create(device_id="lock-2", **WINDOW),
        await world.create(device_id="lock-2", prefer_native_scheduling=False, **WINDOW),
    ]
    async with world.db.read() as conn:
        cases = [await load_case(conn, answer.json()["id"]) for answer in rows]
    assert [case.row.schedules_natively for case in cases if case] == [True, False]


async def stored_pin(world: World, ident: str) -> str | None:
    async with world.db.read() as conn:
        case = await load_case(conn, ident)
    assert case is not None
    return case.row.pin


async def test_news_that_overtakes_the_answer_counts(world: World) -> None:
    """The webhook is stored while Seam's answer to the create call is still under way."""
    world.seam.gate = asyncio.Event()
    asking = asyncio.create_task(world.create(code="4821"))
    await world.seam.entered.wait()
    await store_batch(world.db, [event(NewsKind.SET, "ac-1", "e1", world.clock())])
    world.seam.gate.set()
    code = (await asking).json()
    assert code["signals"]["set_at"] == "2026-08-03T12:00:00Z"
    assert code["verdict"] == "verified"


async def test_no_table_holds_the_pin(world: World) -> None:
    await world.create(code="48210973", name="Ada", key="k", metadata={"room": "12"}, reference="r")
    world.seam.refuse("create", SeamInvalidInput("No", status_code=422))
    await world.create(code="48210974", key="l")
    await world.create(code="48210973", key="m")
    async with world.db.read() as conn:
        rows = [str(row) for table in metadata.sorted_tables for row in await conn.execute(select(table))]
    assert len(rows) > 5
    assert not [row for row in rows if "4821097" in row]
