"""kill -9 over and over while webhooks come in, and what follows from an acked event after it.

``test_crashes_and_replicas`` kills once. Here the sender repeats, as Seam does, until everything is acked.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, select

from app.storage.engine import open_database
from app.storage.tables import events, signals
from tests.e2e.services import deliver, event, serving, serving_beside_a_sandbox

EVENTS = 500
KILLS = 2
ACKS_BEFORE_A_KILL = 100
CODES = 12

Record = Callable[[str, object], None]


def test_a_service_that_is_killed_again_and_again_keeps_every_acked_event_once(
    tmp_path: Path, database_url: str, record_property: Record
) -> None:
    """After each restart all that was ever acked is there; what was not is sent again; at the end nothing is twice."""
    unacked = {f"event-{number}": event(number) for number in range(EVENTS)}
    acked: set[str] = set()
    for _ in range(KILLS):
        with serving(tmp_path, database_url) as service:
            stored = {item["event_id"] for item in service.all("/v1/events")}
            assert acked <= stored

            def kill(count: int, victim: Any = service) -> None:
                if count == ACKS_BEFORE_A_KILL:
                    victim.process.signal(signal.SIGKILL)

            answers = asyncio.run(deliver([service.url], list(unacked.values()), on_ack=kill))
        now_acked = {event_id for event_id, status in answers if status == 204}
        assert ACKS_BEFORE_A_KILL <= len(now_acked) < len(unacked), "the kill came too late to mean anything"
        acked |= now_acked
        for event_id in now_acked:
            del unacked[event_id]
    with serving(tmp_path, database_url) as service:
        stored = {item["event_id"] for item in service.all("/v1/events")}
        assert acked <= stored
        answers = asyncio.run(deliver([service.url], list(unacked.values()), on_ack=lambda _: None))
        assert {status for _, status in answers} == {204}
        found = [item["event_id"] for item in service.all("/v1/events")]
    assert len(found) == len(set(found)) == EVENTS
    # The signals were committed with their events: none without the other.
    assert asyncio.run(rows(database_url, signals)) == asyncio.run(rows(database_url, events)) == EVENTS
    record_property("sent", EVENTS)
    record_property("acked up to the last kill", len(acked))
    record_property("stored after the last kill", len(stored))


def test_what_an_acked_event_means_for_a_code_is_seen_after_the_kill(
    tmp_path: Path, database_url: str, record_property: Record
) -> None:
    """Failures of watched codes stand among news of others. Whatever was acked opens its flag after the restart."""
    with serving_beside_a_sandbox(tmp_path, database_url) as (service, seam):
        made = [service.post("/v1/access-codes", device_id="lock_silent").json() for _ in range(CODES)]
        payloads = []
        for number, code in enumerate(made):
            payloads += [event(1000 + 20 * number + other) for other in range(20)]
            failure = {"event_type": "access_code.failed_to_set_on_device", "access_code_id": code["access_code_id"]}
            payloads.append(event(number, **failure))

        def kill(count: int) -> None:
            if count == len(payloads) // 2:
                service.process.signal(signal.SIGKILL)

        answers = asyncio.run(deliver([service.url], payloads, on_ack=kill))
        acked = {event_id for event_id, status in answers if status == 204}
        assert len(payloads) // 2 <= len(acked) < len(payloads), "the kill came too late to mean anything"
        with serving(tmp_path, database_url, SEAM_API_KEY="seam_test_key", SEAM_ENDPOINT=seam.url) as restarted:
            told = [code for number, code in enumerate(made) if f"event-{number}" in acked]
            assert told, "no watched code's failure was acked"
            for code in told:
                restarted.until(f"/v1/access-codes/{code['id']}", lambda answer: answer["verdict"] == "failed")
            flagged_by_acked = len(told)
            again = asyncio.run(deliver([restarted.url], payloads, on_ack=lambda _: None))
            assert {status for _, status in again} == {204}
            for code in made:
                path = f"/v1/access-codes/{code['id']}"
                restarted.until(path, lambda answer: answer["verdict"] == "failed")
                timeline = restarted.get(f"{path}/timeline", limit=500)["items"]
                assert [one["to_verdict"] for one in timeline if one["kind"] == "transition"] == ["pending", "failed"]
            flags = restarted.all("/v1/flags")
    assert len(flags) == len({flag["code_id"] for flag in flags}) == CODES
    record_property("sent", len(payloads))
    record_property("acked before the kill", len(acked))
    record_property("codes flagged after the restart", flagged_by_acked)
    record_property("codes flagged at the end", len(flags))


async def rows(database_url: str, table: Table) -> int:
    db = open_database(database_url)
    async with db.read() as conn:
        count: int = (await conn.execute(select(func.count()).select_from(table))).scalar_one()
    await db.close()
    return count
