"""Column types that behave alike on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, String, types
from sqlalchemy.dialects.postgresql import JSONB

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware time. A naive one is refused: its zone would be a guess."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds  # a fourth of what dividing takes


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def bound(dialect: Literal["sqlite", "postgresql"], moment: datetime) -> datetime | int:
    """The moment as the driver itself takes it."""
    return to_micros(moment) if dialect == "sqlite" else moment


class UtcDateTime(types.TypeDecorator[datetime]):
    """An aware UTC time: ``timestamptz`` on PostgreSQL,
    whole microseconds since 1970 on SQLite (which has no zones)."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        micros = to_micros(value)
        return micros if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if dialect.name == "sqlite":
            return from_micros(value)
        moment: datetime = value
        return moment.astimezone(UTC)


Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# SQLite makes only INTEGER primary keys count up by themselves.
BigId = BigInteger().with_variant(Integer(), "sqlite")
# Byte order, the same on both databases: GREATEST / max over such columns must not depend on a locale.
ByteString = String().with_variant(String(collation="C"), "postgresql")
