"""The commands that look after the webhook at Seam, and after the whole installation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import click

from app.cli_base import Span, read_settings
from app.clock import utc_now
from app.config import Purpose, Settings, SettingsError, read_environment
from app.data_folder import secret_key_of
from app.domain.fingerprints import Fingerprinter
from app.domain.rotation import Hook, last_use
from app.telemetry import configure_logging

if TYPE_CHECKING:
    from app.registration import Registered, Registration, Standing

T = TypeVar("T")

_DAY = timedelta(days=1)
_url_option = click.option("--url", metavar="URL", help="The webhook's full address instead of PUBLIC_URL's.")


@click.command("register-webhook")
@_url_option
@click.option("--again", is_flag=True, help="Make another one although Seam has one for this address.")
def register_webhook_command(url: str | None, again: bool) -> None:
    """Make the webhook at Seam, with every event type, and print its secret: the one time that it can be read.

    The address is LATCHWATCH_PUBLIC_URL with /webhooks/seam behind it.
    """
    made = _with_registration(url, lambda registration, _: registration.register(again=again))
    _tell_secret(made)
    click.echo("\nNext: set it as SEAM_WEBHOOK_SECRET, start Latchwatch, and see that latchwatch doctor is content.")


@click.command("rotate-secret")
@_url_option
@click.option(
    "--finish", is_flag=True, help="Delete the old webhook, if its secret is out of use and the new one works."
)
@click.option("--status", is_flag=True, help="Only tell how things stand.")
@click.option(
    "--unused-for", type=Span(), default="1d", show_default=True, help="With --finish: how long the old one was unused."
)
def rotate_secret_command(url: str | None, finish: bool, status: bool, unused_for: timedelta) -> None:
    """Change the signing secret without losing a delivery: a second webhook takes the place of the first.

    While both exist every event comes twice and is kept once. --finish deletes the first.
    """
    if finish and status:
        raise click.UsageError("--finish and --status do not go together")
    if status:
        standing = _with_registration(url, lambda registration, _: registration.look_up())
        click.echo("\n".join(_describe(standing, utc_now(), unused_for)))
    elif finish:
        done = _with_registration(url, lambda registration, _: registration.finish(unused_for))
        click.echo(f"The old webhook {done.old.webhook_id} is deleted; {done.new.webhook_id} goes on alone.")
        click.echo("Next: take the old secret out of SEAM_WEBHOOK_SECRET, if it is still there, and restart.")
    else:
        _tell_secret(_with_registration(url, _rotate))
        click.echo(
            "\nNext: set both in SEAM_WEBHOOK_SECRET, the new one first, separated by a comma, for every process, and "
            "restart.\nThen: see rotate-secret --status until the new secret is in use, take the old one out, restart, "
            "and a day later\nuse rotate-secret --finish."
        )


@click.command("doctor")
@click.option("--probe/--no-probe", default=True, help="Post a signed delivery through PUBLIC_URL, as Seam would.")
def doctor_command(probe: bool) -> None:
    """Look at everything that has to be right, one by one, and say what to do about what is not.

    Changes nothing but for the probe, which is stored as an event of the type latchwatch.probe. Exit code 1 if anything
    is wrong. Works while the service runs, and needs the settings of the service.
    """
    from app.doctor.doctor import examine
    from app.doctor.findings import Mark, render

    configure_logging("console", level="CRITICAL")

    async def command() -> bool:
        well = True
        async for finding in examine(read_environment(), utc_now, probe=probe):
            click.echo(render(finding))
            well = well and finding.mark is not Mark.WRONG
        return well

    if not asyncio.run(command()):
        raise SystemExit(1)


COMMANDS = (register_webhook_command, rotate_secret_command, doctor_command)


def _with_registration(url: str | None, use: Callable[[Registration, Settings], Awaitable[T]]) -> T:
    from app.main import build_gateway, open_current
    from app.registration import Registration

    settings = read_settings(Purpose.WORK)
    address = url or settings.webhook_url
    if address is None:
        raise SettingsError(
            "LATCHWATCH_PUBLIC_URL is not set; it should be the address under which Seam reaches this service, such as "
            "https://latchwatch.example.com"
        )

    async def command() -> T:
        async with AsyncExitStack() as stack:
            db = await open_current(settings, stack)
            gateway = build_gateway(settings, Fingerprinter(secret_key_of(settings)), utc_now)
            if gateway is None:
                raise SettingsError("SEAM_API_KEY is not set; it should be the API key of a Seam workspace (seam_…)")
            stack.push_async_callback(gateway.aclose)
            return await use(Registration(db, gateway, address, utc_now), settings)

    return asyncio.run(command())


async def _rotate(registration: Registration, settings: Settings) -> Registered:
    labels = [secret.label for secret in settings.webhook_secrets]
    return await registration.rotate(sole_label=labels[0] if len(labels) == 1 else None)


def _tell_secret(made: Registered) -> None:
    click.echo(f"Seam has a new webhook {made.hook.webhook_id} for {made.hook.url}.")
    click.echo(f"Its secret is shown only now:\n\n  {made.secret}")


def _describe(standing: Standing, now: datetime, unused_for: timedelta) -> list[str]:
    known = {hook.webhook_id: hook for hook in standing.hooks}
    labels = [hook.secret_label for hook in standing.hooks]
    lines = [
        _describe_webhook(each.webhook_id, known.get(each.webhook_id), standing, labels) for each in standing.at_seam
    ] or ["Seam has no webhook for this address; make one with latchwatch register-webhook."]
    rotation = standing.rotation
    if rotation is None:
        return [*lines, "No change of the secret is under way."]
    against = standing.obstacles(rotation, now, unused_for)
    return [*lines, *(against or ["The old webhook can be deleted: latchwatch rotate-secret --finish."])]


def _describe_webhook(webhook_id: str, hook: Hook | None, standing: Standing, labels: list[str | None]) -> str:
    if hook is None:
        return f"{webhook_id}  made elsewhere"
    used = last_use(hook, [label for label in labels if label != hook.secret_label], standing.used_at)
    role = "old" if hook.retired_at is not None else "current"
    told = "not used yet" if used is None else f"last used {used:%Y-%m-%d %H:%M:%S}Z"
    return f"{webhook_id}  {role}, secret {hook.secret_label or 'unknown'}, {told}"
