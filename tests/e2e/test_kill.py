"""Acked means kept: kill -9 over and over while webhooks come in, and what follows from an acked event after it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Column, select

from app.storage.engine import open_database
from app.storage.tables import events, signals
from tests.e2e.services import Service, deliver, event, serving, serving_beside_a_sandbox

CODES = 12
OTHERS_FOR_EACH = 40
ACKS_BEFORE_A_KILL = 100

Payloads = Sequence[dict[str, Any]]


def test_a_service_that_is_killed_again_and_again_keeps_every_acked_event_once_and_its_flag_opens(
    tmp_path: Path, database_url: str, record_property: Callable[[str, object], None]
) -> None:
    """After each restart all that was ever acked is there; what was not is sent again; at the end nothing is twice.

    Failures of watched codes stand among news of others: whatever was acked opens its flag after the restart, and the
    rest when it is sent again.
    """
    with serving_beside_a_sandbox(tmp_path, database_url) as (first, seam):
        access = {"SEAM_API_KEY": "seam_test_key", "SEAM_ENDPOINT": seam.url}
        made = [first.post("/v1/access-codes", device_id="lock_silent").json() for _ in range(CODES)]
        payloads = news_of(made)
        acked = until_killed(first, payloads)
        with serving(tmp_path, database_url, port=0, **access) as second:
            assert acked <= stored(second)
            acked |= until_killed(second, [each for each in payloads if each["event_id"] not in acked])
        with serving(tmp_path, database_url, port=0, **access) as third:
            after_the_last_kill = stored(third)
            assert acked <= after_the_last_kill
            told = [code for number, code in enumerate(made) if f"event-{number}" in acked]
            assert told, "no watched code's failure was acked"
            for code in told:
                third.until(f"/v1/access-codes/{code['id']}", lambda answer: answer["verdict"] == "failed")
            # Also what was acked: Seam may not have heard the answer.
            again = asyncio.run(deliver([third.url], payloads, on_ack=lambda _: None))
            assert {status for _, status in again} == {204}
            for code in made:
                path = f"/v1/access-codes/{code['id']}"
                third.until(path, lambda answer: answer["verdict"] == "failed")
                timeline = third.get(f"{path}/timeline", limit=500)["items"]
                assert [one["to_verdict"] for one in timeline if one["kind"] == "transition"] == ["pending", "failed"]
            flags = third.all("/v1/flags")
            found = [item["event_id"] for item in third.all("/v1/events")]
    sent = {payload["event_id"] for payload in payloads}
    assert len(found) == len(set(found))
    assert sent <= set(found)
    assert len(flags) == len({flag["code_id"] for flag in flags}) == CODES
    # The signals were committed with their events: none without the other.
    assert asyncio.run(values_of(database_url, signals.c.access_code_id)) == asyncio.run(
        values_of(database_url, events.c.access_code_id)
    )
    record_property("sent", len(sent))
    record_property("acked up to the last kill", len(acked))
    record_property("stored after the last kill", len(after_the_last_kill & sent))
    record_property("stored at the end", len(sent & set(found)))
    record_property("codes flagged by what was acked", len(told))
    record_property("codes flagged at the end", len(flags))


def news_of(made: Payloads) -> list[dict[str, Any]]:
    """A failure of each code, each among news of others."""
    payloads = []
    for number, code in enumerate(made):
        failure = {"event_type": "access_code.failed_to_set_on_device", "access_code_id": code["access_code_id"]}
        payloads.append(event(number, **failure))
        payloads += [event(1000 * (number + 1) + other) for other in range(OTHERS_FOR_EACH)]
    return payloads


def until_killed(service: Service, payloads: Payloads) -> set[str]:
    """Send all, and kill the service in the middle of it. What it acked."""

    def kill(count: int) -> None:
        if count == ACKS_BEFORE_A_KILL:
            service.process.signal(signal.SIGKILL)

    answers = asyncio.run(deliver([service.url], payloads, on_ack=kill))
    acked = {event_id for event_id, status in answers if status == 204}
    assert ACKS_BEFORE_A_KILL <= len(acked) < len(payloads), "the kill came too late to mean anything"
    return acked


def stored(service: Service) -> set[str]:
    return {item["event_id"] for item in service.all("/v1/events")}


async def values_of(database_url: str, column: Column[Any]) -> set[Any]:
    db = open_database(database_url)
    async with db.read() as conn:
        found = set((await conn.execute(select(column))).scalars())
    await db.close()
    return found
