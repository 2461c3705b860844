"""Log files that are kept to a size, and are made anew where somebody has moved them away."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any, cast

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import FileLogObserver, ILogObserver
from twisted.python.logfile import LogFile

from bbs.daemons.log_lines import Line, as_text

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
