# ruff: noqa: S608 - the statements are made of our own text alone
"""What the databases of ``growth.py`` are filled with, set by set: the same codes, events and flags per code, however
many there are (``growth_filling`` carries it out).

Codes are made in the order of their numbers, over two years. One of ten is verified and stays; of the others the newest
tenth is upcoming, scheduled, pending or (one of a thousand) stuck and flagged, the rest is removed. Ten share a lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.news import News
from app.storage.codec import encode_news
from app.storage.engine import Dialect
from app.storage.types import to_micros

CODES_PER_LOCK = 10
YEARS = timedelta(days=730)
_PART = 100_000
_PAYLOAD = '{"event_type":"access_code.set_on_device","workspace_id":"workspace","more":"' + 240 * "x" + '"}'


@dataclass(frozen=True, slots=True)
class Size:
    codes: int
    events: int

    @property
    def name(self) -> str:
        return f"growth_{self.codes}_{self.events}"


def code_id(number: int) -> str:
    return f"code_00000000{number:024x}"


def seam_id(number: int) -> str:
    return f"ac000000-0000-4000-8000-{number:012x}"


def lock_id(number: int) -> str:
    return f"10c00000-0000-4000-8000-{number // CODES_PER_LOCK:012x}"


def verified_codes(size: Size) -> range:
    """The numbers of the codes that are verified and stay."""
    return range(1, size.codes, 10)


@dataclass(frozen=True, slots=True)
class Stage:
    """Statements, one after the other, that fill these tables."""

    name: str
    tables: Sequence[str]
    statements: Sequence[str]


_TABLES_OF_CODES = ("access_codes", "signals", "devices", "transitions", "durations", "flags", "alerts", "counts")


def stages_of(dialect: Dialect, size: Size, now: datetime, *, on_base: bool) -> list[Stage]:
    """How a database of this size is filled. ``on_base``: its codes are there already."""
    sql = _Sql(dialect, now)
    codes = Stage("codes", _TABLES_OF_CODES, list(_code_statements(sql, size)))
    parts = range(0, size.events, _PART)
    events = [_events(sql, size, sql.numbers(start, min(start + _PART, size.events))) for start in parts]
    return ([] if on_base else [codes]) + ([Stage("events", ("events",), events)] if events else [])


@dataclass(frozen=True, slots=True)
class _Sql:
    """What the two databases spell differently."""

    dialect: Dialect
    now: datetime

    def numbers(self, start: int, stop: int) -> str:
        if self.dialect == "sqlite":
            counted = f"SELECT {start} UNION ALL SELECT n + 1 FROM s WHERE n + 1 < {stop}"
            return f"(WITH RECURSIVE s(n) AS ({counted}) SELECT n FROM s) AS s"
        return f"generate_series({start}::bigint, {stop - 1}) AS s(n)"

    def hexadecimal(self, expression: str, digits: int) -> str:
        if self.dialect == "sqlite":
            return f"printf('%0{digits}x', {expression})"
        return f"lpad(to_hex(({expression})::bigint), {digits}, '0')"

    def time(self, seconds: str) -> str:
        """So many seconds after now."""
        if self.dialect == "sqlite":
            return f"{to_micros(self.now)} + CAST(({seconds}) * 1000000.0 AS INTEGER)"
        return f"timestamptz '{self.now.isoformat()}' + make_interval(secs => ({seconds})::double precision)"


def _code_statements(sql: _Sql, size: Size) -> Iterator[str]:
    yield _locks(sql, size)
    for start in range(0, size.codes, _PART):
        numbers = sql.numbers(start, min(start + _PART, size.codes))
        yield _codes(sql, size, numbers)
        yield _transitions(sql, numbers)
        yield _durations(sql, numbers)
    yield _signals(sql, size)
    yield from _flags()
    yield from _counts()


def _id(sql: _Sql, number: str = "n") -> str:
    return f"'code_00000000' || {sql.hexadecimal(number, 24)}"


def _seam_id(sql: _Sql, number: str = "n") -> str:
    return f"'ac000000-0000-4000-8000-' || {sql.hexadecimal(number, 12)}"


def _lock_id(sql: _Sql, number: str = "n") -> str:
    return f"'10c00000-0000-4000-8000-' || {sql.hexadecimal(f'{number} / {CODES_PER_LOCK}', 12)}"


def _locks(sql: _Sql, size: Size) -> str:
    numbers = sql.numbers(0, size.codes // CODES_PER_LOCK)
    lock = _lock_id(sql, f"n * {CODES_PER_LOCK}")
    return f"INSERT INTO devices (device_id, connected_account_id) SELECT {lock}, 'account' FROM {numbers}"


def _made(sql: _Sql, size: Size) -> str:
    """When code n was made."""
    return sql.time(f"(n + 1 - {size.codes}) * {YEARS.total_seconds() / size.codes:.9f}")


def _starts(sql: _Sql, size: Size) -> str:
    """A fortnight later."""
    return sql.time(f"(n + 1 - {size.codes}) * {YEARS.total_seconds() / size.codes:.9f} + 1209600")


def _verdict(size: Size) -> str:
    newest = size.codes - size.codes // 10
    return (
        f"CASE WHEN n % 10 = 1 THEN 'verified' WHEN n < {newest} THEN 'removed' WHEN n % 1000 = 999 THEN 'stuck' "
        "WHEN n % 10 < 6 THEN 'upcoming' WHEN n % 10 < 9 THEN 'scheduled' ELSE 'pending' END"
    )


def _codes(sql: _Sql, size: Size, numbers: str) -> str:
    verdict, stays, made = _verdict(size), "n % 10 = 1", _made(sql, size)
    columns = {
        "id": _id(sql),
        "origin": "'created'",
        "binding": "'bound'",
        "access_code_id": _seam_id(sql),
        "device_id": _lock_id(sql),
        "connected_account_id": "'account'",
        "name": "'Guest ' || n",
        "type": f"CASE WHEN {stays} THEN 'ongoing' ELSE 'time_bound' END",
        "starts_at": f"CASE WHEN {stays} THEN NULL ELSE {_starts(sql, size)} END",
        "ends_at": f"CASE WHEN {stays} THEN NULL ELSE {_starts(sql, size)} END",
        "reference": "'reservation-' || n",
        "requested_at": made,
        "asked_at": made,
        "verdict": verdict,
        "reason": "'So it was made.'",
        "since": made,
        "next_check_at": sql.time("86400000"),
        "is_terminal": f"({verdict}) = 'removed'",
        "was_verified": "n % 10 < 9",
        "is_flagged": f"({verdict}) = 'stuck'",
        "due_at": f"CASE WHEN ({verdict}) = 'removed' THEN NULL ELSE {sql.time('86400000 + n')} END",
        "created_at": made,
        "updated_at": made,
    }
    names, values = ", ".join(columns), ", ".join(columns.values())
    return f"INSERT INTO access_codes ({names}) SELECT {values} FROM {numbers}"


def _transitions(sql: _Sql, numbers: str) -> str:
    return (
        f"INSERT INTO transitions (code_id, at, to_verdict, since, reason) SELECT {_id(sql)}, {sql.time('0')}, "
        f"'verified', {sql.time('0')}, 'So it was made.' FROM {numbers} WHERE n % 10 < 9"
    )


def _durations(sql: _Sql, numbers: str) -> str:
    return (
        f"INSERT INTO durations (code_id, kind, device_id, seconds) SELECT {_id(sql)}, 'set', {_lock_id(sql)}, "
        f"n % 97 FROM {numbers} WHERE n % 10 < 9"
    )


def _signals(sql: _Sql, size: Size) -> str:
    """That the codes that stay were set."""
    news = encode_news(News(sql.now - YEARS + timedelta(days=1), "ev"))
    literal = (
        "'" + news.replace("\x1f", "' || chr(31) || '" if sql.dialect == "postgresql" else "' || char(31) || '") + "'"
    )
    numbers = sql.numbers(0, len(verified_codes(size)))
    return (
        f'INSERT INTO signals (access_code_id, version, "set") SELECT {_seam_id(sql, "n * 10 + 1")}, 1, {literal} '
        f"FROM {numbers}"
    )


def _flags() -> Iterator[str]:
    """An open one of each stuck code, a closed one of each that ended long ago, and one alert for each."""
    for prefix, closed_at, verdict in (("open", "NULL", "stuck"), ("shut", "created_at", "removed")):
        yield (
            "INSERT INTO flags (id, kind, severity, code_id, device_id, opened_at, closed_at, reason, created_at) "
            f"SELECT '{prefix}_' || id, 'stuck', 'critical', id, device_id, created_at, {closed_at}, 'So.', "
            f"created_at FROM access_codes WHERE verdict = '{verdict}'"
        )
    yield (
        "INSERT INTO alerts (id, flag_id, change, state, created_at) "
        "SELECT id || ':opened', id, 'opened', 'sent', created_at FROM flags"
    )


def _counts() -> Iterator[str]:
    """What the triggers would have noted row by row."""
    yield "DELETE FROM count_changes"
    yield "DELETE FROM counts"
    names = "INSERT INTO counts (subject, device_id, name, was_verified, count)"
    for place in ("''", "device_id"):
        key = f"'watched', {place}, verdict, was_verified"
        yield f"{names} SELECT {key}, count(*) FROM access_codes GROUP BY 1, 2, 3, 4"
    yield f"{names} SELECT 'open_flags', '', kind, false, count(*) FROM flags WHERE closed_at IS NULL GROUP BY kind"


def _events(sql: _Sql, size: Size, numbers: str) -> str:
    """Their ids lie evenly among all possible ones, so that new ones fall everywhere in between."""
    code = f"(n * {size.codes} / {size.events})"
    spread = f"n * {2**32 // size.events}"
    at = sql.time(f"(n + 1 - {size.events}) * {YEARS.total_seconds() / size.events:.9f}")
    columns = {
        "event_id": f"{sql.hexadecimal(spread, 8)} || '-0000-4000-8000-' || {sql.hexadecimal('n', 12)}",
        "event_type": "CASE WHEN n = 0 THEN 'access_code.rare' ELSE 'access_code.set_on_device' END",
        "access_code_id": _seam_id(sql, code),
        "device_id": _lock_id(sql, code),
        "connected_account_id": "'account'",
        "workspace_id": "'workspace'",
        "occurred_at": at,
        "created_at": at,
        "received_at": at,
        "source": "'webhook'",
        "payload": f"'{_PAYLOAD}'",
    }
    names, values = ", ".join(columns), ", ".join(columns.values())
    return f"INSERT INTO events ({names}) SELECT {values} FROM {numbers}"
