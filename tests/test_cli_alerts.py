"""``latchwatch alerts``: what people were told, and trying again what could not be told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.alerts.channels import Failed
from app.storage.engine import open_database
from app.storage.tables import audit_log
from tests.alerts.worlds import FakeChannel, World
from tests.processes import SECRET, latchwatch
from tests.storage.made import rows_of


def given_up(database_url: str) -> str:
    """An alert that one channel refused and another took. The id of its message."""

    async def prepare() -> str:
        db = open_database(database_url)
        refused = Failed("answered 410", is_permanent=True)
        world = World(db, FakeChannel(answers=[refused]), FakeChannel("slack-1"))
        await world.open("Ada")
        await world.run(seconds=5)
        (message,) = await world.messages()
        await db.close()
        return str(message["id"])

    return asyncio.run(prepare())


def audited(database_url: str) -> list[tuple[str, object]]:
    async def read() -> list[tuple[str, object]]:
        db = open_database(database_url)
        rows = await rows_of(db, audit_log)
        await db.close()
        return [(row["action"], row["details"]) for row in rows]

    return asyncio.run(read())


@pytest.mark.parametrize("named", [True, False])
def test_what_was_given_up_is_listed_and_tried_again(tmp_path: Path, database_url: str, named: bool) -> None:
    message_id = given_up(database_url)
    listed = latchwatch("alerts", "list", "--state", "dead", folder=tmp_path, DATABASE_URL=database_url)
    assert listed.returncode == 0, listed.stderr
    first, *channels = listed.stdout.splitlines()
    assert first.split()[2] == "dead"
    assert first.endswith(message_id)
    assert sorted(line.strip() for line in channels) == [
        "slack-1  sent, attempts 1",
        "webhook  dead, attempts 1: answered 410",
    ]
    chosen = message_id if named else "--all"
    retried = latchwatch("alerts", "retry", chosen, folder=tmp_path, DATABASE_URL=database_url)
    assert (retried.returncode, retried.stdout) == (0, f"{message_id} is tried again\n")
    assert audited(database_url) == [("alerts_retried", {"message_ids": [message_id]})]
    listed = latchwatch("alerts", "list", "--limit", "1", folder=tmp_path, DATABASE_URL=database_url)
    assert "webhook  pending, attempts 0: answered 410" in listed.stdout


def test_what_cannot_be_tried_again_is_told(tmp_path: Path, sqlite_url: str) -> None:
    for arguments in (["msg_unknown"], ["--all"]):
        ended = latchwatch("alerts", "retry", *arguments, folder=tmp_path, DATABASE_URL=sqlite_url)
        assert ended.returncode == 1
        assert "nothing was given up" in ended.stderr
    assert audited(sqlite_url) == []


@pytest.mark.parametrize("arguments", [[], ["--all", "msg_1"]])
def test_either_messages_or_all_of_them_are_meant(tmp_path: Path, sqlite_url: str, arguments: list[str]) -> None:
    ended = latchwatch("alerts", "retry", *arguments, folder=tmp_path, DATABASE_URL=sqlite_url)
    assert ended.returncode == 2
    assert "--all" in ended.stderr


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("work",)])
def test_an_address_that_apprise_does_not_take_ends_the_start_with_one_line(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    settings = {"SEAM_WEBHOOK_SECRET": SECRET, "LATCHWATCH_ALERT_URLS": "json://localhost slack://token-4711"}
    ended = latchwatch(*command, folder=tmp_path, **settings)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("LATCHWATCH_ALERT_URLS has an address")
    assert "number 2, slack://…" in line
    assert "4711" not in line
