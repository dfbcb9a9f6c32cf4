"""Seam's lists of errors and warnings."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.issues import read_issues
from app.domain.news import Issue, IssueSource
from app.domain.redaction import redact_text

CODE, DEVICE, ACCOUNT = IssueSource.ACCESS_CODE, IssueSource.DEVICE, IssueSource.ACCOUNT


def read(obj: object, source: IssueSource = CODE, prefix: str = "") -> tuple[Issue, ...]:
    return read_issues(obj, source=source, redact=redact_text, prefix=prefix)


def entry(code: str, **more: Any) -> dict[str, Any]:
    return {"error_code": code, "message": "No answer.", "created_at": "2026-08-14T09:28:00Z", **more}


def test_an_entry_becomes_an_issue() -> None:
    assert read({"errors": [entry("provider_issue")]}) == (
        Issue("provider_issue", "No answer.", CODE, True, datetime(2026, 8, 14, 9, 28, tzinfo=UTC)),
    )


def test_errors_come_before_warnings() -> None:
    obj = {"warnings": [{"warning_code": "power_saving_mode", "message": ""}], "errors": [entry("device_offline")]}
    assert [(issue.code, issue.is_error) for issue in read(obj, DEVICE)] == [
        ("device_offline", True),
        ("power_saving_mode", False),
    ]


def test_the_sdks_objects_are_read_like_mappings() -> None:
    known = SimpleNamespace(error_code="provider_issue", message="No answer.", created_at=None)
    assert read(SimpleNamespace(errors=[known], warnings=None)) == (Issue("provider_issue", "No answer.", CODE, True),)


def test_a_prefix_names_one_of_the_six_lists_of_an_event() -> None:
    obj = {"errors": [entry("provider_issue")], "device_errors": [entry("device_offline")]}
    assert [issue.code for issue in read(obj, DEVICE, "device_")] == ["device_offline"]


@pytest.mark.parametrize(
    ("listed", "source", "told"),
    [
        (entry("provider_issue", is_device_error=True), CODE, DEVICE),
        (entry("provider_issue", is_connected_account_error=True), CODE, ACCOUNT),
        (entry("provider_issue", is_bridge_error=True), CODE, DEVICE),
        (entry("device_offline", is_access_code_error=True), CODE, CODE),
        (entry("device_offline"), CODE, DEVICE),
        (entry("account_disconnected"), CODE, ACCOUNT),
        (entry("not_heard_of"), CODE, CODE),
        (entry("failed_to_set_on_device"), DEVICE, DEVICE),
        (entry("provider_issue", is_device_error=True), ACCOUNT, ACCOUNT),
    ],
)
def test_a_codes_own_list_also_carries_errors_of_its_lock_and_account(
    listed: dict[str, Any], source: IssueSource, told: IssueSource
) -> None:
    assert [issue.source for issue in read({"errors": [listed]}, source)] == [told]


@pytest.mark.parametrize(
    "obj",
    [
        None,
        "errors",
        [],
        {},
        {"errors": None},
        {"errors": "device_offline"},
        {"errors": {"error_code": "device_offline"}},
        {"errors": [None, 7, "device_offline", [], {}]},
        {
            "errors": [
                {"error_code": None},
                {"error_code": ""},
                {"error_code": 7},
                {"warning_code": "power_saving_mode"},
            ]
        },
    ],
)
def test_what_is_no_list_of_issues_has_none(obj: object) -> None:
    assert read(obj) == ()


def test_wrong_types_beside_the_code_do_no_harm() -> None:
    assert read({"errors": [entry("provider_issue", message={"text": 1}, created_at=7)]}) == (
        Issue("provider_issue", "", CODE, True, None),
    )


def test_pins_are_cut_from_messages() -> None:
    assert read({"errors": [entry("provider_issue", message="40917 was refused")]})[0].message == "••• was refused"


def test_a_pin_at_the_edge_of_a_long_message_is_cut_before_the_message_is() -> None:
    message = read({"errors": [entry("provider_issue", message="x" * 498 + "40917")]})[0].message
    assert message == "x" * 498 + "••"


def test_there_are_at_most_twenty_and_their_words_are_bounded() -> None:
    found = read({"errors": [entry(f"fault_{letter}" * 50) for letter in "abcdefghijklmnopqrstuvwxyz"]})
    assert len(found) == 20
    assert all(len(issue.code) <= 100 for issue in found)
