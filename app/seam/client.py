"""One call to Seam: bounded in time, stamped with Seam's clock, its failures turned into our errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
from httpx_retries import Retry, RetryTransport
from seam.exceptions import SeamError as SdkError
from seam.seam import AsyncSeam

from app.seam.errors import SeamUnauthorized
from app.seam.failures import FAILURES, seam_error
from app.seam.values import Answer

T = TypeVar("T")
R = TypeVar("R")

ENDPOINT = "https://connect.getseam.com"
LONGEST_RETRY_AFTER = timedelta(hours=1)

# A POST is never sent twice: a lost answer may have left a code behind, which the reconciler finds. A read goes at most
# once more, soon. 429 is not among these: whoever is told to slow down gets SeamRateLimited and waits as told.
READ_AGAIN = Retry(
    total=1,
    allowed_methods=["GET"],
    status_forcelist=[500, 502, 503, 504],
    backoff_factor=0.1,
    backoff_jitter=0.5,
    max_backoff_wait=1.0,
)

# Servers commonly drop idle connections after five seconds. A POST that meets such a drop has an unknown outcome, so we
# let go first.
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=2.0)


@dataclass(slots=True)
class _Reception:
    """What the headers of the answer said that the call at hand is getting."""

    received_at: datetime | None = None
    date: str | None = None
    retry_after: str | None = None


# The SDK hands out bodies only. Each call is one task's, so a context variable keeps concurrent ones apart.
_reception: ContextVar[_Reception] = ContextVar("reception")


class Client:
    """``timeout_seconds`` bounds each call in all, a second try and its pause included. ``transport`` is for tests."""

    def __init__(
        self,
        *,
        api_key: str,
        endpoint: str | None,
        timeout_seconds: float,
        clock: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        options: dict[str, Any] = {
            # Half for connecting: so a lock-out by the network ends as "certainly not sent" and not as "unknown".
            "timeout": httpx.Timeout(timeout_seconds, connect=timeout_seconds / 2),
            "limits": _LIMITS,
            "event_hooks": {"response": [self._note]},
        }
        if transport is not None:
            options["transport"] = RetryTransport(transport=transport, retry=READ_AGAIN)
        try:
            self.sdk = AsyncSeam(
                api_key=api_key,
                endpoint=endpoint or ENDPOINT,
                retries=READ_AGAIN if transport is None else None,
                httpx_options=options,
            )
        except SdkError as error:
            raise SeamUnauthorized(f"{error}. Check SEAM_API_KEY.") from None

    async def get(
        self, path: str, params: Mapping[str, Any], read: Callable[[Any], R], pins: Iterable[str] = ()
    ) -> Answer[R]:
        return await self.run(self.sdk.client.get(path, params=params), read, pins)

    async def post(
        self, path: str, body: Mapping[str, Any], read: Callable[[Any], R], pins: Iterable[str] = ()
    ) -> Answer[R]:
        return await self.run(self.sdk.client.post(path, json=body), read, pins)

    async def run(self, call: Awaitable[T], read: Callable[[T], R], pins: Iterable[str] = ()) -> Answer[R]:
        """Await one call of the SDK and read its answer. Raises SeamError and nothing else."""
        reception = _Reception()
        token = _reception.set(reception)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await call
            return Answer(self._at(reception) or self._clock(), read(answer))
        except FAILURES as error:
            failure = error
        finally:
            _reception.reset(token)
        # Outside of the except block, so that the SDK's error does not become the context of ours.
        raise seam_error(failure, at=self._at(reception), retry_after=self._retry_after(reception), pins=pins)

    async def aclose(self) -> None:
        await self.sdk.close()

    async def _note(self, response: httpx.Response) -> None:
        reception = _reception.get()
        reception.received_at = self._clock()
        reception.date = response.headers.get("date")
        reception.retry_after = response.headers.get("retry-after")

    def _at(self, reception: _Reception) -> datetime | None:
        return reception.received_at and seams_time(reception.received_at, reception.date)

    def _retry_after(self, reception: _Reception) -> timedelta | None:
        return read_retry_after(reception.retry_after, self._at(reception) or self._clock())


def seams_time(received_at: datetime, date: str | None) -> datetime:
    """The moment on Seam's clock at which an answer came: our own, moved into the second that ``Date`` names."""
    second = _read_http_date(date)
    if second is None:
        return received_at
    return min(max(received_at, second), second + timedelta(microseconds=999_999))


def read_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """``Retry-After`` (seconds or an HTTP date) as a wait from ``now`` on: never negative, at most an hour."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(timedelta(seconds=min(int(value), 86_400)), LONGEST_RETRY_AFTER)
    moment = _read_http_date(value)
    if moment is None:
        return None
    return min(max(moment - now, timedelta()), LONGEST_RETRY_AFTER)


def _read_http_date(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
