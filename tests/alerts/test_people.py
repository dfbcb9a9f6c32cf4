"""Channels to people: Apprise's real library, against a receiver on loopback, and plugins that misbehave."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import timedelta
from typing import Any

import pytest
from apprise import Apprise

from app.alerts.building import build_channels, channel_name
from app.alerts.channels import Arrived, ChannelInvalid, Failed, Message
from app.alerts.people import AppriseChannel, load_apprise
from app.clock import utc_now
from app.domain.alert_texts import document
from app.domain.alerting import Change
from tests.alerts.receivers import Receiver
from tests.domain.test_alerting import alert, later
from tests.receiver.servers import serving

KEY = b"a key for tests"
MESSAGE = Message("msg_1", document([alert("a", name="Ada", device_name="Front door")], later(5)))


def channel_to(port: int, **options: Any) -> AppriseChannel:
    sender = load_apprise(f"json://user:secret@127.0.0.1:{port}/alerts")
    assert sender is not None
    return AppriseChannel("json-1", sender, **options)


async def test_people_get_title_and_text() -> None:
    receiver = Receiver()
    async with serving(receiver) as (_, port):
        assert await channel_to(port).send(MESSAGE) == Arrived()
    posted = receiver.posts[0].json()
    assert posted["title"] == "[critical] Not on the lock in time: Ada, Front door"
    assert posted["message"].startswith("- Ada (code of a), since 2026-08-03 12:00 UTC")
    assert posted["type"] == "failure"


async def test_good_news_looks_like_it() -> None:
    receiver = Receiver()
    closed = Message("msg_2", document([alert("a", Change.CLOSED, closed_at=later(9))], later(10)))
    async with serving(receiver) as (_, port):
        assert await channel_to(port).send(closed) == Arrived()
    assert receiver.posts[0].json()["type"] == "success"


async def test_each_answer_has_its_meaning() -> None:
    statuses = {200: Arrived(), 401: Failed("answered 401", is_permanent=True), 429: Failed("answered 429")}
    statuses |= {500: Failed("answered 500"), 302: Failed("answered 302", is_permanent=True)}
    receiver = Receiver(statuses=list(statuses), headers={"location": "/elsewhere"})
    async with serving(receiver) as (_, port):
        channel = channel_to(port)
        assert {status: await channel.send(MESSAGE) for status in statuses} == statuses
    assert {post.path.strip("/") for post in receiver.posts} == {"alerts"}


async def test_nobody_there_is_tried_again_and_no_address_is_told(caplog: pytest.LogCaptureFixture) -> None:
    outcome = await channel_to(1).send(MESSAGE)
    assert outcome == Failed("it was not taken")
    assert "secret" not in caplog.text


class Plugins:
    """Stands for Apprise with a plugin in it that does as told."""

    def __init__(self, gate: threading.Event | None = None, error: Exception | None = None) -> None:
        self._gate, self._error = gate, error
        self.threads: list[str] = []

    def notify(self, **_: Any) -> bool:
        self.threads.append(threading.current_thread().name)
        if self._gate is not None:
            self._gate.wait(20)
        if self._error is not None:
            raise self._error
        return True


def channel_with(plugins: Plugins, timeout_seconds: float = 10) -> AppriseChannel:
    return AppriseChannel("odd-1", plugins, timedelta(seconds=timeout_seconds))  # type: ignore[arg-type]


async def test_a_plugin_that_hangs_keeps_neither_the_loop_nor_more_than_one_thread() -> None:
    gate = threading.Event()
    plugins = Plugins(gate)
    channel = channel_with(plugins, timeout_seconds=0.05)
    assert await channel.send(MESSAGE) == Failed("no end within 0.05 s")
    assert await channel.send(MESSAGE) == Failed("an earlier message still hangs in it")
    assert plugins.threads == ["alerts-odd-1"]
    quick = channel_with(Plugins())
    assert await quick.send(MESSAGE) == Arrived()
    gate.set()
    assert channel._last is not None
    await channel._last
    assert await channel.send(MESSAGE) == Arrived()


async def test_a_thread_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    gate = threading.Event()
    channel = channel_with(Plugins(gate), timeout_seconds=0.05)
    await channel.send(MESSAGE)
    (hanging,) = [thread for thread in threading.enumerate() if thread.name == "alerts-odd-1"]
    assert hanging.daemon
    gate.set()
    await asyncio.to_thread(hanging.join)


async def test_a_plugin_that_raises_is_tried_again() -> None:
    assert await channel_with(Plugins(error=ValueError("secret"))).send(MESSAGE) == Failed("it raised ValueError")


class TestBuilding:
    def build(self, *urls: str, **settings: Any) -> list[str]:
        known: dict[str, Any] = {"webhook_url": None, "webhook_secret": None, "key": KEY, "clock": utc_now}
        return [channel.name for channel in build_channels(urls=urls, **{**known, **settings})]

    def test_each_setting_makes_a_channel(self) -> None:
        names = self.build(
            "json://localhost/a,b", "ntfy://topic", webhook_url="http://localhost/", webhook_secret="whsec_c2VjcmV0"
        )
        assert [name.partition("-")[0] for name in names] == ["webhook", "json", "ntfy"]

    def test_without_settings_there_is_none(self) -> None:
        assert self.build() == []

    def test_names_are_stable_and_tell_urls_apart(self) -> None:
        first, second = "json://user:one@localhost", "json://user:two@localhost"
        assert channel_name(first, KEY) == channel_name(first, KEY)
        assert channel_name(first, KEY) != channel_name(second, KEY)
        assert channel_name(first, KEY) != channel_name(first, b"another key")

    @pytest.mark.parametrize("url", ["nosuchthing://token-4711@host", "slack://token-4711", "mailto://"])
    def test_an_address_that_apprise_does_not_take_is_named_without_its_secret(self, url: str) -> None:
        with pytest.raises(ChannelInvalid) as caught:
            self.build("json://localhost", url)
        scheme = url.partition(":")[0]
        assert str(caught.value).startswith("LATCHWATCH_ALERT_URLS has an address that Apprise does not take (number 2")
        assert f"{scheme}://…" in str(caught.value)
        assert "4711" not in str(caught.value)

    def test_nothing_of_apprise_reaches_the_log(self, capsys: pytest.CaptureFixture[str]) -> None:
        from app.telemetry import configure_logging

        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        try:
            configure_logging("json")
            with pytest.raises(ChannelInvalid):
                self.build("slack://token-4711")
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        assert capsys.readouterr().err == ""


def test_apprise_sends_in_the_thread_that_calls_it() -> None:
    """Its own pools are shared by all channels, and their threads keep a process from ending."""
    sender = load_apprise("json://127.0.0.1:1")
    assert isinstance(sender, Apprise)
    before = threading.active_count()
    assert not sender.notify(title="t", body="b")
    assert threading.active_count() == before
