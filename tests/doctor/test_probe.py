"""A delivery of our own through the public address, and what each way of failing is called."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app.doctor.findings import Finding, Mark
from app.doctor.probe import judge_stored, send_probe
from app.domain.event_kinds import PROBE
from app.domain.events import Event, is_probe, read_event
from app.domain.fingerprints import Fingerprinter
from app.receiver.answers import NOT_GENUINE, UNAVAILABLE
from app.receiver.signature import Verified, parse_secrets, verify

NOW = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
SECRETS = parse_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
URL = "https://latch.example/webhooks/seam"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


async def told(answer: httpx.Response | Exception) -> Finding:
    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return (await send_probe(URL, SECRETS[0], NOW, transport=httpx.MockTransport(handle))).finding


async def test_the_probe_is_a_genuine_delivery_of_an_event_that_is_only_stored() -> None:
    requests: list[httpx.Request] = []

    def keep(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(204)

    probe = await send_probe(URL, SECRETS[0], NOW, transport=httpx.MockTransport(keep))
    (request,) = requests
    proof = verify(request.headers.raw, request.content, secrets=SECRETS, now=NOW, tolerance=timedelta(seconds=1))
    assert isinstance(proof, Verified)
    event = read_event(
        request.content, delivery_id="msg", received_at=NOW, fingerprinter=Fingerprinter(b"a key for tests")
    )
    assert isinstance(event, Event)
    assert (event.event_type, event.event_id, is_probe(event)) == (PROBE, probe.event_id, True)
    assert (event.news, event.device_state, event.account_state) == (None, None, None)
    assert probe.answered


@pytest.mark.parametrize(
    ("answer", "detail", "remedy"),
    [
        (
            httpx.Response(301, headers={"location": "https://www.latch.example/"}),
            "redirects to https://www.latch",
            "reg",
        ),
        (httpx.Response(308), "redirects to nowhere", "register"),
        (httpx.Response(401, content=NOT_GENUINE.body), "401: the signature does not fit", "SEAM_WEBHOOK_SECRET"),
        (httpx.Response(401, text="Who are you?"), "401, but not Latchwatch", "log-in"),
        (httpx.Response(403), "403 instead of 204", "something else"),
        (httpx.Response(404), "404: nothing is there", "/webhooks/seam"),
        (httpx.Response(405), "405: only other methods", "POST"),
        (httpx.Response(413), "413: a body of a few hundred bytes", "256 KiB"),
        (httpx.Response(429), "429: too many", "latency"),
        (httpx.Response(503, content=UNAVAILABLE.body), "503: its storage is not available", "database"),
        (httpx.Response(503, text="no upstream"), "answered 503", "runs"),
        (httpx.Response(502), "answered 502", "proxy"),
        (httpx.Response(200, text="Welcome"), "200 instead of 204", "something else"),
        (httpx.ConnectTimeout("slow"), "no connection to latch.example: time-out", "firewall"),
        (httpx.ReadTimeout("slow"), "did not answer within Seam's 15 s", "log"),
        (httpx.RemoteProtocolError("broken"), "no answer from", "proxy"),
    ],
)
async def test_every_answer_but_204_is_told_apart(answer: httpx.Response | Exception, detail: str, remedy: str) -> None:
    finding = await told(answer)
    assert finding.mark is Mark.WRONG
    assert detail in finding.detail
    assert remedy in finding.remedy


async def test_a_name_that_does_not_exist_is_called_so() -> None:
    probe = await send_probe("https://no.such.host.invalid/webhooks/seam", SECRETS[0], NOW)
    assert "is not found (DNS)" in probe.finding.detail


async def test_a_port_on_which_nobody_listens_is_called_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    probe = await send_probe(f"http://127.0.0.1:{port}/webhooks/seam", SECRETS[0], NOW)
    assert "nobody listens" in probe.finding.detail


async def test_a_port_that_does_not_speak_tls_is_called_so() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        probe = await send_probe(f"https://127.0.0.1:{port}/webhooks/seam", SECRETS[0], NOW)
    assert "no TLS with 127.0.0.1" in probe.finding.detail


async def test_an_acknowledgement_counts_only_when_the_event_is_in_this_database() -> None:
    assert judge_stored(URL, stored=True).mark is Mark.WELL
    other = judge_stored(URL, stored=False)
    assert other.mark is Mark.WRONG
    assert "another installation" in other.remedy
