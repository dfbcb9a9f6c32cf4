"""Deliveries as Seam makes them: signed by the real svix."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from standardwebhooks.webhooks import hmac_data
from svix.webhooks import Webhook

from app.receiver.signature import Secret, parse_secrets

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STAMP = b"%d" % int(NOW.timestamp())
SECRET_TEXT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRETS = parse_secrets(SECRET_TEXT)

Headers = list[tuple[bytes, bytes]]


def secret_text(key: bytes) -> str:
    return f"whsec_{base64.b64encode(key).decode()}"


def secret_of(key: bytes) -> Secret:
    return parse_secrets(secret_text(key))[0]


def sign(body: bytes, *, delivery_id: str = "msg_1", at: datetime = NOW, secret: str = SECRET_TEXT) -> bytes:
    """The signature header's value. The body must be UTF-8, svix signs text only."""
    return Webhook(secret).sign(delivery_id, at, body.decode()).encode()


def sign_bytes(body: bytes, *, delivery_id: bytes = b"msg_1", timestamp: bytes = STAMP) -> bytes:
    """A right signature over what svix itself would not sign: odd ids and times, bodies that are not text."""
    digest = hmac_data(SECRETS[0].key, b"%b.%b.%b" % (delivery_id, timestamp, body))
    return b"v1," + base64.b64encode(digest)


def headers_for(body: bytes, *, family: str = "svix", delivery_id: str = "msg_1", **signing: Any) -> Headers:
    at: datetime = signing.get("at", NOW)
    return [
        (f"{family}-id".encode(), delivery_id.encode()),
        (f"{family}-timestamp".encode(), str(int(at.timestamp())).encode()),
        (f"{family}-signature".encode(), sign(body, delivery_id=delivery_id, **signing)),
    ]


def changed(headers: Headers, name: bytes, value: bytes | None) -> Headers:
    """The same headers with one value replaced, or with one header missing."""
    kept = [(known, old if known != name else value) for known, old in headers]
    return [(known, kept_value) for known, kept_value in kept if kept_value is not None]
