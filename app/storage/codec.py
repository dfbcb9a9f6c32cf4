"""News and states as text that sorts like ``(occurred_at, event_id)``.

``2026-08-01T12:00:00.000000+00:00 <US> event_id <US> {json of the rest}``, where ``<US>`` is the unit separator. The
time has a fixed width, UTF-8 sorts like code points, and no character of an event id sorts below the separator: so the
database's own maximum over such text (in byte order) is the same maximum that ``app.domain.news.merge`` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from app.domain.events import FastJson
from app.domain.health import State
from app.domain.news import Issue, IssueSource, News

SEPARATOR = "\x1f"
_WIDTH, _SECONDS = len("2026-08-01T12:00:00.000000+00:00"), len("2026-08-01T12:00:00")
_Rest = dict[str, Any]


def encode_news(news: News) -> str:
    """Raises ``ValueError`` for a naive time or a control character in the event id (neither could be ordered), and for
    text that is not Unicode."""
    return _join(news.occurred_at, news.event_id, news_to_json(news))


def join_news(occurred_at: str, event_id: str, rest: str) -> str:
    """``encode_news`` for those who know that time and id can be ordered, and have spelled the time and the rest."""
    return f"{occurred_at}{SEPARATOR}{event_id}{SEPARATOR}{rest}"


def spell_times(moments: Sequence[datetime]) -> list[str]:
    """Times in UTC as text of a fixed width. Several times as fast as each by its ``isoformat``."""
    if not moments:
        return []
    together = orjson.dumps(moments).decode()
    texts = together[2:-2].split('","')
    if len(together) == len('[""]') + len('","') * (len(texts) - 1) + _WIDTH * len(texts):
        return texts
    return [text if len(text) == _WIDTH else f"{text[:_SECONDS]}.000000+00:00" for text in texts]


def is_plain(text: str) -> bool:
    """Whether it is ASCII without quotes, backslashes and control characters: JSON has nothing to escape in it."""
    return text.isascii() and len(orjson.dumps(text)) == len(text) + 2


def decode_news(text: str) -> News:
    occurred_at, event_id, rest = _split(text)
    return news_from_json(rest, occurred_at, event_id)


def event_id_of(text: str) -> str | None:
    """The event that a column was taken from; ``None`` if the text is none of ours."""
    try:
        return _split(text)[1]
    except ValueError:
        return None


def encode_state(state: State) -> str:
    """Raises ``ValueError`` like ``encode_news``."""
    return _join(state.occurred_at, state.event_id, {"value": state.value})


def decode_state(text: str) -> State:
    occurred_at, event_id, rest = _split(text)
    return State(value=rest["value"], occurred_at=occurred_at, event_id=event_id)


def news_to_json(news: News) -> _Rest:
    """What the news says besides when and by which event; what is missing is left out."""
    rest: _Rest = {"pin": news.pin, "backup": news.backup_access_code_id}
    if news.issues:
        rest["issues"] = [_issue_to_json(issue) for issue in news.issues]
    return {key: value for key, value in rest.items() if value is not None}


def news_from_json(rest: _Rest, occurred_at: datetime, event_id: str) -> News:
    return News(
        occurred_at=occurred_at,
        event_id=event_id,
        pin=rest.get("pin"),
        backup_access_code_id=rest.get("backup"),
        issues=tuple(_issue_from_json(issue) for issue in rest.get("issues", ())),
    )


def to_json(value: _Rest | str) -> str:
    """The same text for equal values. Raises ``ValueError`` for text that is not Unicode (a lone surrogate)."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError as error:
        raise ValueError(str(error)) from None


def _payload_to_json(payload: _Rest) -> bytes:
    try:
        return orjson.dumps(payload)
    except orjson.JSONEncodeError as error:
        raise ValueError(str(error)) from None


PAYLOADS = FastJson(decode=orjson.loads, encode=_payload_to_json)
"""For ``read_event``."""


def _issue_to_json(issue: Issue) -> _Rest:
    return {
        "code": issue.code,
        "message": issue.message,
        "source": issue.source.value,
        "is_error": issue.is_error,
        "created_at": issue.created_at.isoformat() if issue.created_at else None,
    }


def _issue_from_json(value: _Rest) -> Issue:
    created_at = value["created_at"]
    return Issue(
        code=value["code"],
        message=value["message"],
        source=IssueSource(value["source"]),
        is_error=value["is_error"],
        created_at=datetime.fromisoformat(created_at) if created_at else None,
    )


def _join(occurred_at: datetime, event_id: str, rest: _Rest) -> str:
    if occurred_at.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    if not event_id.isprintable() and min(event_id) < " ":
        raise ValueError("an event id with a control character cannot be ordered")
    return join_news(spell_times([occurred_at.astimezone(UTC)])[0], event_id, to_json(rest))


def _split(text: str) -> tuple[datetime, str, _Rest]:
    moment, event_id, rest = text.split(SEPARATOR, 2)
    return datetime.fromisoformat(moment), event_id, orjson.loads(rest)
