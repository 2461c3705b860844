"""What a running `NAME up` says at its terminal: what is away, and when it is back.

The log has more than these lines, which are for the person who looks at the terminal. No program
needs them, and one that waits for the address may close standard output then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from enum import Enum
from queue import SimpleQueue
from threading import Thread
from typing import TextIO

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bbs.core.errors import Unavailable
from bbs.core.values import DiskState
from bbs.daemons.composition import Runtime
from bbs.rules import page_history
from bbs.rules.page_history import EventKind, FleetEvent, StoredEvent, broker_away, sentence
from bbs.ui.output import visible

LOOK_INTERVAL = 1.0  # seconds between looks: one read of an index each

MOST_READ = 4096  # Bytes at the end of a server's log that are read.
MOST_SHOWN = 300  # Characters of its last line.
_AT_STOPS = ("Main loop terminated.", "Server Shut Down.")

Line = str | Callable[[], str]
"""A line, or what makes it on the thread that writes it: it may read a file."""

_log = Logger()


class LineWriter:
    """Writes lines on a thread of its own, as a terminal may stop taking text (Ctrl-S), and the
    reactor must not wait for it. Lines that cannot be written are dropped.

    :param patience: seconds that the end waits for a terminal that takes no text.
    """

    def __init__(self, patience: float = 1.0) -> None:
        self._patience = patience
        self._lines: SimpleQueue[tuple[TextIO | None, Line] | None] = SimpleQueue()
        self._thread = Thread(target=self._write_all, name="status-lines", daemon=True)
        self._thread.start()

    def write(self, stream: TextIO | None, line: Line) -> None:
        """Write `line` to a `stream` of the process, unless that is closed (None)."""
        self._lines.put((stream, line))

    def end(self) -> None:
        """Wait until the lines are written, or patience is over."""
        self._lines.put(None)
        self._thread.join(self._patience)

    def _write_all(self) -> None:
        while (waiting := self._lines.get()) is not None:
            stream, line = waiting
            if stream is None:
                continue
            text = line() if callable(line) else line
            # Past the buffer: Python would try again as it ends, and exit with another code.
            with suppress(OSError):
                os.write(stream.fileno(), f"{text}\n".encode("utf-8", "backslashreplace"))


class _Storage(Enum):
    """The state of the database; the value is the line for operators."""

    WORKS = "The database is back."
    LOW = "The disk of the database is nearly full: what people write is refused."
    FULL = (
        "The disk of the database is full: nobody can log in or write until there is room."
        " Delete old backups or other files on it, or enlarge it."
    )
    AWAY = "The database is away: nobody can log in, and commands are refused. {log} says why."


_ROOM_AGAIN = "The disk of the database has room again."

_LOSSES = (EventKind.LOST, EventKind.FAILED)
_ALWAYS_SAID = (*_LOSSES, EventKind.LAUNCHES_REFUSED, EventKind.LAUNCHES_ACCEPTED)


class StatusReport(TimerService):
    """Says when the broker, the database or an app server is away, and when it is back.

    A lost app server does not come back: another one takes its place, and that is said.

    :param runtime: what the login server stands on.
    :param log: the path of the log, for the person who wants to know more.
    :param logs: the folder of the logs of app servers.
    :param say: takes a line.
    :param provider_away: returns why the provider of app servers does not answer; "" if it does.
    """

    def __init__(
        self,
        runtime: Runtime,
        log: str,
        logs: str,
        say: Callable[[Line], None],
        provider_away: Callable[[], str] = str,
    ) -> None:
        TimerService.__init__(self, LOOK_INTERVAL, lambda: Deferred.fromCoroutine(self._tick()))
        self.clock = runtime.reactor
        self._database, self._broker, self._wall = runtime.database, runtime.stomp, runtime.wall
        self._log, self._logs, self._say_line = log, logs, say
        self._counters = tuple(runtime.service.counted.values())
        self._storage = _Storage.WORKS
        self._has_broker = True
        self._find_provider, self._has_provider = provider_away, True
        self._last_event: int | None = None
        self._missing = 0  # Lost app servers for which there is no other one yet.

    async def _tick(self) -> None:
        try:
            self._look_at_connections()
            self._look_at_provider()
            await self._look_at_servers()
        except Exception:  # After an error the timer would stop.
            _log.failure("a look at what is away failed")

    def _look_at_connections(self) -> None:
        before, self._storage = self._storage, self._find_storage()
        if before is not self._storage:
            is_room = self._storage is _Storage.WORKS and before is not _Storage.AWAY
            self._say(_ROOM_AGAIN if is_room else self._storage.value.format(log=self._log))
        had_broker, self._has_broker = self._has_broker, self._broker.connected
        if had_broker and not self._has_broker:
            self._say(f"{broker_away(self._counters, ' later')} {self._log} says why.")
        elif self._has_broker and not had_broker:
            self._say(sentence(FleetEvent(EventKind.BROKER_BACK, self._wall())))

    def _look_at_provider(self) -> None:
        away = self._find_provider()
        if self._has_provider and away:
            self._say(f"No app server can be launched: {away}. It is tried again.")
        elif not self._has_provider and not away:
            self._say("App servers can be launched again.")
        self._has_provider = not away

    def _find_storage(self) -> _Storage:
        disk = self._database.disk
        if not self._database.answers:
            return _Storage.AWAY
        if disk is DiskState.FULL:
            return _Storage.FULL
        return _Storage.LOW if disk is DiskState.LOW else _Storage.WORKS

    async def _look_at_servers(self) -> None:
        behind = self._last_event or 0
        try:
            found = await self._database.run(page_history.news_behind, behind)
        except Unavailable:
            return
        is_first = self._last_event is None
        self._last_event = max((behind, *(each.id for each in found)))
        if not is_first:  # What happened before this start is no news.
            for each in found:
                self._note(each)

    def _note(self, stored: StoredEvent) -> None:
        event = stored.event
        if event is None:
            return
        replaces = event.kind is EventKind.READY and self._missing > 0
        if event.kind in _LOSSES:
            path = os.path.join(self._logs, f"app-{event.server}.log")
            self._say(sentence(event, self._counters), lambda: _last_words(path))
        elif event.kind in _ALWAYS_SAID or replaces:
            self._say(sentence(event, self._counters))
        self._missing += (event.kind in _LOSSES) - replaces

    def _say(self, text: str, more: Callable[[], str] = str) -> None:
        line = f"{datetime.fromtimestamp(self._wall()):%H:%M:%S} {visible(text)}"
        self._say_line(line if more is str else lambda: line + visible(more()))


def _last_words(path: str) -> str:
    """The end of a server's log, in words; "" if there is none on this machine. What Twisted logs
    at every stop says nothing."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - MOST_READ))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    told = (line.strip() for line in reversed(lines) if not line.rstrip().endswith(_AT_STOPS))
    last = next((line for line in told if line), "")
    return f" The last line of {path}: {last[:MOST_SHOWN]}" if last else ""
