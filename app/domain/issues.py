"""Reading Seam's lists of errors and warnings, which stand in events and in API objects alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from app.domain.news import Issue, IssueSource
from app.domain.problems import source_of
from app.domain.times import read_time

MOST_ISSUES = 20
LONGEST_MESSAGE = 500
LONGEST_CODE = 100

_FLAGS = (
    ("is_access_code_error", IssueSource.ACCESS_CODE),
    ("is_connected_account_error", IssueSource.ACCOUNT),
    ("is_device_error", IssueSource.DEVICE),
    ("is_bridge_error", IssueSource.DEVICE),
)


def read_issues(
    obj: object, *, source: IssueSource, redact: Callable[[str], str], prefix: str = ""
) -> tuple[Issue, ...]:
    """The entries of ``obj``'s lists ``<prefix>errors`` and ``<prefix>warnings``, errors first, at most 20.

    ``obj`` is a mapping (an event, a JSON object) or has attributes (the SDK's objects); anything else has no issues,
    and an entry without a code is skipped. ``source`` is whose lists they are: an access code's own lists also carry
    errors of its device and account, which are told apart by their ``is_…_error`` marks, or else by their code.
    Messages go through ``redact`` and are cut to 500 characters.
    """
    found = _read_all(obj, source, redact, prefix)
    return tuple(islice(found, MOST_ISSUES))


def _read_all(obj: object, source: IssueSource, redact: Callable[[str], str], prefix: str) -> Iterable[Issue]:
    for name, is_error in (("errors", True), ("warnings", False)):
        entries = _field(obj, prefix + name)
        if isinstance(entries, (list, tuple)):
            for entry in entries:
                issue = _read_one(entry, source, redact, is_error)
                if issue is not None:
                    yield issue


def _read_one(entry: object, source: IssueSource, redact: Callable[[str], str], is_error: bool) -> Issue | None:
    code = _field(entry, "error_code" if is_error else "warning_code")
    if not isinstance(code, str) or not code:
        return None
    message = _field(entry, "message")
    return Issue(
        code=redact(code[:LONGEST_CODE]),
        message=redact(message)[:LONGEST_MESSAGE] if isinstance(message, str) else "",
        source=_source(entry, code, source),
        is_error=is_error,
        created_at=read_time(_field(entry, "created_at")),
    )


def _source(entry: object, code: str, listed_under: IssueSource) -> IssueSource:
    if listed_under is not IssueSource.ACCESS_CODE:
        return listed_under
    for flag, source in _FLAGS:
        if _field(entry, flag) is True:
            return source
    return source_of(code) or listed_under


def _field(obj: object, name: str) -> object:
    if isinstance(obj, (dict, Mapping)):  # dict first: asking an ABC costs more than the look-up
        return obj.get(name)
    return getattr(obj, name, None)
