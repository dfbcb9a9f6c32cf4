"""Whether deliveries are genuine and what they say, before they are handed on to be stored.

What comes in during one turn of the loop is examined together, a few dozen at a time and one step after the other: all
signatures, then all events. A step whose code and data are in the processor's caches takes about half of its time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from typing import NamedTuple

import structlog

from app.domain.events import Event, Unreadable, is_probe, read_event
from app.domain.fingerprints import Fingerprinter
from app.receiver.answers import NOT_GENUINE, TO_RESULT, UNAVAILABLE, Answer
from app.receiver.committer import Committer, tell
from app.receiver.failures import describe
from app.receiver.metrics import ReceiverMetrics
from app.receiver.signature import Headers, Reason, Rejection, Secret, Verified, verify
from app.storage.codec import PAYLOADS
from app.storage.inbox import Delivery

log = structlog.get_logger(__name__)

# After so many, what storage has answered meanwhile gets its turn.
_MOST_AT_ONCE = 32
_MOST_BYTES_GATHERED = 1024 * 1024
_TELL_EVERY = timedelta(minutes=1)

Reply = Callable[[Answer], None]


class _Arrival(NamedTuple):
    headers: Headers
    body: bytes
    reply: Reply


class _Proven(NamedTuple):
    """One that is genuine."""

    arrival: _Arrival
    proof: Verified
    now: datetime


class Examiner:
    """Hands what is genuine to ``committer``, and turns the rest away."""

    def __init__(
        self,
        *,
        secrets: Sequence[Secret],
        tolerance: timedelta,
        clock: Callable[[], datetime],
        fingerprinter: Fingerprinter,
        committer: Committer,
        metrics: ReceiverMetrics,
    ) -> None:
        self._secrets = tuple(secrets)
        self._tolerance = tolerance
        self._clock = clock
        self._fingerprinter = fingerprinter
        self._committer = committer
        self._metrics = metrics
        self._rejections = _RejectionLog()
        self._verified = cache(metrics.verified.labels)
        self._gathered: list[_Arrival] = []
        self._gathered_bytes = 0

    def take(self, headers: Headers, body: bytes, reply: Reply) -> None:
        """``reply`` is called once with the answer: when the delivery is turned away, or when it is committed. Who goes
        away meanwhile gives up the answer, never the write. Call it inside the running loop; it never raises."""
        if not self._gathered:
            self._examine_soon()
        self._gathered.append(_Arrival(headers, body, reply))
        self._gathered_bytes += len(body)
        while self._gathered_bytes >= _MOST_BYTES_GATHERED:
            self._examine_some()

    def _examine_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._examine)

    def _examine(self) -> None:
        try:
            self._examine_some()
        finally:
            if self._gathered:
                self._examine_soon()

    def _examine_some(self) -> None:
        arrivals = self._gathered[:_MOST_AT_ONCE]
        del self._gathered[:_MOST_AT_ONCE]
        self._gathered_bytes -= sum(len(each.body) for each in arrivals)
        proven = [found for each in arrivals if (found := self._prove(each)) is not None]
        readings = [self._read(each) for each in proven]
        for each, reading in zip(proven, readings, strict=True):
            self._hand_on(each, reading)
        self._count(proven, readings)

    def _prove(self, arrival: _Arrival) -> _Proven | None:
        """``None``: it has its answer."""
        try:
            answer = self._judge(arrival)
        except Exception as error:  # noqa: BLE001 - anything unforeseen: Seam is asked to come again
            answer = self.excuse(error)
        if isinstance(answer, _Proven):
            return answer
        tell(arrival.reply, answer)
        return None

    def excuse(self, error: Exception) -> Answer:
        """What is answered after a fault of ours, which is told and counted."""
        log.error("delivery_failed", **describe(error))
        self._metrics.deliveries.labels("failed").inc()
        return UNAVAILABLE

    def _judge(self, arrival: _Arrival) -> _Proven | Answer:
        now = self._clock()
        proof = verify(arrival.headers, arrival.body, secrets=self._secrets, now=now, tolerance=self._tolerance)
        if isinstance(proof, Rejection):
            self._note(proof.reason, now)
            return NOT_GENUINE
        # Asked before the body is read as an event: under too much load that work would be for nothing.
        shed = self._committer.shed(len(arrival.body))
        return _Proven(arrival, proof, now) if shed is None else TO_RESULT[shed]

    def _read(self, proven: _Proven) -> Event | Unreadable:
        delivery_id, body = proven.proof.delivery_id, proven.arrival.body
        try:
            return read_event(
                body, delivery_id=delivery_id, received_at=proven.now, fingerprinter=self._fingerprinter, fast=PAYLOADS
            )
        except Exception as error:  # noqa: BLE001 - a fault in reading must not lose a genuine delivery
            log.error("event_reading_failed", delivery_id=delivery_id, **describe(error))
            return Unreadable("reading_failed")

    def _count(self, proven: Sequence[_Proven], readings: Sequence[Event | Unreadable]) -> None:
        # A probe is of our own making: no proof that a webhook at Seam has this secret.
        secrets = Counter(
            each.proof.secret for each, reading in zip(proven, readings, strict=True) if not is_probe(reading)
        )
        for secret, count in secrets.items():
            self._verified(secret).inc(count)

    def _hand_on(self, proven: _Proven, reading: Event | Unreadable) -> None:
        body, reply = proven.arrival.body, proven.arrival.reply
        digest = partial(self._fingerprinter.digest, body)
        try:
            delivery = Delivery(proven.proof.delivery_id, proven.now, len(body), digest, reading, "webhook")
            self._committer.submit(delivery, lambda result: reply(TO_RESULT[result]))
        except Exception as error:  # noqa: BLE001 - the others of this turn are handed on all the same
            tell(reply, self.excuse(error))

    def _note(self, reason: Reason, now: datetime) -> None:
        self._metrics.deliveries.labels("rejected").inc()
        self._metrics.rejections.labels(reason.value).inc()
        self._rejections.note(reason, now)


class _RejectionLog:
    """At most one line a minute for each reason, with the number since the last: anybody can cause rejections, so that
    a line for each would let them fill the disk."""

    def __init__(self) -> None:
        self._told: dict[Reason, datetime] = {}
        self._untold: dict[Reason, int] = {}

    def note(self, reason: Reason, now: datetime) -> None:
        count = self._untold.get(reason, 0) + 1
        told = self._told.get(reason)
        if told is not None and now - told < _TELL_EVERY:
            self._untold[reason] = count
            return
        log.warning("delivery_rejected", reason=reason.value, count=count)
        self._told[reason] = now
        self._untold[reason] = 0
