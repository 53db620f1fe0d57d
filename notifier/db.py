"""The database: engine, transactions, its clock, and what makes SQLite safe for many processes."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    any_,
    create_engine,
    event,
    func,
    literal,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import DeclarativeBase, QueryableAttribute, Session

BUSY_TIMEOUT_MS = 15_000
CHECKPOINT_BUSY_TIMEOUT_MS = 3_000
"""A checkpoint is soon tried again: a worker must read answers before 5 s are over for them."""

IDLE_IN_TRANSACTION_MS = 8_000
"""A process that is frozen, or cut off, in a transaction must not keep its locks for a lease."""

# A server that has vanished without a word is noticed in as many seconds, not in a quarter of an
# hour: milliseconds without an acknowledgement, and seconds of silence.
_GIVE_UP = {
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}

# Statements that never change are made once: SQLAlchemy then recognises them at a glance.
_NOW = select(func.clock_timestamp())
_DO_NOT_WAIT_FOR_THE_DISK = select(func.set_config("synchronous_commit", "off", True))


class Database:
    """Short transactions on SQLite or PostgreSQL.

    One instance a process, made after any fork. `url` is an SQLAlchemy URL. The texts of its
    errors never hold the parameters of a statement: endpoints and keys are among them.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            self.engine = create_engine(parsed, hide_parameters=True)
            _prepare_sqlite(self.engine)
        else:
            self.engine = create_engine(
                parsed,
                hide_parameters=True,
                pool_pre_ping=True,
                connect_args={"connect_timeout": 5, **_GIVE_UP},
            )
            event.listen(self.engine, "connect", _end_idle_transactions)
        # Kept, as making one anew for every transaction takes its time.
        self._reading, self._writing, self._checkpointing = (
            self.engine.execution_options(writes=writes, durable=durable)
            for writes, durable in ((False, True), (True, True), (True, False))
        )

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Session]:
        """A transaction that may write; commits at the end, or rolls back on any error.

        With `durable=False` a power cut may undo the commit, never tear it; a killed process
        cannot. That is for checkpoints, whose loss costs duplicates at most.
        """
        engine = self._writing if durable else self._checkpointing
        with Session(engine, expire_on_commit=False) as session, session.begin():
            if not durable and not self.is_sqlite:
                session.execute(_DO_NOT_WAIT_FOR_THE_DISK)
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads, and on SQLite never waits for a writer."""
        with Session(self._reading, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def without_foreign_keys(self) -> Iterator[Connection]:
        """A writing transaction for migrations.

        SQLite changes a table by making it anew and dropping the old one, which would delete
        what refers to it; there, foreign keys are not looked at meanwhile.
        """
        with self.engine.execution_options(writes=True).connect() as connection:
            driver: Any = connection.connection.driver_connection
            if self.is_sqlite:
                driver.execute("PRAGMA foreign_keys = OFF")
            try:
                with connection.begin():
                    yield connection
            finally:
                if self.is_sqlite:
                    driver.execute("PRAGMA foreign_keys = ON")

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    def close(self) -> None:
        self.engine.dispose()


def now_of(session: Session) -> datetime:
    """The time that ledger, expiry and TTL go by.

    PostgreSQL's own clock, so that hosts whose clocks differ agree; with SQLite all processes
    share one host, and its clock.
    """
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = session.scalars(_NOW).one()
    return moment.astimezone(UTC)


def is_outage(error: Exception) -> bool:
    """Whether it is the database's failure, which passes: away, full, busy, or hung up on us.

    PostgreSQL hangs up, for one, on whoever has been frozen in the middle of a transaction.
    """
    hung_up = isinstance(error, DBAPIError) and error.connection_invalidated
    return hung_up or isinstance(error, OperationalError | InterfaceError)


def is_one_of(
    session: Session, column: QueryableAttribute[int], ids: Iterable[int]
) -> ColumnElement[bool]:
    """The condition that `column` is one of many ids, as one parameter.

    `column.in_` makes a parameter of each, which for a batch costs as much as reading its rows; and
    SQLite would read the whole table if it was analysed once when it was small.
    """
    if session.get_bind().dialect.name == "sqlite":
        return column.in_(
            select(func.json_each(json.dumps(list(ids))).table_valued("value").c.value)
        )
    return column == any_(literal(list(ids), postgresql.ARRAY(BigInteger)))


def upsert(session: Session, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say what to do on a conflict; both databases write it alike."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


def _end_idle_transactions(connection: Any, _record: object) -> None:
    autocommit, connection.autocommit = connection.autocommit, True
    connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS}")
    connection.autocommit = autocommit


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is ours to give, see below
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        durable = options.get("durable", True)
        patience = BUSY_TIMEOUT_MS if durable else CHECKPOINT_BUSY_TIMEOUT_MS
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience}")
        # A deferred transaction that turns into a writer fails at once with "database is
        # locked" when another wrote meanwhile; an immediate one waits its turn.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", True) else "BEGIN")
