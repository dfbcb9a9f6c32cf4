"""The simulated workspace: its locks and codes, and the events that tell of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from datetime import timedelta
from uuid import uuid4

from app.sandbox.behaviours import Behaviour
from app.sandbox.fleet import DeviceSpec
from app.sandbox.objects import battery_status
from app.sandbox.state import (
    CONNECTED_ACCOUNT_ID,
    WORKSPACE_ID,
    AccessCode,
    Device,
    Event,
    Json,
    UnmanagedCode,
    iso,
    whole_milliseconds,
)
from app.sandbox.timeline import Timeline

MILLISECOND = timedelta(milliseconds=1)
LOW_BATTERY = 0.3

Listener = Callable[[Event], None]


class World:
    """Everything that Seam would keep. ``listener`` is told of each event that webhooks shall carry."""

    def __init__(self, timeline: Timeline, fleet: Iterable[DeviceSpec], listener: Listener) -> None:
        self.timeline = timeline
        self.devices: dict[str, Device] = {}
        self.codes: dict[str, AccessCode] = {}
        self.unmanaged: dict[str, UnmanagedCode] = {}
        self.events: list[Event] = []
        self._listener = listener
        for spec in fleet:
            self.add_device(spec)

    def add_device(self, spec: DeviceSpec) -> Device:
        device = Device(spec, self.timeline.now, spec.behaviour, spec.set_after_seconds, spec.error_code)
        device.online = spec.behaviour is not Behaviour.OFFLINE
        self.devices[spec.device_id] = device
        return device

    def device_of(self, code: AccessCode) -> Device:
        return self.devices[code.device_id]

    def codes_on(self, device_id: str) -> list[AccessCode]:
        return [code for code in self.codes.values() if code.device_id == device_id]

    def pins_on(self, device_id: str) -> set[str]:
        """The PINs that Seam manages on a lock, an old one that waits for its change among them."""
        codes = self.codes_on(device_id)
        old = {change.before["code"] for code in codes for change in code.changes if "code" in change.before}
        return old | {code.pin for code in codes}

    def foreign_pins_on(self, device_id: str) -> dict[str, str]:
        return {code.pin: code.access_code_id for code in self.unmanaged.values() if code.device_id == device_id}

    def free_pin(self, device_id: str, length: int) -> str:
        taken = self.pins_on(device_id) | set(self.foreign_pins_on(device_id))
        while (pin := f"{secrets.randbelow(10**length):0{length}d}") in taken:
            pass
        return pin

    def emit(self, event_type: str, fields: Json, *, announced: bool = True) -> Event:
        """Record an event, and hand it to the webhooks unless it is not ``announced``.

        Events of one instant are set a millisecond apart, so that their order can be read off their times.
        """
        at = whole_milliseconds(self.timeline.now)
        if self.events and at < self.events[-1].at + MILLISECOND:
            at = self.events[-1].at + MILLISECOND
        common = {
            "event_id": str(uuid4()),
            "event_type": event_type,
            "workspace_id": WORKSPACE_ID,
            "created_at": iso(at),
            "occurred_at": iso(at),
        }
        event = Event(at, {**common, **fields})
        self.events.append(event)
        if announced:
            self._listener(event)
        return event

    def tell(
        self, about: AccessCode | UnmanagedCode, event_type: str, /, *, announced: bool = True, **fields: object
    ) -> None:
        """Emit an event about one access code."""
        subject = {"access_code_id": about.access_code_id, **self._about_device(about.device_id)}
        self.emit(event_type, {**subject, **fields}, announced=announced)

    def tell_issue(self, code: AccessCode, event_type: str) -> None:
        """Emit an event with the six lists of errors and warnings that Seam sends along with delays and failures."""
        self.tell(
            code,
            event_type,
            access_code_errors=list(code.errors),
            access_code_warnings=list(code.warnings),
            **self._device_issues(self.device_of(code)),
        )

    def tell_device(self, device: Device, event_type: str, /, *, announced: bool = True, **fields: object) -> None:
        self.emit(event_type, {**self._about_device(device.device_id), **fields}, announced=announced)

    def set_online(self, device: Device, *, online: bool, announced: bool = True) -> None:
        """Connect or disconnect a lock, and say so; unless it is ``announced``, in the list of events alone."""
        if device.online == online:
            return
        device.online, device.online_changed_at = online, self.timeline.now
        if online:
            self.tell_device(device, "device.connected", announced=announced)
        else:
            issues = self._device_issues(device)
            self.tell_device(
                device, "device.disconnected", announced=announced, error_code="device_disconnected", **issues
            )

    def set_battery(self, device: Device, level: float) -> None:
        device.battery_level = level
        status = battery_status(level)
        self.tell_device(device, "device.battery_status_changed", battery_level=level, battery_status=status)
        if level < LOW_BATTERY:
            self.tell_device(device, "device.low_battery", battery_level=level)

    def _about_device(self, device_id: str) -> Json:
        return {
            "device_id": device_id,
            "connected_account_id": CONNECTED_ACCOUNT_ID,
            "device_custom_metadata": {},
            "connected_account_custom_metadata": {},
        }

    def _device_issues(self, device: Device) -> Json:
        return {
            "device_errors": device.errors,
            "device_warnings": [],
            "connected_account_errors": [],
            "connected_account_warnings": [],
        }
