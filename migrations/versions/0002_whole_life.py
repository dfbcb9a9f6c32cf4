"""Proof of the intake, alerts as messages on channels, unanswered changes, and what replicas share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.storage.types import BigId, ByteString, Json, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("intake", sa.Column("lost", sa.Integer(), server_default="0", nullable=False))
    op.add_column("intake", sa.Column("lost_at", UtcDateTime, nullable=True))
    op.add_column("intake", sa.Column("lost_in_a_row", sa.Integer(), server_default="0", nullable=False))
    op.add_column("intake", sa.Column("lost_since", UtcDateTime, nullable=True))
    op.add_column("intake", sa.Column("compared_at", UtcDateTime, nullable=True))
    op.add_column("intake", sa.Column("compare_failure", sa.String(), nullable=True))
    op.add_column("intake", sa.Column("compare_failed_at", UtcDateTime, nullable=True))
    op.add_column("intake", sa.Column("seam_event_at", UtcDateTime, nullable=True))
    op.add_column("intake", sa.Column("receiving_since", UtcDateTime, nullable=True))
    op.add_column("intake", sa.Column("receiving_at", UtcDateTime, nullable=True))
    op.add_column("access_codes", sa.Column("unanswered_change", Json, nullable=True))
    op.create_index(
        "ix_access_codes_replaced_by",
        "access_codes",
        ["replaced_by"],
        postgresql_where=sa.text("replaced_by IS NOT NULL"),
        sqlite_where=sa.text("replaced_by IS NOT NULL"),
    )
    account_news = """substr(news, 1, 10) = '{"account"'"""
    op.create_index(
        "ix_events_connected_account_id",
        "events",
        ["connected_account_id", "id"],
        postgresql_where=sa.text(account_news),
        sqlite_where=sa.text(account_news),
    )
    _add_alerts()
    _add_shared()


def _add_alerts() -> None:
    op.create_table(
        "alert_messages",
        sa.Column("id", ByteString, nullable=False),
        sa.Column("content", Json, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_messages")),
    )
    op.create_table(
        "alert_deliveries",
        sa.Column("message_id", ByteString, nullable=False),
        sa.Column("channel", ByteString, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", UtcDateTime, nullable=True),
        sa.Column("leased_until", UtcDateTime, nullable=True),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("sent_at", UtcDateTime, nullable=True),
        sa.ForeignKeyConstraint(["message_id"], ["alert_messages.id"], name=op.f("fk_alert_deliveries_message_id")),
        sa.PrimaryKeyConstraint("message_id", "channel", name=op.f("pk_alert_deliveries")),
    )
    op.create_index(
        "ix_alert_deliveries_channel_next_attempt_at",
        "alert_deliveries",
        ["channel", "next_attempt_at"],
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
        sqlite_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_index(
        "ix_alert_deliveries_dead",
        "alert_deliveries",
        ["channel"],
        postgresql_where=sa.text("state = 'dead'"),
        sqlite_where=sa.text("state = 'dead'"),
    )
    with op.batch_alter_table("alerts") as alerts:
        alerts.drop_column("attempts")
        alerts.drop_column("last_error")
        alerts.add_column(sa.Column("message_id", ByteString, nullable=True))
        alerts.create_foreign_key(op.f("fk_alerts_message_id"), "alert_messages", ["message_id"], ["id"])
    op.create_index("ix_alerts_message_id", "alerts", ["message_id"])
    op.create_index("ix_alerts_created_at", "alerts", ["created_at", "id"])
    op.create_index(
        "ix_alerts_next_attempt_at",
        "alerts",
        ["next_attempt_at"],
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
        sqlite_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.add_column("flags", sa.Column("remind_at", UtcDateTime, nullable=True))
    op.add_column("flags", sa.Column("reminders", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_flags_remind_at",
        "flags",
        ["remind_at"],
        postgresql_where=sa.text("remind_at IS NOT NULL"),
        sqlite_where=sa.text("remind_at IS NOT NULL"),
    )
    op.create_index(
        "uq_flags_open_of_service",
        "flags",
        ["kind"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL AND code_id IS NULL"),
        sqlite_where=sa.text("closed_at IS NULL AND code_id IS NULL"),
    )


def _add_shared() -> None:
    op.create_table(
        "leases",
        sa.Column("name", ByteString, nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("leased_until", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "receipts",
        sa.Column("outcome", ByteString, nullable=False),
        sa.Column("detail", ByteString, nullable=False),
        sa.Column("count", BigId, server_default="0", nullable=False),
        sa.Column("last_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("outcome", "detail", name=op.f("pk_receipts")),
    )
    op.create_table(
        "mentions",
        sa.Column("access_code_id", ByteString, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("access_code_id", name=op.f("pk_mentions")),
    )
    op.create_index("ix_mentions_due_at", "mentions", ["due_at"])
    op.create_table(
        "webhooks",
        sa.Column("webhook_id", ByteString, nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("secret_label", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("retired_at", UtcDateTime, nullable=True),
        sa.Column("deleted_at", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("webhook_id", name=op.f("pk_webhooks")),
    )


def downgrade() -> None:
    for table in ("webhooks", "mentions", "receipts", "leases"):
        op.drop_table(table)
    op.drop_index("ix_events_connected_account_id", "events")
    op.drop_index("uq_flags_open_of_service", "flags")
    op.drop_index("ix_flags_remind_at", "flags")
    for name in ("reminders", "remind_at"):
        op.drop_column("flags", name)
    for name in ("next_attempt_at", "created_at", "message_id"):
        op.drop_index(f"ix_alerts_{name}", "alerts")
    op.execute("DELETE FROM alerts WHERE change = 'reminder'")
    with op.batch_alter_table("alerts") as alerts:
        alerts.drop_constraint(op.f("fk_alerts_message_id"), type_="foreignkey")
        alerts.drop_column("message_id")
        alerts.add_column(sa.Column("attempts", sa.Integer(), server_default="0", nullable=False))
        alerts.add_column(sa.Column("last_error", sa.String(), nullable=True))
    op.drop_table("alert_deliveries")
    op.drop_table("alert_messages")
    op.drop_index("ix_access_codes_replaced_by", "access_codes")
    op.drop_column("access_codes", "unanswered_change")
    for name in ("receiving_at", "receiving_since", "seam_event_at", "compare_failed_at", "compare_failure"):
        op.drop_column("intake", name)
    for name in ("compared_at", "lost_since", "lost_in_a_row", "lost_at", "lost"):
        op.drop_column("intake", name)
