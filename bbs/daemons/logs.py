"""Logs of a server: lines of text or JSON, and files that are kept to a size and survive SIGHUP.

A file that somebody has moved away is made anew. JSON is for log collectors (`docs/logs.md`): an
object a line, in ASCII, of at most 16 KiB. Twisted's own JSON
(`twisted.logger.jsonFileLogObserver`) writes all that an event refers to, in a form that only
Twisted reads. Here an event has only the fields that its text uses.
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
    LogLevel,
    eventAsText,
    formatEventAsClassicLogText,
)
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.python.reflect import qual
from zope.interface import implementer

from bbs import __version__
from bbs.core import tracing
from bbs.core.clock import IReactor

JSON = "json"  # the value of `log.format` for lines of JSON

LONGEST = 16 * 1024
"""Bytes of a line. Container runtimes split longer ones, and the journal does at 48 KiB."""

BOUNDS = (8192, 1024, 256, 32)
"""Characters of a text, tried in turn until the line is short enough; one may take 12 bytes."""

FIELD = 1024  # characters of a field
MOST_FIELDS = 16
SAFE_INTEGER = 2**53  # JavaScript and others cannot read larger ones exactly

PRIVATE = 0o600

REPEAT_INTERVAL = 60.0
"""Seconds for which one traceback of a place is written. A stranger who had found a bug caused
8,335 tracebacks in 5 s, and the 60 MiB that `[log]` keeps were gone in 16 s."""

MOST_PLACES = 100  # in such a time; what fails at others counts as one more

TWISTD_LENGTH = 1_000_000  # bytes at which twistd begins another file (`twisted.python.logfile`)
TWISTD_NAME = "twistd.log"  # where twistd logs to as a daemon, unless told otherwise

ATTEMPTS = 10  # new files that other processes may begin before a write is given up

_CUT = "…"

Line = Callable[[LogEvent], str | None]
"""Makes an event a line, with its end; None if there is nothing to write."""


@dataclass(frozen=True)
class Speaker:
    """The server that writes a log: its service, its kind, and its id, "" until it has one."""

    service: str
    kind: str
    id: str = ""


def written_as(form: str, speaker: Callable[[], Speaker]) -> Line:
    """The function that writes events in the form that `log.format` names."""
    if form != JSON:
        return as_text
    return lambda event: as_json(event, speaker())


def as_text(event: LogEvent) -> str | None:
    """`event` as twistd writes it, with the trace, if any, at the end of the first line."""
    text = formatEventAsClassicLogText(event)
    context = tracing.current()
    if text is None or not context:
        return text
    first, end, rest = text.partition("\n")
    return f"{first} [trace {context.split('-')[1]}]{end}{rest}"


def as_json(event: LogEvent, speaker: Speaker) -> str:
    failure, at = _failure(event), event.get("log_time")
    message, traceback = _message(event, failure), failure.getTraceback() if failure else ""
    fields, trace = fields_of(event), _trace()
    line = ""
    for most in BOUNDS:
        line = _encode(
            {
                **({} if at is None else {"time": utc_text(at)}),
                "level": getattr(event.get("log_level"), "name", "info"),
                "message": _shortened(message, most),
                "logger": _shortened(str(event.get("log_namespace") or "-"), most),
                "service": speaker.service,
                "server_kind": speaker.kind,
                **({"server_id": speaker.id} if speaker.id else {}),
                "version": __version__,
                **trace,
                **({"fields": _bounded(fields, min(most, FIELD))} if fields else {}),
                **(_failed(failure, traceback, most) if failure else {}),
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
        # From `twisted.python.log.err`: the text would repeat the traceback.
        return str(event.get("why") or "Unhandled Error")
    return eventAsText(event, includeTraceback=False, includeTimestamp=False, includeSystem=False)


def utc_text(at: float) -> str:
    """A time in RFC 3339's form, in milliseconds, from seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trace() -> Mapping[str, str]:
    """The current trace and its span."""
    context = tracing.current()
    if not context:
        return {}
    _, trace, span, _ = context.split("-")
    return {"trace_id": trace, "span_id": span}


def _failed(failure: Failure, traceback: str, most: int) -> Mapping[str, str]:
    kind = "" if failure.type is None else qual(failure.type)
    return {"exception": _shortened(kind, most), "traceback": _without_middle(traceback, most)}


def fields_of(event: LogEvent) -> dict[str, Any]:
    """The fields that the event's text uses, by name: only texts and numbers."""
    return {
        name: event[name]
        for name in _names(event.get("log_format"))
        if name in event and _is_plain(event[name])
    }


@lru_cache(256)
def _names(form: object) -> tuple[str, ...]:
    """The fields that a format uses as they are, without those that Twisted adds."""
    if not isinstance(form, str):
        return ()
    try:
        found = [name for _, name, _, _ in Formatter().parse(form) if name]
    except ValueError:  # A malformed format; the event's text says so.
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
        name: _shortened(value, most) if isinstance(value, str) else value
        for name, value in fields.items()
    }


def _shortened(text: str, most: int) -> str:
    return _escaped(text if len(text) <= most else text[:most] + _CUT)


def _without_middle(text: str, most: int) -> str:
    """`text`, or its beginning and its end: a traceback ends with the error."""
    if len(text) <= most:
        return _escaped(text)
    first = most // 4
    return _escaped(text[:first] + _CUT + text[first - most :])


def _escaped(text: str) -> str:
    """`text`, with an escape for half of a surrogate pair: many readers refuse JSON with one."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


# All but printable ASCII is escaped, so nothing controls a terminal or reverses the line.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@implementer(ILogObserver)
class RepeatedFailures:
    """Passes on to `observer` one traceback of each place in a `REPEAT_INTERVAL`, and at its end
    how many more there were; all other events at once.

    A place is the kind of the error and the line of code that raised it; without these it is the
    format of the event. Twisted logs from any thread.
    """

    def __init__(self, observer: ILogObserver, reactor: IReactor) -> None:
        self._observer = observer
        self._reactor = reactor
        self._lock = RLock()
        self._counts: dict[str, int] = {}  # By place: tracebacks since the first.
        self._latest: dict[str, LogEvent] = {}  # Without what holds memory.
        reactor.addSystemEventTrigger("after", "shutdown", self.write_counts)

    # ILogObserver

    def __call__(self, event: LogEvent) -> None:
        failure = _failure(event)
        if failure is None or self._is_first(_place(event, failure), event):
            self._observer(event)

    def _is_first(self, place: str, event: LogEvent) -> bool:
        with self._lock:
            if not self._counts:
                self._reactor.callFromThread(
                    self._reactor.callLater, REPEAT_INTERVAL, self.write_counts
                )
            if place not in self._counts and len(self._counts) >= MOST_PLACES:
                place = "other places"
            is_first = place not in self._counts
            self._counts[place] = self._counts.get(place, -1) + 1
            self._latest[place] = {key: event.get(key) for key in ("log_time", "log_namespace")}
        return is_first

    def write_counts(self) -> None:
        """Write how many more there were of each, and begin to count anew."""
        with self._lock:
            counts, self._counts = self._counts, {}
            latest, self._latest = self._latest, {}
        for place, count in counts.items():
            if not count:
                continue
            self._observer(
                {
                    **latest[place],
                    "log_level": LogLevel.error,
                    "log_format": "… and {count:,} more like it in the last minute: {place}",
                    "count": count,
                    "place": place,
                }
            )


def _place(event: LogEvent, failure: Failure) -> str:
    kind = "" if failure.type is None else qual(failure.type)
    if not failure.frames:
        return f"{kind} ({event.get('log_format')})"
    _, file, line, *_ = failure.frames[-1]
    return f"{kind} in {file}:{line}"


class KeptFile(LogFile):
    """A log file that others may write to, too, and may move away.

    :param path: the file; its folder exists.
    :param length: bytes, whoever wrote them, after which a new file begins; those before are
        `path.1`, `path.2`, …
    :param keep: the number of these that stay; None: all.
    :param mode: of a file that is made; None: as the umask says.
    :param also: descriptors that lead to the present file, too.
    :param mark: whether it is locked (`flock`, shared) while this process has it open.
    :raises OSError: the file cannot be opened.
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
        # Twisted logs from any thread.
        self._lock = RLock()
        LogFile.__init__(self, name, folder, length, maxRotatedFiles=keep)

    def write(self, data: str | bytes) -> None:
        """Append to the file that is at the path now."""
        if isinstance(data, str):
            data = data.encode("utf-8", "backslashreplace")
        with self._lock:
            self.follow()
            LogFile.write(self, data)

    def reopen(self) -> None:
        """Go on in the file that is at the path now, or in a new one; if that cannot be opened, in
        the present one."""
        with self._lock, suppress(OSError):
            self._openFile()

    def shouldRotate(self) -> bool:
        return bool(self.size >= self.rotateLength)

    def rotate(self) -> None:
        with self._lock:
            LogFile.rotate(self)

    def close(self) -> None:
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

    def follow(self) -> None:
        """Find the size of the file, and go on in another if it has been moved away."""
        if not self.is_in_place():
            self.reopen()

    def is_in_place(self) -> bool:
        """Whether this file is the one at the path; finds its `size`."""
        try:
            status = os.stat(self.path)
        except OSError:
            return False
        self.size = status.st_size
        return (status.st_dev, status.st_ino) == self._identity and not self._file.closed


class SharedFile(KeptFile):
    """A log file that several processes write to, each of which keeps it to its size."""

    def append(self, data: bytes) -> None:
        """Append whole lines, or nothing. This blocks.

        :raises OSError: nothing was written.
        """
        for _ in range(ATTEMPTS):
            self.follow()
            with self._locked():
                if not self.is_in_place():
                    continue  # Another process has begun a new file meanwhile.
                if self.shouldRotate():
                    self.rotate()
                    continue
                self._append(data)
                return
        raise OSError(errno.ESTALE, "the file is moved away again and again")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The lock belongs to the open file. So it stays while `_file` is closed for a rotation, as
        # this descriptor leads to it, too.
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
    """The observer that writes the log to `file`, which SIGHUP reopens."""
    call_on_hangup(file.reopen)
    return FileLogObserver(cast("Any", file), line)


def twistd_observer(options: Any, line: Line = as_text) -> ILogObserver | None:
    """The observer that writes the log as twistd's `options` say; None if twistd does that itself,
    as with the system's log. SIGHUP reopens a file, and SIGUSR1 begins another, as ever with
    twistd.

    :raises OSError: the file cannot be opened.
    """
    path, stays = options["logfile"], options["nodaemon"]
    if options.get("syslog") or (path == "-" and not stays):
        return None
    if path == "-" or (stays and not path):
        return FileLogObserver(sys.stdout, line)
    file = KeptFile(path or TWISTD_NAME, TWISTD_LENGTH, mode=None)
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: _on_the_reactor(file.rotate))
    return observer_of(file, line)


_on_hangup: list[Callable[[], None]] = []


def survive_hangups() -> None:
    """Let SIGHUP end nothing from now on."""

    def reopen_all(*_: object) -> None:
        for reopen in _on_hangup:
            _on_the_reactor(reopen)

    signal.signal(signal.SIGHUP, reopen_all)
    # The process that launched this one may have blocked it until now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def call_on_hangup(reopen: Callable[[], None]) -> Callable[[], None]:
    """Let SIGHUP call `reopen`, on the reactor; returns a function that ends that."""
    _on_hangup.append(reopen)
    return lambda: _on_hangup.remove(reopen)


def _on_the_reactor(call: Callable[[], None]) -> None:
    # A handler may run in the middle of a write.
    reactor = cast("IReactorFromThreads | None", sys.modules.get("twisted.internet.reactor"))
    if reactor is not None:
        reactor.callFromThread(call)
