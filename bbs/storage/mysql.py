"""MySQL and MariaDB: how to connect, and how to send several statements at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import peewee
import pymysql
import pymysql.constants.ER as mysql_errors

from bbs.core.database_urls import Place
from bbs.storage.mysql_servers import SILENCE, ServerFacts, Servers
from bbs.storage.transaction_guard import (
    EXCEPTIONS,
    EndsTransaction,
    Prepared,
    TransactionGuard,
)

CLIENT_ERRORS = range(2000, 3000)  # The driver's own errors of a connection.

_WANT_TLS = (
    mysql_errors.ACCESS_DENIED_ERROR,  # The user needs TLS.
    2061,  # The driver in C may not send the password over a plain connection.
    3159,  # The server accepts no plain connections.
)
"""Errors of a server that requires TLS; 1045 (ACCESS_DENIED_ERROR) also means a wrong password."""

READ_ONLY_MODE = 1836  # The server is read-only, as MySQL calls it in some places.
ROLLED_BACK_AT_COMMIT = 3101
"""MySQL's group replication: a transaction of another member was first."""

_NO_WRITERS = (
    mysql_errors.OPTION_PREVENTS_STATEMENT,  # It is read-only.
    mysql_errors.UNKNOWN_COM_ERROR,  # A node of Galera that is not in the group.
    READ_ONLY_MODE,
)

_RETURNING_SINCE = (10, 5)  # The version of MariaDB; MySQL has no version from 10 on.

WATCH_INTERVAL = 1.0  # Seconds between two looks at the heartbeats of others.
LOOKS = round(1.5 * SILENCE / WATCH_INTERVAL)  # At the most.

_OF_DRIVERS = range(2000, 3000)  # Numbers of errors that no server sends.

_BEGIN = "BEGIN;"
_GUARD = "bbs"  # The name of a savepoint.
_ON_DUPLICATE = " ON DUPLICATE KEY UPDATE "


class MySQLDatabase(TransactionGuard, peewee.MySQLDatabase):
    """MySQL or MariaDB, where each statement sees what was committed before it began."""

    # A message may pass 64 KiB as UTF-8, where MySQL's TEXT ends.
    field_types = peewee.MySQLDatabase.field_types | {"TEXT": "MEDIUMTEXT"}

    driver = f"PyMySQL {pymysql.VERSION_STRING}"
    packs = True  # The driver takes 4 µs for the description of each column of a result.
    ordered_join = "STRAIGHT_JOIN"
    inserts_in_bulk = True
    fewest_in_bulk = 2

    servers: Servers  # Set by `connect_to`.

    def begin(self) -> None:  # type: ignore[override]
        """Begin a transaction with the next statement, which saves a round trip."""
        if self.state.in_rule:
            raise EndsTransaction()
        self.connect(reuse_if_open=True)
        self.state.begins = True

    def begin_writing(self) -> None:
        """Begin a transaction whose requests cannot outlive it."""
        self._guard(self.servers.is_galera)
        self.begin()

    def _guard(self, is_on: bool) -> None:
        """See that requests of several statements cannot outlive their transaction, or let them.

        If another node of Galera overrules a transaction between two statements of a request, it is
        rolled back, and those that follow are carried out all the same: each committed by itself.
        Without autocommit they are in another transaction, which lacks the savepoint of the first
        at their end.
        """
        if self.state.is_guarded is not is_on:
            with EXCEPTIONS, self.state.activity:
                cursor: Any = self.cursor()  # type: ignore[no-untyped-call]
                cursor.execute(f"SET SESSION autocommit = {int(not is_on)}")
            self.state.is_guarded = is_on

    def commit(self) -> None:
        if self.state.in_rule or not self._take_begin():
            super().commit()

    def rollback(self) -> None:
        if self.state.in_rule or not self._take_begin():
            super().rollback()

    def _take_begin(self) -> bool:
        """Whether the transaction has still to begin, which its caller now sees to."""
        begins, self.state.begins = self.state.begins, False
        return begins

    def _begin_now(self) -> None:
        if self._take_begin():
            peewee.MySQLDatabase.begin(self)

    def _execute_first(self, cursor: Any, sql: str, values: Sequence[Any]) -> None:
        """Execute the first statements of a transaction, behind its beginning."""
        try:
            cursor.execute(_BEGIN + sql, values)
        except pymysql.Error:
            self.state.begins = False  # Other errors are of a value, and nothing was sent.
            raise
        self.state.begins = False
        cursor.nextset()

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute a statement that peewee has made."""
        self._begin_now()
        return super().execute_sql(sql, params)

    def _close(self, connection: Any) -> None:
        self.state.begins = self.state.is_guarded = False
        super()._close(connection)

    def note_trouble(self, error: BaseException) -> None:
        """Have all threads connect anew, if `error` says that the server serves no writers now."""
        if error.args and error.args[0] in _NO_WRITERS:
            self.servers.leave()

    def take_turn(self) -> None:
        """Do nothing: writers wait at the server, for rows."""

    def begin_reading(self) -> None:
        """Read without a transaction."""
        self._guard(False)

    def begin_by_hand(self) -> None:
        """Connect for work without a deadline. If another node of the cluster counts as the one
        that is written to, wait until a server has been seen that does so, or `SILENCE` has shown
        that none does."""
        for look in range(LOOKS):
            try:
                self.connect(reuse_if_open=True)
                break
            except peewee.OperationalError:
                if not self.servers.may_wait or look == LOOKS - 1:
                    raise
                time.sleep(WATCH_INTERVAL)  # On a thread of the database, or in a command.
        self._guard(False)

    def end_reading(self) -> None:
        """Do nothing, outside of a transaction."""

    def connect(self, reuse_if_open: bool = False) -> Any:
        """Connect this thread; anew if its connection is to a server that has been replaced."""
        if self.state.generation != self.servers.generation and not self.is_closed():
            self.close()
        return super().connect(reuse_if_open=reuse_if_open)

    def _connect(self, **options: Any) -> Any:
        """Connect to the server in use, or else to the next one that may be written to."""
        troubles: list[Exception] = []
        for place in self.servers.in_order():
            try:
                connection = self._connect_plainly(place, options)
            except (RuntimeError, pymysql.Error, OSError) as error:
                troubles.append(error)
                continue
            try:
                with connection.cursor() as cursor:
                    # A transaction that runs again must see what the winner wrote, and readers lock
                    # nothing. (The variable for it has another name in MariaDB before 11.1.)
                    cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                    self.servers.check(cursor, place)
            except BaseException as error:
                connection.close()
                if not isinstance(error, pymysql.Error):
                    raise
                troubles.append(_told_by(place, error))
                continue
            self.state.generation = self.servers.generation
            return connection
        # A server that answers tells more than others that do not.
        raise min(troubles, key=_said_by_none)

    def advice(self) -> str:
        """A line for operators about the cluster; "" if there is nothing to say. Every server of
        the URL is asked."""
        views = []
        for place in self.servers.places if self.servers.is_galera else ():
            with suppress(RuntimeError, pymysql.Error, OSError):
                connection = self._connect_plainly(place, {})
                try:
                    with connection.cursor() as cursor:
                        views.append(ServerFacts.ask(cursor).view)
                finally:
                    connection.close()
        return self.servers.advice([view for view in views if view])

    def connection_apart(self, patient: bool = False) -> Any:
        """Open a driver connection that no thread owns: the caller closes it. If `patient`,
        it waits for each answer as long as that takes."""
        generation, options = self.state.generation, {}
        if patient:
            options = {"read_timeout": None, "write_timeout": None}
        with EXCEPTIONS:
            connection = self._connect(**options)
        self.state.generation = generation
        return connection

    def _connect_plainly(self, place: Place, options: Mapping[str, Any]) -> Any:
        """Connect without TLS if the options say so and the server allows it. By default the driver
        prefers TLS, which is useless on a connection within this machine."""
        plain = self.connect_params
        there = {"host": place.host, "port": place.port, **options}
        try:
            return self._open({**plain, **there})
        except (RuntimeError, pymysql.OperationalError) as error:
            # (The driver raises a RuntimeError without a number if it cannot go on without TLS.)
            wants_tls = isinstance(error, RuntimeError) or error.args[0] in _WANT_TLS
            if not wants_tls or not plain.get("ssl_disabled"):
                raise
        encrypted = {key: plain[key] for key in plain if key != "ssl_disabled"}
        connection = self._open({**encrypted, **there})
        self.connect_params = encrypted
        return connection

    def _open(self, options: Mapping[str, Any]) -> Any:
        return pymysql.connect(database=self.database, autocommit=True, **options)

    def carry_out(self, sql: str, values: Sequence[Any], writes: bool) -> Any:
        """Execute a statement; returns the cursor with the whole result."""
        if self.query_hooks:
            self._begin_now()
            return super().carry_out(sql, values, writes)
        if writes:
            self.note_change()
        connection: Any = self._state.conn  # type: ignore[attr-defined]
        try:
            with self.state.activity:
                cursor = connection.cursor()
                if self.state.begins:
                    self._execute_first(cursor, sql, values)
                else:
                    cursor.execute(sql, values)
        except Exception:
            with EXCEPTIONS:
                raise
        return cursor

    def carry_out_together(
        self, statements: Sequence[Prepared], results: Sequence[Callable[[Any], Any]]
    ) -> list[Any]:
        """Execute statements in one round trip; returns what `results` read from the cursor."""
        if self.query_hooks:
            return super().carry_out_together(statements, results)
        if any(writes for _, _, writes in statements):
            self.note_change()
        is_guarded = self.state.is_guarded and len(statements) > 1
        texts = [sql for sql, _, _ in statements]
        if is_guarded:
            texts = [f"SAVEPOINT {_GUARD}", *texts, f"RELEASE SAVEPOINT {_GUARD}"]
        whole = ";".join(texts)
        values = [value for _, own, _ in statements for value in own]
        found = []
        with EXCEPTIONS, self.state.activity:
            cursor: Any = self.cursor()  # type: ignore[no-untyped-call]
            try:
                if self.state.begins:
                    self._execute_first(cursor, whole, values)
                else:
                    cursor.execute(whole, values)
                if is_guarded:
                    cursor.nextset()
                for result in results:
                    found.append(result(cursor))
                    cursor.nextset()
            except BaseException as error:
                # The next statement on this connection must not find the other results.
                with suppress(Exception):
                    while cursor.nextset():
                        pass
                if is_guarded and error.args[:1] == (mysql_errors.SP_DOES_NOT_EXIST,):
                    reason = "another node overruled the transaction"
                    raise pymysql.OperationalError(mysql_errors.LOCK_DEADLOCK, reason) from error
                raise
        return found

    def returning_keys(
        self, sql: str, key: str, count: int
    ) -> tuple[str, Callable[[Any], list[int]]]:
        """Extend an insertion of `count` rows, so that a function reads their keys (of the column
        `key`) from its cursor."""
        version: Any = self.server_version
        if version >= _RETURNING_SINCE:
            return f"{sql} RETURNING `{key}`", lambda cursor: [key for (key,) in cursor.fetchall()]
        # MySQL knows the number of rows before it inserts them, and gives them keys in steps of the
        # same size, without a gap (manual, "InnoDB AUTO_INCREMENT Lock Modes").
        [(step,)] = self.carry_out("SELECT @@auto_increment_increment", (), False).fetchall()
        return sql, lambda cursor: [cursor.lastrowid + step * row for row in range(count)]

    def carry_out_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute a change for each row of values; insertions become one statement."""
        self.note_change()
        self._begin_now()
        with EXCEPTIONS, self.state.activity:
            cursor: Any = self.cursor()  # type: ignore[no-untyped-call]
            if _ON_DUPLICATE in sql:  # The driver accepts no values behind those of a row.
                for row in rows:
                    cursor.execute(sql, row)
            else:
                cursor.executemany(sql, rows)


def _told_by(place: Place, error: pymysql.Error) -> pymysql.Error:
    """The error of the server at `place`, whose text names that."""
    if len(error.args) != 2 or error.args[0] == mysql_errors.OPTION_PREVENTS_STATEMENT:
        return error
    told = type(error)(error.args[0], f"{place}: {error.args[1]}")
    return told.with_traceback(error.__traceback__)


def _said_by_none(error: Exception) -> int:
    """0 for why a server is not to be written to, 1 for what else one says, 2 for silence."""
    code = error.args[0] if error.args else None
    if code == mysql_errors.OPTION_PREVENTS_STATEMENT:
        return 0
    return 2 if not isinstance(code, int) or code in (0, *_OF_DRIVERS) else 1
