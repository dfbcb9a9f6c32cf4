"""What a sandbox can be told at its start."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass, field, fields

from app.domain.errors import LatchwatchError
from app.sandbox.fleet import DEFAULT_FLEET, DeviceSpec


class SandboxError(LatchwatchError):
    """A setting or a control request that the sandbox cannot follow."""

    status = 400
    type = "sandbox"
    title = "The sandbox cannot do that"


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong between Seam and the webhook's endpoint. Probabilities from 0 to 1, drawn once per delivery.

    ``drop``: never sent. ``duplicate``: sent twice, with the same ``svix-id``. ``reorder``: sent after the delivery
    that follows it. ``delay``: held back for up to ``delay_seconds`` (divided by the speed). ``wrong_signature``: the
    first attempt is signed with another secret, the retry properly.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    wrong_signature: float = 0.0
    delay_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in FAULT_NAMES:
            if not 0 <= getattr(self, name) <= 1:
                raise SandboxError(f"The fault {name} is a probability: give a number from 0 to 1.")
        if not 0 <= self.delay_seconds < math.inf:
            raise SandboxError("The fault delay_seconds is a number of seconds, not below 0.")


FAULT_NAMES = tuple(item.name for item in fields(Faults) if item.name != "delay_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """``webhook_url`` and ``webhook_secret`` (``whsec_…``) register one webhook at the start; both or neither.

    ``speed`` divides every simulated delay and the waits between delivery attempts; windows stay in real time.
    ``seed`` makes the faults repeatable. With ``manual_time`` the clock stands still until ``/sandbox/advance``.
    """

    webhook_url: str | None = None
    webhook_secret: str | None = None
    speed: float = 1.0
    seed: int | None = None
    faults: Faults = field(default_factory=Faults)
    rate_limits: bool = False
    manual_time: bool = False
    loopback_only: bool = True
    fleet: tuple[DeviceSpec, ...] = DEFAULT_FLEET

    def __post_init__(self) -> None:
        if not 0 < self.speed < math.inf:
            raise SandboxError("The sandbox's speed is a number above 0, for example 10.")
        if (self.webhook_url is None) != (self.webhook_secret is None):
            raise SandboxError("Give the sandbox a webhook URL together with its secret, or neither.")
        if self.webhook_secret is not None:
            check_secret(self.webhook_secret)


def check_secret(secret: str) -> None:
    """Raise ``SandboxError`` unless this is a signing secret as Svix makes them."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith("whsec_") or len(key) < 16:
        raise SandboxError("A webhook secret is whsec_ followed by at least 16 bytes in base64.")
