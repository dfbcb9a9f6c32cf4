"""The commands that look after what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from app.cli_base import read_settings
from app.clock import utc_now
from app.config import Purpose, Settings

if TYPE_CHECKING:
    from app.storage.rebuild import Rebuilt

_NAMES = {"signals": "access codes", "devices": "locks", "accounts": "accounts"}


@click.command("rebuild-signals")
def rebuild_signals_command() -> None:
    """Compare what is known of codes, locks and accounts with the stored events, and mend what differs.

    Harmless beside running services, and harmless twice. Whom a mended row concerns is assessed anew.
    """
    rebuilt = asyncio.run(_rebuild(read_settings(Purpose.DATABASE)))
    for table, told in rebuilt.items():
        click.echo(f"{_NAMES[table]}: {told.rows} compared, {told.mended} differed and were mended")


async def _rebuild(settings: Settings) -> dict[str, Rebuilt]:
    from app.main import open_current
    from app.storage.rebuild import count_rows, rebuild

    async with AsyncExitStack() as stack:
        db = await open_current(settings, stack)
        with click.progressbar(length=await count_rows(db), label="Comparing") as bar:
            update: Callable[[int], None] = bar.update
            return await rebuild(db, utc_now, update)


COMMANDS = (rebuild_signals_command,)
