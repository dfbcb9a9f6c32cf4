"""What the service left in the database: whether it receives, compares, works and tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from app.config import Settings
from app.doctor.findings import Finding, note, skipped, well, wrong
from app.domain.rotation import Hook
from app.domain.silence import REJECTED, VERIFIED, Receipt
from app.receiver.signature import Reason
from app.storage.vitals import IntakeVitals, Vitals

_LATE = timedelta(minutes=1)
_MISSED_ROUNDS = 3
_RUNS = "see that latchwatch serve (without --no-background) or latchwatch work runs on this database"

# These come under Seam's own headers: somebody who only tries the address does not cause them by accident.
_REMEDIES = {
    Reason.WRONG_SIGNATURE: "SEAM_WEBHOOK_SECRET lacks the secret of a webhook, or a proxy changes the body",
    Reason.TOO_OLD: "set this machine's clock (NTP)",
    Reason.TOO_NEW: "set this machine's clock (NTP)",
}


def check_secrets(settings: Settings, receipts: Sequence[Receipt], hooks: Sequence[Hook]) -> Iterator[Finding]:
    """Every live secret with its last use, and those of our webhooks that no process here could verify."""
    used_at = {receipt.detail: receipt.last_at for receipt in receipts if receipt.outcome == VERIFIED}
    live = [secret.label for secret in settings.webhook_secrets]
    for label in live:
        at = used_at.get(label)
        if at is None:
            yield note("secret", f"{label}: no delivery came under it yet")
        else:
            yield well("secret", f"{label}: last used {_moment(at)}")
    for hook in hooks:
        if hook.retired_at is None and hook.secret_label not in {*live, None}:
            yield wrong(
                "secret",
                f"{hook.secret_label}, of webhook {hook.webhook_id}, is not in SEAM_WEBHOOK_SECRET",
                "add it: it was printed when the webhook was made; else latchwatch rotate-secret",
            )


def check_rejections(receipts: Sequence[Receipt]) -> Iterator[Finding]:
    verified = max((receipt.last_at for receipt in receipts if receipt.outcome == VERIFIED), default=None)
    for receipt in receipts:
        if receipt.outcome != REJECTED:
            continue
        told = f"{receipt.count} × {receipt.detail}, the last {_moment(receipt.last_at)}"
        remedy = _REMEDIES.get(Reason(receipt.detail)) if receipt.detail in set(Reason) else None
        if remedy is None:
            yield note("rejected", told, "not Seam's doing, unless a proxy drops the svix- headers")
        elif verified is None or receipt.last_at > verified:
            yield wrong("rejected", f"{told}, and nothing genuine since", remedy)
        else:
            yield note("rejected", f"{told}; genuine deliveries came since")


def check_intake(found: IntakeVitals, settings: Settings, now: datetime) -> Iterator[Finding]:
    yield _check_last_delivery(found, settings)
    yield _check_proof(found, settings, now)
    if found.lost:
        at = "" if found.lost_at is None else f", the last made {_moment(found.lost_at)}"
        yield note("lost", f"{found.lost} events came by no webhook and were fetched from Seam{at}")


def check_work(found: Vitals, now: datetime) -> Iterator[Finding]:
    lag = found.due.lag(now)
    if lag > _LATE:
        yield wrong("reconciler", f"{found.due.count} codes are due, the oldest for {lag.total_seconds():.0f} s", _RUNS)
    else:
        yield well("reconciler", "no code waits for longer than a minute")


def check_alerts(found: Vitals, settings: Settings, now: datetime) -> Iterator[Finding]:
    channels = len(settings.alert_urls) + (settings.alert_webhook_url is not None)
    if not channels:
        yield note("alerts", "no channel is set, so nobody is told", "see LATCHWATCH_ALERT_URLS in docs/settings.md")
    else:
        yield well("alerts", f"channels set: {channels}")
    if found.dead:
        yield note("alerts", f"{found.dead} deliveries were given up", "see latchwatch alerts")
    lag = found.unsent.lag(now)
    if channels and lag > _LATE:
        yield wrong("alerts", f"{found.unsent.count} are not sent, the oldest for {lag.total_seconds():.0f} s", _RUNS)


def _check_last_delivery(found: IntakeVitals, settings: Settings) -> Finding:
    last = found.last_delivery_at
    newest = found.seam_event_at
    if last is None and newest is None:
        return note("deliveries", "none came yet", "let something happen at a lock of this workspace")
    if newest is not None and (last is None or newest - last > settings.silence_after):
        told = "none came yet" if last is None else f"the last came {_moment(last)}"
        return wrong(
            "deliveries",
            f"{told}, while Seam has an event of {_moment(newest)}",
            "see in Seam's console whether the webhook is disabled, and the findings here on webhook, secret and probe",
        )
    return well("deliveries", f"the last came {_moment(last)}" if last else "none came yet, and none is due")


def _check_proof(found: IntakeVitals, settings: Settings, now: datetime) -> Finding:
    if settings.seam_api_key is None:
        return skipped("proof", "without SEAM_API_KEY nothing can be compared with Seam")
    if found.compare_failure is not None:
        return wrong("proof", f"comparing with Seam fails: {found.compare_failure}", "see the findings on Seam")
    if found.compared_at is None or found.proven_until is None:
        return note("proof", "events were not compared with Seam's yet", _RUNS)
    if now - found.compared_at > _MISSED_ROUNDS * settings.backfill_every:
        return wrong("proof", f"events were last compared with Seam's {_moment(found.compared_at)}", _RUNS)
    return well("proof", f"nothing is missing until {_moment(found.proven_until)}")


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
