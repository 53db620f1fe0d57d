"""The declarative base and the column types that every table shares."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import DateTime, Dialect, Enum, LargeBinary, MetaData, bindparam
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator


class Base(DeclarativeBase):
    """Names every constraint, so that a migration can change it on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def word_of(words: type[StrEnum]) -> Enum:
    """A column of one of the words of an enumeration, kept as plain text."""
    return Enum(
        words,
        native_enum=False,
        create_constraint=False,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware and in UTC in Python, with or without a zone in the database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


NOW = bindparam("now", type_=UtcDateTime)
"""The time in conditions that are written once: whoever executes them says it, as `now`."""


class Bitset(TypeDecorator[int]):
    """A set of small numbers, held as an integer whose bit i says whether i is in it."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> bytes | None:
        if value is None:
            return None
        return value.to_bytes((value.bit_length() + 7) // 8, "little")

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> int | None:
        return None if value is None else int.from_bytes(value, "little")


class DescendingIds(TypeDecorator[list[int]]):
    """Row ids from high to low, kept as the gaps between them: about one byte an id.

    The first number is the highest id itself; each number is written in base 128, low digits
    first, the high bit marking that more follow.
    """

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: list[int] | None, dialect: Dialect) -> bytes | None:
        if value is None:
            return None
        coded = bytearray()
        above = 0
        for position, row_id in enumerate(value):
            number = row_id if position == 0 else above - row_id
            if number <= 0:
                raise ValueError("ids must be positive and fall strictly")
            while number > 0x7F:
                coded.append(number & 0x7F | 0x80)
                number >>= 7
            coded.append(number)
            above = row_id
        return bytes(coded)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> list[int] | None:
        if value is None:
            return None
        ids: list[int] = []
        number = shift = 0
        for byte in value:
            number |= (byte & 0x7F) << shift
            if byte & 0x80:
                shift += 7
                continue
            ids.append(ids[-1] - number if ids else number)
            number = shift = 0
        return ids
