"""What Seam says: about our key, the time, and the webhook that should lead here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from app.config import Settings
from app.doctor.findings import Finding, note, skipped, well, wrong
from app.domain.event_kinds import KNOWN
from app.domain.silence import is_same_address
from app.seam.errors import SeamError, SeamRefused, SeamUnauthorized, SeamUnreached
from app.seam.gateway import Gateway
from app.seam.values import Webhook

_NOTABLE = timedelta(seconds=5)
_MOST_NAMED = 3

NO_PUBLIC_URL = "LATCHWATCH_PUBLIC_URL is not set"
SET_PUBLIC_URL = "set it to the address under which Seam reaches this service"


async def check_key(gateway: Gateway) -> Finding:
    try:
        return well("Seam", f"the API key belongs to workspace {await gateway.workspace_id()}")
    except SeamUnauthorized:
        return wrong("Seam", "the API key is not accepted", "set SEAM_API_KEY to a key that Seam's console lists")
    except SeamUnreached as error:
        return wrong("Seam", str(error), "let this machine reach connect.getseam.com, port 443 (or see SEAM_ENDPOINT)")
    except SeamRefused as error:
        if error.status_code == 404:
            return note("Seam", "it answers, but does not say to which workspace the key belongs")
        return wrong("Seam", str(error), "see what Seam's console says about this key")
    except SeamError as error:
        return wrong("Seam", str(error), "try again later; see Seam's status page")


async def check_clock(gateway: Gateway, clock: Callable[[], datetime], tolerance: timedelta) -> Finding:
    """Against the ``Date`` of an answer, which is exact to a second."""
    try:
        answer = await gateway.list_events(since=clock() - timedelta(minutes=1), limit=1)
    except SeamError as error:
        return skipped("clock", f"Seam did not tell the time ({error})")
    off = abs(answer.at - clock())
    told = f"{off.total_seconds():.0f} s apart from Seam's"
    if off >= tolerance / 2:
        return wrong("clock", told, f"set this machine's clock (NTP): beyond {tolerance} every webhook is refused")
    if off >= _NOTABLE:
        return note("clock", told, "let NTP set this machine's clock")
    return well("clock", told)


def check_webhook(webhooks: Sequence[Webhook], settings: Settings) -> Iterator[Finding]:
    """Whether one of ``webhooks``, which are Seam's, leads here with all event types."""
    url = settings.webhook_url
    if url is None:
        yield wrong("webhook", NO_PUBLIC_URL, SET_PUBLIC_URL)
        return
    ours = [webhook for webhook in webhooks if is_same_address(webhook.url, url)]
    if not ours:
        others = ", ".join(webhook.url for webhook in webhooks) or "none"
        yield wrong(
            "webhook",
            f"Seam has none for {url} (it has: {others})",
            "make it with latchwatch register-webhook, or correct LATCHWATCH_PUBLIC_URL",
        )
    for webhook in ours:
        yield _check_event_types(webhook)
    if len(ours) > 1:
        yield note("webhook", f"Seam has {len(ours)} for {url}", "see latchwatch rotate-secret --status")


def _check_event_types(webhook: Webhook) -> Finding:
    missing = [] if "*" in webhook.event_types else sorted(KNOWN - set(webhook.event_types))
    if not missing:
        return well("webhook", f"Seam has {webhook.webhook_id} for {webhook.url}, with every event type")
    named = ", ".join(missing[:_MOST_NAMED]) + (" …" if len(missing) > _MOST_NAMED else "")
    return wrong(
        "webhook",
        f"Seam has {webhook.webhook_id} for {webhook.url}, but without {len(missing)} event types ({named})",
        "choose all event types in Seam's console",
    )
