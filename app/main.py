"""Where everything is built and put together. ``Service`` is one process: receiver, API and reconciler."""

from __future__ import annotations

import functools
import gc
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta

import click
import structlog
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from app.alerts.alerts import Alerts
from app.alerts.building import build_channels
from app.alerts.channels import ChannelInvalid
from app.alerts.sender import Sender
from app.api.app import create_api
from app.api.services import Check, Services
from app.api.waiting import Waiting
from app.config import Settings, SettingsError
from app.data_folder import prepare_data_folder, secret_key_of
from app.domain.fingerprints import Fingerprinter
from app.intake import build_intake_loops, check_intake
from app.loops import Loop, Loops
from app.receiver.committer import CommitLimits, Committer
from app.receiver.endpoint import WebhookEndpoint, put_in_front
from app.receiver.examiner import Examiner
from app.receiver.metrics import ReceiverMetrics
from app.receiver.protocol import protocol_of
from app.receiver.receipts import Receipts
from app.reconciler.catching_up import CatchUp
from app.reconciler.counting import Counting
from app.reconciler.loop import Reconciler
from app.reconciler.mentions import Mentions
from app.reconciler.retention import Retention
from app.seam.gateway import Gateway
from app.server import listen, serve_http, stop_on_signals
from app.storage.deliveries import load_backlog
from app.storage.engine import Database, Dialect, open_database
from app.storage.errors import StorageError
from app.storage.inbox import Delivery, store_batch
from app.storage.migrate import SchemaState, migrate, schema_state
from app.storage.notices import Listener
from app.storage.probing import WriteProbe
from app.storage.tokens import ensure_first_token
from app.telemetry import create_registry

_SILENT_FOR = timedelta(seconds=30)
"""A reconciler that has not looked for due codes for so long is not alive."""
_DEAF_FOR = timedelta(minutes=1)
"""The same for a listener: it looks at its connection every quarter of a minute."""
_SENDING_FOR = timedelta(seconds=120)
"""Nor is a sender of alerts that has not for so long: more than a slow receiver can take."""
_UNSENT_FOR = timedelta(minutes=5)
"""An alert that waits for longer is worth a word."""

_ALLOCATIONS_BETWEEN_COLLECTIONS = 20_000

# SQLite has one writer. On PostgreSQL, more than two in flight would only be smaller.
_COMMITS_IN_FLIGHT: dict[Dialect, int] = {"sqlite": 1, "postgresql": 2}

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]


async def serve(settings: Settings, clock: Clock, *, background: bool) -> None:
    """Receive, answer and reconcile until a signal comes. Raises ``SettingsError`` or ``StorageError``."""
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        db = await open_current(settings, stack)
        listener = listen(settings.host, settings.port)
        stack.callback(listener.close)
        await db.start_writer()
        service = Service(settings, db, clock, create_registry())
        if settings.admin_token is None:
            await _print_first_token(db, clock)
        _announce(settings, listener, db, background)
        await service.start(background=background)
        stack.push_async_callback(service.stop)
        # What was made for the start stays: looking through it again and again costs pauses of many milliseconds. And a
        # batch of deliveries, which lives for a moment, is no reason to look for garbage.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
        await serve_http(service.app, listener, stop, protocol=service.protocol, on_end=service.waiting.close)
    log.info("stopped")


async def work(settings: Settings, clock: Clock) -> None:
    """Reconcile only, until a signal comes. Raises ``SettingsError`` or ``StorageError``."""
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        db = await open_current(settings, stack)
        registry = create_registry()
        alerts = build_alerts(settings, db, clock, registry)
        gateway = build_gateway(settings, Fingerprinter(secret_key_of(settings)), clock)
        if gateway is not None:
            stack.push_async_callback(gateway.aclose)
        log.info("working", database=db.place, warnings=list(settings.warnings), asks_seam=gateway is not None)
        reconciler = build_reconciler(settings, db, gateway, clock, registry, alerts)
        mentions = build_mentions(settings, db, gateway, clock, reconciler)
        intake = build_intake_loops(settings, db, gateway, clock, registry, reconciler)
        for loops in (
            build_loops(db, reconciler, mentions, alerts, clock, [*intake, build_keeping(settings, db, clock)]),
            build_listening(db, Listener(db, clock, on_due=reconciler.wake), clock),
        ):
            loops.start()
            stack.push_async_callback(loops.stop)
        await stop.wait()
    log.info("stopped")


async def open_current(settings: Settings, stack: AsyncExitStack) -> Database:
    """The database, with this version's schema; ``stack`` closes it. Raises ``SettingsError`` or ``StorageError``."""
    db = open_storage(settings)
    stack.push_async_callback(db.close)
    await bring_up_to_date(db)
    return db


class Service:
    """Built whole, but not running: ``start`` and ``stop`` do that. ``app`` answers, over ``protocol``; ``api`` is its
    REST part."""

    def __init__(self, settings: Settings, db: Database, clock: Clock, registry: CollectorRegistry) -> None:
        self._db = db
        self._write_probe = WriteProbe(db)
        self._clock = clock
        fingerprinter = Fingerprinter(secret_key_of(settings))
        self._gateway = build_gateway(settings, fingerprinter, clock)
        self._settings = settings
        self._started_at = clock()
        alerts = build_alerts(settings, db, clock, registry)
        self._reconciler = build_reconciler(
            settings, db, self._gateway, clock, registry, alerts, is_pressed=lambda: self._committer.is_pressed
        )
        mentions = build_mentions(settings, db, self._gateway, clock, self._reconciler)
        intake = build_intake_loops(settings, db, self._gateway, clock, registry, self._reconciler)
        self._loops = build_loops(
            db, self._reconciler, mentions, alerts, clock, [*intake, build_keeping(settings, db, clock)]
        )
        self.waiting = Waiting(db, settings.policy(), clock, registry)
        self._listener = Listener(db, clock, on_due=self._reconciler.wake)
        self._listening = build_listening(db, self._listener, clock)
        self._is_reconciling = False
        metrics = ReceiverMetrics(registry)
        receipts = Receipts(db=db, metrics=metrics, clock=clock)
        # Also without the background: nobody else knows what this process received.
        self._own_loops = Loops([Loop("receipts", receipts.run, lambda: receipts.last_pass_at, _SILENT_FOR)], clock)
        self._committer = Committer(
            functools.partial(store_batch, db, track_all=settings.track == "all"),
            metrics=metrics,
            on_stored=self._on_stored,
            limits=CommitLimits(in_flight=_COMMITS_IN_FLIGHT[db.dialect]),
        )
        examiner = Examiner(
            secrets=settings.webhook_secrets,
            tolerance=settings.signature_tolerance,
            clock=clock,
            fingerprinter=fingerprinter,
            committer=self._committer,
            metrics=metrics,
        )
        endpoint = WebhookEndpoint(examiner, metrics)
        services = Services(
            db=db,
            gateway=self._gateway,
            policy=settings.policy(),
            clock=clock,
            fingerprinter=fingerprinter,
            wake=self._wake,
            waiting=self.waiting,
            ready=self.ready,
            registry=registry,
            admin_token=settings.admin_token,
            metrics_token=settings.metrics_token,
        )
        self.api = create_api(services)
        self.app: ASGIApp = put_in_front(endpoint, self.api)
        self.protocol = protocol_of(endpoint)

    async def start(self, *, background: bool = True) -> None:
        """``background`` ``False`` leaves the loops to other processes."""
        self._committer.start()
        self._own_loops.start()
        self._listening.start()
        self._is_reconciling = background
        if background:
            self._loops.start()

    async def stop(self) -> None:
        """Call it when no request is under way any more: commit what was accepted, end the loops, close the gateway."""
        await self._committer.close()
        await self.api.state.background.drain()
        self.waiting.close()
        await self.waiting.drain()
        await self._loops.stop()
        await self._listening.stop()
        await self._own_loops.stop()
        if self._gateway is not None:
            await self._gateway.aclose()

    async def ready(self) -> list[Check]:
        """What ``/readyz`` looks at."""
        checks = [await _check_database(self._db, self._write_probe), *self._loops.checks()]
        checks += [*self._listening.checks(), *self._own_loops.checks()]
        checks += await check_alerts(self._db, self._clock())
        intake = await check_intake(self._db, self._settings, self._clock(), self._started_at)
        # Taking a receiver away would not make others compare.
        return [*checks, intake if self._is_reconciling else replace(intake, ok=True)]

    def _on_stored(self, deliveries: Sequence[Delivery]) -> None:
        self.waiting.news_came(deliveries)
        self._wake()

    def _wake(self) -> None:
        """Other processes share the work of one that has a reconciler anyway, within a second. They must be told at
        once only if there is none here."""
        self._reconciler.wake()
        if not self._is_reconciling:
            self._listener.tell_due()


def build_gateway(settings: Settings, fingerprinter: Fingerprinter, clock: Clock) -> Gateway | None:
    if settings.seam_api_key is None:
        return None
    return Gateway(
        api_key=settings.seam_api_key,
        endpoint=settings.seam_endpoint,
        timeout_seconds=settings.seam_timeout.total_seconds(),
        fingerprinter=fingerprinter,
        clock=clock,
    )


def build_reconciler(
    settings: Settings,
    db: Database,
    gateway: Gateway | None,
    clock: Clock,
    registry: CollectorRegistry,
    alerts: Alerts,
    is_pressed: Callable[[], bool] = lambda: False,
) -> Reconciler:
    return Reconciler(
        db=db,
        gateway=gateway,
        policy=settings.policy(),
        clock=clock,
        registry=registry,
        is_pressed=is_pressed,
        on_flags=alerts.wake,
        # Without a Seam key nothing can be fetched, so there is nothing to wait for.
        catch_up=CatchUp(clock) if gateway is not None else None,
    )


def build_mentions(
    settings: Settings, db: Database, gateway: Gateway | None, clock: Clock, reconciler: Reconciler
) -> Mentions:
    return Mentions(
        db=db,
        gateway=gateway,
        clock=clock,
        track_all=settings.track == "all",
        on_tracked=reconciler.wake,
    )


def build_alerts(settings: Settings, db: Database, clock: Clock, registry: CollectorRegistry) -> Alerts:
    """Raises ``SettingsError`` for an address that cannot be used."""
    try:
        channels = build_channels(
            urls=settings.alert_urls,
            webhook_url=settings.alert_webhook_url,
            webhook_secret=settings.alert_webhook_secret,
            key=secret_key_of(settings),
            clock=clock,
        )
    except ChannelInvalid as error:
        raise SettingsError(str(error)) from None
    return Alerts(db=db, channels=channels, policy=settings.alert_policy(), clock=clock, registry=registry)


def build_loops(
    db: Database,
    reconciler: Reconciler,
    mentions: Mentions,
    alerts: Alerts,
    clock: Clock,
    others: Sequence[Loop],
) -> Loops:
    """What runs in the background of one process."""
    composer, counting = alerts.composer, Counting(db, clock)
    loops = [
        Loop("reconciler", reconciler.run, lambda: reconciler.last_pass_at, _SILENT_FOR),
        Loop("mentions", mentions.run, lambda: mentions.last_pass_at, _SILENT_FOR),
        Loop("counting", counting.run, lambda: counting.last_pass_at, _SILENT_FOR),
        Loop("alerts", composer.run, lambda: composer.last_pass_at, _SILENT_FOR),
        *map(_loop_of, alerts.senders),
        *others,
    ]
    return Loops(loops, clock)


def build_keeping(settings: Settings, db: Database, clock: Clock) -> Loop:
    retention = Retention(db=db, clock=clock, keep=settings.retain_events)
    return Loop("retention", retention.run, lambda: retention.last_pass_at, _SILENT_FOR)


def _loop_of(sender: Sender) -> Loop:
    return Loop(f"alerts to {sender.name}", sender.run, lambda: sender.last_pass_at, _SENDING_FOR)


def build_listening(db: Database, listener: Listener, clock: Clock) -> Loops:
    """Runs in every process on PostgreSQL, with or without the other loops. On SQLite there is nothing to hear."""
    if db.dialect == "sqlite":
        return Loops([], clock)
    return Loops([Loop("listener", listener.run, lambda: listener.last_pass_at, _DEAF_FOR)], clock)


def open_storage(settings: Settings) -> Database:
    """Raises ``SettingsError`` or ``DatabaseUrlInvalid``."""
    prepare_data_folder(settings)
    return open_database(settings.database_url)


async def bring_up_to_date(db: Database) -> None:
    """Before the start: SQLite is migrated by whoever opens it, PostgreSQL only on command, so that replicas of two
    versions do not fight over its schema. Raises ``SettingsError`` or ``StorageError``."""
    await db.probe()
    if db.dialect == "sqlite":
        await migrate(db)
        return
    match await schema_state(db):
        case SchemaState.CURRENT:
            return
        case SchemaState.EMPTY | SchemaState.BEHIND:
            raise SettingsError(
                "DATABASE_URL names a database whose schema is behind this version; run latchwatch migrate"
            )
        case SchemaState.AHEAD:
            raise SettingsError(
                "DATABASE_URL names a database that a newer Latchwatch has migrated; "
                "start that version, or name another database"
            )


async def _print_first_token(db: Database, clock: Clock) -> None:
    token = await ensure_first_token(db, now=clock())
    if token is not None:
        # Not a log line: it is meant for the person at the terminal, and this is the one time it can be read.
        click.echo(f"First start. This token has every scope and is shown only now:\n\n  {token}\n")


def _announce(settings: Settings, listener: socket.socket, db: Database, background: bool) -> None:
    for warning in settings.warnings:
        log.warning("setting_ignored", detail=warning)
    if settings.seam_api_key is None:
        log.warning("seam_not_configured", detail="without SEAM_API_KEY nothing is created or confirmed by a read")
    host, port = listener.getsockname()[:2]
    log.info(
        "serving",
        address=f"http://{host}:{port}",
        webhook_url=settings.webhook_url or f"http://{host}:{port}/webhooks/seam",
        database=db.place,
        background=background,
    )


async def check_alerts(db: Database, now: datetime) -> list[Check]:
    """What could not be told yet. It never makes a process unready: somebody else's receiver may be down, and taking
    ours away as well would help nobody."""
    try:
        async with db.read() as conn:
            backlog = await load_backlog(conn)
    except StorageError:
        return []  # the check of the database tells
    details: list[str] = []
    if backlog.oldest_unsent_at is not None and now - backlog.oldest_unsent_at > _UNSENT_FOR:
        details.append(f"the oldest unsent alert is from {backlog.oldest_unsent_at.isoformat(timespec='seconds')}")
    if backlog.dead:
        details.append(f"given up on {', '.join(f'{name}: {count}' for name, count in sorted(backlog.dead.items()))}")
    detail = f"{'; '.join(details)}; see latchwatch alerts list" if details else None
    return [Check("alert deliveries", ok=True, detail=detail)]


async def _check_database(db: Database, write_probe: WriteProbe) -> Check:
    try:
        state = await schema_state(db)
        if state is not SchemaState.CURRENT:
            detail = f"its schema is {state}; run latchwatch migrate with this version"
            return Check("database", ok=False, detail=detail)
        await write_probe.check()
    except StorageError as error:
        return Check("database", ok=False, detail=str(error))
    return Check("database", ok=True)
