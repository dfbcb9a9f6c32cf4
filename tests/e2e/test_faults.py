"""Everything that may break does, in real processes under a load of webhooks, and heals without a restart of ours.

In each: nothing acked is lost, nothing is told twice under different keys, verdicts end right, /readyz tells the truth.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.alerts.sender import LEASE
from app.storage.engine import open_database
from app.storage.tables import access_codes
from tests.e2e.load import Load, under_load
from tests.e2e.services import PATIENCE_SECONDS
from tests.e2e.towns import Town, failures_among_others, town
from tests.postgres import execute, run_apart, start_postgres
from tests.postgres_databases import migrate_at

CODES, OTHERS = 10, 40
Record = Callable[[str, object], None]


def ends_as_it_should(town: Town, made: list[dict[str, Any]], load: Load, record: Record) -> None:
    """Every acked event is there once; every code failed, is flagged and told once; then all is well again."""
    sent = {payload["event_id"] for payload in load.payloads}
    town.until(lambda: set(town.verdicts(made)) == {"failed"}, lambda: town.verdicts(made))
    stored = [item["event_id"] for item in town.any.all("/v1/events") if item["event_id"] in sent]
    assert load.acked <= set(stored)
    assert len(stored) == len(set(stored))
    flags = {flag["id"] for flag in town.any.all("/v1/flags", state="open", kind="failed")}
    assert len(flags) == len(made)
    town.until(lambda: flags <= town.alerts.told("flag.opened"), lambda: town.alerts.keys)
    freed = town.seam.post("/sandbox/devices/lock_silent", behaviour="sets_at_once")
    assert freed.status_code == 200
    town.until(lambda: set(town.verdicts(made)) == {"verified"}, lambda: town.verdicts(made))
    # Who was killed after an opening arrived, and before that was written down, has it leased still: it is told again
    # under the same key when that is over, and what closed waits for it.
    patience = LEASE.total_seconds() + PATIENCE_SECONDS
    town.until(lambda: flags <= town.alerts.told("flag.closed"), lambda: town.alerts.keys, patience)
    assert town.alerts.told_twice() == []
    assert [town.transitions(code)[-2:] for code in made] == [["failed", "verified"]] * len(made)
    town.until(lambda: all(town.readiness(number) == (200, []) for number in range(len(town.replicas))))
    record("sent", len(sent))
    record("acked", len(load.acked))
    record("attempts by answer", dict(load.answers))
    record("stored", len(stored))
    record("flags expected and seen", (len(made), len(flags)))
    record(
        "told opened, closed", tuple(len(town.alerts.told(f"flag.{change}") & flags) for change in ("opened", "closed"))
    )


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_that_are_killed_at_any_moment(
    tmp_path: Path, postgres_url: str, replicas: int, record_property: Record
) -> None:
    moments = random.Random(replicas)  # noqa: S311 - the same moments each time
    with town(tmp_path, postgres_url, replicas) as built:
        made = built.make(CODES)
        payloads = failures_among_others(made, OTHERS)
        with under_load(built.urls, payloads) as load:
            for number in range(replicas):
                load.wait_until_acked(moments.randrange((number + 1) * len(payloads) // (replicas + 1)))
                built.kill(number)
                built.restart(number)
        ends_as_it_should(built, made, load, record_property)


def test_one_service_on_sqlite_that_is_killed_at_any_moment(
    tmp_path: Path, sqlite_url: str, record_property: Record
) -> None:
    with town(tmp_path, sqlite_url, 1) as built:
        made = built.make(CODES)
        payloads = failures_among_others(made, OTHERS)
        with under_load(built.urls, payloads) as load:
            for part in (1, 2):
                load.wait_until_acked(part * len(payloads) // 4)
                built.kill(0)
                built.restart(0)
        ends_as_it_should(built, made, load, record_property)


def test_postgresql_that_is_stopped_and_started_under_load(
    tmp_path: Path, postgres_server: str, record_property: Record
) -> None:
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = start_postgres(Path(folder))
        execute(server.get_uri(database="postgres"), "CREATE DATABASE latchwatch")
        run_apart(migrate_at(server.get_uri(database="latchwatch")))
        with town(tmp_path, server.get_uri(database="latchwatch"), 2) as built:
            made = built.make(CODES)
            payloads = failures_among_others(made, OTHERS)
            with under_load(built.urls, payloads) as load:
                load.wait_until_acked(len(payloads) // 4)
                server.cleanup()
                load.wait_until_answered(503)
                assert [built.readiness(number)[0] for number in range(2)] == [503, 503]
                assert "database" in built.readiness()[1]
                server = start_postgres(Path(folder))
            ends_as_it_should(built, made, load, record_property)
        server.cleanup()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own that can be filled up."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("a file system of its own needs root and mount")
        pytest.skip("a file system of its own needs root and mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_full_and_has_room_again(tmp_path: Path, small_disk: Path, record_property: Record) -> None:
    with town(tmp_path, f"sqlite:///{small_disk}/latchwatch.db", 1) as built:
        made = built.make(CODES)
        payloads = failures_among_others(made, OTHERS)
        with under_load(built.urls, payloads) as load:
            load.wait_until_acked(len(payloads) // 4)
            filler = small_disk / "filler"
            fill(filler)
            load.wait_until_answered(503)
            built.until(lambda: built.readiness()[0] == 503, built.readiness)
            filler.unlink()
        ends_as_it_should(built, made, load, record_property)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"x" * 4096)
        except OSError:
            return


def test_alerts_whose_receiver_was_away(tmp_path: Path, database_url: str, record_property: Record) -> None:
    with town(tmp_path, database_url, 1) as built:
        built.alerts.status = 503
        made = built.make(CODES)
        with under_load(built.urls, failures_among_others(made, 5)) as load:
            pass
        built.until(lambda: built.alerts.refused > 0)
        assert built.alerts.told("flag.opened") == set()
        built.alerts.status = 204
        ends_as_it_should(built, made, load, record_property)


def test_seam_that_is_out_of_reach_for_an_hour(tmp_path: Path, database_url: str, record_property: Record) -> None:
    """Nothing is accused while nobody can be asked; when Seam is back, what is well is verified."""
    with town(tmp_path, database_url, 1, LATCHWATCH_SEAM_TIMEOUT="0.3") as built:
        well = built.make(2, "lock_sets_at_once")
        built.until(lambda: set(built.verdicts(well)) == {"verified"}, lambda: built.verdicts(well))
        soon, slow = built.make(3), built.make(2, "lock_slow")
        built.seam.process.signal(signal.SIGSTOP)
        for minutes in range(5, 65, 5):
            built.move_clock(minutes * 60)
            built.until(lambda ahead=minutes * 60: built.has_looked(ahead))  # type: ignore[misc]
        built.until(lambda: set(built.verdicts([*soon, *slow])) == {"unknown"}, lambda: built.verdicts([*soon, *slow]))
        assert built.verdicts(well) == ["verified"] * 2
        assert kinds_of_codes(built) == {"unknown"}
        built.seam.process.signal(signal.SIGCONT)
        assert built.seam.post("/sandbox/devices/lock_silent", behaviour="sets_at_once").status_code == 200
        built.until(lambda: set(built.verdicts([*soon, *well])) == {"verified"}, lambda: built.verdicts([*soon, *well]))
        assert [built.transitions(code) for code in soon] == [["pending", "unknown", "verified"]] * len(soon)
        assert kinds_of_codes(built) <= {"unknown", "stuck"}
        assert built.alerts.told_twice() == []
        built.until(lambda: built.readiness() == (200, []), built.readiness)
        record_property("unknown meanwhile, verified afterwards", (len(soon), len(soon)))


def test_a_clock_that_jumps_ahead_and_back_accuses_nobody(tmp_path: Path, database_url: str) -> None:
    """Two hours ahead all deadlines seem to have passed, and every webhook seems old; Seam's own clock knows better."""
    with town(tmp_path, database_url, 1, seam_keeps_time=True) as built:
        made = built.make(4)
        built.move_clock(7200)
        built.until(lambda: built.has_looked(7200))
        with under_load(built.urls, failures_among_others(made[:2], 5)) as load:
            load.wait_until_answered(401)
            assert set(built.verdicts(made)) <= {"pending", "unknown"}
            built.move_clock(0)
        built.until(
            lambda: built.verdicts(made) == ["failed", "failed", "pending", "pending"], lambda: built.verdicts(made)
        )
        assert kinds_of_codes(built) == {"failed"}
        built.until(lambda: built.readiness() == (200, []), built.readiness)


def kinds_of_codes(town: Town) -> set[str]:
    """The kinds of all flags that any code ever had."""
    return {flag["kind"] for flag in town.any.all("/v1/flags") if flag["code_id"] is not None}


def test_a_poisoned_row_stops_no_other_and_is_well_again_once_it_is_mended(
    tmp_path: Path, database_url: str, record_property: Record
) -> None:
    with town(tmp_path, database_url, 1) as built:
        poisoned, *made = built.make(CODES + 1)
        asyncio.run(write_read(database_url, poisoned["id"], {"at": "never"}))
        told = failures_among_others([poisoned, *made], 5)
        with under_load(built.urls, told) as load:
            pass
        built.until(lambda: set(built.verdicts(made)) == {"failed"}, lambda: built.verdicts(made))
        assert {code["id"] for code in built.any.all("/v1/access-codes")} == {poisoned["id"], *(m["id"] for m in made)}
        built.any.process.wait_for('"event": "code_postponed"')
        assert built.readiness() == (200, [])
        asyncio.run(write_read(database_url, poisoned["id"], None))
        ends_as_it_should(built, [poisoned, *made], load, record_property)


async def write_read(database_url: str, code_id: str, read: dict[str, Any] | None) -> None:
    db = open_database(database_url)
    async with db.write() as conn:
        await conn.execute(update(access_codes).where(access_codes.c.id == code_id).values(read=read))
    await db.close()
