"""The ``access_codes`` rows: loading them with all that is known about them, and the writes that a caller asks for.

Every write bumps ``revision``: who decided on an older one must decide again (contract, section 2.6). Binding to
Seam's ``access_code_id`` is in ``binding``, the verdict in ``steps``, the queue in ``claims``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, RowMapping, case, func, insert, literal, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import Verdict
from app.domain.changes import Unanswered
from app.domain.codes import Binding, Code, CodeType, Reads
from app.domain.health import Health
from app.domain.news import Signals
from app.storage.dialects import dialect_of
from app.storage.flags import FlagRow, close_flags, open_flags_of
from app.storage.health import accounts_of, load_health
from app.storage.notices import announce
from app.storage.rows import fetch_by, selection
from app.storage.signals import Told, load_signals
from app.storage.tables import access_codes
from app.storage.types import UtcDateTime
from app.storage.values import decode_read, decode_unanswered, encode_read

LOOK_AFTER = timedelta(seconds=5)
"""A create call that has no answer by then is looked for on its lock."""


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One row of ``access_codes``, column by column (``app/storage/tables.py`` says what each holds)."""

    id: str
    revision: int
    origin: str
    binding: str
    access_code_id: str | None
    device_id: str | None
    connected_account_id: str | None
    workspace_id: str | None
    name: str | None
    type: str
    starts_at: datetime | None
    ends_at: datetime | None
    pin: str | None
    pin_changed: bool
    window_changed: bool
    is_offline: bool
    is_one_time_use: bool
    schedules_natively: bool | None
    set_within_seconds: int | None
    reference: str | None
    metadata: dict[str, Any] | None
    requested_at: datetime
    call_sent_at: datetime | None
    asked_at: datetime | None
    end_asked_at: datetime | None
    end_sent_at: datetime | None
    refusal: dict[str, Any] | None
    unanswered_change: dict[str, Any] | None
    replaced_by: str | None
    untracked_at: datetime | None
    read: dict[str, Any] | None
    seen_on_at: datetime | None
    seen_absent_at: datetime | None
    not_on_since: datetime | None
    read_failed_at: datetime | None
    read_failure: str | None
    verdict: str
    reason: str
    since: datetime
    deadline: datetime | None
    next_check_at: datetime | None
    problem: dict[str, Any] | None
    safe_to_share: bool
    is_settled: bool
    is_terminal: bool
    was_verified: bool
    is_flagged: bool
    due_at: datetime | None
    leased_until: datetime | None
    postponed_error: str | None
    failures: int
    created_at: datetime
    updated_at: datetime

    @property
    def was_assessed(self) -> bool:
        """Whether the stored verdict is an assessment: each one names its next check, or is terminal."""
        return self.is_terminal or self.next_check_at is not None

    @property
    def must_send_end(self) -> bool:
        """Whether Seam must still be told to remove the code. An offline code cannot be revoked."""
        return (
            self.binding == Binding.BOUND
            and self.end_asked_at is not None
            and self.end_sent_at is None
            and not self.is_offline
        )

    def intent(self) -> Code:
        set_within = self.set_within_seconds
        return Code(
            binding=Binding(self.binding),
            type=CodeType(self.type),
            requested_at=self.requested_at,
            asked_at=self.asked_at,
            access_code_id=self.access_code_id,
            device_id=self.device_id,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            pin=self.pin,
            pin_changed=self.pin_changed,
            window_changed=self.window_changed,
            end_asked_at=self.end_asked_at,
            is_offline=self.is_offline,
            is_one_time_use=self.is_one_time_use,
            schedules_natively=self.schedules_natively,
            set_within=timedelta(seconds=set_within) if set_within is not None else None,
            replaced_by=self.replaced_by,
            refusal=(self.refusal or {}).get("message"),
        )

    def unanswered(self) -> Unanswered | None:
        return decode_unanswered(self.unanswered_change) if self.unanswered_change is not None else None

    def reads(self) -> Reads:
        return Reads(
            last=decode_read(self.read) if self.read else None,
            seen_on_at=self.seen_on_at,
            seen_absent_at=self.seen_absent_at,
            not_on_since=self.not_on_since,
            failed_at=self.read_failed_at,
            failure=self.read_failure,
        )

    def with_intent(self, code: Code) -> CodeRow:
        """This row with what a read may have renewed of its intent. Nothing is written yet."""
        return self.having(**intent_columns(code))

    def having(self, **columns: Any) -> CodeRow:
        """This row with these columns. Itself if it has them already: a copy costs as much as a verdict."""
        if all(getattr(self, name) == value for name, value in columns.items()):
            return self
        return replace(self, **columns)


_COLUMNS = tuple(CodeRow.__dataclass_fields__)
_NOTHING_TOLD = Told(Signals(), is_marked=False)


@dataclass(frozen=True, slots=True)
class Case:
    """All that is known about one code at one moment: what ``assess`` looks at, and its open flags.

    ``has_news``: there is news among the signals that no claim or step has taken up. It makes the code due.
    """

    row: CodeRow
    signals: Signals
    health: Health
    flags: tuple[FlagRow, ...] = ()
    has_news: bool = False

    @property
    def is_watched(self) -> bool:
        return self.row.untracked_at is None


def new_code_id() -> str:
    return f"code_{uuid4().hex}"


@dataclass(frozen=True, slots=True)
class NewCode:
    """A code about to be created at Seam. ``pin`` is a fingerprint. ``id`` will be the row's."""

    device_id: str
    type: CodeType
    name: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    pin: str | None = None
    connected_account_id: str | None = None
    workspace_id: str | None = None
    is_offline: bool = False
    is_one_time_use: bool = False
    schedules_natively: bool | None = None
    set_within_seconds: int | None = None
    reference: str | None = None
    metadata: Mapping[str, Any] | None = None
    origin: str = "created"
    id: str = field(default_factory=new_code_id)


async def load_case(conn: AsyncConnection, ident: str) -> Case | None:
    """One code, untracked ones too. ``ident`` is ours or Seam's ``access_code_id``; ours goes first."""
    query = selection(dialect_of(conn), access_codes, _COLUMNS, "id = :ident OR access_code_id = :ident")
    rows = [CodeRow(*row) for row in await query.fetch(conn, ident=ident)]
    if not rows:
        return None
    return (await _cases(conn, [min(rows, key=lambda row: row.id != ident)]))[0]


async def load_cases(conn: AsyncConnection, ids: Sequence[str]) -> list[Case]:
    """Many codes by our ids, sorted by id; ids without a row are left out."""
    rows = [CodeRow(*row) for row in await fetch_by(conn, access_codes, _COLUMNS, "id", ids)]
    return await _cases(conn, sorted(rows, key=lambda row: row.id))


async def _cases(conn: AsyncConnection, rows: Sequence[CodeRow]) -> list[Case]:
    rows = await _with_accounts(conn, rows)
    told = await load_signals(conn, [row.access_code_id for row in rows if row.access_code_id])
    health = await load_health(conn, [(row.device_id, row.connected_account_id) for row in rows])
    flags = await open_flags_of(conn, [row.id for row in rows])
    return [
        Case(
            row=row,
            signals=known.signals,
            health=health[(row.device_id, row.connected_account_id)],
            flags=tuple(flags.get(row.id, ())),
            has_news=known.is_marked,
        )
        for row in rows
        for known in (told.get(row.access_code_id or "", _NOTHING_TOLD),)
    ]


async def _with_accounts(conn: AsyncConnection, rows: Sequence[CodeRow]) -> Sequence[CodeRow]:
    """Seam's access code does not say which account it hangs on; its lock does. The next step writes it down."""
    unknown = {row.device_id for row in rows if row.device_id and row.connected_account_id is None}
    known = await accounts_of(conn, unknown)
    return [
        replace(row, connected_account_id=known[row.device_id])
        if row.connected_account_id is None and row.device_id in known
        else row
        for row in rows
    ]


async def insert_requested(conn: AsyncConnection, new: NewCode, now: datetime) -> CodeRow:
    """Write the row of a code that Seam will be asked for. It is looked at soon, in case the answer gets lost."""
    values = {
        "id": new.id,
        "origin": new.origin,
        "binding": Binding.REQUESTED.value,
        "device_id": new.device_id,
        "connected_account_id": new.connected_account_id,
        "workspace_id": new.workspace_id,
        "name": new.name,
        "type": new.type.value,
        "starts_at": new.starts_at,
        "ends_at": new.ends_at,
        "pin": new.pin,
        "is_offline": new.is_offline,
        "is_one_time_use": new.is_one_time_use,
        "schedules_natively": new.schedules_natively,
        "set_within_seconds": new.set_within_seconds,
        "reference": new.reference,
        "metadata": dict(new.metadata) if new.metadata is not None else None,
        "requested_at": now,
        "verdict": Verdict.REQUESTED.value,
        "reason": "Seam has not answered the create call yet.",
        "since": now,
        "due_at": now + LOOK_AFTER,
        "created_at": now,
        "updated_at": now,
    }
    return await insert_code(conn, values)


async def mark_call_sent(conn: AsyncConnection, code_id: str, at: datetime | None, now: datetime) -> CodeRow | None:
    """The create call is about to leave. ``at=None`` takes that back: Seam certainly did not get it."""
    due = (at or now) + LOOK_AFTER
    return await change_code(conn, code_id, {"call_sent_at": at, "due_at": due}, now, _is_requested())


async def refuse(conn: AsyncConnection, code_id: str, refusal: Mapping[str, Any], now: datetime) -> CodeRow | None:
    """Seam refused the create call for good: ``{status, type, message}``. Marks the code due.

    ``None``: it was found bound in the meantime, and nothing changed.
    """
    values = {"binding": Binding.REFUSED.value, "refusal": dict(refusal), "due_at": now}
    return await change_code(conn, code_id, values, now, _is_requested())


async def untrack(conn: AsyncConnection, code_id: str, now: datetime) -> CodeRow | None:
    """Stop watching: closes its open flags, and nothing marks or steps it any more. Idempotent."""
    values = {
        "untracked_at": func.coalesce(access_codes.c.untracked_at, literal(now, UtcDateTime())),
        "due_at": None,
        "leased_until": None,
        "is_flagged": False,
    }
    row = await change_code(conn, code_id, values, now)
    if row is not None:
        await close_flags(conn, (await open_flags_of(conn, [code_id])).get(code_id, ()), now)
        await announce(conn, [code_id])
    return row


async def ask_end(conn: AsyncConnection, code_id: str, now: datetime) -> CodeRow | None:
    """Remember that the code is to be removed from the lock; the reconciler tells Seam. A second asking changes nothing
    but makes it due."""
    values = {
        "end_asked_at": func.coalesce(access_codes.c.end_asked_at, literal(now, UtcDateTime())),
        "due_at": due_by(now),
    }
    return await change_code(conn, code_id, values, now)


async def end_sent(conn: AsyncConnection, code_id: str, at: datetime, now: datetime) -> CodeRow | None:
    """Seam took the delete call, ``at`` on its clock. Marks the code due."""
    return await change_code(conn, code_id, {"end_sent_at": at, "due_at": due_by(now)}, now)


async def mark_due(conn: AsyncConnection, ids: Iterable[str], now: datetime) -> None:
    """Have these codes looked at now. Untracked ones stay alone."""
    await conn.execute(
        update(access_codes)
        .where(held_in_order(access_codes.c.id.in_(sorted(ids)), access_codes.c.untracked_at.is_(None)))
        .values(due_at=due_by(now), revision=access_codes.c.revision + 1)
    )


def held_in_order(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    """For an update of many codes: those, locked in the order of their ids before any is changed. Two that concern the
    same codes never wait for each other in a circle."""
    held = select(access_codes.c.id).where(*which).order_by(access_codes.c.id).with_for_update().cte("held")
    return access_codes.c.id.in_(select(held.c.id))


def due_by(now: datetime) -> ColumnElement[datetime | None]:
    """The new ``due_at`` of a code marked due: never later than it was, never set for an untracked one."""
    due_at = access_codes.c.due_at
    return case(
        (access_codes.c.untracked_at.is_not(None), null()), (due_at < now, due_at), else_=literal(now, UtcDateTime())
    )


def _is_requested() -> ColumnElement[bool]:
    return access_codes.c.binding == Binding.REQUESTED.value


def to_row(row: RowMapping) -> CodeRow:
    return CodeRow(**row)


def intent_columns(code: Code) -> dict[str, Any]:
    """The columns that keep what a change, or a read, may renew of an intent."""
    return {
        "type": code.type.value,
        "starts_at": code.starts_at,
        "ends_at": code.ends_at,
        "pin": code.pin,
        "pin_changed": code.pin_changed,
        "window_changed": code.window_changed,
        "asked_at": code.asked_at,
    }


def read_columns(reads: Reads) -> dict[str, Any]:
    """The columns that keep what all reads taught: the reverse of ``CodeRow.reads``."""
    return {
        "read": encode_read(reads.last) if reads.last is not None else None,
        "seen_on_at": reads.seen_on_at,
        "seen_absent_at": reads.seen_absent_at,
        "not_on_since": reads.not_on_since,
        "read_failed_at": reads.failed_at,
        "read_failure": reads.failure,
    }


async def insert_code(conn: AsyncConnection, values: Mapping[str, Any]) -> CodeRow:
    result = await conn.execute(insert(access_codes).values(**values).returning(access_codes))
    return to_row(result.mappings().one())


async def change_code(
    conn: AsyncConnection, code_id: str, values: Mapping[str, Any], now: datetime, *only_if: ColumnElement[bool]
) -> CodeRow | None:
    """Write these columns and bump the revision. ``None``: no such row, or ``only_if`` does not hold."""
    result = await conn.execute(
        update(access_codes)
        .where(access_codes.c.id == code_id, *only_if)
        .values(**values, revision=access_codes.c.revision + 1, updated_at=now)
        .returning(access_codes)
    )
    row = result.mappings().one_or_none()
    return to_row(row) if row is not None else None
