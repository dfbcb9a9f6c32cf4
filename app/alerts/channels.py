"""What a channel is: something that takes a message and says whether it arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from app.domain.errors import LatchwatchError


@dataclass(frozen=True, slots=True)
class Message:
    """``id`` is the same however often it is sent; ``content`` is described in docs/alerts.md."""

    id: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Arrived:
    pass


@dataclass(frozen=True, slots=True)
class Failed:
    """``error`` is for operators and holds no secret. A permanent one is not tried again."""

    error: str
    is_permanent: bool = False
    retry_after: timedelta | None = None


Outcome = Arrived | Failed


class Channel(Protocol):
    """``name`` is stable and holds no secret; ``at_once`` says how many messages it may be sent at the same time."""

    name: str
    at_once: int

    async def send(self, message: Message) -> Outcome:
        """Ends within ``LONGEST_SEND``, whatever the other side does."""

    async def aclose(self) -> None: ...


LONGEST_SEND = timedelta(seconds=45)


class ChannelInvalid(LatchwatchError):
    """A channel that cannot be built. The message names the setting, says what it should be, and holds no secret."""

    type = "settings"
    title = "A setting is wrong"
