"""The signed webhook: Standard Webhooks headers, signed by svix, so that any svix library verifies it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
import orjson
from svix.webhooks import Webhook as Signer

from app.alerts.channels import Arrived, Failed, Message, Outcome
from app.domain.alerting import is_permanent, read_retry_after

NAME = "webhook"
_TIMEOUT = timedelta(seconds=15)  # as long as Seam's own webhooks wait


class WebhookChannel:
    """Any 2xx is success; redirects are not followed: the signed body is for this address alone."""

    name = NAME
    at_once = 4

    def __init__(self, url: str, secret: str, clock: Callable[[], datetime], timeout: timedelta = _TIMEOUT) -> None:
        self._url = url
        self._signer = Signer(secret)
        self._clock = clock
        self._timeout_seconds = timeout.total_seconds()
        self._client = httpx.AsyncClient(
            timeout=self._timeout_seconds, follow_redirects=False, headers={"User-Agent": "Latchwatch"}
        )

    async def send(self, message: Message) -> Outcome:
        body = orjson.dumps(message.content)
        try:
            # The client's own limit is one for each step; a receiver that trickles would keep us for ever.
            async with asyncio.timeout(self._timeout_seconds):
                return await self._post(body, self._headers(message.id, body))
        except (httpx.TimeoutException, TimeoutError):
            return Failed(f"no answer within {self._timeout_seconds:g} s")
        except httpx.HTTPError as error:
            return Failed(f"no connection ({type(error).__name__})")

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _post(self, body: bytes, headers: dict[str, str]) -> Outcome:
        # The answer's body says nothing that is needed, and may have any size: it is not read.
        async with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
            if answer.is_success:
                return Arrived()
            error = f"answered {answer.status_code}"
            if is_permanent(answer.status_code):
                return Failed(error, is_permanent=True)
            return Failed(error, retry_after=read_retry_after(answer.headers.get("retry-after"), self._clock()))

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        now = self._clock()
        return {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(message_id, now, body.decode()),
        }
