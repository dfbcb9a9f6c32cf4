"""The gateway against ``@seamapi/fake-seam-connect``, which others wrote: it shares none of our misunderstandings.

``npm install --prefix tests/seam/fake`` brings it. Where it differs from Seam, the test says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.domain.codes import CodeType
from app.seam.capability import can_program
from app.seam.errors import SeamConflict, SeamInvalidInput, SeamNotFound, SeamUnanswered, SeamUnauthorized
from app.seam.gateway import Gateway
from app.seam.values import CreateRequest, UpdateRequest
from tests.seam.support import FINGERPRINTER

FOLDER = Path(__file__).parent / "fake"
DEVICE = "august_device_1"
WORKSPACE = "seed_workspace_1"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
STARTS = datetime(2090, 8, 4, 14, tzinfo=UTC)


def _missing() -> str | None:
    if shutil.which("node") is None:
        return "node is not installed"
    if not (FOLDER / "node_modules" / "@seamapi" / "fake-seam-connect").is_dir():
        return "the stand-in is not installed: npm install --prefix tests/seam/fake"
    return None


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    if missing := _missing():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with subprocess.Popen(["node", "serve.mjs"], cwd=FOLDER, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("port "), line
        yield f"http://127.0.0.1:{line.split()[1]}"
        process.terminate()


def _gateway(endpoint: str, api_key: str = "seam_apikey1_token") -> Gateway:
    return Gateway(
        api_key=api_key,
        endpoint=endpoint,
        timeout_seconds=10,
        fingerprinter=FINGERPRINTER,
        clock=lambda: datetime.now(UTC),
    )


@pytest.fixture
async def gateway(endpoint: str) -> AsyncIterator[Gateway]:
    gateway = _gateway(endpoint)
    yield gateway
    await gateway.aclose()


async def test_a_code_is_created_read_listed_and_removed(gateway: Gateway) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    created = await gateway.create(CreateRequest(DEVICE, name="Ada", code="482199"))
    code = created.value.snapshot
    assert before <= created.at <= datetime.now(UTC) + timedelta(seconds=1)
    assert (created.value.pin, code.pin) == ("482199", FINGERPRINTER.pin(DEVICE, "482199"))
    assert (code.device_id, code.workspace_id, code.type, code.status) == (
        DEVICE,
        WORKSPACE,
        CodeType.ONGOING,
        "setting",
    )
    assert code.pending is None  # the stand-in does not have pending_mutations

    assert (await gateway.get_code(code.access_code_id, workspace_id=WORKSPACE)).snapshot == code
    assert (await gateway.list_codes([code.access_code_id, "another"])).value == {code.access_code_id: code}
    assert code in (await gateway.list_device_codes(DEVICE)).value
    assert await gateway.read_pin(code.access_code_id) == "482199"

    assert (await gateway.delete_code(code.access_code_id)).value is True
    assert (await gateway.delete_code(code.access_code_id)).value is False
    assert (await gateway.list_codes([code.access_code_id])).value == {}


async def test_a_code_that_is_gone_is_absent(gateway: Gateway) -> None:
    assert (await gateway.get_code("nobody", workspace_id=WORKSPACE)).snapshot is None


async def test_in_another_workspace_nothing_is_said_about_a_code(gateway: Gateway) -> None:
    with pytest.raises(SeamUnanswered, match="workspace"):
        await gateway.get_code("nobody", workspace_id="seed_workspace_2")


async def test_the_pin_of_no_code_is_not_found(gateway: Gateway) -> None:
    with pytest.raises(SeamNotFound):
        await gateway.read_pin("nobody")


async def test_a_time_bound_code_keeps_its_window_and_takes_a_new_one(gateway: Gateway) -> None:
    created = await gateway.create(
        CreateRequest(DEVICE, code="135790", starts_at=STARTS, ends_at=STARTS + timedelta(days=1))
    )
    code = created.value.snapshot
    assert (code.type, code.starts_at, code.ends_at) == (CodeType.TIME_BOUND, STARTS, STARTS + timedelta(days=1))
    await gateway.update_code(
        UpdateRequest(code.access_code_id, code="135791", starts_at=STARTS, ends_at=STARTS + timedelta(days=2))
    )
    changed = (await gateway.get_code(code.access_code_id)).snapshot
    assert changed is not None
    assert changed.ends_at == STARTS + timedelta(days=2)
    assert changed.pin == FINGERPRINTER.pin(DEVICE, "135791")


async def test_the_same_pin_twice_on_a_lock_is_a_conflict_that_keeps_the_pin_to_itself(gateway: Gateway) -> None:
    await gateway.create(CreateRequest(DEVICE, code="777123"))
    with pytest.raises(SeamConflict) as caught:
        await gateway.create(CreateRequest(DEVICE, name="Grace", code="777123"))
    assert caught.value.seam_type == "duplicate_access_code"
    assert caught.value.message == "Cannot set duplicate access code ••• named Grace"


async def test_a_lock_that_seam_does_not_have_is_not_found(gateway: Gateway) -> None:
    with pytest.raises(SeamNotFound) as caught:
        await gateway.create(CreateRequest("nowhere", code="482199"))
    assert (caught.value.status_code, caught.value.seam_type) == (404, "device_not_found")
    with pytest.raises(SeamNotFound):
        await gateway.get_device("nowhere")
    with pytest.raises(SeamNotFound):
        await gateway.generate_code("nowhere")


async def test_half_a_window_is_invalid_input(gateway: Gateway) -> None:
    with pytest.raises(SeamInvalidInput) as caught:
        await gateway.create(CreateRequest(DEVICE, starts_at=STARTS))
    assert "starts_at and ends_at" in caught.value.message


async def test_a_device_is_read(gateway: Gateway) -> None:
    read = await gateway.get_device(DEVICE)
    assert (read.device_id, read.workspace_id, read.device_type) == (DEVICE, WORKSPACE, "august_lock")
    assert (read.online, read.battery_level, read.battery_status) == (True, 1.0, "full")
    assert read.schedules_natively is True
    assert can_program(read, offline=False) is True


async def test_a_generated_pin_can_be_used(gateway: Gateway) -> None:
    pin = await gateway.generate_code(DEVICE)
    assert pin is not None
    created = await gateway.create(CreateRequest(DEVICE, code=pin))
    assert created.value.pin == pin


async def test_events_are_listed_since_a_moment_and_within_a_span(gateway: Gateway) -> None:
    code = (await gateway.create(CreateRequest(DEVICE, code="246802"))).value.snapshot
    since = (await gateway.list_events(since=LONG_AGO)).value
    within = (await gateway.list_events(between=(LONG_AGO, STARTS))).value
    assert since == within
    assert ("access_code.created", code.access_code_id) in [
        (event["event_type"], event.get("access_code_id")) for event in since
    ]
    assert (await gateway.list_events(since=STARTS)).value == ()


async def test_a_webhook_is_made_listed_and_removed(gateway: Gateway) -> None:
    made = await gateway.create_webhook("https://latchwatch.test/webhooks/seam")
    assert made.secret
    assert "access_code.set_on_device" in made.event_types
    assert [hook.webhook_id for hook in await gateway.list_webhooks()] == [made.webhook_id]
    assert await gateway.delete_webhook(made.webhook_id) is True
    assert await gateway.delete_webhook(made.webhook_id) is False
    assert await gateway.list_webhooks() == ()


async def test_the_key_tells_its_workspace(gateway: Gateway) -> None:
    assert await gateway.workspace_id() == WORKSPACE


async def test_a_wrong_key_is_unauthorized(endpoint: str) -> None:
    gateway = _gateway(endpoint, api_key="seam_of_nobody")
    with pytest.raises(SeamUnauthorized):
        await gateway.get_device(DEVICE)
    await gateway.aclose()
