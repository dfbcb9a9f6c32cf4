"""The life of an access code: programmed, changed and removed as its lock behaves.

    DEFERRED ──▶ SETTING ──▶ (SCHEDULED ──▶) ON ──▶ REMOVING ──▶ gone

Each function is one thing that happens at Seam or at the lock: it changes the code, emits the events that Seam would
send, and puts the next thing on the timeline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import assert_never
from uuid import uuid4

from app.sandbox.behaviours import (
    BROKEN_RULE,
    JUST_IN_TIME_LEAD,
    NATIVE_LEAD,
    NEVER_SET_REMOVAL,
    OFFLINE_PROGRAMMING,
    OFFLINE_REMOVAL,
    Plan,
    Step,
    paced,
    until_set,
)
from app.sandbox.state import AccessCode, Change, Device, Json, Phase, UnmanagedCode, code_error, code_warning
from app.sandbox.world import World

CHANGED_EVENT = {
    "updating_code": "access_code.code_changed",
    "updating_name": "access_code.name_changed",
    "updating_time_frame": "access_code.time_frame_changed",
}
PASSING_WARNINGS = frozenset({"delay_in_setting_on_device", "delay_in_removing_from_device"})


class Life:
    def __init__(self, world: World) -> None:
        self.world = world
        self.timeline = world.timeline
        self._steps: dict[Step, Callable[[AccessCode], None]] = {
            Step.SET: self._set,
            Step.SET_ANOTHER_PIN: self._set_another_pin,
            Step.SET_UNANNOUNCED: lambda code: self._set(code, announced=False),
            Step.DELAY: self._delay,
            Step.FAIL: self._fail,
            Step.MODIFY_EXTERNALLY: self._modify_externally,
            Step.DELETE_EXTERNALLY: self._delete_externally,
            Step.REMOVE: self._removed,
            Step.DELAY_REMOVAL: self._delay_removal,
            Step.FAIL_REMOVAL: self._fail_removal,
        }

    # What people ask of Seam.

    def begin(self, code: AccessCode) -> None:
        """Take in a new code and start its life."""
        self.world.codes[code.access_code_id] = code
        self.world.tell(code, "access_code.created")
        self._arm_end(code)
        if code.is_offline:
            # The vendor computes it: valid from now on, without a word from the lock.
            code.enter(Phase.ON, self.timeline.now)
        else:
            self._program(code)

    def change(self, code: AccessCode, changes: list[Change]) -> None:
        """Follow an update whose new values stand on the code already."""
        requested = [_requested(change) for change in changes]
        self.world.tell(code, "access_code.mutations_requested", requested_mutations=requested)
        self._arm_end(code)
        if code.phase is Phase.REMOVING:
            self._revive(code)
        if code.on_lock:
            code.changes.extend(changes)
            self._follow(code, until_set(self._programming_plan(code)))
        else:
            self._program(code)

    def ask_end(self, code: AccessCode) -> None:
        """Delete a code; asking again changes nothing."""
        if code.end_asked:
            return
        code.end_asked = True
        self.world.tell(code, "access_code.mutations_requested", requested_mutations=[{"mutation_code": "deleting"}])
        message = "This access code is being deleted."
        code.warnings.append(code_warning("being_deleted", message, self.timeline.now))
        self._remove(code)

    def pull_backup(self, code: AccessCode) -> AccessCode:
        """Give out a code of the lock's pool, which the lock holds already, in the place of ``code``."""
        backup = self._take_from_pool(code)
        code.pulled_backup_id = backup.access_code_id
        message = f"Use the backup access code {backup.pin} instead of this one."
        code.warnings.append(code_warning("using_backup_access_code", message, self.timeline.now))
        event_type = "access_code.backup_access_code_pulled"
        self.world.tell(code, event_type, backup_access_code_id=backup.access_code_id)
        return backup

    def add_foreign_code(self, code: UnmanagedCode) -> None:
        self.world.unmanaged[code.access_code_id] = code
        self.world.tell(code, "access_code.unmanaged.created")

    def resume(self, device: Device) -> None:
        """Take up what a lock still owes, after it came or went or changed its behaviour."""
        for code in self.world.codes_on(device.device_id):
            match code.phase:
                case Phase.SETTING:
                    self._follow(code, self._programming_plan(code))
                case Phase.REMOVING:
                    self._follow(code, self._removal_plan(code))
                case Phase.ON | Phase.SCHEDULED if code.changes:
                    self._follow(code, until_set(self._programming_plan(code)))
                case Phase.DEFERRED | Phase.ON | Phase.SCHEDULED:
                    pass
                case _:
                    assert_never(code.phase)

    def _take_from_pool(self, code: AccessCode) -> AccessCode:
        backup = replace(
            code,
            access_code_id=str(uuid4()),
            name=f"Backup of {code.name or code.access_code_id}",
            pin=self.world.free_pin(code.device_id, len(code.pin)),
            created_at=self.timeline.now,
            is_backup=True,
            uses_backup_pool=False,
            changes=[],
            errors=[],
            warnings=[],
        )
        self.world.codes[backup.access_code_id] = backup
        self._arm_end(backup)
        self._set(backup)
        return backup

    # Programming.

    def _program(self, code: AccessCode) -> None:
        lead = NATIVE_LEAD if self._is_native(code) else JUST_IN_TIME_LEAD
        if code.starts_at is None or code.starts_at - lead <= self.timeline.now:
            self._start_setting(code)
            return
        code.deferred_until = code.starts_at - lead
        code.enter(Phase.DEFERRED, self.timeline.now)
        self._defer(code, code.deferred_until)

    def _start_setting(self, code: AccessCode) -> None:
        code.deferred_until = None
        code.enter(Phase.SETTING, self.timeline.now)
        self._follow(code, self._programming_plan(code))

    def _programming_plan(self, code: AccessCode) -> Plan:
        device = self.world.device_of(code)
        if not device.online:
            return OFFLINE_PROGRAMMING
        if self._broken_rule(code):
            return BROKEN_RULE
        return paced(device.habit.programming, device.set_after_seconds)

    def _is_native(self, code: AccessCode) -> bool:
        return self.world.device_of(code).habit.schedules_natively and code.prefer_native_scheduling

    def _broken_rule(self, code: AccessCode) -> Json | None:
        """The error that keeps this PIN off this lock, if there is one."""
        now = self.timeline.now
        foreign = self.world.foreign_pins_on(code.device_id).get(code.pin)
        if foreign is not None:
            message = f"The code {code.pin} is on the lock already."
            return code_error("duplicate_code_on_device", message, now, unmanaged_access_code_id=foreign)
        if len(code.pin) not in self.world.device_of(code).spec.supported_code_lengths:
            return code_error("code_constraints_violated", f"The lock does not accept the code {code.pin}.", now)
        return None

    # The steps.

    def _set(self, code: AccessCode, *, announced: bool = True) -> None:
        _heal(code)
        if code.changes:
            self._confirm_changes(code, announced=announced)
            return
        code.on_lock = True
        if self._waits_in_the_lock(code):
            code.enter(Phase.SCHEDULED, self.timeline.now)
            self.world.tell(code, "access_code.scheduled_on_device", code=code.pin, announced=announced)
            self._arm_start(code)
            return
        code.enter(Phase.ON, self.timeline.now)
        self.world.tell(code, "access_code.set_on_device", code=code.pin, announced=announced)

    def _waits_in_the_lock(self, code: AccessCode) -> bool:
        return self._is_native(code) and code.starts_at is not None and code.starts_at > self.timeline.now

    def _set_another_pin(self, code: AccessCode) -> None:
        """The lock took another PIN than asked, and Seam's object follows the lock."""
        if not code.changes:
            code.pin = self.world.free_pin(code.device_id, len(code.pin))
        self._set(code)

    def _confirm_changes(self, code: AccessCode, *, announced: bool) -> None:
        confirmed, code.changes = code.changes, []
        for change in confirmed:
            self.world.tell(
                code,
                CHANGED_EVENT[change.mutation_code],
                announced=announced,
                description="The device has taken the change.",
                **{"from": change.before, "to": change.after},
            )
            properties = [
                {"property": name, "from": change.before[name], "to": change.after[name]} for name in change.after
            ]
            reason = "Changed through Seam."
            self.world.tell(
                code, "access_code.changed", announced=announced, changed_properties=properties, change_reason=reason
            )
        code.enter(Phase.SCHEDULED if self._waits_in_the_lock(code) else Phase.ON, self.timeline.now)
        self._arm_start(code)

    def _delay(self, code: AccessCode) -> None:
        message = "It takes unusually long to set this code on the lock. Seam keeps trying."
        code.warnings.append(code_warning("delay_in_setting_on_device", message, self.timeline.now))
        self.world.tell_issue(code, "access_code.delay_in_setting_on_device")

    def _fail(self, code: AccessCode) -> None:
        # Seam's free text may hold the PIN: whoever reads it has to cut it out.
        message = f"Failed to set code {code.pin} on the lock. Seam will retry."
        failure = code_error("failed_to_set_on_device", message, self.timeline.now)
        code.errors = [failure, *self._causes(code)]
        self.world.tell_issue(code, "access_code.failed_to_set_on_device")

    def _causes(self, code: AccessCode) -> list[Json]:
        device = self.world.device_of(code)
        if not device.online:
            return []
        rule = self._broken_rule(code)
        if rule is not None:
            return [rule]
        return [code_error(device.failure, f"The lock refused {code.name or code.pin}.", self.timeline.now)]

    def _modify_externally(self, code: AccessCode) -> None:
        other = self.world.free_pin(code.device_id, len(code.pin))
        self.world.tell(code, "access_code.modified_external_to_seam")
        self._react_to_meddling(code, "modified", [{"field": "code", "from": code.pin, "to": other}])

    def _delete_externally(self, code: AccessCode) -> None:
        code.on_lock = False
        self.world.tell(code, "access_code.deleted_external_to_seam")
        self._react_to_meddling(code, "removed", [])

    def _react_to_meddling(self, code: AccessCode, change_type: str, fields: list[Json]) -> None:
        """Seam sets the code again, unless changes from outside are allowed."""
        now = self.timeline.now
        message = "The code was changed in the vendor's app."
        details: Json = {"change_type": change_type, "modified_fields": fields}
        if code.is_external_modification_allowed:
            code.warnings.append(code_warning("external_modification_in_effect", message, now, **details))
            code.turn += 1
        else:
            code.errors = [code_error("conflicting_external_modification", message, now, **details)]
            code.enter(Phase.SETTING, now)

    # The end.

    def _ended(self, code: AccessCode, ends_at: datetime) -> None:
        is_current = self.world.codes.get(code.access_code_id) is code and code.ends_at == ends_at
        if is_current and code.phase is not Phase.REMOVING:
            self._remove(code)

    def _remove(self, code: AccessCode) -> None:
        code.enter(Phase.REMOVING, self.timeline.now)
        self._follow(code, self._removal_plan(code))

    def _removal_plan(self, code: AccessCode) -> Plan:
        device = self.world.device_of(code)
        if not code.on_lock:
            return NEVER_SET_REMOVAL
        return device.habit.removal if device.online else OFFLINE_REMOVAL

    def _removed(self, code: AccessCode) -> None:
        if code.on_lock:
            code.on_lock = False
            self.world.tell(code, "access_code.removed_from_device")
        del self.world.codes[code.access_code_id]
        self.world.tell(code, "access_code.deleted", code=code.pin)

    def _delay_removal(self, code: AccessCode) -> None:
        message = "It takes unusually long to remove this code from the lock. Seam keeps trying."
        code.warnings.append(code_warning("delay_in_removing_from_device", message, self.timeline.now))
        self.world.tell_issue(code, "access_code.delay_in_removing_from_device")

    def _fail_removal(self, code: AccessCode) -> None:
        message = f"Failed to remove code {code.pin} from the lock. Seam will retry."
        code.errors = [code_error("failed_to_remove_from_device", message, self.timeline.now)]
        self.world.tell_issue(code, "access_code.failed_to_remove_from_device")

    def _revive(self, code: AccessCode) -> None:
        """A window that was moved on calls off the removal that its old end began."""
        _heal(code)
        code.enter(Phase.ON if code.on_lock else Phase.SETTING, self.timeline.now)

    # Timers.

    def _follow(self, code: AccessCode, plan: Plan) -> None:
        """Give up what was planned for this code, and take these steps instead."""
        code.turn += 1
        self._next_step(code, plan, code.turn)

    def _next_step(self, code: AccessCode, plan: Plan, turn: int) -> None:
        if not plan:
            return
        (seconds, step), *rest = plan

        def take() -> None:
            if code.turn == turn:
                self._steps[step](code)
                self._next_step(code, tuple(rest), turn)

        self.timeline.after(seconds, take)

    def _defer(self, code: AccessCode, moment: datetime) -> None:
        code.turn += 1
        turn = code.turn

        def start() -> None:
            if code.turn == turn:
                self._start_setting(code)

        self.timeline.at(moment, start)

    def _arm_start(self, code: AccessCode) -> None:
        starts_at = code.starts_at
        if starts_at is None or code.phase is not Phase.SCHEDULED:
            return

        def activate() -> None:
            if code.phase is Phase.SCHEDULED and code.starts_at == starts_at:
                code.enter(Phase.ON, self.timeline.now)
                self.world.tell(code, "access_code.set_on_device", code=code.pin)

        self.timeline.at(starts_at, activate)

    def _arm_end(self, code: AccessCode) -> None:
        ends_at = code.ends_at
        if ends_at is not None:
            self.timeline.at(ends_at, lambda: self._ended(code, ends_at))


def _heal(code: AccessCode) -> None:
    code.errors = []
    code.warnings = [warning for warning in code.warnings if warning["warning_code"] not in PASSING_WARNINGS]


def _requested(change: Change) -> Json:
    return {"mutation_code": change.mutation_code, "from": change.before, "to": change.after}
