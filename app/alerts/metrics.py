"""What the alerts tell Prometheus, on a registry that is handed in: every process (and test) has its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class AlertMetrics:
    """Waiting (``oldest_unsent``) is measured apart from sending (``deliveries``)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.alerts = Counter(
            "latchwatch_alerts",
            "Alerts by what became of them when they were composed: told, skipped or postponed (raised)",
            ["outcome"],
            registry=registry,
        )
        self.deliveries = Counter(
            "latchwatch_alert_deliveries",
            "Attempts to deliver a message by channel: sent, failed (tried again) or dead (given up)",
            ["channel", "outcome"],
            registry=registry,
        )
        self.oldest_unsent = Gauge(
            "latchwatch_alert_oldest_unsent_seconds",
            "For how long the oldest news waits that is not on every channel yet and was not given up",
            registry=registry,
        )
        self.dead = Gauge(
            "latchwatch_alert_deliveries_dead",
            "Deliveries that were given up and not tried again since, on all channels",
            registry=registry,
        )
