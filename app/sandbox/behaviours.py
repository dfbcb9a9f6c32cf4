"""How the simulated locks behave: what happens to a code, and after how many seconds.

The seconds of a step count from the step before it, the first from the moment when Seam starts to program (or to
remove) the code. They are divided by the sandbox's speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType


class Behaviour(StrEnum):
    """The name of a lock's behaviour, as ``POST /sandbox/devices/{id}`` takes it."""

    SETS_AT_ONCE = "sets_at_once"
    SLOW = "slow"
    DELAYS_THEN_SETS = "delays_then_sets"
    FAILS = "fails"
    FAILS_THEN_SETS = "fails_then_sets"
    WRONG_PIN = "wrong_pin"
    SILENT = "silent"
    SILENT_WEBHOOK = "silent_webhook"
    NEVER_REMOVES = "never_removes"
    NATIVE = "native"
    JUST_IN_TIME = "just_in_time"
    OFFLINE = "offline"
    NO_ACCESS_CODES = "no_access_codes"
    MODIFIED_EXTERNALLY = "modified_externally"
    DELETED_EXTERNALLY = "deleted_externally"
    LOST = "lost"


class Step(StrEnum):
    """One thing that happens to a code on its way onto the lock, or off it."""

    SET = "set"
    SET_ANOTHER_PIN = "set_another_pin"
    SET_UNANNOUNCED = "set_unannounced"
    DELAY = "delay"
    FAIL = "fail"
    MODIFY_EXTERNALLY = "modify_externally"
    DELETE_EXTERNALLY = "delete_externally"
    REMOVE = "remove"
    DELAY_REMOVAL = "delay_removal"
    FAIL_REMOVAL = "fail_removal"


Plan = tuple[tuple[float, Step], ...]

SETTING_STEPS = frozenset({Step.SET, Step.SET_ANOTHER_PIN, Step.SET_UNANNOUNCED})


@dataclass(frozen=True, slots=True)
class Habit:
    """What a behaviour does. ``error_code`` stands beside ``failed_to_set_on_device`` when a step fails."""

    programming: Plan
    removal: Plan = ((10, Step.REMOVE),)
    schedules_natively: bool = False
    error_code: str = "provider_issue"


HABITS: Mapping[Behaviour, Habit] = MappingProxyType(
    {
        Behaviour.SETS_AT_ONCE: Habit(((1, Step.SET),)),
        Behaviour.SLOW: Habit(((120, Step.SET),)),
        Behaviour.DELAYS_THEN_SETS: Habit(((60, Step.DELAY), (120, Step.SET))),
        Behaviour.FAILS: Habit(((30, Step.FAIL),), error_code="no_space_for_access_code_on_device"),
        Behaviour.FAILS_THEN_SETS: Habit(((30, Step.FAIL), (120, Step.SET))),
        Behaviour.WRONG_PIN: Habit(((5, Step.SET_ANOTHER_PIN),)),
        Behaviour.SILENT: Habit(()),
        Behaviour.SILENT_WEBHOOK: Habit(((5, Step.SET_UNANNOUNCED),)),
        Behaviour.NEVER_REMOVES: Habit(((5, Step.SET),), removal=((60, Step.DELAY_REMOVAL), (60, Step.FAIL_REMOVAL))),
        Behaviour.NATIVE: Habit(((20, Step.SET),), schedules_natively=True),
        Behaviour.JUST_IN_TIME: Habit(((20, Step.SET),)),
        Behaviour.OFFLINE: Habit(((5, Step.SET),)),
        Behaviour.NO_ACCESS_CODES: Habit(()),
        Behaviour.MODIFIED_EXTERNALLY: Habit(((5, Step.SET), (60, Step.MODIFY_EXTERNALLY), (60, Step.SET))),
        Behaviour.DELETED_EXTERNALLY: Habit(((5, Step.SET), (60, Step.DELETE_EXTERNALLY), (60, Step.SET))),
        Behaviour.LOST: Habit(((5, Step.SET), (60, Step.DELETE_EXTERNALLY))),
    }
)

OFFLINE_PROGRAMMING: Plan = ((60, Step.DELAY), (240, Step.FAIL))
OFFLINE_REMOVAL: Plan = ((60, Step.DELAY_REMOVAL), (240, Step.FAIL_REMOVAL))
BROKEN_RULE: Plan = ((5, Step.FAIL),)
NEVER_SET_REMOVAL: Plan = ((2, Step.REMOVE),)

NATIVE_LEAD = timedelta(hours=72)
JUST_IN_TIME_LEAD = timedelta(minutes=60)


def paced(plan: Plan, set_after_seconds: float | None) -> Plan:
    """The same plan with another wait before its first setting step; ``None`` leaves it alone."""
    first = next((number for number, (_, step) in enumerate(plan) if step in SETTING_STEPS), None)
    if set_after_seconds is None or first is None:
        return plan
    return (*plan[:first], (set_after_seconds, plan[first][1]), *plan[first + 1 :])


def until_set(plan: Plan) -> Plan:
    """The plan up to its first setting step: what a change of a code goes through."""
    first = next((number for number, (_, step) in enumerate(plan) if step in SETTING_STEPS), len(plan))
    return plan[: first + 1]
