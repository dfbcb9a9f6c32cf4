"""The outbox as callers see it: who was told of which flag, on which channel, and why not."""

from __future__ import annotations

from app.alerts.channels import Failed
from tests.alerts.worlds import FakeChannel
from tests.alerts.worlds import World as Telling
from tests.api.worlds import World


async def test_an_alert_shows_its_message_and_each_channel(world: World) -> None:
    refusing = FakeChannel(answers=[Failed("answered 410", is_permanent=True)])
    telling = Telling(world.db, refusing, FakeChannel("slack-1"))
    await telling.open("Ada", "Bob")
    await telling.run(seconds=5)
    told = (await world.get("/v1/alerts", state="dead")).json()["items"]
    assert {alert["message_id"] for alert in told} == {refusing.got[0].id}
    assert len(told) == 2
    sent_at = telling.clock().isoformat().replace("+00:00", "Z")
    assert told[0]["deliveries"] == [
        {
            "channel": "slack-1",
            "state": "sent",
            "attempts": 1,
            "next_attempt_at": None,
            "last_error": None,
            "sent_at": sent_at,
        },
        {
            "channel": "webhook",
            "state": "dead",
            "attempts": 1,
            "next_attempt_at": None,
            "last_error": "answered 410",
            "sent_at": None,
        },
    ]
    assert (await world.get("/v1/alerts", state="sent")).json()["items"] == []


async def test_an_alert_that_waits_is_in_no_message(world: World) -> None:
    telling = Telling(world.db, FakeChannel())
    await telling.open("Ada")
    (alert,) = (await world.get("/v1/alerts", state="pending")).json()["items"]
    assert (alert["message_id"], alert["deliveries"], alert["attempts"]) == (None, [], 0)
    assert alert["next_attempt_at"] is not None
