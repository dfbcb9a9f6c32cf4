"""What the doctor makes of settings, of Seam's answers, and of what the service left in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from app.config import Purpose, Settings, load_settings
from app.doctor.findings import Finding, Mark, note, render, skipped, well, wrong
from app.doctor.local import check_disk, check_settings, open_for_checks
from app.doctor.seam import check_clock, check_key, check_webhook
from app.doctor.service import check_alerts, check_intake, check_rejections, check_secrets, check_work
from app.domain.fingerprints import Fingerprinter
from app.domain.rotation import Hook
from app.domain.silence import Receipt
from app.receiver.signature import parse_secrets
from app.seam.gateway import Gateway
from app.seam.values import Webhook
from app.storage.engine import open_database
from app.storage.migrate import downgrade
from app.storage.vitals import Backlog, IntakeVitals, Vitals
from tests.seam.support import html, refusal

NOW = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LABEL = parse_secrets(SECRET)[0].label
ENVIRON = {
    "SEAM_WEBHOOK_SECRET": SECRET,
    "SEAM_API_KEY": "seam_test_key",
    "LATCHWATCH_PUBLIC_URL": "https://latch.example/",
}
URL = "https://latch.example/webhooks/seam"


def ago(**delta: float) -> datetime:
    return NOW - timedelta(**delta)


def settings(**more: str) -> Settings:
    return load_settings(ENVIRON | more, Purpose.SERVE)


def marks(findings: Iterable[Finding]) -> str:
    return "".join(finding.mark for finding in findings)


def gateway(answer: httpx.Response | Exception, time: datetime = NOW) -> Gateway:
    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Gateway(
        api_key="seam_test_key",
        fingerprinter=Fingerprinter(b"a key for tests"),
        clock=lambda: time,
        transport=httpx.MockTransport(handle),
    )


@pytest.mark.parametrize(
    ("finding", "line"),
    [
        (well("clock", "0 s apart"), "✓ clock        0 s apart"),
        (wrong("disk", "full", "make room"), "✗ disk         full → make room"),
        (note("alerts", "none"), "! alerts       none"),
        (skipped("probe", "not sent"), "- probe        not sent"),
    ],
)
def test_a_finding_is_one_line(finding: Finding, line: str) -> None:
    assert render(finding) == line


def test_every_wrong_setting_is_told_and_what_can_be_used_is_used() -> None:
    found, findings = check_settings({"SEAM_API_KEY": "seam_test_key"})
    assert found is not None
    assert (marks(findings), findings[0].detail.split()[0]) == ("✗", "SEAM_WEBHOOK_SECRET")
    found, findings = check_settings({"DATABASE_URL": "mysql://x", "LATCHWATCH_PORT": "http"})
    assert (found, marks(findings)) == (None, "✗✗✗")
    assert all(finding.remedy for finding in findings)


def test_settings_without_effect_are_worth_knowing() -> None:
    _, findings = check_settings(ENVIRON | {"LATCHWATCH_PROT": "1"})
    assert marks(findings) == "✓!"


def test_a_database_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    db, findings = asyncio.run(open_for_checks(settings(DATABASE_URL=f"sqlite:///{tmp_path}/latch.db")))
    assert (db, marks(findings)) == (None, "✗")
    assert "serve once" in findings[0].remedy
    assert list(tmp_path.iterdir()) == []


async def test_a_database_that_can_be_used_is_named(database_url: str) -> None:
    db, findings = await open_for_checks(settings(DATABASE_URL=database_url, LATCHWATCH_SECRET_KEY="k" * 32))
    assert db is not None
    await db.close()
    assert marks(findings) == "✓"


async def test_a_schema_that_is_behind_is_told_and_left_alone(database_url: str) -> None:
    db = open_database(database_url)
    await downgrade(db, "0001")
    await db.close()
    found, findings = await open_for_checks(settings(DATABASE_URL=database_url, LATCHWATCH_SECRET_KEY="k" * 32))
    assert (found, marks(findings)) == (None, "✗")
    assert findings[0].remedy == "run latchwatch migrate"


async def test_a_database_that_does_not_answer_is_told(tmp_path: Path) -> None:
    url = "postgresql://u:secret-password@127.0.0.1:1/x"
    _, findings = await open_for_checks(settings(DATABASE_URL=url, LATCHWATCH_SECRET_KEY="k" * 32))
    assert marks(findings) == "✗"
    assert "secret-password" not in render(findings[0])


@pytest.mark.parametrize(("free_mib", "found"), [(50_000, "✓"), (2_048, "✓"), (2_047, "!"), (400, "!"), (399, "✗")])
def test_a_disk_is_told_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, found: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free_mib * 1024 * 1024))
    assert marks(check_disk(settings(DATABASE_URL=f"sqlite:///{tmp_path}/latch.db"))) == found


def test_the_disk_of_another_machine_is_not_looked_at() -> None:
    there = settings(DATABASE_URL="postgresql://u:p@db/x", LATCHWATCH_SECRET_KEY="k" * 32)
    assert list(check_disk(there)) == []


@pytest.mark.parametrize(
    ("answer", "mark", "words"),
    [
        (httpx.Response(200, json={"workspace": {"workspace_id": "w-1"}}), "✓", "w-1"),
        (refusal(401, "unauthorized", "no"), "✗", "not accepted"),
        (refusal(404, "unknown_endpoint", "no such path"), "!", "does not say"),
        (refusal(403, "forbidden", "no"), "✗", "no"),
        (httpx.ConnectError("no route"), "✗", "No connection to Seam"),
        (html(500), "✗", "500"),
    ],
)
async def test_what_seam_says_of_the_key(answer: httpx.Response | Exception, mark: str, words: str) -> None:
    door = gateway(answer)
    finding = await check_key(door)
    await door.aclose()
    assert finding.mark == mark
    assert words in finding.detail
    assert "seam_test_key" not in render(finding)


@pytest.mark.parametrize(
    ("ours", "mark"), [(0, "✓"), (4, "✓"), (-4, "✓"), (6, "!"), (-60, "!"), (151, "✗"), (-3600, "✗")]
)
async def test_a_clock_is_told_before_webhooks_are_refused(ours: float, mark: str) -> None:
    answer = httpx.Response(200, json={"events": []}, headers={"date": "Mon, 03 Aug 2026 12:00:00 GMT"})
    time = NOW + timedelta(seconds=ours)
    door = gateway(answer, time)
    assert (await check_clock(door, lambda: time, timedelta(seconds=300))).mark == mark
    await door.aclose()


async def test_a_clock_that_nobody_tells_is_not_judged() -> None:
    door = gateway(httpx.ConnectError("no route"))
    assert (await check_clock(door, lambda: NOW, timedelta(seconds=300))).mark is Mark.SKIPPED
    await door.aclose()


@pytest.mark.parametrize(
    ("webhooks", "found", "words"),
    [
        ([Webhook("w", URL, ("*",))], "✓", "every event type"),
        ([Webhook("w", f"{URL}/", ("*",)), Webhook("x", "https://other.example", ("*",))], "✓", "every event type"),
        ([Webhook("w", URL, ("access_code.created",))], "✗", "without"),
        ([], "✗", "it has: none"),
        ([Webhook("w", "https://old.example/webhooks/seam", ("*",))], "✗", "it has: https://old.example"),
        ([Webhook("w", URL, ("*",)), Webhook("v", URL, ("*",))], "✓✓!", "every event type"),
    ],
)
def test_the_webhook_has_to_lead_here_with_every_event_type(webhooks: list[Webhook], found: str, words: str) -> None:
    findings = list(check_webhook(webhooks, settings()))
    assert marks(findings) == found
    assert words in findings[0].detail


def test_without_a_public_address_no_webhook_can_be_looked_for() -> None:
    bare = load_settings({"SEAM_WEBHOOK_SECRET": SECRET}, Purpose.SERVE)
    (finding,) = check_webhook([Webhook("w", URL, ("*",))], bare)
    assert (finding.mark, finding.detail) == (Mark.WRONG, "LATCHWATCH_PUBLIC_URL is not set")


@pytest.mark.parametrize(
    ("receipts", "hooks", "found"),
    [
        ([], [], "!"),
        ([Receipt("verified", LABEL, 3, NOW)], [], "✓"),
        ([Receipt("rejected", LABEL, 3, NOW)], [], "!"),
        ([Receipt("verified", LABEL, 3, NOW)], [Hook("w", URL, LABEL, NOW)], "✓"),
        ([Receipt("verified", LABEL, 3, NOW)], [Hook("w", URL, "other", NOW)], "✓✗"),
        ([Receipt("verified", LABEL, 3, NOW)], [Hook("w", URL, "other", NOW, retired_at=NOW)], "✓"),
        ([Receipt("verified", LABEL, 3, NOW)], [Hook("w", URL, None, NOW)], "✓"),
    ],
)
def test_every_secret_is_told_with_its_last_use(receipts: list[Receipt], hooks: list[Hook], found: str) -> None:
    findings = list(check_secrets(settings(), receipts, hooks))
    assert marks(findings) == found
    assert SECRET not in "".join(map(render, findings))


@pytest.mark.parametrize(
    ("reason", "verified_at", "mark"),
    [
        ("wrong_signature", ago(hours=2), "✗"),
        ("wrong_signature", NOW, "!"),
        ("wrong_signature", None, "✗"),
        ("too_old", ago(hours=2), "✗"),
        ("missing_header", ago(hours=2), "!"),
        ("a_reason_of_tomorrow", None, "!"),
    ],
)
def test_rejections_are_wrong_when_nothing_genuine_came_since(
    reason: str, verified_at: datetime | None, mark: str
) -> None:
    receipts = [Receipt("rejected", reason, 5, ago(hours=1))]
    if verified_at is not None:
        receipts.append(Receipt("verified", LABEL, 1, verified_at))
    assert marks(check_rejections(receipts)) == mark


GOOD = IntakeVitals(proven_until=ago(minutes=1), compared_at=ago(minutes=1), last_delivery_at=ago(minutes=5))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, "✓✓"),
        ({"last_delivery_at": None}, "!✓"),
        ({"last_delivery_at": None, "seam_event_at": ago(minutes=1)}, "✗✓"),
        ({"last_delivery_at": ago(hours=2), "seam_event_at": ago(hours=1)}, "✗✓"),
        ({"last_delivery_at": ago(hours=2), "seam_event_at": ago(hours=1, minutes=50)}, "✓✓"),
        ({"last_delivery_at": ago(hours=2), "seam_event_at": ago(hours=3)}, "✓✓"),
        ({"compared_at": None}, "✓!"),
        ({"compared_at": ago(hours=2)}, "✓✗"),
        ({"compare_failure": "Seam cannot be reached"}, "✓✗"),
        ({"lost": 2, "lost_at": NOW}, "✓✓!"),
    ],
)
def test_the_intake_is_judged_by_what_seam_has(changes: dict[str, Any], found: str) -> None:
    assert marks(check_intake(replace(GOOD, **changes), settings(), NOW)) == found


def test_without_a_key_nothing_can_be_compared() -> None:
    bare = load_settings({"SEAM_WEBHOOK_SECRET": SECRET}, Purpose.SERVE)
    assert marks(check_intake(GOOD, bare, NOW)) == "✓-"


NONE = Backlog(0, None)
CALM = Vitals(GOOD, [], NONE, 0, NONE)


@pytest.mark.parametrize(
    ("due", "mark"), [(NONE, "✓"), (Backlog(5, ago(seconds=59)), "✓"), (Backlog(5, ago(seconds=61)), "✗")]
)
def test_codes_that_wait_show_that_nobody_reconciles(due: Backlog, mark: str) -> None:
    assert marks(check_work(replace(CALM, due=due), NOW)) == mark


@pytest.mark.parametrize(
    ("vitals", "alert_urls", "found"),
    [
        (CALM, "", "!"),
        (CALM, "json://localhost", "✓"),
        (replace(CALM, dead=1), "json://localhost", "✓!"),
        (replace(CALM, unsent=Backlog(2, ago(minutes=2))), "json://localhost", "✓✗"),
        (replace(CALM, unsent=Backlog(2, ago(minutes=2))), "", "!"),
        (replace(CALM, unsent=Backlog(2, NOW)), "json://localhost", "✓"),
    ],
)
def test_alerts_that_wait_are_told(vitals: Vitals, alert_urls: str, found: str) -> None:
    assert marks(check_alerts(vitals, settings(LATCHWATCH_ALERT_URLS=alert_urls), NOW)) == found
