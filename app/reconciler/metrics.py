"""What the reconciler tells Prometheus, on a registry that is handed in: every process (and test) has its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.domain.intake import Intake

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ReconcilerMetrics:
    """Waiting (``lag``) is measured apart from working (``pass_seconds``)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.steps = Counter(
            "latchwatch_reconciler_steps",
            "Steps of codes by what became of them: saved, overtaken (decided again) or postponed (raised)",
            ["outcome"],
            registry=registry,
        )
        self.reads = Counter(
            "latchwatch_reconciler_reads",
            "Answers of Seam about codes: present, absent, failed or dropped (overtaken by news)",
            ["outcome"],
            registry=registry,
        )
        self.flags = Counter(
            "latchwatch_flags", "Flags opened and closed by the reconciler", ["kind", "change"], registry=registry
        )
        self.pass_seconds = Histogram(
            "latchwatch_reconciler_pass_seconds",
            "Time that one pass with due codes took",
            buckets=_SECONDS,
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "latchwatch_reconciler_lag_seconds",
            "For how long the longest waiting code was due when the last pass began",
            registry=registry,
        )
        self.last_pass = Gauge(
            "latchwatch_reconciler_last_pass_timestamp_seconds",
            "When the reconciler last looked for due codes (Unix time)",
            registry=registry,
        )


class IntakeMetrics:
    """``tell`` shows what all processes together found out; the counters are this process's own share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.comparisons = Counter(
            "latchwatch_backfill_comparisons",
            "Comparisons with Seam's list of events, by how they ended: through or failed",
            ["outcome"],
            registry=registry,
        )
        self.found = Counter(
            "latchwatch_backfill_events", "Events that only the backfill found in this process", registry=registry
        )
        self.lost = Counter(
            "latchwatch_backfill_lost_webhooks",
            "Events among them that prove that a webhook got lost: made while we received, older than a minute",
            registry=registry,
        )
        self.proven_until = Gauge(
            "latchwatch_intake_proven_until_timestamp_seconds",
            "Until when it is proven that no event was missed, on Seam's clock (Unix time; 0: nothing yet)",
            registry=registry,
        )
        self.lost_in_a_row = Gauge(
            "latchwatch_intake_lost_in_a_row",
            "Webhooks lost since a comparison last found that they had brought everything",
            registry=registry,
        )

    def tell(self, intake: Intake) -> None:
        proven = intake.proven_until
        self.proven_until.set(proven.timestamp() if proven is not None else 0)
        self.lost_in_a_row.set(intake.lost_in_a_row)
