"""Whether a delivery is genuine: a pure function of headers, body, secrets and the time.

The signed text is ``{id}.{timestamp}.{body}``, the key is the base64 part of the secret, and the signature an
HMAC-SHA-256, as svix makes it. Svix's own ``verify`` is not called: it asks the real clock, decodes the body, lets odd
timestamps and odd tokens through or trips over them, and sets up the key anew for each delivery.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from app.domain.keyed_hash import KeyedHash

Headers = Iterable[tuple[bytes, bytes]]

_PREFIX = "whsec_"
_SHORTEST_KEY = 24  # bytes; the standard that svix follows asks for as many

_SVIX = (b"svix-id", b"svix-timestamp", b"svix-signature")
_WEBHOOK = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
_NAMES = frozenset(_SVIX + _WEBHOOK)
# Which headers may be there, and which of them count.
_FAMILIES = {frozenset(_SVIX): _SVIX, frozenset(_WEBHOOK): _WEBHOOK, _NAMES: _SVIX}

# A full stop inside an id cannot move the boundaries of the signed text: the body would have to begin with digits and
# a full stop, and a genuine one is a JSON object.
_ID = re.compile(rb"[!-~]{1,256}")
_LONGEST_TIMESTAMP = 12  # digits
_LONGEST_SIGNATURE_LIST = 8192  # bytes; room for some 170 tokens, and a genuine list holds two or three


# Id, timestamp and signatures as the headers say, not yet proven.
_Claim = tuple[bytes, bytes, bytes]


class Reason(StrEnum):
    """Why a delivery was turned away. Counted and logged, never told to the sender."""

    MISSING_HEADER = "missing_header"
    REPEATED_HEADER = "repeated_header"
    MIXED_FAMILIES = "mixed_families"
    MALFORMED_ID = "malformed_id"
    MALFORMED_TIMESTAMP = "malformed_timestamp"
    MALFORMED_SIGNATURE = "malformed_signature"
    NO_KNOWN_SIGNATURE = "no_known_signature"
    WRONG_SIGNATURE = "wrong_signature"
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"


@dataclass(frozen=True, slots=True)
class Secret:
    """One signing secret. ``label`` tells secrets apart in metrics and logs without giving the key away."""

    key: bytes = field(repr=False)
    label: str
    keyed: KeyedHash = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keyed", KeyedHash(self.key))


class Verified(NamedTuple):
    """``timestamp`` is in Unix seconds; ``secret`` is the label of the secret that fitted."""

    delivery_id: str
    timestamp: int
    secret: str


@dataclass(frozen=True, slots=True)
class Rejection:
    reason: Reason


class SecretError(ValueError):
    """A webhook secret that cannot be used. The message reads on from the setting's name and never repeats it."""


def verify(
    headers: Headers, body: bytes, *, secrets: Sequence[Secret], now: datetime, tolerance: timedelta
) -> Verified | Rejection:
    """Prove that ``body`` was sent by the holder of one of ``secrets`` within ``tolerance`` of ``now`` (aware).

    One full family of headers must be there, each header once: ``svix-…`` or ``webhook-…``. Of two full families
    ``svix-…`` counts, and what the other says is not looked at. Tokens of other versions and junk among the signatures
    are skipped. Never raises, whatever the headers and the body hold.
    """
    claim = _read_claim(headers)
    if not isinstance(claim, tuple):  # to ask whether it is a Reason, an enumeration, takes several times as long
        return Rejection(claim)
    secret = _find_secret(claim, body, secrets)
    if not isinstance(secret, Secret):
        return Rejection(secret)
    # Looked at last: "too old" then means a genuine delivery, thus a clock that is off or a replay, and no mere noise.
    delivery_id, timestamp = claim[0].decode("ascii"), int(claim[1])
    age = now.timestamp() - timestamp
    if abs(age) > tolerance.total_seconds():
        return Rejection(Reason.TOO_OLD if age > 0 else Reason.TOO_NEW)
    return Verified(delivery_id, timestamp, secret.label)


def sign(secret: Secret, delivery_id: str, timestamp: int, body: bytes) -> str:
    """The signature header of a delivery; ``timestamp`` is in Unix seconds."""
    return _token(secret, b"%b.%d.%b" % (delivery_id.encode("ascii"), timestamp, body)).decode("ascii")


def parse_secrets(text: str) -> tuple[Secret, ...]:
    """Read one or several comma-separated secrets (several while they are rotated).

    Raises ``SecretError`` for what the library would take for a key all the same: quotes, a public key, a placeholder,
    base64 with junk in it, a key that is too short.
    """
    parts = [part.strip() for part in text.split(",")]
    if parts == [""]:
        raise SecretError("is empty; it should be the secret that Seam showed for the webhook (whsec_…)")
    secrets = [_parse_secret(part, _place(number, len(parts))) for number, part in enumerate(parts, 1)]
    return tuple(dict.fromkeys(secrets))


def _read_claim(headers: Headers) -> _Claim | Reason:
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        known = name.lower()
        if known not in _NAMES:
            continue
        if known in found:
            return Reason.REPEATED_HEADER
        found[known] = value
    family = _FAMILIES.get(frozenset(found))
    if family is None:
        # Part of one family beside another: nothing tells which id the sender meant.
        mixed = not (found.keys() <= set(_SVIX) or found.keys() <= set(_WEBHOOK))
        return Reason.MIXED_FAMILIES if mixed else Reason.MISSING_HEADER
    of_id, of_timestamp, of_signatures = family
    delivery_id, timestamp, signatures = found[of_id], found[of_timestamp], found[of_signatures]
    if not _ID.fullmatch(delivery_id):
        return Reason.MALFORMED_ID
    if not (timestamp.isdigit() and len(timestamp) <= _LONGEST_TIMESTAMP):
        return Reason.MALFORMED_TIMESTAMP
    if len(signatures) > _LONGEST_SIGNATURE_LIST:
        return Reason.MALFORMED_SIGNATURE
    return delivery_id, timestamp, signatures


def _find_secret(claim: _Claim, body: bytes, secrets: Sequence[Secret]) -> Secret | Reason:
    delivery_id, timestamp, signatures = claim
    tokens = signatures.split(b" ")
    if len(tokens) > 1 or not signatures.startswith(b"v1,"):
        tokens = [token for token in tokens if token.startswith(b"v1,")]
        if not tokens:
            return Reason.NO_KNOWN_SIGNATURE
    signed = b".".join((delivery_id, timestamp, body))
    for secret in secrets:
        expected = _token(secret, signed)
        # Compared as text: whatever is not the one canonical spelling of the right 32 bytes differs, and junk needs
        # no decoding that could raise and hide a good token behind it.
        for token in tokens:
            if hmac.compare_digest(expected, token):
                return secret
    return Reason.WRONG_SIGNATURE


def _token(secret: Secret, signed: bytes) -> bytes:
    return b"v1," + base64.b64encode(secret.keyed.digest(signed))


def _place(number: int, total: int) -> str:
    return "" if total == 1 else f"({number} of {total}) "


def _parse_secret(text: str, place: str) -> Secret:
    if not text:
        raise SecretError(f"{place}is empty; take the comma away or put a secret (whsec_…) beside it")
    if text[0] in "\"'" or text[-1] in "\"'":
        raise SecretError(f"{place}has quotes around it; write it without them")
    if text.startswith("whpk_"):
        raise SecretError(f"{place}is a public key (whpk_…); it should be the signing secret (whsec_…)")
    if not text.startswith(_PREFIX):
        raise SecretError(f"{place}should begin with whsec_, as Seam shows it when the webhook is created")
    key = _decode_key(text.removeprefix(_PREFIX))
    if key is None:
        raise SecretError(f"{place}is not whole: after whsec_ there should be plain base64, as Seam shows it")
    if len(key) < _SHORTEST_KEY:
        raise SecretError(f"{place}is too short: {len(key)} bytes, where a key has at least {_SHORTEST_KEY}")
    return Secret(key, hashlib.blake2b(key, digest_size=4, person=b"latchwatch-label").hexdigest())


def _decode_key(text: str) -> bytes | None:
    try:
        key = base64.b64decode(text)
    except ValueError:  # binascii.Error among them
        return None
    # The decoder skips junk and spare bits; what comes back the same had none.
    return key if base64.b64encode(key).decode("ascii") == text else None
