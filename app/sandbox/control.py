"""``/sandbox/*``: the strings behind the scenes. Not a part of Seam's API, and without a key: loopback only."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta

from starlette.requests import Request

from app.sandbox.behaviours import Behaviour
from app.sandbox.fleet import DeviceSpec
from app.sandbox.requests import Params, invalid, read_json, read_params
from app.sandbox.sandbox import Sandbox
from app.sandbox.settings import FAULT_NAMES
from app.sandbox.state import Device, Json, iso

DELIVERIES_DEFAULT = 100


async def state(sandbox: Sandbox, _request: Request) -> Json:
    world = sandbox.world
    return {
        "now": iso(sandbox.now),
        "manual_time": sandbox.settings.manual_time,
        "speed": sandbox.settings.speed,
        "faults": asdict(sandbox.courier.faults),
        "devices": [_device(sandbox, device) for device in world.devices.values()],
        "access_codes": [
            {
                "access_code_id": code.access_code_id,
                "device_id": code.device_id,
                "name": code.name,
                "phase": code.phase,
                "on_lock": code.on_lock,
            }
            for code in world.codes.values()
        ],
        "webhooks": [webhook.url for webhook in sandbox.courier.webhooks.values()],
        "events": len(world.events),
        "waiting": sandbox.timeline.waiting,
    }


async def deliveries(sandbox: Sandbox, request: Request) -> Json:
    """The newest first; ``limit`` and ``state`` choose."""
    params = await read_params(request)
    wanted = params.text("state")
    found = [entry.as_json() for entry in reversed(sandbox.courier.log) if wanted in {None, entry.state}]
    return {"deliveries": found[: params.limit(DELIVERIES_DEFAULT, 10_000)]}


async def change_device(sandbox: Sandbox, request: Request) -> Json:
    """Change what a lock does from now on; an unknown id adds a lock."""
    device_id = str(request.path_params["device_id"])
    settings = DeviceControl(await read_json(request))
    device = sandbox.world.devices.get(device_id) or sandbox.world.add_device(
        DeviceSpec(device_id=device_id, behaviour=settings.behaviour or Behaviour.SETS_AT_ONCE)
    )
    settings.apply(sandbox, device)
    return {"device": _device(sandbox, device)}


class DeviceControl:
    """The body of ``POST /sandbox/devices/{id}``, checked before anything is changed."""

    def __init__(self, body: Json) -> None:
        known = {"behaviour", "online", "battery_level", "set_after_seconds", "error_code", "announced"}
        for name in body.keys() - known:
            raise invalid(name, f"Unknown; known are {', '.join(sorted(known))}")
        params = Params({name: [value] for name, value in body.items() if value is not None})
        self.behaviour = _behaviour(params.text("behaviour"))
        self.online = params.flag("online") if "online" in params else None
        self.announced = params.flag("announced", default=True)
        self.battery_level = _at_least_zero(params, "battery_level", most=1.0)
        self.set_after_seconds = _at_least_zero(params, "set_after_seconds")
        self.error_code = params.text("error_code")

    def apply(self, sandbox: Sandbox, device: Device) -> None:
        if self.behaviour is not None:
            device.behaviour = self.behaviour
            device.set_after_seconds = device.error_code = None
        if self.set_after_seconds is not None:
            device.set_after_seconds = self.set_after_seconds
        if self.error_code is not None:
            device.error_code = self.error_code
        sandbox.world.set_online(device, online=self._will_be_online(device), announced=self.announced)
        if self.battery_level is not None:
            sandbox.world.set_battery(device, self.battery_level)
        sandbox.life.resume(device)

    def _will_be_online(self, device: Device) -> bool:
        if self.online is not None:
            return self.online
        return device.online if self.behaviour is None else self.behaviour is not Behaviour.OFFLINE


async def change_faults(sandbox: Sandbox, request: Request) -> Json:
    """Faults of the deliveries from now on; those that are not named stay as they are."""
    body = await read_json(request)
    known = {*FAULT_NAMES, "delay_seconds"}
    for name, value in body.items():
        if name not in known:
            raise invalid(name, f"Unknown; known are {', '.join(sorted(known))}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(name, "Expected number")
    sandbox.courier.faults = replace(sandbox.courier.faults, **body)
    return {"faults": asdict(sandbox.courier.faults)}


async def emit_event(sandbox: Sandbox, request: Request) -> Json:
    """Send any event. It changes nothing in the simulated world; what is not given is filled in."""
    body = await read_json(request)
    event_type = body.get("event_type")
    if not isinstance(event_type, str):
        raise invalid("event_type", "Required")
    fields = {name: value for name, value in body.items() if name != "event_type"}
    return {"event": sandbox.world.emit(event_type, {**_known_device(sandbox, body), **fields}).body}


async def advance(sandbox: Sandbox, request: Request) -> Json:
    """Move manual time by ``seconds``, or to the moment ``to``."""
    params = await read_params(request)
    seconds, moment = _at_least_zero(params, "seconds"), params.time("to")
    if (seconds is None) == (moment is None):
        raise invalid("seconds", "Give seconds or to")
    await sandbox.advance(moment or sandbox.now + timedelta(seconds=seconds or 0.0))
    return {"now": iso(sandbox.now)}


def _device(sandbox: Sandbox, device: Device) -> Json:
    return {
        "device_id": device.device_id,
        "behaviour": device.behaviour,
        "online": device.online,
        "battery_level": device.battery_level,
        "set_after_seconds": device.set_after_seconds,
        "error_code": device.error_code,
        "access_codes": len(sandbox.world.codes_on(device.device_id)),
    }


def _behaviour(name: str | None) -> Behaviour | None:
    if name is None:
        return None
    try:
        return Behaviour(name)
    except ValueError:
        raise invalid("behaviour", f"Unknown; known are {', '.join(Behaviour)}") from None


def _at_least_zero(params: Params, name: str, most: float = float("inf")) -> float | None:
    value = params.number(name)
    if value is not None and not 0 <= value <= most:
        raise invalid(name, "Out of range")
    return value


def _known_device(sandbox: Sandbox, body: Json) -> Json:
    """The device of a code that the event is about, unless the body names one itself."""
    code = sandbox.world.codes.get(str(body.get("access_code_id")))
    return {} if code is None else {"device_id": code.device_id}
