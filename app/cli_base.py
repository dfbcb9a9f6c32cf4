"""What the modules of the command line share."""

from __future__ import annotations

import re
from datetime import timedelta

import click

from app.config import Purpose, Settings, load_settings, read_environment
from app.telemetry import configure_logging

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Span(click.ParamType[timedelta]):
    """A length of time as people write it: ``90s``, ``30m``, ``12h``, ``2d``, or ``0``."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = re.fullmatch(r"([0-9]{1,6})([smhd])|0", str(value))
        if found is None:
            self.fail(f"{value!r} is not a length of time such as 90s, 30m, 12h or 2d", param, ctx)
        number, unit = found.groups()
        return timedelta() if number is None else timedelta(**{_UNITS[unit]: int(number)})


def read_settings(purpose: Purpose) -> Settings:
    """Raises ``SettingsError``."""
    settings = load_settings(read_environment(), purpose)
    configure_logging(settings.log_format)
    return settings
