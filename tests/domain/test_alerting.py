"""When people are told, of what together, and how often that is tried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.alerting import (
    MOST_TOLD_TOGETHER,
    TRIED_FOR,
    Alert,
    AlertPolicy,
    AlertState,
    Change,
    alert_id,
    is_permanent,
    message_id,
    next_attempt,
    plan,
    read_retry_after,
    state_of,
)

NOON = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
POLICY = AlertPolicy()
OFFLINE = {"kind": "device", "code": "device_disconnected"}
LOGGED_OUT = {"kind": "connected_account", "code": "account_disconnected"}


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def alert(flag_id: str, change: Change = Change.OPENED, at: float = 0, **known: Any) -> Alert:
    """An alert of a stuck code on the lock "door", written ``at`` seconds after noon."""
    values: dict[str, Any] = {
        "id": alert_id(flag_id, change, 1),
        "change": change,
        "created_at": later(at),
        "flag_id": flag_id,
        "kind": "stuck",
        "severity": "critical",
        "reason": "It is not on the lock.",
        "opened_at": NOON,
        "flagged_at": NOON,
        "code_id": f"code of {flag_id}",
        "device_id": "door",
        "account_id": "account",
    }
    return Alert(**{**values, **known})


def told(*alerts: Alert, at: float = 60, policy: AlertPolicy = POLICY) -> list[str]:
    """The flags of each message, as in "a+b"."""
    found = plan(alerts, later(at), policy)
    return ["+".join(one.flag_id for one in message) for message in found.messages]


TOGETHER: dict[str, tuple[list[Alert], list[str]]] = {
    "one kind on one lock": ([alert("a"), alert("b", at=4)], ["a+b"]),
    "one kind on two locks": ([alert("a"), alert("b", device_id="gate")], ["a", "b"]),
    "two kinds on one lock": ([alert("a"), alert("b", kind="lost")], ["a", "b"]),
    "two kinds with one problem": ([alert("a", problem=OFFLINE), alert("b", kind="failed", problem=OFFLINE)], ["a+b"]),
    "bound through a third": (
        [alert("a", problem=OFFLINE), alert("b", kind="failed", problem=OFFLINE), alert("c", kind="failed")],
        ["a+b+c"],
    ),
    "the account's problem on two locks": (
        [alert("a", problem=LOGGED_OUT), alert("b", device_id="gate", problem=LOGGED_OUT)],
        ["a+b"],
    ),
    "two accounts' problems": (
        [alert("a", problem=LOGGED_OUT), alert("b", account_id="other", problem=LOGGED_OUT)],
        ["a", "b"],
    ),
    "the lock's problem on two locks of one account": (
        [alert("a", problem=OFFLINE), alert("b", device_id="gate", problem=OFFLINE)],
        ["a", "b"],
    ),
    "opened and closed": ([alert("a"), alert("b", Change.CLOSED, opening=AlertState.SENT)], ["a", "b"]),
    "too far apart": ([alert("a"), alert("b", at=5.1)], ["a", "b"]),
    "at the edge": ([alert("a"), alert("b", at=5)], ["a+b"]),
    "counted from the first": ([alert("a"), alert("b", at=4), alert("c", at=8)], ["a+b", "c"]),
    "codes without a lock": ([alert("a", device_id=None), alert("b", device_id=None)], ["a", "b"]),
    "in the order of time": ([alert("b", at=1), alert("a", at=2), alert("c")], ["c+b+a"]),
    "no more than fit": (
        [alert(f"{number:03}") for number in range(MOST_TOLD_TOGETHER + 1)],
        ["+".join(f"{number:03}" for number in range(MOST_TOLD_TOGETHER)), f"{MOST_TOLD_TOGETHER:03}"],
    ),
}


@pytest.mark.parametrize(("alerts", "messages"), TOGETHER.values(), ids=TOGETHER)
def test_what_one_cause_binds_is_told_as_one(alerts: list[Alert], messages: list[str]) -> None:
    assert told(*alerts) == messages


def test_the_order_in_which_alerts_are_read_changes_nothing() -> None:
    alerts = [alert(f"{number}", at=number % 7, kind="stuck" if number % 2 else "lost") for number in range(12)]
    assert told(*alerts[::-1]) == told(*alerts[5:], *alerts[:5]) == told(*alerts)


def test_one_flag_is_in_a_message_once() -> None:
    reminders = [alert("a", Change.REMINDER, number, id=f"a:reminder:{number}") for number in (1, 2)]
    assert told(*reminders) == ["a", "a"]


TIMES: dict[str, tuple[AlertPolicy, Alert, float]] = {
    "opened waits for others": (POLICY, alert("a"), 5),
    "closed waits for others": (POLICY, alert("a", Change.CLOSED, opening=AlertState.SENT), 5),
    "a reminder waits for others": (POLICY, alert("a", Change.REMINDER), 5),
    "opened waits whether it closes at once": (AlertPolicy(after=timedelta(seconds=60)), alert("a"), 65),
    "closed does not": (
        AlertPolicy(after=timedelta(seconds=60)),
        alert("a", Change.CLOSED, closed_at=later(99), opening=AlertState.SENT),
        5,
    ),
    "nothing waits if nothing is to be waited for": (AlertPolicy(group_within=timedelta(0)), alert("a"), 0),
}


@pytest.mark.parametrize(("policy", "one", "seconds"), TIMES.values(), ids=TIMES)
def test_an_alert_is_told_when_its_time_has_come(policy: AlertPolicy, one: Alert, seconds: float) -> None:
    assert told(one, at=seconds, policy=policy) == ["a"]
    assert seconds == 0 or told(one, at=seconds - 0.001, policy=policy) == []


SHORT = AlertPolicy(after=timedelta(seconds=60))
SKIPPED: dict[str, tuple[AlertPolicy, Alert, list[str]]] = {
    "closed within the first seconds": (
        SHORT,
        alert("a", Change.CLOSED, 59.9, closed_at=later(59.9)),
        ["a:closed", "a:opened"],
    ),
    "the same, seen from its opening": (SHORT, alert("a", closed_at=later(59.9)), ["a:opened"]),
    "closed just after": (SHORT, alert("a", Change.CLOSED, 60, closed_at=later(60)), []),
    "closed at once, and everything is told": (POLICY, alert("a", Change.CLOSED, closed_at=NOON), []),
    "its opening was told under another setting": (
        SHORT,
        alert("a", Change.CLOSED, closed_at=later(1), opening=AlertState.SENT),
        [],
    ),
    "its opening was given up": (SHORT, alert("a", Change.CLOSED, closed_at=later(1), opening=AlertState.DEAD), []),
    "its opening was told to nobody": (
        POLICY,
        alert("a", Change.CLOSED, closed_at=later(99), opening=AlertState.SKIPPED),
        ["a:closed"],
    ),
    "a reminder of what has closed": (POLICY, alert("a", Change.REMINDER, closed_at=later(1)), ["a:reminder:1"]),
    "a reminder that was answered": (POLICY, alert("a", Change.REMINDER, acknowledged_at=later(1)), ["a:reminder:1"]),
    "a reminder after a snooze": (POLICY, alert("a", Change.REMINDER, 9, acknowledged_at=later(1)), []),
}


@pytest.mark.parametrize(("policy", "one", "skipped"), SKIPPED.values(), ids=SKIPPED)
def test_what_nobody_needs_to_know_is_skipped(policy: AlertPolicy, one: Alert, skipped: list[str]) -> None:
    found = plan([one], later(600), policy)
    assert list(found.skipped) == skipped
    assert bool(found.messages) is not bool(skipped)


def test_a_storm_is_planned_at_once() -> None:
    """The plan is made in the loop that also receives webhooks: it must not grow with the square of the alerts."""
    looks = 0

    class Problem(dict[str, Any]):
        def get(self, *args: Any) -> Any:
            nonlocal looks
            looks += 1
            return super().get(*args)

    alerts = [alert(f"{number}", device_id=f"lock {number}", problem=Problem(OFFLINE)) for number in range(1000)]
    assert len(told(*alerts)) == 1000
    assert 0 < looks < 20 * len(alerts)


def test_a_message_is_known_by_what_it_tells() -> None:
    assert message_id(["b", "a"]) == message_id(["a", "b"])
    assert message_id(["a"]) != message_id(["a", "b"])
    assert message_id(["a"]).startswith("msg_")


@pytest.mark.parametrize(
    ("deliveries", "state"),
    [
        (["pending"], AlertState.SENDING),
        (["sent", "pending"], AlertState.SENDING),
        (["sent", "sent"], AlertState.SENT),
        (["sent", "dead"], AlertState.DEAD),
        (["pending", "dead"], AlertState.DEAD),
    ],
)
def test_the_state_of_an_alert_is_that_of_its_channels(deliveries: list[str], state: AlertState) -> None:
    assert state_of(deliveries) is state


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(1, 5), (2, 10), (3, 20), (4, 40), (7, 320), (10, 2560), (11, 3600), (30, 3600), (9999, 3600)],
)
def test_pauses_double_up_to_an_hour(attempts: int, seconds: float) -> None:
    assert next_attempt(attempts, NOON, NOON, None, lambda: 1.0) == later(seconds)
    assert next_attempt(attempts, NOON, NOON, None, lambda: 0.0) == later(seconds * 0.8)


AGAIN: dict[str, tuple[float, float | None, float | None]] = {
    # the time of the failure, Retry-After, the next attempt: in seconds, at the first attempt's pause
    "a longer pause that is asked for": (0, 90, 90),
    "a shorter one": (0, 1, 5),
    "the last attempt is at the end of the day": (86_398, None, 86_400),
    "no later than that, whatever is asked for": (0, 100_000, 86_400),
    "given up at the end of the day": (86_400, None, None),
    "given up after it": (90_000, 5, None),
}


@pytest.mark.parametrize(("failed_at", "asked", "again"), AGAIN.values(), ids=AGAIN)
def test_a_failure_is_tried_again_for_a_day(failed_at: float, asked: float | None, again: float | None) -> None:
    retry_after = timedelta(seconds=asked) if asked is not None else None
    found = next_attempt(1, NOON, later(failed_at), retry_after, lambda: 1.0)
    assert found == (later(again) if again is not None else None)


def test_a_message_is_tried_some_thirty_times() -> None:
    now, attempts = NOON, 1
    while (again := next_attempt(attempts, NOON, now, None, lambda: 0.5)) is not None:
        now, attempts = again, attempts + 1
    assert now == NOON + TRIED_FOR
    assert 30 <= attempts <= 40


@pytest.mark.parametrize("status", [300, 301, 308, 400, 401, 403, 404, 410, 413, 422])
def test_what_repeating_cannot_heal_is_permanent(status: int) -> None:
    assert is_permanent(status)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504])
def test_what_may_heal_is_not(status: int) -> None:
    assert not is_permanent(status)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0),
        (" 120 ", 120),
        ("99999999999999999999", 86_400),
        ("Mon, 03 Aug 2026 12:01:00 GMT", 60),
        ("Mon, 03 Aug 2026 11:00:00 GMT", 0),
        ("Mon, 03 Aug 2026 12:01:00 -0000", 60),
        ("Mon, 03 Aug 2099 12:01:00 GMT", 86_400),
    ],
)
def test_retry_after_is_read_in_both_of_its_forms(header: str | None, seconds: float | None) -> None:
    expected = timedelta(seconds=seconds) if seconds is not None else None
    assert read_retry_after(header, NOON) == expected
