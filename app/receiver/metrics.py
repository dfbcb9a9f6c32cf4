"""What the receiver tells Prometheus, on a registry that is handed in: every process (and test) has its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ReceiverMetrics:
    """``deliveries`` counts every delivery once, by what became of it; ``rejections`` tells the rejected ones apart."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deliveries = Counter(
            "latchwatch_webhook_deliveries",
            "Webhook deliveries by what became of them",
            ["outcome"],
            registry=registry,
        )
        self.rejections = Counter(
            "latchwatch_webhook_rejections",
            "Deliveries answered 401, by what was wrong with them",
            ["reason"],
            registry=registry,
        )
        self.verified = Counter(
            "latchwatch_webhook_verified",
            "Genuine deliveries of Seam's that were taken, by the label of the secret that they were signed with",
            ["secret"],
            registry=registry,
        )
        self.batch_size = Histogram(
            "latchwatch_commit_batch_size", "Deliveries in one commit", buckets=_BATCH_SIZES, registry=registry
        )
        self.commit_seconds = Histogram(
            "latchwatch_commit_seconds", "Time that one commit took", buckets=_SECONDS, registry=registry
        )
        self.commit_failures = Counter("latchwatch_commit_failures", "Commits that storage refused", registry=registry)
        self.queue_depth = Gauge(
            "latchwatch_commit_queue_depth", "Deliveries that wait for a commit or are in one", registry=registry
        )
        self.last_delivery = Gauge(
            "latchwatch_webhook_last_delivery_timestamp_seconds",
            "When the last delivery that was kept came in (Unix time)",
            registry=registry,
        )
