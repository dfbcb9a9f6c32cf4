"""What a change of a code writes on its way to Seam and back.

Every write here is a compare-and-set on the revision of the code and the version of its signals that were decided on:
``None`` says that somebody was faster, and that the caller must load the code and decide again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import and_, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.changes import Change, Unanswered, accepted
from app.storage.codes import LOOK_AFTER, Case, CodeRow, change_code, due_by, intent_columns
from app.storage.signals import HAS_VERSION
from app.storage.tables import access_codes
from app.storage.values import encode_unanswered

Columns = Mapping[str, Any]
_HAS_VERSION = text(HAS_VERSION.format(version=":version"))


async def before_change(conn: AsyncConnection, case: Case, change: Change, now: datetime) -> CodeRow | None:
    """The call of this change is about to leave. Committed before it, this is what a lost answer is found again by:
    the reconciler reads the code soon."""
    values = {
        "unanswered_change": encode_unanswered(Unanswered(change, sent_at=now)),
        "due_at": due_by(now + LOOK_AFTER),
    }
    return await _write(conn, case, values, now)


async def accept_change(
    conn: AsyncConnection, case: Case, change: Change, at: datetime, columns: Columns, now: datetime
) -> CodeRow | None:
    """Seam accepted the change ``at`` (on its clock). ``columns`` are what else changes with it. Marks the code due."""
    code = accepted(case.row.intent(), change, at, case.signals, case.row.reads())
    values = {
        **intent_columns(code),
        **columns,
        "name": change.name or case.row.name,
        "unanswered_change": None,
        "due_at": due_by(now),
    }
    return await _write(conn, case, values, now)


async def drop_change(conn: AsyncConnection, case: Case, change: Change, now: datetime) -> CodeRow | None:
    """Seam certainly did not take this change. Harmless if it is settled already."""
    unanswered = case.row.unanswered()
    if unanswered is None or unanswered.change != change:
        return case.row
    return await _write(conn, case, {"unanswered_change": None, "due_at": due_by(now)}, now)


async def change_own(conn: AsyncConnection, case: Case, columns: Columns, now: datetime) -> CodeRow | None:
    """Change what Seam knows nothing of. Marks the code due."""
    return await _write(conn, case, {**columns, "due_at": due_by(now)}, now)


async def _write(conn: AsyncConnection, case: Case, values: Columns, now: datetime) -> CodeRow | None:
    as_it_was = and_(
        access_codes.c.revision == case.row.revision, _HAS_VERSION.bindparams(version=case.signals.version)
    )
    return await change_code(conn, case.row.id, values, now, as_it_was)
