"""Logs of a server: lines, as text or JSON, and files that are kept to a size and survive SIGHUP.

A file that somebody has moved away is made anew. JSON is for collectors (`docs/logs.md`): one
object a line, in ASCII, of 16 KiB at the most. Twisted's own JSON
(`twisted.logger.jsonFileLogObserver`) writes whatever an event refers to, in a form that only
Twisted reads; here an event has those of its fields that its text has anyway.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from string import Formatter
from threading import RLock
from typing import Any, cast

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    eventAsText,
    formatEventAsClassicLogText,
)
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.python.reflect import qual

from bbs import __version__
from bbs.core import tracing

JSON = "json"
"""The value of `log.format` for lines of JSON."""

LONGEST = 16 * 1024
"""Bytes of a line. Container runtimes cut longer ones in pieces, and the journal does at 48 KiB."""

BOUNDS = (8192, 1024, 256, 32)
"""Characters of a text, tried in turn until the line is not too long; one may take 12 bytes."""

FIELD = 1024
"""Characters of a field."""

MOST_FIELDS = 16

SAFE_INTEGER = 2**53
"""Beyond it JavaScript, and what is like it, reads another number."""

_CUT = "…"

Line = Callable[[LogEvent], str | None]
"""Makes an event a line, with its end; None: there is nothing to write."""


@dataclass(frozen=True)
class Speaker:
    """The server that writes a log: the service's name, the kind of server, and its id, "" until it
    has one."""

    service: str
    kind: str
    id: str = ""


def written_as(form: str, speaker: Callable[[], Speaker]) -> Line:
    """The way to write events in the form that `log.format` names; `speaker` is asked each time."""
    if form != JSON:
        return as_text
    return lambda event: as_json(event, speaker())


def as_text(event: LogEvent) -> str | None:
    """`event` as twistd has always written it; what is part of a trace says so behind the message,
    at the end of the first line."""
    text = formatEventAsClassicLogText(event)
    context = tracing.current()
    if text is None or not context:
        return text
    first, end, rest = text.partition("\n")
    return f"{first} [trace {context.split('-')[1]}]{end}{rest}"


def as_json(event: LogEvent, speaker: Speaker) -> str:
    """`event` as a line of JSON."""
    failure = _failure(event)
    message, trace = _message(event, failure), failure.getTraceback() if failure else ""
    fields, of_trace = fields_of(event), _trace()
    line = ""
    for most in BOUNDS:
        line = _encode(
            {
                **_time(event),
                "level": getattr(event.get("log_level"), "name", "info"),
                "message": _beginning(message, most),
                "logger": _beginning(str(event.get("log_namespace") or "-"), most),
                "service": speaker.service,
                "server_kind": speaker.kind,
                **({"server_id": speaker.id} if speaker.id else {}),
                "version": __version__,
                **of_trace,
                **({"fields": _bounded(fields, min(most, FIELD))} if fields else {}),
                **(_failed(failure, trace, most) if failure else {}),
            }
        )
        if len(line) < LONGEST:
            break
    return line + "\n"


def _failure(event: LogEvent) -> Failure | None:
    failure = event.get("failure" if event.get("isError") else "log_failure")
    return failure if isinstance(failure, Failure) else None


def _message(event: LogEvent, failure: Failure | None) -> str:
    if failure is not None and event.get("isError"):
        # What `twisted.python.log.err` was told: its text would be the traceback once more.
        return str(event.get("why") or "Unhandled Error")
    return eventAsText(event, includeTraceback=False, includeTimestamp=False, includeSystem=False)


def _time(event: LogEvent) -> Mapping[str, str]:
    at = event.get("log_time")
    if at is None:
        return {}
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return {"time": when.replace("+00:00", "Z")}


def _trace() -> Mapping[str, str]:
    """The trace, and the span in it, that is under way."""
    context = tracing.current()
    if not context:
        return {}
    _, trace, span, _ = context.split("-")
    return {"trace_id": trace, "span_id": span}


def _failed(failure: Failure, trace: str, most: int) -> Mapping[str, str]:
    kind = "" if failure.type is None else qual(failure.type)
    return {"exception": _beginning(kind, most), "traceback": _ends(trace, most)}


# Fields


def fields_of(event: LogEvent) -> dict[str, Any]:
    """The fields that the event's text has, by name: texts and numbers alone."""
    return {
        name: event[name]
        for name in _names(event.get("log_format"))
        if name in event and _is_plain(event[name])
    }


@lru_cache(256)
def _names(form: object) -> tuple[str, ...]:
    """The fields that a format uses as they are; what Twisted adds itself is none."""
    if not isinstance(form, str):
        return ()
    try:
        found = [name for _, name, _, _ in Formatter().parse(form) if name]
    except ValueError:  # Its text says that it is no format.
        return ()
    wanted = [each for each in found if each.isidentifier() and not each.startswith("log_")]
    return tuple(dict.fromkeys(wanted))[:MOST_FIELDS]


def _is_plain(value: object) -> bool:
    match value:
        case None | bool() | str():
            return True
        case int():
            return abs(value) < SAFE_INTEGER
        case float():
            return isfinite(value)
    return False


def _bounded(fields: Mapping[str, Any], most: int) -> dict[str, Any]:
    return {
        name: _beginning(value, most) if isinstance(value, str) else value
        for name, value in fields.items()
    }


# Texts


def _beginning(text: str, most: int) -> str:
    return _whole(text if len(text) <= most else text[:most] + _CUT)


def _ends(text: str, most: int) -> str:
    """`text`, or its beginning and its end: a traceback ends with the error."""
    if len(text) <= most:
        return _whole(text)
    first = most // 4
    return _whole(text[:first] + _CUT + text[first - most :])


def _whole(text: str) -> str:
    """`text`, with an escape for half of a surrogate pair, as a log of text has it: many readers
    take no JSON that has one."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


# All that is not printable ASCII is escaped, so nothing steers a terminal or turns the line around.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


PRIVATE = 0o600

TWISTD_LENGTH = 1_000_000
"""Bytes at which twistd begins another `--logfile` (`twisted.python.logfile`)."""

TWISTD_NAME = "twistd.log"
"""Where twistd logs to as a daemon, unless told otherwise."""

ATTEMPTS = 10
"""How often another process may begin a new file before what was to be written is given up."""


class KeptFile(LogFile):
    """A log file that others may write to as well, and may be moved away from under it.

    A new file is begun past so many bytes, whoever wrote them; those before are `path.1`, `path.2`,
    …

    :param path: its folder is there.
    :param length: bytes at which another is begun.
    :param keep: of those before, so many stay; None: all.
    :param mode: of a file that is made; None: as the umask has it.
    :param also: descriptors that are to lead to the present file too.
    :param mark: whether it is locked (`flock`, shared) as long as this process has it open.
    :raises OSError: it cannot be opened.
    """

    def __init__(
        self,
        path: str,
        length: int,
        keep: int | None = None,
        mode: int | None = PRIVATE,
        also: Sequence[int] = (),
        mark: bool = False,
    ) -> None:
        folder, name = os.path.split(os.path.abspath(path))
        self._file: Any = None
        self._also = also
        self._mark = mark
        self._mode = 0o666 if mode is None else mode
        # Twisted logs from whatever thread something happens on.
        self._lock = RLock()
        LogFile.__init__(self, name, folder, length, maxRotatedFiles=keep)

    # BaseLogFile

    def write(self, data: str | bytes) -> None:
        """Append to the file that is at the path now."""
        if isinstance(data, str):
            data = data.encode("utf-8", "backslashreplace")
        with self._lock:
            self.look()
            LogFile.write(self, data)

    def reopen(self) -> None:
        """Go on in the file that is at the path now, or in a new one; where there can be none, in
        the one before."""
        with self._lock, suppress(OSError):
            self._openFile()

    def shouldRotate(self) -> bool:
        """Whether it is so long that another is due."""
        return bool(self.size >= self.rotateLength)

    def rotate(self) -> None:
        """Begin another, if that can be done."""
        with self._lock:
            LogFile.rotate(self)

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            self._file.close()

    def _openFile(self) -> None:
        before = self._file
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        file = io.FileIO(os.open(self.path, flags, self._mode), "ab")
        if self._mark:
            with suppress(OSError):  # Some network file systems have no locks.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        status = os.fstat(file.fileno())
        self._file, self.closed = file, False
        self._identity, self.size = (status.st_dev, status.st_ino), status.st_size
        for descriptor in self._also:
            os.dup2(file.fileno(), descriptor)
        if before is not None:
            before.close()

    # Its own

    def look(self) -> None:
        """See whether the file has grown, and go on in another if it has been moved away."""
        if not self.is_in_place():
            self.reopen()

    def is_in_place(self) -> bool:
        """Whether this file is the one at the path, which has `size` bytes now."""
        try:
            status = os.stat(self.path)
        except OSError:
            return False
        self.size = status.st_size
        return (status.st_dev, status.st_ino) == self._identity and not self._file.closed


class SharedFile(KeptFile):
    """A log file that several processes write to, and each of them keeps to its size."""

    def append(self, data: bytes) -> None:
        """Append whole lines: all of them, or nothing. This blocks.

        :raises OSError: nothing was written.
        """
        for _ in range(ATTEMPTS):
            self.look()
            with self._locked():
                if not self.is_in_place():
                    continue  # Another process has begun a new one meanwhile.
                if self.shouldRotate():
                    self.rotate()
                    continue
                self._append(data)
                return
        raise OSError(errno.ESTALE, "it is moved away again and again")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The lock is the open file's, whichever descriptor leads to it: so it is kept while that
        # of `_file` is closed, to rotate.
        descriptor = os.dup(self._file.fileno())
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _append(self, data: bytes) -> None:
        descriptor = self._file.fileno()
        before, left = os.fstat(descriptor).st_size, memoryview(data)
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError:
            # Half a line would be the beginning of the next one.
            with suppress(OSError):
                os.ftruncate(descriptor, before)
            raise


def observer_of(file: KeptFile, line: Line = as_text) -> ILogObserver:
    """Writes the log to `file`, which SIGHUP reopens, each event as the `line` made of it."""
    call_on_hangup(file.reopen)
    observer: ILogObserver = FileLogObserver(cast("Any", file), line)
    return observer


def twistd_observer(options: Any, line: Line = as_text) -> ILogObserver | None:
    """The observer that writes the log where twistd's `options` want it, each event as the `line`
    that is made of it; None where twistd does that itself, as with the system's log.

    A file is one that SIGHUP reopens. Twistd's signal for another file, SIGUSR1, is heard as ever.

    :raises OSError: the file cannot be opened.
    """
    path, stays = options["logfile"], options["nodaemon"]
    if options.get("syslog") or (path == "-" and not stays):
        return None
    if path == "-" or (stays and not path):
        observer: ILogObserver = FileLogObserver(sys.stdout, line)
        return observer
    file = KeptFile(path or TWISTD_NAME, TWISTD_LENGTH, mode=None)
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: _on_the_reactor(file.rotate))
    return observer_of(file, line)


_on_hangup: list[Callable[[], None]] = []


def survive_hangups() -> None:
    """From now on SIGHUP ends nothing."""
    signal.signal(signal.SIGHUP, _hung_up)
    # The process that launched this one may have kept it back until now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def call_on_hangup(reopen: Callable[[], None]) -> Callable[[], None]:
    """From now on SIGHUP calls `reopen`, on the reactor; what is returned ends that."""
    _on_hangup.append(reopen)
    return lambda: _on_hangup.remove(reopen)


def _hung_up(*_: object) -> None:
    for reopen in _on_hangup:
        _on_the_reactor(reopen)


def _on_the_reactor(call: Callable[[], None]) -> None:
    # A handler may run in the middle of a write.
    reactor = cast("IReactorFromThreads | None", sys.modules.get("twisted.internet.reactor"))
    if reactor is not None:
        reactor.callFromThread(call)
