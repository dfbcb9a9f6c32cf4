"""What an alert says, to machines and to people."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.alert_texts import LONGEST_TEXT, MOST_LISTED, document, words
from app.domain.alerting import Alert, Change
from app.domain.assessment import FlagKind
from tests.domain.test_alerting import NOON, alert, later

PROBLEM = {
    "kind": "device",
    "code": "device_disconnected",
    "message": "The lock is offline.",
    "temporary": True,
    "remedy": "Check its power and its network.",
}
ADA: dict[str, Any] = {"name": "Ada", "reference": "booking 7", "device_name": "Front door", "code_id": "code_1"}


def said(*alerts: Alert) -> tuple[str, str, str]:
    told = words(document(alerts, later(5)))
    return told.tone, told.title, told.text


def test_the_document_has_everything_that_a_program_needs() -> None:
    one = alert("flag_1", access_code_id="ac", problem=PROBLEM, **ADA)
    assert document([one], later(5)) == {
        "type": "flag.opened",
        "timestamp": "2026-08-03T12:00:05.000Z",
        "data": {
            "severity": "critical",
            "flags": [
                {
                    "id": "flag_1",
                    "alert_id": "flag_1:opened",
                    "kind": "stuck",
                    "severity": "critical",
                    "reason": "It is not on the lock.",
                    "problem": PROBLEM,
                    "code_id": "code_1",
                    "access_code_id": "ac",
                    "name": "Ada",
                    "reference": "booking 7",
                    "device": {"id": "door", "name": "Front door"},
                    "opened_at": "2026-08-03T12:00:00.000Z",
                    "closed_at": None,
                }
            ],
        },
    }


def test_one_critical_flag_makes_the_whole_critical() -> None:
    content = document([alert("a", severity="warning"), alert("b")], NOON)
    assert content["data"]["severity"] == "critical"
    assert document([alert("a", severity="warning")], NOON)["data"]["severity"] == "warning"


WORDS: dict[str, tuple[list[Alert], str, str, list[str]]] = {
    "one opened": (
        [alert("a", problem=PROBLEM, **ADA)],
        "critical",
        "[critical] Not on the lock in time: Ada, Front door",
        [
            "The lock is offline.",
            "What to do: Check its power and its network.",
            "",
            "- Ada, booking 7 (code_1), since 2026-08-03 12:00 UTC: It is not on the lock.",
        ],
    ),
    "one closed": (
        [alert("a", Change.CLOSED, closed_at=later(60), reason="It is not there.", problem=PROBLEM, **ADA)],
        "resolved",
        "[resolved] Not on the lock in time: Ada, Front door",
        ["- Ada, booking 7 (code_1), from 2026-08-03 12:00 UTC to 2026-08-03 12:01 UTC; it was: It is not there."],
    ),
    "a reminder of a warning without a name": (
        [alert("a", Change.REMINDER, kind="delayed", severity="warning", access_code_id="ac", code_id="code_1")],
        "warning",
        "[still warning] Takes unusually long: code ac, lock door",
        ["- code ac (code_1), since 2026-08-03 12:00 UTC: It is not on the lock."],
    ),
    "two on one lock": (
        [alert("a", **ADA), alert("b", **{**ADA, "name": None, "code_id": "code_2"})],
        "critical",
        "[critical] Not on the lock in time: 2 codes, Front door",
        [
            "- Ada, booking 7 (code_1), since 2026-08-03 12:00 UTC: It is not on the lock.",
            "- booking 7 (code_2), since 2026-08-03 12:00 UTC: It is not on the lock.",
        ],
    ),
    "one problem of two": (
        [alert("a", problem=PROBLEM, code_id="code_1"), alert("b", problem=PROBLEM, code_id="code_2")],
        "critical",
        "[critical] Not on the lock in time: 2 codes, lock door",
        [
            "The lock is offline.",
            "What to do: Check its power and its network.",
            "",
            "- code code_1 (code_1), since 2026-08-03 12:00 UTC: It is not on the lock.",
            "- code code_2 (code_2), since 2026-08-03 12:00 UTC: It is not on the lock.",
        ],
    ),
    "two kinds on two locks": (
        [alert("a", code_id="code_1", access_code_id="x"), alert("b", kind="lost", device_id="gate", code_id="code_2")],
        "critical",
        "[critical] Not on the lock in time and more: 2 codes on 2 locks",
        [
            "- code x (code_1), since 2026-08-03 12:00 UTC: It is not on the lock.",
            "- code code_2 (code_2), since 2026-08-03 12:00 UTC: It is not on the lock.",
        ],
    ),
    "the service itself": (
        [alert("flag_1", kind="webhook_silent", reason="Nothing came for an hour.", code_id=None, device_id=None)],
        "critical",
        "[critical] No webhooks arrive",
        ["- flag_1, since 2026-08-03 12:00 UTC: Nothing came for an hour."],
    ),
}


@pytest.mark.parametrize(("alerts", "tone", "title", "lines"), WORDS.values(), ids=WORDS)
def test_people_read_plain_words(alerts: list[Alert], tone: str, title: str, lines: list[str]) -> None:
    assert said(*alerts) == (tone, title, "\n".join(lines))


@pytest.mark.parametrize("kind", list(FlagKind))
def test_every_kind_has_words_of_its_own(kind: FlagKind) -> None:
    _, title, _ = said(alert("a", kind=kind.value))
    assert kind.value not in title


def test_a_kind_of_a_newer_release_is_named() -> None:
    assert said(alert("a", kind="brand_new", code_id="c"))[1] == "[critical] brand_new: code c, lock door"


def test_a_long_list_is_cut_for_people_and_whole_for_programs() -> None:
    alerts = [alert(f"{number:03}") for number in range(MOST_LISTED + 5)]
    assert said(*alerts)[2].splitlines()[-1] == "… and 5 more, see GET /v1/flags"
    assert len(document(alerts, NOON)["data"]["flags"]) == MOST_LISTED + 5


@pytest.mark.parametrize("field", ["name", "reference", "reason", "device_name", "message", "remedy"])
def test_a_pin_in_a_free_text_is_cut_out(field: str) -> None:
    text = "Ada 83104962 and 4821"
    known: dict[str, Any] = {"problem": {**PROBLEM, field: text}} if field in PROBLEM else {field: text}
    one = alert("a", **known)
    everything = json.dumps(document([one], NOON), ensure_ascii=False) + "".join(said(one))
    assert "83104962" not in everything
    assert "4821" not in everything
    assert "Ada ••• and •••" in everything


def test_a_text_that_never_ends_is_cut() -> None:
    flag = document([alert("a", reason="x" * 10_000)], NOON)["data"]["flags"][0]
    assert flag["reason"] == "x" * LONGEST_TEXT


def test_a_problem_of_an_older_release_lacks_nothing_that_is_needed() -> None:
    content = document([alert("a", problem={"code": "odd"})], NOON)
    assert content["data"]["flags"][0]["problem"]["remedy"] is None
    assert "None" not in words(content).text
