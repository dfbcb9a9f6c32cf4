"""The locks that a sandbox starts with. An id tells what its lock does."""

from __future__ import annotations

from dataclasses import dataclass

from app.sandbox.behaviours import Behaviour


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """One simulated lock.

    ``set_after_seconds`` replaces the time that its behaviour takes to set a code, ``error_code`` the cause that it
    gives when it fails (any of Seam's error codes, or an unknown one).
    """

    device_id: str
    behaviour: Behaviour = Behaviour.SETS_AT_ONCE
    name: str | None = None
    device_type: str = "smartthings_lock"
    set_after_seconds: float | None = None
    error_code: str | None = None
    supported_code_lengths: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10, 11, 12)
    can_program_offline: bool = False
    supports_backup_pool: bool = True


def _lock(behaviour: Behaviour, device_type: str = "smartthings_lock") -> DeviceSpec:
    name = behaviour.value.replace("_", " ").capitalize()
    return DeviceSpec(device_id=f"lock_{behaviour}", behaviour=behaviour, name=name, device_type=device_type)


DEFAULT_FLEET: tuple[DeviceSpec, ...] = (
    *(_lock(behaviour) for behaviour in Behaviour if behaviour is not Behaviour.NATIVE),
    _lock(Behaviour.NATIVE, "yale_lock"),
    DeviceSpec(
        device_id="lock_offline_codes",
        behaviour=Behaviour.NATIVE,
        name="Offline codes",
        device_type="igloohome_lock",
        can_program_offline=True,
    ),
    DeviceSpec(device_id="lock_four_digits", name="Four digits only", supported_code_lengths=(4,)),
)
