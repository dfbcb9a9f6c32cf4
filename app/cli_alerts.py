"""``latchwatch alerts``: what people were told, and trying again what could not be told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from app.cli_base import read_settings
from app.clock import utc_now
from app.config import Purpose
from app.domain.alerting import AlertState

if TYPE_CHECKING:
    from app.storage.deliveries import DeliveryRow
    from app.storage.engine import Database
    from app.storage.queries import AlertRow


@click.group("alerts")
def alerts_group() -> None:
    """See what people were told of flags, and try again what could not be told."""


@alerts_group.command("list")
@click.option("--state", type=click.Choice([state.value for state in AlertState]), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="The newest so many.")
def list_alerts_command(state: str | None, limit: int) -> None:
    """List alerts, newest first: what changed, its state, its message, and each channel with its last error."""
    from app.storage.deliveries import load_deliveries
    from app.storage.queries import list_alerts

    async def command(db: Database) -> list[str]:
        async with db.read() as conn:
            page = await list_alerts(conn, state=state, after=None, limit=limit)
            deliveries = await load_deliveries(conn, {row.message_id for row in page.items if row.message_id})
        return [_describe(row, deliveries.get(row.message_id or "", [])) for row in page.items]

    for line in _run(command):
        click.echo(line)


@alerts_group.command("retry")
@click.option("--all", "everything", is_flag=True, help="Every message that was given up on a channel.")
@click.argument("message_ids", nargs=-1)
def retry_alerts_command(everything: bool, message_ids: Sequence[str]) -> None:
    """Try again, for another day and under the same ids, the messages MESSAGE_IDS that were given up on a channel.

    The running service sends them. What has closed since, and was told as closed there, is not sent any more.
    """
    from app.storage import audit
    from app.storage.deliveries import retry_dead

    if everything is bool(message_ids):
        raise click.UsageError("name the messages (latchwatch alerts list --state dead shows them), or use --all")

    async def command(db: Database) -> list[str]:
        now = utc_now()
        async with db.write() as conn:
            found = await retry_dead(conn, None if everything else message_ids, now)
            if found:
                details = {"message_ids": found}
                await audit.record(conn, at=now, actor="command line", action="alerts_retried", details=details)
        return found

    retried = _run(command)
    if not retried:
        raise click.ClickException("nothing was given up that could be tried again; see latchwatch alerts list")
    for message_id in retried:
        click.echo(f"{message_id} is tried again")


def _run(command: Callable[[Database], Awaitable[list[str]]]) -> list[str]:
    from app.main import open_current

    settings = read_settings(Purpose.DATABASE)

    async def run() -> list[str]:
        async with AsyncExitStack() as stack:
            return await command(await open_current(settings, stack))

    return asyncio.run(run())


def _describe(row: AlertRow, deliveries: Sequence[DeliveryRow]) -> str:
    channels = "".join(f"\n    {_describe_delivery(delivery)}" for delivery in deliveries)
    return f"{row.created_at:%Y-%m-%d %H:%M:%S}Z  {row.state:<8}  {row.id}  {row.message_id or '-'}{channels}"


def _describe_delivery(delivery: DeliveryRow) -> str:
    error = f": {delivery.last_error}" if delivery.last_error is not None else ""
    return f"{delivery.channel}  {delivery.state}, attempts {delivery.attempts}{error}"
