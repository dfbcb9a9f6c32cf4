"""The command line. Wrong settings and a database that cannot be used end a command with exit code 2, one line each.

A command imports what it needs when it is run: the whole service takes seconds of CPU to import.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from app.cli_alerts import alerts_group
from app.cli_backfill import COMMANDS as BACKFILL_COMMANDS
from app.cli_base import read_settings as _settings
from app.cli_seam import COMMANDS as SEAM_COMMANDS
from app.cli_upkeep import COMMANDS as UPKEEP_COMMANDS
from app.clock import utc_now
from app.config import Purpose, SettingsError
from app.domain.errors import LatchwatchError
from app.domain.scopes import Scope
from app.storage.errors import DatabaseUrlInvalid, SchemaAhead, StorageError
from app.telemetry import configure_logging

if TYPE_CHECKING:
    from app.storage.summary import Summary
    from app.storage.tokens import TokenRow
    from app.storage.vitals import Vitals

_PORT = click.IntRange(0, 65535)


class _Group(click.Group):
    """Turns what an operator can put right into lines on standard error, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (SettingsError, DatabaseUrlInvalid, SchemaAhead) as error:
            click.echo(str(error), err=True)
            ctx.exit(2)
        except StorageError as error:
            click.echo(f"DATABASE_URL: {error}", err=True)
            ctx.exit(1)
        except LatchwatchError as error:
            click.echo(str(error), err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="latchwatch")
def main() -> None:
    """Is this person's code really on that lock, and if not, since when, why, and what should be done?

    Settings come from the environment and from .env: see docs/settings.md.
    """


for _command in (*SEAM_COMMANDS, *BACKFILL_COMMANDS, *UPKEEP_COMMANDS, alerts_group):
    main.add_command(_command)


@main.command("serve")
@click.option("--host", help="Listen on this address instead of LATCHWATCH_HOST.")
@click.option("--port", type=_PORT, help="Listen on this port instead of LATCHWATCH_PORT; 0 takes a free one.")
@click.option("--no-background", is_flag=True, help="Receive and answer only; let `latchwatch work` reconcile.")
def serve_command(host: str | None, port: int | None, no_background: bool) -> None:
    """Receive Seam's webhooks, answer the API and reconcile, in one process.

    Ends cleanly on SIGTERM. An SQLite database is migrated by itself; for PostgreSQL run `latchwatch migrate` first.
    """
    from app.main import serve
    from app.server import run

    settings = _settings(Purpose.SERVE)
    settings = dataclasses.replace(
        settings,
        host=settings.host if host is None else host,
        port=settings.port if port is None else port,
    )
    run(serve(settings, utc_now, background=not no_background))


@main.command("work")
def work_command() -> None:
    """Reconcile only: for processes beside `latchwatch serve --no-background`."""
    from app.main import work
    from app.server import run

    run(work(_settings(Purpose.WORK), utc_now))


@main.command("migrate")
def migrate_command() -> None:
    """Bring the database of DATABASE_URL up to date. Running it twice, or on two machines at once, does no harm."""
    from app.main import open_storage
    from app.storage.migrate import migrate

    settings = _settings(Purpose.DATABASE)

    async def command() -> None:
        db = open_storage(settings)
        try:
            await db.probe()
            await migrate(db)
        finally:
            await db.close()
        click.echo(f"{db.place} is up to date")

    asyncio.run(command())


@main.command("demo")
@click.option("--port", type=_PORT, default=8000, show_default=True, help="The next free one is taken if it is in use.")
@click.option("--exit-after", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="End by itself.")
def demo_command(port: int, exit_after: float | None) -> None:
    """Watch it at work: a simulated Seam with good and bad locks, and the service beside it.

    Needs no account, no network and no settings, and leaves nothing behind.
    """
    from app.demo import run_demo
    from app.server import run

    configure_logging("console", level="WARNING")
    run(run_demo(port, None if exit_after is None else timedelta(seconds=exit_after)))


@main.command("sandbox")
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option("--port", type=_PORT, default=8100, show_default=True, help="0 takes a free one.")
@click.option("--webhook-url", metavar="URL", help="Send signed webhooks here, from the start.")
@click.option("--secret", metavar="WHSEC", help="Sign them with this secret (whsec_…).")
@click.option("--speed", type=float, default=1.0, show_default=True, help="How many times faster the locks are.")
@click.option("--seed", type=int, help="Makes its random faults repeatable.")
def sandbox_command(
    host: str, port: int, webhook_url: str | None, secret: str | None, speed: float, seed: int | None
) -> None:
    """Run a simulated Seam: its API, signed webhooks, and locks that misbehave. See docs/sandbox.md."""
    from app.sandbox import SandboxError, SandboxSettings, create_sandbox
    from app.server import listen, run, serve_http, stop_on_signals

    configure_logging(None)
    try:
        settings = SandboxSettings(webhook_url=webhook_url, webhook_secret=secret, speed=speed, seed=seed)
    except SandboxError as error:
        raise SettingsError(str(error)) from None

    async def command() -> None:
        listener = listen(host, port)
        stop = stop_on_signals()
        address = f"http://{host}:{listener.getsockname()[1]}"
        click.echo(f"A simulated Seam listens on {address}; any API key that begins with seam_ will do")
        await serve_http(create_sandbox(settings, clock=utc_now), listener, stop, is_dated=True)

    run(command())


@main.group("tokens")
def tokens_group() -> None:
    """Make, list and revoke the tokens of the API."""


@tokens_group.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    default=(Scope.READ.value,),
    show_default=True,
    help="What it may do; may be given several times.",
)
@click.option("--days", type=click.IntRange(min=1), help="Let it expire after so many days.")
def create_token_command(name: str, scopes: Sequence[str], days: int | None) -> None:
    """Make a token called NAME and print it: the one time that it can be read."""
    from app.main import open_current
    from app.storage.tokens import create_token

    settings = _settings(Purpose.DATABASE)

    async def command() -> str:
        async with AsyncExitStack() as stack:
            db = await open_current(settings, stack)
            now = utc_now()
            return await create_token(
                db,
                name=name,
                scopes=[Scope(scope) for scope in scopes],
                now=now,
                expires_at=None if days is None else now + timedelta(days=days),
                actor="command line",
            )

    click.echo(asyncio.run(command()))


@tokens_group.command("list")
def list_tokens_command() -> None:
    """List every token ever made, oldest first; never the tokens themselves."""
    from app.main import open_current
    from app.storage.tokens import list_tokens

    settings = _settings(Purpose.DATABASE)

    async def command() -> list[TokenRow]:
        async with AsyncExitStack() as stack:
            return await list_tokens(await open_current(settings, stack))

    for token in asyncio.run(command()):
        click.echo(_describe_token(token))


@tokens_group.command("revoke")
@click.argument("token_id")
def revoke_token_command(token_id: str) -> None:
    """End the token with this TOKEN_ID (see `latchwatch tokens list`) at once."""
    from app.main import open_current
    from app.storage.tokens import revoke_token

    settings = _settings(Purpose.DATABASE)

    async def command() -> bool:
        async with AsyncExitStack() as stack:
            db = await open_current(settings, stack)
            return await revoke_token(db, token_id, now=utc_now(), actor="command line")

    if not asyncio.run(command()):
        raise click.ClickException(f"there is no live token {token_id}; latchwatch tokens list shows all")
    click.echo(f"{token_id} is revoked")


@main.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status_command(as_json: bool) -> None:
    """Tell how things stand: codes, flags, arrivals; what is proven and lost; secrets, alerts, and the queue."""
    from app.main import open_current
    from app.status import describe_status, status_as_json
    from app.storage.summary import summarize
    from app.storage.vitals import read_vitals

    settings = _settings(Purpose.DATABASE)

    async def command() -> tuple[Summary, Vitals]:
        async with AsyncExitStack() as stack:
            db = await open_current(settings, stack)
            async with db.read() as connection:
                return await summarize(connection, now), await read_vitals(connection, now)

    now = utc_now()
    summary, vitals = asyncio.run(command())
    tell = status_as_json if as_json else describe_status
    click.echo(tell(summary, vitals, now))


def _describe_token(token: TokenRow) -> str:
    if token.revoked_at is not None:
        state = f"revoked {token.revoked_at:%Y-%m-%d %H:%M}Z"
    elif not token.is_live(utc_now()):
        state = f"expired {token.expires_at:%Y-%m-%d %H:%M}Z"
    elif token.expires_at is not None:
        state = f"until {token.expires_at:%Y-%m-%d %H:%M}Z"
    else:
        state = "live"
    scopes = ",".join(sorted(scope.value for scope in token.scopes))
    return f"{token.id}  {state:<25}  {scopes:<22}  {token.name}"


if __name__ == "__main__":
    main()
