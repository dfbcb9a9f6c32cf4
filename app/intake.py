"""The wiring of what proves that nothing was missed: backfill, silence watch, codes that waited for a key, and what
``/readyz`` says of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry

from app.api.services import Check
from app.config import Settings
from app.data_folder import secret_key_of
from app.domain.fingerprints import Fingerprinter
from app.domain.intake import freshness
from app.loops import Loop
from app.reconciler.backfill import Backfill
from app.reconciler.loop import Reconciler
from app.reconciler.metrics import IntakeMetrics
from app.reconciler.silence import Channel, SilenceWatch
from app.reconciler.unasked import UnaskedCodes
from app.seam.gateway import Gateway
from app.storage.engine import Database
from app.storage.errors import StorageError
from app.storage.intake import load_intake

_SILENT_FOR = timedelta(seconds=30)

Clock = Callable[[], datetime]


def build_intake_loops(
    settings: Settings,
    db: Database,
    gateway: Gateway | None,
    clock: Clock,
    registry: CollectorRegistry,
    reconciler: Reconciler,
) -> list[Loop]:
    """None without a Seam key: there is nothing to compare with."""
    if gateway is None or reconciler.catch_up is None:
        return []
    backfill = Backfill(
        db=db,
        gateway=gateway,
        fingerprinter=Fingerprinter(secret_key_of(settings)),
        clock=clock,
        every=settings.backfill_every,
        catch_up=reconciler.catch_up,
        metrics=IntakeMetrics(registry),
        on_compared=reconciler.wake,
        track_all=settings.track == "all",
    )
    channel = Channel(
        public_url=settings.public_url,
        secrets=tuple(secret.label for secret in settings.webhook_secrets),
        tolerance=settings.signature_tolerance,
        silence_after=settings.silence_after,
    )
    unasked = UnaskedCodes(db=db, clock=clock, on_due=reconciler.wake)
    watch = SilenceWatch(db=db, gateway=gateway, channel=channel, clock=clock, ahead=backfill.ahead)
    return [
        Loop("backfill", backfill.run, lambda: backfill.last_pass_at, _SILENT_FOR),
        Loop("silence watch", watch.run, lambda: watch.last_pass_at, _SILENT_FOR),
        Loop("unasked codes", unasked.run, lambda: unasked.last_pass_at, _SILENT_FOR),
    ]


async def check_intake(db: Database, settings: Settings, now: datetime, started_at: datetime) -> Check:
    """Seam that cannot be reached makes nobody unready: webhooks can come in all the same, and turning them away would
    lose more. So it fails only where nobody compares, not even in vain, and tells everything else."""
    if settings.seam_api_key is None:
        return Check("intake", ok=True, detail="not compared with Seam's events: set SEAM_API_KEY")
    try:
        async with db.read() as conn:
            intake = await load_intake(conn)
    except StorageError as error:
        return Check("intake", ok=False, detail=str(error))
    found = freshness(intake, now, settings.backfill_every, started_at)
    return Check("intake", ok=found.is_tried, detail=found.detail)
