"""What an alert says: a document for machines (docs/alerts.md), and the same in plain words for people.

Names, references and Seam's messages are free text in which a PIN may stand: runs of digits are cut out of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from app.domain.alerting import Alert, Change
from app.domain.assessment import FlagKind, Severity
from app.domain.redaction import redact_text

MOST_LISTED = 20
LONGEST_TEXT = 500
_SUMMARIES: dict[str, str] = {
    FlagKind.REQUEST_LOST: "Seam does not have it",
    FlagKind.MISSED: "Was never on the lock",
    FlagKind.LINGERING: "May still open the door",
    FlagKind.LOST: "Disappeared from the lock",
    FlagKind.UNKNOWN: "Cannot be confirmed",
    FlagKind.MISMATCHED: "The lock has another PIN",
    FlagKind.OUTDATED: "A change has not reached the lock",
    FlagKind.FAILED: "The lock does not take it",
    FlagKind.STUCK: "Not on the lock in time",
    FlagKind.DELAYED: "Takes unusually long",
    FlagKind.AT_RISK: "At risk before its start",
    FlagKind.WEBHOOK_SILENT: "No webhooks arrive",
}

Document = dict[str, Any]
Tone = Literal["critical", "warning", "resolved"]


@dataclass(frozen=True, slots=True)
class Words:
    """For people. ``tone`` tells channels with colours which to take."""

    title: str
    text: str
    tone: Tone


def document(alerts: Sequence[Alert], now: datetime) -> Document:
    """The content of the message that tells these alerts (of one change): never empty, free of PINs."""
    flags = [_flag(alert) for alert in alerts]
    critical = any(alert.severity == Severity.CRITICAL for alert in alerts)
    return {
        "type": f"flag.{alerts[0].change}",
        "timestamp": _time(now),
        "data": {"severity": Severity.CRITICAL.value if critical else Severity.WARNING.value, "flags": flags},
    }


def words(content: Mapping[str, Any]) -> Words:
    """The same in plain words. Made when it is sent: equal content gives equal words."""
    change = Change(str(content["type"]).removeprefix("flag."))
    flags: list[Document] = content["data"]["flags"]
    severity: Tone = "critical" if content["data"]["severity"] == Severity.CRITICAL else "warning"
    label = {Change.OPENED: severity, Change.CLOSED: "resolved", Change.REMINDER: f"still {severity}"}[change]
    return Words(
        title=f"[{label}] {_title(flags)}",
        text="\n".join(_lines(flags, change)),
        tone="resolved" if change is Change.CLOSED else severity,
    )


def _flag(alert: Alert) -> Document:
    return {
        "id": alert.flag_id,
        "alert_id": alert.id,
        "kind": alert.kind,
        "severity": alert.severity,
        "reason": _free(alert.reason),
        "problem": _problem(alert.problem) if alert.problem is not None else None,
        "code_id": alert.code_id,
        "access_code_id": alert.access_code_id,
        "name": _free(alert.name),
        "reference": _free(alert.reference),
        "device": {"id": alert.device_id, "name": _free(alert.device_name)} if alert.device_id is not None else None,
        "opened_at": _time(alert.opened_at),
        "closed_at": _time(alert.closed_at) if alert.closed_at is not None else None,
    }


def _problem(problem: Mapping[str, Any]) -> Document:
    return {
        "kind": problem.get("kind"),
        "code": problem.get("code"),
        "message": _free(problem.get("message")),
        "temporary": problem.get("temporary"),
        "remedy": _free(problem.get("remedy")),
    }


def _free(text: str | None) -> str | None:
    return redact_text(text)[:LONGEST_TEXT] if text is not None else None


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _title(flags: Sequence[Document]) -> str:
    kinds = list(dict.fromkeys(flag["kind"] for flag in flags))
    summary = _summary(kinds[0]) + (" and more" if len(kinds) > 1 else "")
    if len(flags) > 1:
        return f"{summary}: {len(flags)} codes{_at_place(flags)}"
    return summary if flags[0]["code_id"] is None else f"{summary}: {_who(flags[0])}{_at_place(flags)}"


def _summary(kind: str) -> str:
    return _SUMMARIES.get(kind, kind)


def _at_place(flags: Sequence[Document]) -> str:
    places = list(dict.fromkeys(_door(flag["device"]) for flag in flags if flag["device"] is not None))
    match places:
        case []:
            return ""
        case [place]:
            return f", {place}"
        case _:
            return f" on {len(places)} locks"


def _door(device: Mapping[str, Any]) -> str:
    return device["name"] or f"lock {device['id']}"


def _who(flag: Mapping[str, Any]) -> str:
    return flag["name"] or flag["reference"] or f"code {flag['access_code_id'] or flag['code_id']}"


def _lines(flags: Sequence[Document], change: Change) -> list[str]:
    lines = _problem_lines(flags) if change is not Change.CLOSED else []
    lines += [_line(flag, change) for flag in flags[:MOST_LISTED]]
    if len(flags) > MOST_LISTED:
        lines.append(f"… and {len(flags) - MOST_LISTED} more, see GET /v1/flags")
    return lines


def _problem_lines(flags: Sequence[Document]) -> list[str]:
    problems = {flag["problem"]["code"]: flag["problem"] for flag in flags if flag["problem"] is not None}
    lines: list[str] = []
    for each in problems.values():
        lines += [each["message"]] if each["message"] else []
        lines += [f"What to do: {each['remedy']}"] if each["remedy"] else []
    return [*lines, ""] if lines else []


def _line(flag: Mapping[str, Any], change: Change) -> str:
    if flag["code_id"] is None:
        ids = flag["id"]
    else:
        reference = f", {flag['reference']}" if flag["reference"] and flag["name"] else ""
        ids = f"{_who(flag)}{reference} ({flag['code_id']})"
    span = f"since {_minute(flag['opened_at'])}"
    if change is Change.CLOSED:
        span = f"from {_minute(flag['opened_at'])} to {_minute(flag['closed_at'])}; it was"
    return f"- {ids}, {span}: {flag['reason']}"


def _minute(moment: str | None) -> str:
    return f"{moment[:16].replace('T', ' ')} UTC" if moment is not None else "now"
