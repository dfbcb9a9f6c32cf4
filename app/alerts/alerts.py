"""All of alerting in one process: a composer, and a sender for each channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry

from app.alerts.channels import Channel
from app.alerts.composer import Composer
from app.alerts.metrics import AlertMetrics
from app.alerts.sender import Sender
from app.domain.alerting import AlertPolicy
from app.storage.engine import Database


class Alerts:
    """Built whole, but not running: the loops ``composer.run`` and ``run`` of each sender do that."""

    def __init__(
        self,
        *,
        db: Database,
        channels: Sequence[Channel],
        policy: AlertPolicy,
        clock: Callable[[], datetime],
        registry: CollectorRegistry,
    ) -> None:
        metrics = AlertMetrics(registry)
        self.senders = [Sender(db=db, channel=channel, clock=clock, metrics=metrics) for channel in channels]
        self.composer = Composer(
            db=db,
            channels=[channel.name for channel in channels],
            policy=policy,
            clock=clock,
            metrics=metrics,
            on_composed=self._wake_senders,
        )

    def wake(self) -> None:
        """A flag has changed in this process."""
        self.composer.wake()

    def _wake_senders(self) -> None:
        for sender in self.senders:
            sender.wake()
