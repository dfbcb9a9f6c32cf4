"""Channels to people through Apprise: one for each URL of LATCHWATCH_ALERT_URLS.

Apprise's plugins block, and one that hangs cannot be stopped. Each channel sends in a thread of its own, one message
at a time: a plugin that hangs keeps its own channel waiting, no other, and not the end of the process either.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from apprise import Apprise, AppriseAsset, NotifyType
from apprise.result import AppriseResult

from app.alerts.channels import LONGEST_SEND, Arrived, Failed, Message, Outcome
from app.domain.alert_texts import Words, words
from app.domain.alerting import is_permanent

_TONES = {"critical": NotifyType.FAILURE, "warning": NotifyType.WARNING, "resolved": NotifyType.SUCCESS}
_ANSWERED = re.compile(r"error=(\d{3})\b")  # how Apprise's plugins tell of an HTTP status


def load_apprise(url: str) -> Apprise | None:
    """A sender for one URL; ``None`` if Apprise does not understand it."""
    # Without asynchronous mode and time limit it works in the thread that calls it; the limit is ours.
    asset = AppriseAsset(
        app_id="Latchwatch",
        app_desc="Latchwatch",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        service_timeout=0,
        http_redirects=False,
        pgp_autogen=False,
        pem_autogen=False,
        allow_templates=False,
        language="en",
    )
    # Handed over as text, it would be taken for a list of several.
    plugin = Apprise.instantiate(url, asset=asset)
    if plugin is None:
        return None
    sender = Apprise(asset=asset)
    sender.add(plugin)
    return sender


class AppriseChannel:
    at_once = 1

    def __init__(self, name: str, sender: Apprise, timeout: timedelta = LONGEST_SEND) -> None:
        self.name = name
        self._sender = sender
        self._timeout_seconds = timeout.total_seconds()
        self._last: asyncio.Future[Outcome] | None = None

    async def send(self, message: Message) -> Outcome:
        if self._last is not None and not self._last.done():
            return Failed("an earlier message still hangs in it")
        self._last = sending = _start(f"alerts-{self.name}", lambda: self._notify(words(message.content)))
        # Not by asyncio.timeout: that would call it done, and the thread still works.
        await asyncio.wait({sending}, timeout=self._timeout_seconds)
        return sending.result() if sending.done() else Failed(f"no end within {self._timeout_seconds:g} s")

    async def aclose(self) -> None:
        """Nothing is kept open between messages."""

    def _notify(self, told: Words) -> Outcome:
        result = self._sender.notify(title=told.title, body=told.text, notify_type=_TONES[told.tone])
        return Arrived() if result else _failure(result)


def _failure(result: AppriseResult) -> Failed:
    """Of what a plugin logged only HTTP statuses are passed on: the rest may hold addresses with secrets in them."""
    statuses = [int(found) for entry in result.logs() for found in _ANSWERED.findall(entry.message)]
    if not statuses:
        return Failed("it was not taken")
    return Failed(f"answered {statuses[-1]}", is_permanent=all(map(is_permanent, statuses)))


def _start(name: str, work: Callable[[], Outcome]) -> asyncio.Future[Outcome]:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Outcome] = loop.create_future()

    def run() -> None:
        try:
            outcome = work()
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            outcome = Failed(f"it raised {type(error).__name__}")
        with suppress(RuntimeError):  # the process has ended meanwhile
            loop.call_soon_threadsafe(ended.set_result, outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    return ended
