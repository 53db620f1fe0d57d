"""The database: engine, transactions, its clock, and what makes SQLite safe for many processes."""

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from operator import methodcaller
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
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.orm import DeclarativeBase, QueryableAttribute, Session
from sqlalchemy.pool import ConnectionPoolEntry

from notifier.clock import boot_time

BUSY_TIMEOUT = timedelta(seconds=15)
"""As long as a lease: a checkpoint that has waited for longer would renew nothing."""

IDLE_IN_TRANSACTION_MS = 8_000
"""A process that is frozen, or cut off, in a transaction must not keep its locks for a lease."""

PINGED_AFTER = timedelta(seconds=1)
"""A connection that has idled for longer is tried before it is used: the server may have gone."""

CLOCK_KEPT_FOR = timedelta(seconds=1)
CLOCKS_DIFFER_BY = timedelta(milliseconds=100)
"""The most that two processes' ideas of the database's time may be apart."""

# A server that has vanished without a word is noticed in as many seconds, not in a quarter of an
# hour: milliseconds without an acknowledgement, and seconds of silence.
_GIVE_UP = {
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}

_READ_ONLY_TRANSACTION = "25006"  # an SQLSTATE

_CLOCK, _USED_AT = "clock", "used_at"

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
            self.engine = create_engine(
                parsed,
                hide_parameters=True,
                json_deserializer=_json_or_none,
                connect_args={"timeout": BUSY_TIMEOUT.total_seconds()},
            )
            _prepare_sqlite(self.engine)
        else:
            self.engine = create_engine(
                parsed,
                hide_parameters=True,
                connect_args={"connect_timeout": 5, **_GIVE_UP},
            )
            _prepare_postgresql(self.engine)
        self._info = {_CLOCK: _HostClock() if self.is_sqlite else _ServerClock()}
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
        with self._begin(engine) as session:
            if not durable and not self.is_sqlite:
                session.execute(_DO_NOT_WAIT_FOR_THE_DISK)
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads, and on SQLite never waits for a writer."""
        with self._begin(self._reading) as session:
            yield session

    @contextmanager
    def _begin(self, engine: Engine) -> Iterator[Session]:
        with Session(engine, expire_on_commit=False, info=self._info) as session, session.begin():
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


class _HostClock:
    """With SQLite all processes share one host, and its clock."""

    def now(self, session: Session) -> datetime:
        return datetime.now(UTC)


class _ServerClock:
    """PostgreSQL's own clock, so that hosts whose clocks differ agree.

    It is asked once a second, and carried on meanwhile by the clock that nobody sets: never behind
    the server's, and ahead of it by no more than its answer took.
    """

    def __init__(self) -> None:
        self._known = (-math.inf, datetime.min.replace(tzinfo=UTC))  # together: web has threads

    def now(self, session: Session) -> datetime:
        now = boot_time()
        asked_at, moment = self._known
        if now - asked_at < CLOCK_KEPT_FOR.total_seconds():
            return moment + timedelta(seconds=now - asked_at)
        answered: datetime = session.scalars(_NOW).one().astimezone(UTC)
        if boot_time() - now < CLOCKS_DIFFER_BY.total_seconds():
            self._known = (now, answered)
        return answered


def now_of(session: Session) -> datetime:
    """The time that ledger, expiry and TTL go by."""
    clock: _HostClock | _ServerClock = session.info[_CLOCK]
    return clock.now(session)


def is_outage(error: Exception) -> bool:
    """Whether it is the database's failure, which passes: away, full, busy, or hung up on us.

    PostgreSQL hangs up, for one, on whoever has been frozen in the middle of a transaction, and as
    a standby it lets nobody write.
    """
    if not isinstance(error, DBAPIError):
        return False
    only_reads = getattr(error.orig, "sqlstate", None) == _READ_ONLY_TRANSACTION
    is_away = isinstance(error, OperationalError | InterfaceError)
    return is_away or only_reads or error.connection_invalidated


def is_one_of(
    session: Session, column: QueryableAttribute[int], ids: Iterable[int]
) -> ColumnElement[bool]:
    """The condition that `column` is one of many ids, as one parameter.

    `column.in_` makes a parameter of each, which for a batch costs as much as reading its rows; and
    SQLite would read the whole table if it was analysed once when it was small.
    """
    if dialect_of(session) == "sqlite":
        return column.in_(
            select(func.json_each(json.dumps(list(ids))).table_valued("value").c.value)
        )
    return column == any_(literal(list(ids), postgresql.ARRAY(BigInteger)))


def upsert(session: Session, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say what to do on a conflict; both databases write it alike."""
    return insert_into(table, dialect_of(session))


def insert_into(table: type[DeclarativeBase], dialect: str) -> postgresql.Insert | sqlite.Insert:
    """As `upsert`, for statements that are kept."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def dialect_of(session: Session) -> str:
    """SQLAlchemy's name of the session's database: "sqlite" or "postgresql"."""
    return session.get_bind().dialect.name


def _json_or_none(text: str) -> Any:
    """None when a file's damage has reached the JSON: the row's other columns can still be read."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _prepare_postgresql(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, record: ConnectionPoolEntry) -> None:
        autocommit, connection.autocommit = connection.autocommit, True
        connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS}")
        connection.autocommit = autocommit
        record.info[_USED_AT] = boot_time()

    @event.listens_for(engine, "checkin")
    def _on_checkin(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_USED_AT] = boot_time()

    # The pool's own pre-ping would be another round trip in front of every transaction.
    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        if boot_time() - record.info[_USED_AT] < PINGED_AFTER.total_seconds():
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error  # the others have idled through it, too


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is ours to give, see below
        # Else text that is damaged would pass for a database that is away.
        connection.text_factory = methodcaller("decode", "utf-8", "replace")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        durable = options.get("durable", True)
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        # A deferred transaction that turns into a writer fails at once with "database is
        # locked" when another wrote meanwhile; an immediate one waits its turn.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", True) else "BEGIN")
