"""Every table of Latchwatch. The migrations build the same; a test compares the two.

Each index names the query that it serves. Ids are compared in byte order everywhere: a join of columns with different
collations could not use an index on PostgreSQL.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from app.domain.health import AccountFacet, DeviceFacet
from app.domain.news import NewsKind
from app.storage.event_order import newest_of_code
from app.storage.types import BigId, ByteString, Json, UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _only(condition: str) -> dict[str, Any]:
    """For an index of the rows that this holds for."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


# What was asked for, what Seam answered last, and the stored verdict of every tracked code.
access_codes = Table(
    "access_codes",
    metadata,
    Column("id", ByteString, primary_key=True),
    Column("revision", Integer, nullable=False, server_default="1"),
    Column("origin", String, nullable=False),  # created | tracked | mentioned | backup
    Column("binding", String, nullable=False),  # requested | refused | bound
    Column("access_code_id", ByteString),
    Column("device_id", ByteString),
    Column("connected_account_id", ByteString),
    Column("workspace_id", ByteString),
    Column("name", String),
    Column("type", String, nullable=False),
    Column("starts_at", UtcDateTime),
    Column("ends_at", UtcDateTime),
    Column("pin", String),  # fingerprint
    Column("pin_changed", Boolean, nullable=False, server_default=text("false")),
    Column("window_changed", Boolean, nullable=False, server_default=text("false")),
    Column("is_offline", Boolean, nullable=False, server_default=text("false")),
    Column("is_one_time_use", Boolean, nullable=False, server_default=text("false")),
    Column("schedules_natively", Boolean),
    Column("set_within_seconds", Integer),
    Column("reference", String),
    Column("metadata", Json),
    Column("requested_at", UtcDateTime, nullable=False),  # our clock
    Column("call_sent_at", UtcDateTime),  # the create call left, or was about to
    Column("asked_at", UtcDateTime),  # Seam's clock
    Column("end_asked_at", UtcDateTime),
    Column("end_sent_at", UtcDateTime),  # Seam accepted the delete call
    Column("refusal", Json),  # {status, type, message} of Seam's refusal
    # A change whose call left and whose answer is not known: {sent_at}, and {name, pin, window, backup} as asked for
    Column("unanswered_change", Json),
    Column("replaced_by", ByteString),
    Column("untracked_at", UtcDateTime),
    # reads
    Column("read", Json),  # the last answer: {at, snapshot | null}
    Column("seen_on_at", UtcDateTime),
    Column("seen_absent_at", UtcDateTime),
    Column("not_on_since", UtcDateTime),
    Column("read_failed_at", UtcDateTime),
    Column("read_failure", String),
    # the stored assessment
    Column("verdict", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("deadline", UtcDateTime),
    Column("next_check_at", UtcDateTime),
    Column("problem", Json),
    Column("safe_to_share", Boolean, nullable=False, server_default=text("false")),
    Column("is_settled", Boolean, nullable=False, server_default=text("false")),
    Column("is_terminal", Boolean, nullable=False, server_default=text("false")),
    Column("was_verified", Boolean, nullable=False, server_default=text("false")),  # at any time
    Column("is_flagged", Boolean, nullable=False, server_default=text("false")),  # has an open flag
    # the queue: the row is due from here on; a lease keeps replicas off the same work
    Column("due_at", UtcDateTime),
    Column("leased_until", UtcDateTime),
    Column("postponed_error", String),  # why the last step raised
    Column("failures", Integer, nullable=False, server_default="0"),  # how often in a row
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("access_code_id"),
    Index(  # claims and the sleep until the earliest due code
        "ix_access_codes_due_at", "due_at", **_only("due_at IS NOT NULL")
    ),
    Index("ix_access_codes_device_id", "device_id"),  # device news marks its codes; list filter
    Index(  # account news marks its codes
        "ix_access_codes_connected_account_id", "connected_account_id", **_only("NOT is_terminal")
    ),
    Index(  # list filter
        "ix_access_codes_reference", "reference", "created_at", "id", **_only("reference IS NOT NULL")
    ),
    Index("ix_access_codes_verdict", "verdict", "created_at", "id", **_only("untracked_at IS NULL")),  # list filter
    Index(  # list by start; arrivals of the summary, which SQLite reads from here alone only with every column it names
        "ix_access_codes_starts_at", "starts_at", "id", "verdict", "untracked_at", **_only("untracked_at IS NULL")
    ),
    Index("ix_access_codes_created_at", "created_at", "id", **_only("untracked_at IS NULL")),  # list order
    Index(  # list filter
        "ix_access_codes_flagged",
        "created_at",
        "id",
        postgresql_where=text("is_flagged"),
        sqlite_where=text("is_flagged = 1"),  # as conditions on it are written there
    ),
    Index(  # list filter
        "ix_access_codes_untracked", "created_at", "id", **_only("untracked_at IS NOT NULL")
    ),
    Index(  # whom a backup code stands in for
        "ix_access_codes_replaced_by", "replaced_by", **_only("replaced_by IS NOT NULL")
    ),
)

# One row for every access code that Seam ever mentioned, tracked or not; one column for each kind of news, holding
# the latest as text that sorts like (occurred_at, event_id), so that merging is the database's own maximum. What it
# changes is marked here, for claims: the code's own row is wide, and its indexes would be most of what ingest costs.
signals = Table(
    "signals",
    metadata,
    Column("access_code_id", ByteString, primary_key=True),
    Column("version", Integer, nullable=False, server_default="0"),
    Column("marked_at", UtcDateTime),  # since when there is news that no claim or step has taken up
    *[Column(kind.value, ByteString) for kind in NewsKind],
    Index("ix_signals_marked_at", "marked_at", **_only("marked_at IS NOT NULL")),  # claims
)

# The latest report of each facet of a lock (same text form as in signals), and what Seam's device object said.
devices = Table(
    "devices",
    metadata,
    Column("device_id", ByteString, primary_key=True),
    Column("connected_account_id", ByteString),
    Column("workspace_id", ByteString),
    Column("read", Json),
    Column("read_at", UtcDateTime),
    *[Column(facet.value, ByteString) for facet in DeviceFacet],
    Index("ix_devices_connected_account_id", "connected_account_id"),  # account news marks the codes of its devices
)

accounts = Table(
    "accounts",
    metadata,
    Column("connected_account_id", ByteString, primary_key=True),
    *[Column(facet.value, ByteString) for facet in AccountFacet],
)

ACCOUNT_NEWS = """substr(news, 1, 10) = '{"account"'"""  # SQL for: an account takes something from the event, as few do

# Every genuine event, once. Signals can be rebuilt from it.
events = Table(
    "events",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("event_id", ByteString, nullable=False),  # "svix:<svix-id>" for payloads without one
    Column("event_type", String, nullable=False),
    Column("access_code_id", ByteString),
    Column("device_id", ByteString),
    Column("connected_account_id", ByteString),
    Column("workspace_id", ByteString),
    Column("occurred_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("source", String, nullable=False),  # webhook | backfill
    # What the signals took from it: {kind, pin, ...}; or locks: {device, value}; or accounts. Fingerprints stay here.
    Column("news", Text),
    Column("payload", Text, nullable=False),  # JSON, PINs cut out
    UniqueConstraint("event_id"),
    *newest_of_code(),  # timeline, list filter
    Index("ix_events_device_id", "device_id", "id"),  # list filter
    Index("ix_events_connected_account_id", "connected_account_id", "id", **_only(ACCOUNT_NEWS)),  # rebuilding
)

# Signed payloads that could not be read, or that the database refused. The body itself is not kept: it may hold a PIN.
unreadable = Table(
    "unreadable",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("delivery_id", ByteString, nullable=False),  # svix-id
    Column("received_at", UtcDateTime, nullable=False),
    Column("size", Integer, nullable=False),  # bytes
    Column("digest", ByteString, nullable=False),  # keyed, so that a short body cannot be guessed from it
    Column("reason", String, nullable=False),
    UniqueConstraint("delivery_id"),
)

transitions = Table(
    "transitions",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("code_id", ByteString, ForeignKey("access_codes.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("from_verdict", String),
    Column("to_verdict", String, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_transitions_code_id", "code_id", "id"),  # timeline
)

flags = Table(
    "flags",
    metadata,
    Column("id", ByteString, primary_key=True),
    Column("kind", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("code_id", ByteString, ForeignKey("access_codes.id")),  # null: a flag of the service itself
    Column("access_code_id", ByteString),
    Column("device_id", ByteString),
    Column("opened_at", UtcDateTime, nullable=False),  # when the cause began
    Column("closed_at", UtcDateTime),
    Column("acknowledged_at", UtcDateTime),
    Column("acknowledged_by", String),
    Column("snoozed_until", UtcDateTime),
    Column("reason", Text, nullable=False),
    Column("problem", Json),
    Column("created_at", UtcDateTime, nullable=False),
    Column("remind_at", UtcDateTime),  # when people are told again, unless somebody acknowledges it
    Column("reminders", Integer, nullable=False, server_default="0"),  # how often they were
    Index(  # reminders that are due
        "ix_flags_remind_at", "remind_at", **_only("remind_at IS NOT NULL")
    ),
    Index(  # one open flag of the service itself for each kind
        "uq_flags_open_of_service", "kind", unique=True, **_only("closed_at IS NULL AND code_id IS NULL")
    ),
    Index(  # one open flag for each code and kind
        "uq_flags_open", "code_id", "kind", unique=True, **_only("closed_at IS NULL")
    ),
    Index("ix_flags_code_id", "code_id"),  # timeline, flags of one code
    Index("ix_flags_created_at", "created_at", "id"),  # list order
    Index(  # list filter
        "ix_flags_open", "created_at", "id", **_only("closed_at IS NULL")
    ),
)

# The outbox: what people must be told. Written in the commit that changes the flag, composed into messages afterwards.
alerts = Table(
    "alerts",
    metadata,
    Column("id", ByteString, primary_key=True),  # the stable key: one flag, one change
    Column("flag_id", ByteString, ForeignKey("flags.id"), nullable=False),
    Column("change", String, nullable=False),  # opened | closed | reminder
    # pending: not composed yet; sending: in a message on its way; sent: on every channel; dead: given up on one;
    # skipped: there was no channel, or the flag closed within its first seconds
    Column("state", String, nullable=False),
    Column("message_id", ByteString, ForeignKey("alert_messages.id")),
    Column("next_attempt_at", UtcDateTime),  # while pending: when it is composed
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_alerts_flag_id", "flag_id"),  # timeline
    Index("ix_alerts_message_id", "message_id"),  # the alerts that a message tells
    Index("ix_alerts_created_at", "created_at", "id"),  # list order
    Index(  # composing
        "ix_alerts_next_attempt_at", "next_attempt_at", **_only("next_attempt_at IS NOT NULL")
    ),
)

# What is told as one: the alerts of flags that have one cause on one lock or account. Its content never changes.
alert_messages = Table(
    "alert_messages",
    metadata,
    Column("id", ByteString, primary_key=True),  # the key under which receivers know it, however often it is sent
    Column("content", Json, nullable=False),  # see docs/alerts.md
    Column("created_at", UtcDateTime, nullable=False),
)

# One message on one channel: each has its own attempts, so that a slow or dead channel delays no other.
alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("message_id", ByteString, ForeignKey("alert_messages.id"), primary_key=True),
    Column("channel", ByteString, primary_key=True),  # a name that holds no secret
    Column("state", String, nullable=False),  # pending | sent | dead
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_attempt_at", UtcDateTime),
    Column("leased_until", UtcDateTime),
    Column("last_error", String),
    Column("created_at", UtcDateTime, nullable=False),  # since when it is tried: a retry begins anew
    Column("sent_at", UtcDateTime),
    Index(  # what was given up: counted, and tried again on command
        "ix_alert_deliveries_dead",
        "channel",
        postgresql_where=text("state = 'dead'"),
        sqlite_where=text("state = 'dead'"),
    ),
    Index(  # claims of one channel
        "ix_alert_deliveries_channel_next_attempt_at",
        "channel",
        "next_attempt_at",
        **_only("next_attempt_at IS NOT NULL"),
    ),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", ByteString, primary_key=True),
    Column("name", String, nullable=False),
    Column("digest", ByteString, nullable=False),  # SHA-256 of the secret part; it is random, so it needs no salt
    Column("scopes", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    UniqueConstraint("digest"),
)

# Append-only: acts that touch PINs, tokens, flags or codes, and what Seam answered to reads.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String, nullable=False),  # token name, or "latchwatch"
    Column("action", String, nullable=False),
    Column("code_id", ByteString),
    Column("details", Json),
    Index("ix_audit_log_code_id", "code_id", "id"),  # timeline
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("token_id", ByteString, primary_key=True),
    Column("key", ByteString, primary_key=True),
    Column("body_digest", String, nullable=False),  # keyed: bodies hold PINs
    Column("code_id", ByteString, ForeignKey("access_codes.id"), nullable=False),
    Column("status", Integer),  # null: in flight
    Column("problem", Json),  # the refusal to repeat
    Column("in_flight_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_idempotency_keys_created_at", "created_at"),  # expiry after 7 days
)

# One row: what is known of our own intake, and small facts that belong to the whole service.
intake = Table(
    "intake",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("proven_until", UtcDateTime),
    Column("last_delivery_at", UtcDateTime),
    Column("backfilled", Integer, nullable=False, server_default="0"),  # events that only the backfill found
    Column("lost", Integer, nullable=False, server_default="0"),  # those of them that prove that a webhook got lost
    Column("lost_at", UtcDateTime),  # when the last of them was made
    # Lost since a comparison last found that webhooks had brought everything, and when the first of them was made
    Column("lost_in_a_row", Integer, nullable=False, server_default="0"),
    Column("lost_since", UtcDateTime),
    Column("compared_at", UtcDateTime),  # when the backfill last got through (our clock)
    Column("compare_failure", String),  # why it did not since
    Column("compare_failed_at", UtcDateTime),
    Column("seam_event_at", UtcDateTime),  # the newest event that Seam was seen to have
    # Somebody received webhooks without a break from here, until (at least) there (our clock)
    Column("receiving_since", UtcDateTime),
    Column("receiving_at", UtcDateTime),
    Column("first_token_printed", Boolean, nullable=False, server_default=text("false")),
    Column("key_check", LargeBinary),  # HMAC of a fixed text: notices a changed SECRET_KEY
)

# Work that one replica does at a time: whoever holds the lease.
leases = Table(
    "leases",
    metadata,
    Column("name", ByteString, primary_key=True),
    Column("holder", String, nullable=False),
    Column("leased_until", UtcDateTime, nullable=False),
)

# What became of deliveries that left no row of their own, and which secret the genuine ones were signed with.
receipts = Table(
    "receipts",
    metadata,
    Column("outcome", ByteString, primary_key=True),  # verified | rejected
    Column("detail", ByteString, primary_key=True),  # the label of the secret | the reason
    Column("count", BigId, nullable=False, server_default="0"),
    Column("last_at", UtcDateTime, nullable=False),
)

# Codes that Seam mentioned and that are not known yet, with LATCHWATCH_TRACK=all: each is read once, and then watched.
mentions = Table(
    "mentions",
    metadata,
    Column("access_code_id", ByteString, primary_key=True),
    Column("due_at", UtcDateTime, nullable=False),
    Column("failures", Integer, nullable=False, server_default="0"),
    Index("ix_mentions_due_at", "due_at"),  # claims
)

# The webhooks that Latchwatch made at Seam, and which secret each has.
webhooks = Table(
    "webhooks",
    metadata,
    Column("webhook_id", ByteString, primary_key=True),
    Column("url", String, nullable=False),
    Column("secret_label", String),
    Column("created_at", UtcDateTime, nullable=False),
    Column("retired_at", UtcDateTime),  # another one took its place
    Column("deleted_at", UtcDateTime),
)
