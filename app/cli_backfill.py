"""``latchwatch backfill``: what Seam made since some moment, fetched once more on request."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from app.cli_base import Span, read_settings
from app.clock import utc_now
from app.config import Purpose, Settings, SettingsError
from app.data_folder import secret_key_of
from app.domain import spans
from app.domain.fingerprints import Fingerprinter
from app.seam.errors import SeamError

if TYPE_CHECKING:
    from app.reconciler.fetching import Fetcher, Found


class _Since(click.ParamType[timedelta | datetime]):
    """``2d``, ``12h``, or a time such as ``2026-08-01T12:00:00Z``."""

    name = "since"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | datetime:
        text = str(value)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return Span().convert(text, param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{text!r} has no offset: write it as 2026-08-01T12:00:00Z", param, ctx)
        return moment.astimezone(UTC)


@click.command("backfill")
@click.option("--since", type=_Since(), required=True, help="How far back: 2d, 12h, or 2026-08-01T12:00:00Z.")
def backfill_command(since: timedelta | datetime) -> None:
    """Fetch Seam's events of the past into the same inbox as its webhooks; what is here already is left alone.

    Harmless while the service runs, which does the same for itself from when it was first started. What was fetched is
    kept even if it is interrupted. Exit code 1 if Seam did not answer.
    """
    settings = read_settings(Purpose.WORK)
    try:
        found = asyncio.run(_fetch(settings, since))
    except SeamError as error:
        raise click.ClickException(f"{error.title}: {error}. What was fetched until then is kept") from None
    click.echo(f"Seam listed {found.listed} events; nobody had brought {found.new} of them")


async def _fetch(settings: Settings, since: timedelta | datetime) -> Found:
    from app.main import build_gateway, open_current
    from app.reconciler.fetching import Fetcher
    from app.storage.intake import begin_proof

    async with AsyncExitStack() as stack:
        db = await open_current(settings, stack)
        fingerprinter = Fingerprinter(secret_key_of(settings))
        gateway = build_gateway(settings, fingerprinter, utc_now)
        if gateway is None:
            raise SettingsError("SEAM_API_KEY is not set; it should be the API key of a Seam workspace (seam_…)")
        stack.push_async_callback(gateway.aclose)
        fetcher = Fetcher(
            db=db, gateway=gateway, fingerprinter=fingerprinter, clock=utc_now, track_all=settings.track == "all"
        )
        await fetcher.ask_the_time()
        start = since if isinstance(since, datetime) else fetcher.seams_now() - since
        if start >= fetcher.seams_now():
            raise click.UsageError("--since lies in the future")
        async with db.write() as conn:
            await begin_proof(conn, start)
        return await _fetch_visibly(fetcher, start)


async def _fetch_visibly(fetcher: Fetcher, start: datetime) -> Found:
    from app.reconciler.fetching import Found

    whole = max(int((fetcher.seams_now() - start).total_seconds()), 1)
    with click.progressbar(length=whole, label="Fetching", file=sys.stderr) as bar:

        async def shows(piece: spans.Span) -> bool:
            done = int((piece.start - start).total_seconds())
            bar.update(max(done - bar.pos, 0))
            return True

        found = await fetcher.fetch(start, -spans.SETTLED, shows)
        bar.update(max(whole - bar.pos, 0))
    return found or Found()


COMMANDS = (backfill_command,)
