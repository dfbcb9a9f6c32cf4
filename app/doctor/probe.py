"""One delivery of our own, sent the way that Seam's go: through the public address, whatever stands before it.

The event has the type ``latchwatch.probe`` and a random ``event_id``. It is stored like every unknown type, changes
nothing, and does not count as a sign of life of Seam.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from app.doctor.findings import Finding, well, wrong
from app.domain.event_kinds import PROBE
from app.receiver.signature import Secret, sign

SENDERS_PATIENCE_SECONDS = 15.0  # as long as Seam waits
_REFUSED_OUTRIGHT = {
    404: ("nothing is there", "let the proxy pass /webhooks/seam on under the same path, or correct the address"),
    405: ("only other methods are allowed", "let the proxy pass POST on"),
    413: ("a body of a few hundred bytes is too large", "let the proxy pass bodies of up to 256 KiB"),
    429: ("too many deliveries wait", "see the database's latency, and add processes"),
}


@dataclass(frozen=True, slots=True)
class Probe:
    """``answered``: a 204 came, so the event should be stored. Otherwise ``finding`` says what went wrong."""

    event_id: str
    answered: bool
    finding: Finding


async def send_probe(
    url: str, secret: Secret, now: datetime, *, transport: httpx.AsyncBaseTransport | None = None
) -> Probe:
    """Post a signed delivery to ``url``. Redirects are not followed: Seam does not either."""
    event_id = f"probe_{uuid4()}"
    moment = now.isoformat()
    event = {"event_type": PROBE, "event_id": event_id, "created_at": moment, "occurred_at": moment}
    body = json.dumps(event).encode()
    delivery_id, timestamp = f"msg_{uuid4().hex}", int(now.timestamp())
    headers = {
        "content-type": "application/json",
        "svix-id": delivery_id,
        "svix-timestamp": str(timestamp),
        "svix-signature": sign(secret, delivery_id, timestamp, body),
    }
    try:
        async with httpx.AsyncClient(transport=transport, timeout=SENDERS_PATIENCE_SECONDS) as client:
            response = await client.post(url, content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Probe(event_id, False, _no_answer(error, url))
    if response.status_code == 204:
        return Probe(event_id, True, well("probe", f"{url} answered 204"))
    return Probe(event_id, False, _refused(response, url))


def judge_stored(url: str, *, stored: bool) -> Finding:
    """What a 204 is worth."""
    if stored:
        return well("probe", f"a signed delivery through {url} was acknowledged and is stored")
    return wrong(
        "probe",
        f"{url} acknowledged a signed delivery, but it is not in this database",
        "another installation answers there: compare its DATABASE_URL with this one",
    )


def _refused(response: httpx.Response, url: str) -> Finding:
    status = response.status_code
    if 300 <= status < 400:
        target = response.headers.get("location", "nowhere")
        return wrong(
            "probe",
            f"{url} redirects to {target} ({status}), which Seam counts as a failure",
            "register the address that it leads to, or let the proxy answer without a redirect",
        )
    if status == 401:
        return _not_genuine(response, url)
    if status in _REFUSED_OUTRIGHT:
        detail, remedy = _REFUSED_OUTRIGHT[status]
        return wrong("probe", f"{url} answered {status}: {detail}", remedy)
    if status == 503 and _is_ours(response):
        return wrong("probe", f"{url} answered 503: its storage is not available", "see its log and its database")
    if status >= 500:
        return wrong(
            "probe", f"{url} answered {status}", "see whether Latchwatch runs, and the log of the proxy before it"
        )
    return wrong("probe", f"{url} answered {status} instead of 204", "something else than Latchwatch answers there")


def _not_genuine(response: httpx.Response, url: str) -> Finding:
    if not _is_ours(response):
        return wrong("probe", f"{url} answered 401, but not Latchwatch", "let the proxy ask for no log-in on this path")
    return wrong(
        "probe",
        f"{url} answered 401: the signature does not fit there",
        "the process there has another SEAM_WEBHOOK_SECRET, its clock is off, or a proxy changes the body",
    )


def _is_ours(response: httpx.Response) -> bool:
    return "urn:latchwatch:problem:" in response.text[:2000]


def _no_answer(error: Exception, url: str) -> Finding:
    place = urlsplit(url).hostname or url
    for cause in _causes(error):
        finding = _known_cause(cause, place)
        if finding is not None:
            return finding
    if isinstance(error, httpx.ConnectTimeout):
        return wrong("probe", f"no connection to {place}: time-out", "see the firewall and the address")
    if isinstance(error, httpx.TimeoutException):
        return wrong("probe", f"{url} did not answer within Seam's {SENDERS_PATIENCE_SECONDS:.0f} s", "see its log")
    return wrong("probe", f"no answer from {url} ({type(error).__name__})", "see the network and the proxy before it")


def _known_cause(cause: BaseException, place: str) -> Finding | None:
    match cause:
        case socket.gaierror():
            return wrong("probe", f"the name {place} is not found (DNS)", "correct LATCHWATCH_PUBLIC_URL or the DNS")
        case ssl.SSLCertVerificationError():
            fault = f"the certificate of {place} is not valid: {cause.verify_message}"
            return wrong("probe", fault, "put a valid one there; Seam checks it")
        case ssl.SSLError():
            return wrong("probe", f"no TLS with {place}: {cause.reason}", "let the proxy speak TLS on that port")
        case ConnectionRefusedError():
            return wrong("probe", f"nobody listens at {place}", "start Latchwatch, or the proxy before it")
        case _:
            return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that led to it: the libraries between wrap the one that tells."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _causes(each)
        error = error.__cause__ or error.__context__
