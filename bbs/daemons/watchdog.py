"""Tells systemd that the reactor runs, for units with `WatchdogSec=`: systemd ends and restarts a
process that has told nothing for so long.

Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime

_ALIVE = b"WATCHDOG=1"


class SystemdWatchdog(TimerService):
    """Tells that the reactor runs, by a timer of the reactor itself: one that hangs tells nothing.

    :param path: systemd's datagram socket; one that begins with `@` has no file.
    :param interval: seconds between two times.
    """

    def __init__(self, path: str, interval: float, reactor: IReactorTime) -> None:
        TimerService.__init__(self, interval, self._tell)
        self.clock = reactor
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    @classmethod
    def from_environ(
        cls, environ: Mapping[str, str], reactor: IReactorTime
    ) -> SystemdWatchdog | None:
        """The watchdog of this process; None if systemd watches another one, or none."""
        path, interval = environ.get("NOTIFY_SOCKET", ""), environ.get("WATCHDOG_USEC", "")
        # Children inherit the variables.
        is_other = environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid())
        if is_other or path[:1] not in ("/", "@") or not interval.isdecimal() or not int(interval):
            return None
        return cls(path, int(interval) / 1e6 / 2, reactor)  # Half of it, as systemd advises.

    def _tell(self) -> None:
        with suppress(OSError):  # systemd restarts, or is busy: the next one comes in time.
            self._socket.sendto(_ALIVE, self._address)
