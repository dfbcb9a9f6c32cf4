"""The channels that the settings name.

What a kind of channel needs is imported where one is built: svix and Apprise take a second of CPU, which those who tell
nobody are spared.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime

from app.alerts.channels import Channel, ChannelInvalid


def build_channels(
    *,
    urls: Sequence[str],
    webhook_url: str | None,
    webhook_secret: str | None,
    key: bytes,
    clock: Callable[[], datetime],
) -> list[Channel]:
    """One for the webhook and one for each Apprise URL. Nothing is sent yet. Raises ``ChannelInvalid``."""
    channels: list[Channel] = []
    if webhook_url is not None and webhook_secret is not None:
        from app.alerts.webhook import WebhookChannel  # noqa: PLC0415

        channels.append(WebhookChannel(webhook_url, webhook_secret, clock))
    channels += [_apprise_channel(number, url, key) for number, url in enumerate(urls, start=1)]
    return channels


def channel_name(url: str, key: bytes) -> str:
    """Tells Apprise URLs apart without giving anything of them away but their scheme: keyed, so nobody can try out
    passwords on it."""
    digest = hmac.new(key, b"alert channel\0" + url.encode(), hashlib.sha256).hexdigest()
    return f"{_scheme(url)}-{digest[:8]}"


def _apprise_channel(number: int, url: str, key: bytes) -> Channel:
    from app.alerts.people import AppriseChannel, load_apprise  # noqa: PLC0415

    sender = load_apprise(url)
    if sender is None:
        raise ChannelInvalid(
            f"LATCHWATCH_ALERT_URLS has an address that Apprise does not take (number {number}, {_scheme(url)}://…); "
            "it should be as Apprise's documentation of that service says"
        )
    return AppriseChannel(channel_name(url, key), sender)


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()
