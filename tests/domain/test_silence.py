"""When webhooks have fallen silent, since when, and which cause is named first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.intake import Intake
from app.domain.silence import (
    MANY_LOST,
    NEEDED,
    Evidence,
    Hook,
    Receipt,
    Silence,
    diagnose,
    explain,
    is_same_address,
    silence_of,
)

NOW = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
AFTER = timedelta(minutes=15)
URL = "https://latchwatch.test"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


RECEIVING = Intake(
    receiving_since=at(-9000), receiving_at=NOW, last_delivery_at=at(-1000), seam_event_at=at(-10), compared_at=NOW
)


def lost(count: int, since: float, **fields: Any) -> Intake:
    return replace(RECEIVING, lost=count, lost_in_a_row=count, lost_since=at(since), lost_at=at(since), **fields)


@pytest.mark.parametrize(
    ("intake", "since", "is_total"),
    [
        (RECEIVING, None, None),  # a quiet night
        (replace(RECEIVING, lost=100, lost_at=at(-2000)), None, None),  # that was made good
        (lost(1, -899), None, None),  # one may be a hiccup
        (lost(1, -900), -900, True),  # nothing came since
        (lost(1, -950, last_delivery_at=at(-899)), None, None),
        (lost(1, -950, last_delivery_at=None), -950, True),
        (lost(MANY_LOST - 1, -100), None, None),
        (lost(MANY_LOST, -100), -100, True),
        (lost(MANY_LOST, -100, last_delivery_at=at(-1)), -100, False),  # others arrive
        (lost(1, -950, receiving_since=at(-100)), None, None),  # we are back for a moment only
    ],
)
def test_silence_is_told_by_losses_alone(intake: Intake, since: float | None, *, is_total: bool | None) -> None:
    silence = silence_of(intake, NOW, AFTER, at(-9000))
    if since is None:
        assert silence is None
        return
    assert silence is not None
    assert (silence.since, silence.is_total, silence.is_received) == (at(since), is_total, True)


NOBODY = replace(RECEIVING, receiving_at=at(-1000))


@pytest.mark.parametrize(
    ("intake", "watching", "since"),
    [
        (NOBODY, -9000, -1000),
        (NOBODY, -899, None),  # this process has just started and knows nothing yet
        (replace(NOBODY, receiving_at=at(-899)), -9000, None),
        (replace(NOBODY, seam_event_at=at(-1001)), -9000, None),  # Seam has had nothing to tell since
        (replace(NOBODY, receiving_at=None, receiving_since=None), -9000, -9000),
    ],
)
def test_a_receiver_that_is_gone_is_told_once_seam_has_events(
    intake: Intake, watching: float, since: float | None
) -> None:
    silence = silence_of(intake, NOW, AFTER, at(watching))
    assert (silence.since if silence is not None else None) == (at(since) if since is not None else None)
    assert silence is None or not silence.is_received


TOTAL = Silence(at(-900), 3, is_total=True)
PARTIAL = Silence(at(-900), 7, is_total=False)
WELL = Evidence(
    public_url=URL,
    hooks=(Hook(f"{URL}/webhooks/seam", ("*",)),),
    ahead=timedelta(0),
    tolerance=timedelta(minutes=5),
    receipts=(Receipt("verified", "current", 12, at(-1000)),),
    secrets=("current",),
    last_delivery_at=at(-1000),
)


def rejected(reason: str, seconds: float = -10) -> tuple[Receipt, ...]:
    return (*WELL.receipts, Receipt("rejected", reason, 3, at(seconds)))


def hooks(*found: Hook) -> Evidence:
    return replace(WELL, hooks=found)


@pytest.mark.parametrize(
    ("silence", "evidence", "cause"),
    [
        (TOTAL, WELL, "webhooks_not_arriving"),
        (PARTIAL, WELL, "webhooks_partly_lost"),
        (TOTAL, replace(WELL, hooks=None), "webhooks_not_arriving"),  # Seam did not say
        (replace(TOTAL, is_received=False), WELL, "not_receiving"),
        (TOTAL, hooks(), "webhook_not_registered"),
        (TOTAL, hooks(Hook("https://other.test/webhooks/seam", ("*",))), "webhook_not_registered"),
        (TOTAL, hooks(Hook("HTTPS://Latchwatch.TEST/webhooks/seam/", ("*",))), "webhooks_not_arriving"),
        (TOTAL, hooks(Hook(f"{URL}/Webhooks/seam", ("*",))), "webhook_not_registered"),  # paths have a case
        (TOTAL, replace(hooks(Hook("https://x.test/webhooks/seam", ("*",))), public_url=None), "webhooks_not_arriving"),
        (TOTAL, replace(hooks(Hook("https://x.test/hook", ("*",))), public_url=None), "webhooks_not_arriving"),
        (TOTAL, replace(hooks(), public_url=None), "webhook_not_registered"),
        (TOTAL, hooks(Hook(f"{URL}/webhooks/seam", ("lock.unlocked",))), "event_types_missing"),
        (TOTAL, hooks(Hook(f"{URL}/webhooks/seam", NEEDED[1:])), "event_types_missing"),
        (TOTAL, hooks(Hook(f"{URL}/webhooks/seam", NEEDED)), "webhooks_not_arriving"),
        (TOTAL, replace(WELL, receipts=rejected("wrong_signature")), "wrong_secret"),
        (TOTAL, replace(WELL, receipts=rejected("wrong_signature", -901)), "webhooks_not_arriving"),  # long ago
        (TOTAL, replace(WELL, receipts=rejected("wrong_signature"), secrets=("new",)), "old_secret_in_use"),
        (TOTAL, replace(WELL, receipts=rejected("wrong_signature"), secrets=()), "wrong_secret"),  # cannot say
        (TOTAL, replace(WELL, receipts=rejected("too_old")), "clock_off"),
        (TOTAL, replace(WELL, receipts=rejected("too_new")), "clock_off"),
        (TOTAL, replace(WELL, ahead=timedelta(minutes=6)), "clock_off"),
        (TOTAL, replace(WELL, ahead=timedelta(minutes=-6)), "clock_off"),
        (TOTAL, replace(WELL, ahead=timedelta(minutes=5)), "webhooks_not_arriving"),
        (TOTAL, replace(WELL, receipts=rejected("missing_header")), "headers_spoilt"),
    ],
)
def test_the_cause_is_looked_for_one_by_one(silence: Silence, evidence: Evidence, cause: str) -> None:
    problem = diagnose(silence, evidence)
    assert problem.code == cause
    assert problem.kind == "webhook"
    assert not problem.temporary
    assert problem.message
    assert problem.remedy
    assert explain(silence, problem).endswith(problem.message)


def test_the_words_say_what_is_wrong_and_where() -> None:
    assert diagnose(TOTAL, replace(WELL, ahead=timedelta(minutes=6))).message.startswith(
        "This machine's clock is 360 s behind Seam's"
    )
    assert "360 s ahead of Seam's" in diagnose(TOTAL, replace(WELL, ahead=timedelta(minutes=-6))).message
    assert NEEDED[0] in diagnose(TOTAL, hooks(Hook(f"{URL}/webhooks/seam", NEEDED[1:]))).message
    assert f"{URL}/webhooks/seam" in diagnose(TOTAL, WELL).remedy
    assert "2026-08-03 11:43:20Z" in diagnose(TOTAL, WELL).message
    assert "None ever came" in diagnose(TOTAL, replace(WELL, last_delivery_at=None)).message
    assert explain(PARTIAL, diagnose(PARTIAL, WELL)).startswith("7 events in a row were brought by no webhook.")


@pytest.mark.parametrize(
    ("one", "is_same"),
    [
        ("https://latchwatch.test/webhooks/seam", True),
        ("https://latchwatch.test/webhooks/seam/", True),
        ("HTTPS://Latchwatch.Test/webhooks/seam", True),
        ("https://latchwatch.test/Webhooks/Seam", False),
        ("https://latchwatch.test/webhooks/seam?of=other", False),
        ("http://latchwatch.test/webhooks/seam", False),
        ("https://other.test/webhooks/seam", False),
    ],
)
def test_a_webhook_is_ours_if_its_address_leads_here(one: str, is_same: bool) -> None:
    assert is_same_address(one, f"{URL}/webhooks/seam") is is_same
