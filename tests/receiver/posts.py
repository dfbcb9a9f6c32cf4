"""The endpoint with everything behind it, on a clock that a test may turn."""

from __future__ import annotations

from datetime import datetime, timedelta

from app.domain.fingerprints import Fingerprinter
from app.receiver.body import BodyLimits
from app.receiver.endpoint import WebhookEndpoint
from app.receiver.examiner import Examiner
from tests.receiver.deliveries import NOW, SECRETS
from tests.receiver.inboxes import Station

FINGERPRINTER = Fingerprinter(b"a key for the tests")


class Post:
    """``now`` is what the clock shows, unless it raises ``clock_fault``."""

    def __init__(self, station: Station, limits: BodyLimits | None = None) -> None:
        self.station = station
        self.now = NOW
        self.clock_fault: Exception | None = None
        examiner = Examiner(
            secrets=SECRETS,
            tolerance=timedelta(seconds=300),
            clock=self._clock,
            fingerprinter=FINGERPRINTER,
            committer=station.committer,
            metrics=station.metrics,
        )
        self.endpoint = WebhookEndpoint(examiner, station.metrics, limits)

    def _clock(self) -> datetime:
        if self.clock_fault is not None:
            raise self.clock_fault
        return self.now
