"""The answers of the webhook endpoint, made once. None of them depends on the request, so none can echo it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from starlette.types import Message, Send

from app.receiver.body import Unread
from app.receiver.committer import Shed
from app.storage.inbox import Outcome

_TYPE_PREFIX = "urn:latchwatch:problem:"  # the API's answers use the same
_RETRY_AFTER = (b"retry-after", b"5")  # seconds; the sender's own schedule begins with as many


@dataclass(frozen=True, slots=True)
class Answer:
    """``start`` and ``end`` are its two messages; as an ASGI application it sends them. ``closes``: part of the
    request's body is left unread, so the connection cannot carry another one."""

    start: Message
    end: Message
    closes: bool

    async def __call__(self, _scope: object, _receive: object, send: Send) -> None:
        await send(self.start)
        await send(self.end)

    @property
    def body(self) -> bytes:
        body: bytes = self.end["body"]
        return body


def _answer(status: int, *headers: tuple[bytes, bytes], body: bytes = b"", closes: bool = False) -> Answer:
    return Answer(
        {"type": "http.response.start", "status": status, "headers": list(headers)},
        {"type": "http.response.body", "body": body, "more_body": False},
        closes,
    )


def _problem(
    status: int, slug: str, title: str, detail: str, *headers: tuple[bytes, bytes], closes: bool = False
) -> Answer:
    body = json.dumps({"type": _TYPE_PREFIX + slug, "title": title, "status": status, "detail": detail}).encode()
    described = ((b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body)))
    closing = ((b"connection", b"close"),) if closes else ()
    return _answer(status, *described, *closing, *headers, body=body, closes=closes)


KEPT = _answer(204)

NOT_GENUINE = _problem(
    401,
    "webhook-not-genuine",
    "The signature could not be verified",
    "A delivery needs an id, a timestamp within the tolerance, and a signature made with the secret of this webhook.",
    (b"www-authenticate", b"Svix-Signature"),
)

ONLY_POST = _problem(
    405, "method-not-allowed", "Only POST", "Deliveries of webhooks are sent with POST.", (b"allow", b"POST")
)

UNAVAILABLE = _problem(
    503,
    "storage-unavailable",
    "The delivery could not be stored",
    "Nothing is acknowledged before it is stored. Send it again later.",
    _RETRY_AFTER,
)

_CROWDED = _problem(
    429, "too-many-deliveries", "Too many deliveries wait to be stored", "Send it again later.", _RETRY_AFTER
)

TO_RESULT: dict[Outcome | Shed, Answer] = {
    Outcome.STORED: KEPT,
    Outcome.DUPLICATE: KEPT,
    Outcome.UNREADABLE: KEPT,
    Shed.FULL: _CROWDED,
    Shed.UNAVAILABLE: UNAVAILABLE,
    Shed.CLOSED: UNAVAILABLE,
}

TO_UNREAD: dict[Unread, Answer | None] = {
    Unread.TOO_LARGE: _problem(
        413, "body-too-large", "The body is too large", "A delivery has at most 256 KiB.", closes=True
    ),
    Unread.TOO_SLOW: _problem(
        408, "body-too-slow", "The body did not arrive in time", "Send it again.", (b"connection", b"close")
    ),
    Unread.CROWDED: _CROWDED,
    Unread.GONE: None,
}
