"""A database with so much in every table that grows that reading one whole is never the cheaper way."""

from __future__ import annotations

from sqlalchemy import text

from app.storage.engine import Database
from app.storage.types import to_micros
from tests.storage.arrivals import NOW

MANY = 30_000
ACCOUNTS = 3_000

_NUMBERS = f"WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY})"  # noqa: S608 - a number

# Row n of each table; {past} and {later} are n seconds from NOW, {far} n minutes. All of it is settled.
_TABLES: dict[str, dict[str, str]] = {
    "access_codes": {
        "id": "'c' || n",
        "origin": "'created'",
        "binding": "'bound'",
        "access_code_id": "'seam_' || n",
        "device_id": "'d' || (n / 3)",
        "connected_account_id": f"'a' || (n % {ACCOUNTS})",
        "type": "'ongoing'",
        "reference": "'r' || n",
        "starts_at": "{far}",
        "requested_at": "{past}",
        "asked_at": "{past}",
        "replaced_by": "CASE WHEN n % 5 = 0 THEN 'seam_' || (n + 1) END",
        "verdict": "CASE WHEN n % 500 = 0 THEN 'stuck' ELSE 'verified' END",
        "is_flagged": "n % 500 = 0",
        "reason": "'It is on the lock.'",
        "since": "{past}",
        "next_check_at": "{later}",
        "due_at": "{later}",
        "untracked_at": "CASE WHEN n % 301 = 0 THEN {past} END",
        "created_at": "{past}",
        "updated_at": "{past}",
    },
    "signals": {"access_code_id": "'seam_' || n", "version": "1"},
    "devices": {"device_id": "'d' || n", "connected_account_id": f"'a' || (n % {ACCOUNTS})"},
    "accounts": {"connected_account_id": "'a' || n"},
    "events": {
        "event_id": "'e' || n",
        "event_type": "'lock.unlocked'",
        "access_code_id": "'seam_' || n",
        "device_id": "'d' || (n / 3)",
        "connected_account_id": f"'a' || (n % {ACCOUNTS})",
        "occurred_at": "{past}",
        "created_at": "{past}",
        "received_at": "{past}",
        "source": "'webhook'",
        "payload": "'{{}}'",
    },
    "unreadable": {
        "delivery_id": "'m' || n",
        "received_at": "{past}",
        "size": "2",
        "digest": "'d'",
        "reason": "'not_json'",
    },
    "transitions": {
        "code_id": "'c' || n",
        "at": "{past}",
        "to_verdict": "'verified'",
        "since": "{past}",
        "reason": "'It is on the lock.'",
    },
    "flags": {
        "id": "'f' || n",
        "kind": "'stuck'",
        "severity": "'critical'",
        "code_id": "'c' || n",
        "access_code_id": "'seam_' || n",
        "device_id": "'d' || (n / 3)",
        "opened_at": "{past}",
        "closed_at": "CASE WHEN n % 500 <> 0 THEN {past} END",
        "reason": "'It did not come.'",
        "created_at": "{past}",
        "remind_at": "CASE WHEN n % 500 = 0 THEN {later} END",
    },
    "alert_messages": {"id": "'msg' || n", "content": "'{{}}'", "created_at": "{past}"},
    "alerts": {
        "id": "'f' || n || '\\:opened'",
        "flag_id": "'f' || n",
        "change": "'opened'",
        "state": "'sent'",
        "message_id": "'msg' || n",
        "created_at": "{past}",
    },
    "alert_deliveries": {
        "message_id": "'msg' || n",
        "channel": "'webhook'",
        "state": "CASE WHEN n % 5000 = 0 THEN 'dead' ELSE 'sent' END",
        "created_at": "{past}",
    },
    "api_tokens": {
        "id": "'t' || n",
        "name": "'desk'",
        "digest": "'digest' || n",
        "scopes": "'[\"read\"]'",
        "created_at": "{past}",
    },
    "audit_log": {"at": "{past}", "actor": "'latchwatch'", "action": "'code_read'", "code_id": "'c' || n"},
    "idempotency_keys": {
        "token_id": "'t' || (n % 10)",
        "key": "'k' || n",
        "body_digest": "'digest'",
        "code_id": "'c' || n",
        "status": "201",
        "created_at": "{past}",
    },
    "mentions": {"access_code_id": "'unknown_' || n", "due_at": "{later}"},
    "counts": {
        "subject": "'watched'",
        "device_id": "'d' || n",
        "name": "'verified'",
        "was_verified": "n > 0",
        "count": "3",
    },
    "durations": {"code_id": "'c' || n", "kind": "'set'", "device_id": "'d' || (n / 3)", "seconds": "n % 60"},
}
GROWING = frozenset(_TABLES)
"""The tables that grow with what is stored. ``count_changes`` does not: it is folded every few seconds."""


async def crowd(db: Database) -> None:
    """``MANY`` rows in each table that grows, as they are after a long and quiet time."""
    async with db.maintain() as connection:
        for table, columns in _TABLES.items():
            values = ", ".join(columns.values()).format(**_moments(db))
            statement = f"INSERT INTO {table} ({', '.join(columns)}) {_NUMBERS} SELECT {values} FROM numbers"  # noqa: S608 - our own words
            now = to_micros(NOW) if db.dialect == "sqlite" else NOW
            await connection.execute(text(statement), {"now": now} if ":now" in values else {})
        await connection.execute(text("DELETE FROM count_changes"))
    if db.dialect == "postgresql":  # Latchwatch has SQLite gather no statistics
        async with db.maintain() as connection:
            await connection.execute(text("ANALYZE"))


def _moments(db: Database) -> dict[str, str]:
    second, now = (
        ("1000000", ":now") if db.dialect == "sqlite" else ("interval '1 second'", "CAST(:now AS timestamptz)")
    )
    return {"past": f"{now} - n * {second}", "later": f"{now} + n * {second}", "far": f"{now} + n * 60 * {second}"}
