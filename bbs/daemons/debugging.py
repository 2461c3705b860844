"""What a server of an `up --debug` reports to its developers: errors, prints, slow rules and
handlers, and statements that read a whole table.

Each report is a datagram to the socket that `up --debug` reads; the environment names it, so that
app servers, which are processes of their own, find it too. A report that cannot be sent is lost.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import peewee
from twisted.application.service import Service
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    eventAsText,
    globalLogPublisher,
)
from zope.interface import implementer

from bbs.commands.strictness import read_whole
from bbs.storage.database import Database
from bbs.storage.schema import Schema

DEBUG_VARIABLE = "TXBBS_DEBUG"  # The path of the socket. (BBS_… are keys of the configuration.)

SLOW = 0.1  # Seconds from which on a rule or handler is named.
LONGEST = 60_000  # Bytes of a report.
LONGEST_STATEMENT = 300  # Characters of a statement that are shown.
MOST_STATEMENTS = 10_000  # That are remembered, so that each is looked at once.

_log = Logger()


@implementer(ILogObserver)
class DebugReport(Service):
    """Reports to the socket at `path`; `speaker` tells which server this is."""

    def __init__(self, path: str, speaker: Callable[[], str]) -> None:
        self._path, self._speaker = path, speaker
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._seen: set[str] = set()

    def startService(self) -> None:
        Service.startService(self)
        sys.set_coroutine_origin_tracking_depth(1)  # A forgotten `await` is said with its line.
        globalLogPublisher.addObserver(self)

    def stopService(self) -> None:
        Service.stopService(self)
        globalLogPublisher.removeObserver(self)
        self._socket.close()

    # ILogObserver

    def __call__(self, event: LogEvent) -> None:
        """Report an event of the log that developers want to see; Twisted logs from any thread."""
        is_print = event.get("log_namespace") in ("stdout", "stderr")
        level = event.get("log_level") or LogLevel.info
        is_error = level >= LogLevel.error or event.get("isError")  # Of Twisted's older log.
        forgotten = _FORGOTTEN.search(str(event.get("warning", "")))
        if not (is_print or is_error or forgotten or event.get("for_developers")):
            return
        text = eventAsText(event, includeTimestamp=False, includeSystem=False).rstrip("\n")
        if forgotten:
            text = _without_await(forgotten)
        report = f"{self._speaker()}: {text}".encode("utf-8", "backslashreplace")[:LONGEST]
        with suppress(OSError):
            self._socket.sendto(report, self._path)

    def tell(self, line: str) -> None:
        """Report a line about what the service declares, once."""
        if line not in self._seen:
            self._seen.add(line)
            _log.warn("{line}", line=line, for_developers=True)

    def watch(self, database: Database, schema: Schema) -> None:
        """Report slow calls of `database` and their slowest statements, and statements that read a
        whole table of `schema`."""
        database.slow.after, database.slow.interval = SLOW, 0.0
        database.slow.server = lambda: ""  # Each report begins with it.
        tables = {model._meta.table_name for model in schema.all_models}
        connected: Any = database.peewee

        def note(event: Any) -> None:
            state = connected.state
            if event.duration > state.longest:
                state.longest = event.duration
                state.slowest = f"{event.duration:.3f} s: {_shown(event.sql)}"
            if state.in_rule and event.exception is None and event.sql not in self._seen:
                self._look_at(connected, event.sql, event.params, tables)

        connected.query_hooks.append(note)

    def _look_at(self, connected: Any, sql: str, values: Any, tables: set[str]) -> None:
        if len(self._seen) >= MOST_STATEMENTS:
            self._seen.clear()
        self._seen.add(sql)
        is_sqlite = isinstance(connected, peewee.SqliteDatabase)
        if not (is_sqlite and _EXPLAINED.match(sql)):
            return
        connection = connected._state.conn
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values or ()).fetchall()
        for table in read_whole(sql, [row[3] for row in rows]):
            if table in tables:
                _log.warn(
                    "a statement reads the whole table {table}: {statement}",
                    table=table,
                    statement=_shown(sql),
                    for_developers=True,
                )


_FORGOTTEN = re.compile(
    r"coroutine '([^']+)' was never awaited"
    r'(?:\nCoroutine created at [^\n]*\n  File "([^"]+)", line (\d+))?'
)
"""Of Python's warning."""


def _without_await(found: re.Match[str]) -> str:
    """What a developer reads of a call without `await`, which does nothing."""
    name, file, line = found.groups()
    where = f"{file}:{line}: " if file else ""
    return f"{where}{name}(…) does nothing without await"


_EXPLAINED = re.compile(r"\s*(?:SELECT|WITH|UPDATE|DELETE)\b", re.IGNORECASE)


def _shown(sql: str) -> str:
    """A statement in a line. Its values are not in it, but for those that the author wrote."""
    line = " ".join(sql.split())
    return line if len(line) <= LONGEST_STATEMENT else line[:LONGEST_STATEMENT] + "…"
