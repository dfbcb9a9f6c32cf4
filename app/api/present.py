"""From stored rows to answers. What must not leave (fingerprints, the queue) has no field to leave by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from app.api import schemas
from app.domain.assessment import FlagKind, Problem, Severity, Verdict
from app.domain.health import State
from app.domain.intake import Intake
from app.domain.news import Issue, NewsKind, Signals
from app.storage.codes import Case
from app.storage.deliveries import DeliveryRow
from app.storage.flags import FlagRow
from app.storage.queries import AlertRow, DeviceRow
from app.storage.summary import DeviceFigures, Durations, Summary

_SIGNALS = {
    "created_at": NewsKind.CREATED,
    "scheduled_at": NewsKind.SCHEDULED,
    "set_at": NewsKind.SET,
    "delayed_at": NewsKind.DELAYED,
    "failed_at": NewsKind.FAILED,
    "removed_at": NewsKind.REMOVED,
    "failed_to_remove_at": NewsKind.FAILED_TO_REMOVE,
    "deleted_at": NewsKind.DELETED,
    "modified_externally_at": NewsKind.MODIFIED_EXTERNALLY,
    "deleted_externally_at": NewsKind.DELETED_EXTERNALLY,
    "code_changed_at": NewsKind.CODE_CHANGED,
    "time_frame_changed_at": NewsKind.TIME_FRAME_CHANGED,
    "used_at": NewsKind.USED,
}


def access_code(case: Case) -> schemas.AccessCode:
    return schemas.AccessCode(**_code_members(case))


def created_access_code(case: Case, pin: str | None) -> schemas.CreatedAccessCode:
    return schemas.CreatedAccessCode(**_code_members(case), code=pin)


def _code_members(case: Case) -> dict[str, Any]:
    row = case.row
    return {
        "id": row.id,
        "access_code_id": row.access_code_id,
        "device_id": row.device_id,
        "workspace_id": row.workspace_id,
        "name": row.name,
        "type": row.type,
        "starts_at": row.starts_at,
        "ends_at": row.ends_at,
        "reference": row.reference,
        "metadata": row.metadata,
        "verdict": row.verdict,
        "reason": row.reason,
        "since": row.since,
        "deadline": row.deadline,
        "next_check_at": row.next_check_at,
        "safe_to_share": row.safe_to_share,
        "replaced_by": row.replaced_by,
        "problem": row.problem,
        "signals": _signals(case.signals),
        "seam": _seam(case),
        "flags": [flag(open_flag) for open_flag in case.flags],
        "untracked_at": row.untracked_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def flag(row: FlagRow) -> schemas.Flag:
    return schemas.Flag(
        id=row.id,
        kind=row.kind,
        severity=Severity(row.severity),
        code_id=row.code_id,
        access_code_id=row.access_code_id,
        device_id=row.device_id,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
        snoozed_until=row.snoozed_until,
        reason=row.reason,
        problem=schemas.ProblemFacts(**row.problem) if row.problem else None,
    )


def alert(row: AlertRow, deliveries: Sequence[DeliveryRow]) -> schemas.Alert:
    return schemas.Alert(
        **asdict(row), deliveries=[schemas.AlertDelivery(**asdict(delivery)) for delivery in deliveries]
    )


def problem(trouble: Problem) -> schemas.ProblemFacts:
    return schemas.ProblemFacts(
        kind=trouble.kind,
        code=trouble.code,
        message=trouble.message,
        temporary=trouble.temporary,
        remedy=trouble.remedy,
    )


def device(row: DeviceRow, figures: DeviceFigures) -> schemas.Device:
    read = row.health.device_read
    return schemas.Device(
        device_id=row.device_id,
        workspace_id=row.workspace_id,
        connected_account_id=row.connected_account_id,
        name=read.name if read else None,
        device_type=read.device_type if read else None,
        health=_health(row),
        codes={Verdict(verdict): count for verdict, count in figures.codes.items()},
        success_rate=figures.success_rate,
        seconds_to_set=_durations(figures.seconds_to_set),
        seconds_to_remove=_durations(figures.seconds_to_remove),
    )


def summary(found: Summary, now: datetime) -> schemas.Summary:
    return schemas.Summary(
        at=now,
        codes=_every_verdict(found.codes),
        flags={kind.value: 0 for kind in FlagKind} | dict(found.flags),
        arrivals=_every_verdict(found.arrivals),
        seconds_to_set=_durations(found.seconds_to_set),
        ingest=_ingest(found.intake, now),
    )


def _signals(signals: Signals) -> schemas.SignalTimes:
    return schemas.SignalTimes(**{name: signals.at(kind) for name, kind in _SIGNALS.items()})


def _seam(case: Case) -> schemas.SeamFacts:
    try:
        read = case.row.reads().last
    except (LookupError, TypeError, ValueError):
        # A row that cannot be read is postponed by the reconciler; it must not take the list that it stands in with it.
        return schemas.SeamFacts()
    if read is None:
        return schemas.SeamFacts()
    if read.snapshot is None:
        return schemas.SeamFacts(checked_at=read.at)
    return schemas.SeamFacts(
        status=read.snapshot.status,
        errors=_issues(read.snapshot.errors),
        warnings=_issues(read.snapshot.warnings),
        checked_at=read.at,
    )


def _issues(issues: Iterable[Issue]) -> list[schemas.SeamIssue]:
    return [schemas.SeamIssue(code=issue.code, message=issue.message, created_at=issue.created_at) for issue in issues]


def _health(row: DeviceRow) -> schemas.DeviceHealth:
    read = row.health.device_read
    return schemas.DeviceHealth(
        online=read.online if read else None,
        battery_level=read.battery_level if read else None,
        battery_status=read.battery_status if read else None,
        errors=_issues(read.errors if read else ()),
        warnings=_issues(read.warnings if read else ()),
        checked_at=read.at if read else None,
        reported=_facets(row.health.device),
        account=_facets(row.health.account),
    )


def _facets(states: Mapping[Any, State]) -> dict[str, schemas.FacetState]:
    return {
        facet.value: schemas.FacetState(value=state.value, since=state.occurred_at) for facet, state in states.items()
    }


def _durations(found: Durations) -> schemas.DurationFacts:
    return schemas.DurationFacts(count=found.count, p50=found.p50, p95=found.p95)


def _ingest(found: Intake, now: datetime) -> schemas.IngestFacts:
    proven = found.proven_until
    return schemas.IngestFacts(
        last_delivery_at=found.last_delivery_at,
        proven_until=proven,
        gap_seconds=max(0.0, (now - proven).total_seconds()) if proven else None,
        backfilled=found.backfilled,
        lost=found.lost,
        compared_at=found.compared_at,
        compare_failure=found.compare_failure,
    )


def _every_verdict(counts: Mapping[str, int]) -> dict[Verdict, int]:
    return {verdict: counts.get(verdict, 0) for verdict in Verdict}
