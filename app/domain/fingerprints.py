"""Keyed fingerprints: they tell two PINs apart without keeping either.

A PIN has so few digits that a plain hash of it is as good as the PIN. So every fingerprint is an HMAC-SHA-256 under a
key that is not in the database (contract, section 9), and it names its key: those of another key cannot be compared.
"""

from __future__ import annotations

import hashlib
import hmac

from app.domain.keyed_hash import KeyedHash


class Fingerprinter:
    """Makes fingerprints under one secret key. Each use has its own key, derived from the secret one."""

    __slots__ = ("_bodies", "_pins", "key_id")

    def __init__(self, key: bytes) -> None:
        if not key:
            raise ValueError("an empty key would make fingerprints that anybody can make")
        self._pins = KeyedHash(_derive(key, "pin"))
        self._bodies = KeyedHash(_derive(key, "body"))
        self.key_id = _derive(key, "key id").hex()[:8]

    def pin(self, device_id: str, pin: str) -> str:
        """``<key id>:<hex>`` over device and PIN: the same PIN on another lock has another fingerprint."""
        device = device_id.encode("utf-8", "surrogatepass")
        # The length in front keeps ("lock1", "234") apart from ("lock12", "34").
        text = len(device).to_bytes(8, "big") + device + pin.encode("utf-8", "surrogatepass")
        return f"{self.key_id}:{self._pins.digest(text).hex()}"

    def digest(self, data: bytes) -> str:
        """``<key id>:<hex>`` over a body: tells whether two are the same, and nothing of what they hold."""
        return f"{self.key_id}:{self._bodies.digest(data).hex()}"


def same_pin(first: str | None, second: str | None) -> bool | None:
    """Whether two fingerprints are of one PIN on one lock. ``None``: one is missing, or their keys differ."""
    if first is None or second is None:
        return None
    first_key, first_colon, _ = first.partition(":")
    second_key, second_colon, _ = second.partition(":")
    if not first_colon or not second_colon or first_key != second_key:
        return None
    return hmac.compare_digest(first.encode(), second.encode())


def _derive(key: bytes, use: str) -> bytes:
    return hmac.digest(key, f"latchwatch fingerprint, {use}".encode(), hashlib.sha256)
