"""Notice that the parent process died, however it died.

A parent starts its child with a pipe as standard input and writes nothing to it. When the parent
is gone the system closes its end, and the child reads the end of the pipe. Nothing has to be sent,
so it works for a parent that was killed.
"""

import os
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class Lifeline(Service):
    """Watches the inherited end of a pipe, and calls `on_cut` once when the other end is gone.

    It watches from `startService` until `stopService`; a cut before that is noticed at the start.
    The descriptor is not closed: it is the process's own.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorFDSet, fd: int, on_cut: Callable[[], None]) -> None:
        self._reactor = reactor
        self._fd = fd
        self._on_cut = on_cut

    # IService

    def startService(self) -> None:
        Service.startService(self)
        os.set_blocking(self._fd, False)
        self._reactor.addReader(self)

    def stopService(self) -> None:
        Service.stopService(self)
        self._reactor.removeReader(self)

    # IReadDescriptor

    def logPrefix(self) -> str:
        return "lifeline"

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        """Throw away what comes, until the end."""
        try:
            ended = not os.read(self._fd, 4096)
        except BlockingIOError:
            return
        if ended:
            self._reactor.removeReader(self)
            self._cut()

    def connectionLost(self, reason: Failure) -> None:
        """Some reactors tell of the end this way; it also comes when the reactor stops."""
        if isinstance(reason.value, ConnectionDone):
            self._cut()

    def _cut(self) -> None:
        self._log.warn("the parent process is gone")
        self._on_cut()
