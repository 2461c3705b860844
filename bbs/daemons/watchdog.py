"""Tells systemd that the reactor runs. systemd ends a process that has told nothing for a while.

The process itself turns this on, in units with `NotifyAccess=main`: with `WatchdogSec=` there, an
older version, which tells nothing, would be ended.

Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime

SOCKET_VARIABLE = "NOTIFY_SOCKET"

PATIENCE = 30.0
"""Seconds that a reactor may hang, unless the unit has `WatchdogSec=`. Load balancers and the fleet
give a server up within ten or so; a turn takes less than one."""


class SystemdWatchdog(TimerService):
    """Tells that the reactor runs, by a timer of the reactor itself: one that hangs tells nothing.

    :param path: systemd's datagram socket; one that begins with `@` has no file.
    :param patience: seconds after which systemd ends this process; it is told at half of them.
    """

    def __init__(self, path: str, patience: float, reactor: IReactorTime) -> None:
        TimerService.__init__(self, patience / 2, self._tell)
        self.clock = reactor
        self._address = "\0" + path[1:] if path.startswith("@") else path
        # Each time, as systemd may not have heard the first.
        self._alive = b"WATCHDOG_USEC=%d\nWATCHDOG=1" % (patience * 1e6)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    @classmethod
    def from_environ(
        cls, environ: Mapping[str, str], reactor: IReactorTime
    ) -> SystemdWatchdog | None:
        """The watchdog of this process; None if systemd does not listen to it."""
        path, own = environ.get(SOCKET_VARIABLE, ""), str(os.getpid())
        if path[:1] not in ("/", "@") or environ.get("WATCHDOG_PID", own) != own:
            return None
        given = environ.get("WATCHDOG_USEC", "")
        usual = not given.isdecimal() or not int(given)
        return cls(path, PATIENCE if usual else int(given) / 1e6, reactor)

    def _tell(self) -> None:
        with suppress(OSError):  # systemd restarts, or is busy: the next one comes in time.
            self._socket.sendto(self._alive, self._address)
