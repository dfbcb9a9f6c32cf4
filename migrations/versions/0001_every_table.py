"""Every table of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.storage.types import BigId, ByteString, Json, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "access_codes",
        sa.Column("id", ByteString, nullable=False),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("binding", sa.String(), nullable=False),
        sa.Column("access_code_id", ByteString, nullable=True),
        sa.Column("device_id", ByteString, nullable=True),
        sa.Column("connected_account_id", ByteString, nullable=True),
        sa.Column("workspace_id", ByteString, nullable=True),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("starts_at", UtcDateTime, nullable=True),
        sa.Column("ends_at", UtcDateTime, nullable=True),
        sa.Column("pin", sa.String(), nullable=True),
        sa.Column("pin_changed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("window_changed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_offline", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_one_time_use", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("schedules_natively", sa.Boolean(), nullable=True),
        sa.Column("set_within_seconds", sa.Integer(), nullable=True),
        sa.Column("reference", sa.String(), nullable=True),
        sa.Column("metadata", Json, nullable=True),
        sa.Column("requested_at", UtcDateTime, nullable=False),
        sa.Column("call_sent_at", UtcDateTime, nullable=True),
        sa.Column("asked_at", UtcDateTime, nullable=True),
        sa.Column("end_asked_at", UtcDateTime, nullable=True),
        sa.Column("end_sent_at", UtcDateTime, nullable=True),
        sa.Column("refusal", Json, nullable=True),
        sa.Column("replaced_by", ByteString, nullable=True),
        sa.Column("untracked_at", UtcDateTime, nullable=True),
        sa.Column("read", Json, nullable=True),
        sa.Column("seen_on_at", UtcDateTime, nullable=True),
        sa.Column("seen_absent_at", UtcDateTime, nullable=True),
        sa.Column("not_on_since", UtcDateTime, nullable=True),
        sa.Column("read_failed_at", UtcDateTime, nullable=True),
        sa.Column("read_failure", sa.String(), nullable=True),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", UtcDateTime, nullable=False),
        sa.Column("deadline", UtcDateTime, nullable=True),
        sa.Column("next_check_at", UtcDateTime, nullable=True),
        sa.Column("problem", Json, nullable=True),
        sa.Column("safe_to_share", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_settled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_terminal", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=True),
        sa.Column("leased_until", UtcDateTime, nullable=True),
        sa.Column("postponed_error", sa.String(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_codes")),
        sa.UniqueConstraint("access_code_id", name=op.f("uq_access_codes_access_code_id")),
    )
    op.create_index("ix_access_codes_connected_account_id", "access_codes", ["connected_account_id"])
    op.create_index("ix_access_codes_created_at", "access_codes", ["created_at", "id"])
    op.create_index("ix_access_codes_device_id", "access_codes", ["device_id"])
    op.create_index(
        "ix_access_codes_due_at",
        "access_codes",
        ["due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_access_codes_reference", "access_codes", ["reference"])
    op.create_index("ix_access_codes_starts_at", "access_codes", ["starts_at"])
    op.create_index("ix_access_codes_verdict", "access_codes", ["verdict", "id"])

    op.create_table(
        "accounts",
        sa.Column("connected_account_id", ByteString, nullable=False),
        sa.Column("connection", ByteString, nullable=True),
        sa.PrimaryKeyConstraint("connected_account_id", name=op.f("pk_accounts")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", ByteString, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", ByteString, nullable=False),
        sa.Column("scopes", Json, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=True),
        sa.Column("revoked_at", UtcDateTime, nullable=True),
        sa.Column("last_used_at", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_tokens_digest")),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("code_id", ByteString, nullable=True),
        sa.Column("details", Json, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_code_id", "audit_log", ["code_id", "id"])

    op.create_table(
        "devices",
        sa.Column("device_id", ByteString, nullable=False),
        sa.Column("connected_account_id", ByteString, nullable=True),
        sa.Column("workspace_id", ByteString, nullable=True),
        sa.Column("read", Json, nullable=True),
        sa.Column("read_at", UtcDateTime, nullable=True),
        sa.Column("connection", ByteString, nullable=True),
        sa.Column("stability", ByteString, nullable=True),
        sa.Column("battery", ByteString, nullable=True),
        sa.Column("keypad", ByteString, nullable=True),
        sa.Column("third_party", ByteString, nullable=True),
        sa.Column("subscription", ByteString, nullable=True),
        sa.Column("privacy", ByteString, nullable=True),
        sa.Column("presence", ByteString, nullable=True),
        sa.Column("tamper", ByteString, nullable=True),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_devices")),
    )
    op.create_index("ix_devices_connected_account_id", "devices", ["connected_account_id"])

    op.create_table(
        "events",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("event_id", ByteString, nullable=False),
        sa.Column("event_type", sa.String(), nullable=False),
        sa.Column("access_code_id", ByteString, nullable=True),
        sa.Column("device_id", ByteString, nullable=True),
        sa.Column("connected_account_id", ByteString, nullable=True),
        sa.Column("workspace_id", ByteString, nullable=True),
        sa.Column("occurred_at", UtcDateTime, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("news", sa.Text(), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("event_id", name=op.f("uq_events_event_id")),
    )
    op.create_index("ix_events_access_code_id", "events", ["access_code_id", "id"])
    op.create_index("ix_events_device_id", "events", ["device_id", "id"])

    op.create_table(
        "intake",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("proven_until", UtcDateTime, nullable=True),
        sa.Column("last_delivery_at", UtcDateTime, nullable=True),
        sa.Column("backfilled", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_token_printed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("key_check", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intake")),
    )
    op.create_table(
        "signals",
        sa.Column("access_code_id", ByteString, nullable=False),
        sa.Column("version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created", ByteString, nullable=True),
        sa.Column("scheduled", ByteString, nullable=True),
        sa.Column("set", ByteString, nullable=True),
        sa.Column("delayed", ByteString, nullable=True),
        sa.Column("failed", ByteString, nullable=True),
        sa.Column("removed", ByteString, nullable=True),
        sa.Column("removal_delayed", ByteString, nullable=True),
        sa.Column("failed_to_remove", ByteString, nullable=True),
        sa.Column("deleted", ByteString, nullable=True),
        sa.Column("modified_externally", ByteString, nullable=True),
        sa.Column("deleted_externally", ByteString, nullable=True),
        sa.Column("changed", ByteString, nullable=True),
        sa.Column("change_requested", ByteString, nullable=True),
        sa.Column("code_changed", ByteString, nullable=True),
        sa.Column("name_changed", ByteString, nullable=True),
        sa.Column("time_frame_changed", ByteString, nullable=True),
        sa.Column("failed_to_change", ByteString, nullable=True),
        sa.Column("backup_pulled", ByteString, nullable=True),
        sa.Column("used", ByteString, nullable=True),
        sa.PrimaryKeyConstraint("access_code_id", name=op.f("pk_signals")),
    )
    op.create_table(
        "unreadable",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("delivery_id", ByteString, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("digest", ByteString, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unreadable")),
        sa.UniqueConstraint("delivery_id", name=op.f("uq_unreadable_delivery_id")),
    )
    op.create_table(
        "flags",
        sa.Column("id", ByteString, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("code_id", ByteString, nullable=True),
        sa.Column("access_code_id", ByteString, nullable=True),
        sa.Column("device_id", ByteString, nullable=True),
        sa.Column("opened_at", UtcDateTime, nullable=False),
        sa.Column("closed_at", UtcDateTime, nullable=True),
        sa.Column("acknowledged_at", UtcDateTime, nullable=True),
        sa.Column("acknowledged_by", sa.String(), nullable=True),
        sa.Column("snoozed_until", UtcDateTime, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("problem", Json, nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.ForeignKeyConstraint(["code_id"], ["access_codes.id"], name=op.f("fk_flags_code_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flags")),
    )
    op.create_index("ix_flags_code_id", "flags", ["code_id"])
    op.create_index("ix_flags_created_at", "flags", ["created_at", "id"])
    op.create_index(
        "uq_flags_open",
        "flags",
        ["code_id", "kind"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
        sqlite_where=sa.text("closed_at IS NULL"),
    )

    op.create_table(
        "idempotency_keys",
        sa.Column("token_id", ByteString, nullable=False),
        sa.Column("key", ByteString, nullable=False),
        sa.Column("body_digest", sa.String(), nullable=False),
        sa.Column("code_id", ByteString, nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("problem", Json, nullable=True),
        sa.Column("in_flight_until", UtcDateTime, nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.ForeignKeyConstraint(["code_id"], ["access_codes.id"], name=op.f("fk_idempotency_keys_code_id")),
        sa.PrimaryKeyConstraint("token_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])

    op.create_table(
        "transitions",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("code_id", ByteString, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("from_verdict", sa.String(), nullable=True),
        sa.Column("to_verdict", sa.String(), nullable=False),
        sa.Column("since", UtcDateTime, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["code_id"], ["access_codes.id"], name=op.f("fk_transitions_code_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transitions")),
    )
    op.create_index("ix_transitions_code_id", "transitions", ["code_id", "id"])

    op.create_table(
        "alerts",
        sa.Column("id", ByteString, nullable=False),
        sa.Column("flag_id", ByteString, nullable=False),
        sa.Column("change", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", UtcDateTime, nullable=True),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.ForeignKeyConstraint(["flag_id"], ["flags.id"], name=op.f("fk_alerts_flag_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index("ix_alerts_flag_id", "alerts", ["flag_id"])
    op.execute("INSERT INTO intake (id) VALUES (1)")


def downgrade() -> None:
    op.drop_table("alerts")
    op.drop_table("transitions")
    op.drop_table("idempotency_keys")
    op.drop_table("flags")
    op.drop_table("unreadable")
    op.drop_table("signals")
    op.drop_table("intake")
    op.drop_table("events")
    op.drop_table("devices")
    op.drop_table("audit_log")
    op.drop_table("api_tokens")
    op.drop_table("accounts")
    op.drop_table("access_codes")
