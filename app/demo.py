"""``latchwatch demo``: the service beside a simulated Seam with good and bad locks, for half a minute of watching.

All goes the way that it goes in production: REST in, signed webhooks back, SQLite in a file.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx

from app.clock import utc_now
from app.config import Purpose, Settings, SettingsError, load_settings
from app.main import Service, bring_up_to_date, open_storage
from app.sandbox import SandboxSettings, create_sandbox
from app.server import listen, serve_http, stop_on_signals
from app.telemetry import create_registry

_HOST = "127.0.0.1"
_PORTS_TO_TRY = 20
_SPEED = 10.0
_LOOK_EVERY_SECONDS = 0.25
# What takes minutes with real locks takes seconds here.
_LIMITS = {
    "LATCHWATCH_SET_WITHIN": "20",
    "LATCHWATCH_START_GRACE": "1",
    "LATCHWATCH_REMOVE_WITHIN": "10",
    "LATCHWATCH_REQUEST_WITHIN": "5",
    "LATCHWATCH_RECHECK_AFTER": "2",
}


@dataclass(frozen=True, slots=True)
class Guest:
    """One code of the demo. ``window`` is in seconds from now. So many seconds after the code was made, its removal, a
    later end, or a backup code is asked for."""

    name: str
    device_id: str
    window: tuple[float, float] | None = None
    removed_after: float | None = None
    extended_after: float | None = None
    backed_up_after: float | None = None
    is_offline: bool = False

    def request(self, now: datetime) -> dict[str, Any]:
        body: dict[str, Any] = {"device_id": self.device_id, "name": self.name}
        if self.window is not None:
            starts_at, ends_at = (now.astimezone(UTC) + timedelta(seconds=seconds) for seconds in self.window)
            body |= {"starts_at": starts_at.isoformat(), "ends_at": ends_at.isoformat()}
        if self.backed_up_after is not None:
            body["use_backup_access_code_pool"] = True
        return body | ({"is_offline_access_code": True} if self.is_offline else {})


_HOUR = 3600.0
GUESTS = (
    Guest("Ada", "lock_sets_at_once"),
    Guest("Ben", "lock_slow"),
    Guest("Cleo", "lock_delays_then_sets"),
    Guest("Dan", "lock_fails"),
    Guest("Eve", "lock_fails_then_sets"),
    Guest("Finn", "lock_wrong_pin"),
    Guest("Gus", "lock_silent"),
    Guest("Hana", "lock_silent_webhook"),
    Guest("Ivy", "lock_never_removes", removed_after=4.0),
    Guest("Jon", "lock_silent", window=(2.0, 12.0)),
    Guest("Kim", "lock_native", window=(_HOUR, 5 * _HOUR)),
    Guest("Lou", "lock_just_in_time", window=(24 * _HOUR, 30 * _HOUR)),
    Guest("Mia", "lock_sets_at_once", removed_after=6.0),
    Guest("Noa", "lock_offline_codes", window=(_HOUR, 25 * _HOUR), is_offline=True),
    Guest("Oli", "lock_slow", window=(-60.0, 5 * _HOUR), extended_after=14.0),
    Guest("Pia", "lock_fails", window=(-60.0, 5 * _HOUR), backed_up_after=8.0),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays."""

    url: str
    token: str
    client: httpx.AsyncClient


async def run_demo(port: int, exit_after: timedelta | None) -> None:
    """Play until a signal comes, or ``exit_after``. Raises ``SettingsError``."""
    stop = stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="latchwatch-demo-") as folder:
        async with _stage(port, Path(folder), stop) as stage:
            _introduce(stage)
            playing = asyncio.create_task(_play(stage))
            try:
                async with asyncio.timeout(None if exit_after is None else exit_after.total_seconds()):
                    await _first_of(playing, asyncio.create_task(stop.wait()))
            except TimeoutError:
                click.echo("\nThe time is up.")
            finally:
                await _end(playing)
                stop.set()


@asynccontextmanager
async def _stage(port: int, folder: Path, stop: asyncio.Event) -> AsyncIterator[Stage]:
    front, back = _listen_near(port), listen(_HOST, 0)
    url, seam_url = (f"http://{_HOST}:{each.getsockname()[1]}" for each in (front, back))
    secret, token = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}", f"demo_{secrets.token_hex(16)}"
    sandbox = SandboxSettings(webhook_url=f"{url}/webhooks/seam", webhook_secret=secret, speed=_SPEED)
    settings = _settings(folder, seam_url=seam_url, secret=secret, token=token)
    db = open_storage(settings)
    await bring_up_to_date(db)
    service = Service(settings, db, utc_now, create_registry())
    await service.start()
    servers = [
        asyncio.create_task(serve_http(create_sandbox(sandbox, clock=utc_now), back, stop, is_dated=True)),
        asyncio.create_task(
            serve_http(service.app, front, stop, protocol=service.protocol, on_end=service.waiting.close)
        ),
    ]
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=10) as client:
            yield Stage(url, token, client)
    finally:
        stop.set()
        await asyncio.gather(*servers)
        await service.stop()
        await db.close()


def _settings(folder: Path, *, seam_url: str, secret: str, token: str) -> Settings:
    environ = {
        "DATABASE_URL": f"sqlite:///{folder}/demo.db",
        "SEAM_API_KEY": "seam_demo_key",
        "SEAM_ENDPOINT": seam_url,
        "SEAM_WEBHOOK_SECRET": secret,
        "LATCHWATCH_ADMIN_TOKEN": token,
    }
    return load_settings(environ | _LIMITS, Purpose.SERVE)


def _listen_near(port: int) -> socket.socket:
    for offset in range(_PORTS_TO_TRY):
        try:
            listener = listen(_HOST, port + offset if port else 0)
        except SettingsError:
            if offset == _PORTS_TO_TRY - 1 or port + offset >= 65535:
                raise
            continue
        if offset:
            click.echo(f"Port {port} is in use, so this is port {port + offset}.\n")
        return listener
    raise AssertionError("the loop returns or raises")


def _introduce(stage: Stage) -> None:
    bearer = f"-H 'Authorization: Bearer {stage.token}'"
    click.echo(
        f"Latchwatch listens on {stage.url}, its API is described at {stage.url}/docs\n"
        f"Seam and its locks are simulated, ten times as fast. The token is {stage.token}\n\n"
        f"  curl -s {bearer} '{stage.url}/v1/access-codes?flagged=true'\n"
        f"  curl -s {bearer} '{stage.url}/v1/flags?state=open'\n"
        f"  curl -s {bearer} '{stage.url}/v1/summary'\n\n"
        f"{len(GUESTS)} guests get a code now. Watch what becomes of each for half a minute; Ctrl-C ends it.\n"
    )


async def _play(stage: Stage) -> None:
    started = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        group.create_task(_watch(stage, started))
        for guest in GUESTS:
            group.create_task(_accompany(stage, guest))


async def _accompany(stage: Stage, guest: Guest) -> None:
    answer = await stage.client.post("/v1/access-codes", json=guest.request(utc_now()))
    if answer.is_error:
        click.echo(f"          {guest.name} got no code: {answer.text}")
        return
    path = f"/v1/access-codes/{answer.json()['id']}"
    if guest.removed_after is not None:
        await asyncio.sleep(guest.removed_after)
        click.echo(f"          the code of {guest.name} is taken back")
        await stage.client.delete(path)
    if guest.extended_after is not None:
        await asyncio.sleep(guest.extended_after)
        click.echo(f"          {guest.name} stays an hour longer")
        ends_at = utc_now() + timedelta(seconds=6 * _HOUR)
        await stage.client.patch(path, json={"ends_at": ends_at.isoformat()})
    if guest.backed_up_after is not None:
        await asyncio.sleep(guest.backed_up_after)
        click.echo(f"          {guest.name} gets a backup code")
        await stage.client.post(f"{path}/backup")


async def _watch(stage: Stage, started: float) -> None:
    """Print one line for each change of a verdict."""
    told: dict[str, str] = {}
    while True:
        answer = await stage.client.get("/v1/access-codes", params={"limit": 100})
        for code in reversed(answer.raise_for_status().json()["items"]):
            before, verdict = told.get(code["id"]), code["verdict"]
            if before != verdict:
                told[code["id"]] = verdict
                click.echo(_line(asyncio.get_running_loop().time() - started, code, before))
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


def _line(seconds: float, code: dict[str, Any], before: str | None) -> str:
    change = code["verdict"] if before is None else f"{before} → {code['verdict']}"
    mark = "!" if code["flags"] else " "
    return f"{seconds:6.1f} s {mark} {code['name']:<5} {code['device_id']:<22} {change:<24} {code['reason']}"


async def _first_of(*tasks: asyncio.Task[Any]) -> None:
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    for task in done:
        task.result()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
