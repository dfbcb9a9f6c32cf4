"""A simulated Seam for trying things out: its API in memory, signed webhooks, and locks that misbehave on request."""

from app.sandbox.api import create_sandbox
from app.sandbox.behaviours import Behaviour
from app.sandbox.fleet import DEFAULT_FLEET, DeviceSpec
from app.sandbox.sandbox import Sandbox
from app.sandbox.settings import Faults, SandboxError, SandboxSettings

__all__ = [
    "DEFAULT_FLEET",
    "Behaviour",
    "DeviceSpec",
    "Faults",
    "Sandbox",
    "SandboxError",
    "SandboxSettings",
    "create_sandbox",
]
