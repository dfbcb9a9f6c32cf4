"""``latchwatch doctor``: one thing after another is looked at, and what cannot be is skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime

from app.config import Settings
from app.doctor.findings import Finding, skipped, wrong
from app.doctor.local import check_disk, check_settings, open_for_checks
from app.doctor.probe import judge_stored, send_probe
from app.doctor.seam import NO_PUBLIC_URL, SET_PUBLIC_URL, check_clock, check_key, check_webhook
from app.doctor.service import check_alerts, check_intake, check_rejections, check_secrets, check_work
from app.domain.fingerprints import Fingerprinter
from app.domain.rotation import Hook
from app.main import build_gateway
from app.seam.errors import SeamError
from app.seam.gateway import Gateway
from app.storage.engine import Database
from app.storage.errors import StorageError
from app.storage.queries import load_event
from app.storage.vitals import Vitals, read_vitals
from app.storage.webhooks import list_hooks

Clock = Callable[[], datetime]

# Nothing that the doctor reads from Seam holds a PIN, so no fingerprint is made, and no key has to be read for it.
_NO_FINGERPRINTS = Fingerprinter(b"unused")


async def examine(environ: Mapping[str, str], clock: Clock, *, probe: bool) -> AsyncIterator[Finding]:
    """Every finding as soon as it is made. ``probe`` sends a delivery of our own through the public address."""
    settings, found = check_settings(environ)
    for finding in found:
        yield finding
    if settings is None:
        yield skipped("all else", "correct the settings first")
        return
    async with AsyncExitStack() as stack:
        db, found = await open_for_checks(settings)
        if db is not None:
            stack.push_async_callback(db.close)
            found += check_disk(settings)
        for finding in [*found, *await _ask_seam(settings, clock), *await _look_at_service(settings, db, clock())]:
            yield finding
        yield await _probe(settings, db, clock) if probe else skipped("probe", "not sent (--no-probe)")


async def _ask_seam(settings: Settings, clock: Clock) -> list[Finding]:
    gateway = build_gateway(settings, _NO_FINGERPRINTS, clock)
    if gateway is None:
        return [wrong("Seam", "SEAM_API_KEY is not set", "set it to the API key of a Seam workspace (seam_…)")]
    try:
        return [
            await check_key(gateway),
            await check_clock(gateway, clock, settings.signature_tolerance),
            *await _look_at_webhooks(gateway, settings),
        ]
    finally:
        await gateway.aclose()


async def _look_at_webhooks(gateway: Gateway, settings: Settings) -> Sequence[Finding]:
    try:
        webhooks = await gateway.list_webhooks()
    except SeamError as error:
        return [skipped("webhook", f"Seam does not list its webhooks ({error})")]
    return list(check_webhook(webhooks, settings))


async def _look_at_service(settings: Settings, db: Database | None, now: datetime) -> list[Finding]:
    if db is None:
        return [skipped("service", "what it does stands in the database")]
    try:
        vitals, hooks = await _read(db, settings, now)
    except StorageError as error:
        return [wrong("database", str(error), "see the database's log")]
    return [
        *check_secrets(settings, vitals.receipts, hooks),
        *check_rejections(vitals.receipts),
        *check_intake(vitals.intake, settings, now),
        *check_work(vitals, now),
        *check_alerts(vitals, settings, now),
    ]


async def _read(db: Database, settings: Settings, now: datetime) -> tuple[Vitals, list[Hook]]:
    async with db.read() as conn:
        hooks = await list_hooks(conn, settings.webhook_url or "")
        return await read_vitals(conn, now), [hook for hook in hooks if hook.deleted_at is None]


async def _probe(settings: Settings, db: Database | None, clock: Clock) -> Finding:
    url = settings.webhook_url
    if url is None:
        return wrong("probe", NO_PUBLIC_URL, SET_PUBLIC_URL)
    if not settings.webhook_secrets:
        return skipped("probe", "there is no secret to sign it with")
    sent = await send_probe(url, settings.webhook_secrets[0], clock())
    if not sent.answered or db is None:
        return sent.finding
    async with db.read() as conn:
        return judge_stored(url, stored=await load_event(conn, sent.event_id) is not None)
