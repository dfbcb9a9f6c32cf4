"""What ``latchwatch status`` prints: the figures of the summary, and how the service itself is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from app.domain.silence import VERIFIED, Receipt
from app.storage.summary import Summary
from app.storage.vitals import Backlog, IntakeVitals, Vitals


def status_as_json(summary: Summary, vitals: Vitals, now: datetime) -> str:
    """The summary's fields, with more on the ``intake``, and ``receipts``, ``alerts`` and ``due`` beside them."""
    gap = vitals.intake.gap(now)
    intake = {**dataclasses.asdict(summary.intake), **dataclasses.asdict(vitals.intake)}
    found = {
        **dataclasses.asdict(summary),
        "intake": intake | {"gap_seconds": None if gap is None else gap.total_seconds()},
        "receipts": [dataclasses.asdict(receipt) for receipt in vitals.receipts],
        "alerts": {"unsent": _waiting(vitals.unsent, now), "dead_deliveries": vitals.dead},
        "due": _waiting(vitals.due, now),
    }
    return json.dumps(found, default=_write, indent=2)


def describe_status(summary: Summary, vitals: Vitals, now: datetime) -> str:
    """Lines for people."""
    lines = [
        f"codes       {_counts(summary.codes)}",
        f"open flags  {_counts(summary.flags)}",
        f"arrivals    {_counts(summary.arrivals)}",
        f"last news   {_moment(vitals.intake.last_delivery_at)}",
        *_describe_intake(vitals.intake, now),
        *(_describe_receipt(receipt) for receipt in vitals.receipts),
        f"alerts      {_describe_backlog(vitals.unsent, 'unsent', now)}, {vitals.dead} deliveries given up",
        f"due         {_describe_backlog(vitals.due, 'codes', now)}",
    ]
    return "\n".join(lines)


def _describe_intake(intake: IntakeVitals, now: datetime) -> Iterator[str]:
    gap = intake.gap(now)
    proven = "nothing yet" if gap is None else f"until {_moment(intake.proven_until)}, {_seconds(gap)} ago"
    yield f"proven      {proven}"
    if intake.compare_failure is not None:
        yield f"            not further: {intake.compare_failure}"
    yield f"lost        {intake.lost} (events that no webhook brought: {intake.backfilled} fetched from Seam)"


def _describe_receipt(receipt: Receipt) -> str:
    name = "secret" if receipt.outcome == VERIFIED else "rejected"
    return f"{name:<11} {receipt.detail}: {receipt.count}, the last {_moment(receipt.last_at)}"


def _describe_backlog(backlog: Backlog, what: str, now: datetime) -> str:
    lag = f", the oldest for {_seconds(backlog.lag(now))}" if backlog.count else ""
    return f"{backlog.count} {what}{lag}"


def _waiting(backlog: Backlog, now: datetime) -> dict[str, object]:
    return {"count": backlog.count, "since": backlog.since, "lag_seconds": backlog.lag(now).total_seconds()}


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count) or "none"


def _moment(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():.0f} s"


def _write(value: object) -> str:
    """Times as the API writes them."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
