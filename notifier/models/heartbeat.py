"""Table of the programs that are known to be alive."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from notifier.models.base import Base, UtcDateTime, word_of


class Program(StrEnum):
    """What must be running for alerts to go out, and cannot be asked directly."""

    WORKER = "worker"
    CLOCK = "clock"


class Heartbeat(Base):
    """When a program on a host was last known to do its work; several on one host share a row."""

    __tablename__ = "heartbeats"

    program: Mapped[Program] = mapped_column(word_of(Program), primary_key=True)
    host: Mapped[str] = mapped_column(String(255), primary_key=True)
    beat_at: Mapped[datetime] = mapped_column(UtcDateTime)
