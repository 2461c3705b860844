"""What systemd is told while a reactor runs, by a socket of its own kind."""

import os
import socket
from tempfile import mkdtemp

from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.daemons.watchdog import SystemdWatchdog

TOLD = b"WATCHDOG_USEC=10000000\nWATCHDOG=1"


class WatchdogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.join(mkdtemp(), "notify")  # A socket's path has 107 bytes.
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.addCleanup(self.socket.close)
        self.clock = Clock()

    def told(self) -> list[bytes]:
        """All that systemd has been told since the last time."""
        said: list[bytes] = []
        while True:
            try:
                said.append(self.socket.recv(100))
            except BlockingIOError:
                return said

    def watchdog(self, **environ: str) -> SystemdWatchdog | None:
        own = {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "10000000", **environ}
        return SystemdWatchdog.from_environ(own, self.clock)

    def test_at_half_of_the_time(self) -> None:
        self.socket.bind(self.path)
        watchdog = self.watchdog(WATCHDOG_PID=str(os.getpid()))
        assert watchdog is not None
        watchdog.startService()
        self.assertEqual(self.told(), [TOLD])
        self.clock.advance(4.9)
        self.assertEqual(self.told(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.told(), [TOLD])
        self.successResultOf(watchdog.stopService())
        self.clock.advance(60)
        self.assertEqual(self.told(), [])

    def test_a_socket_without_a_file(self) -> None:
        name = f"@bbs-test-{os.getpid()}"
        self.socket.bind("\0" + name[1:])
        watchdog = self.watchdog(NOTIFY_SOCKET=name)
        assert watchdog is not None
        watchdog.startService()
        self.assertEqual(self.told(), [TOLD])

    def test_a_unit_that_says_no_time(self) -> None:
        self.socket.bind(self.path)
        for given in ("", "0", "soon"):
            watchdog = self.watchdog(WATCHDOG_USEC=given)
            assert watchdog is not None
            watchdog.startService()
            self.assertEqual(self.told(), [b"WATCHDOG_USEC=30000000\nWATCHDOG=1"])

    def test_nobody_is_there(self) -> None:
        """It goes on: systemd may come back."""
        watchdog = self.watchdog()
        assert watchdog is not None
        watchdog.startService()
        self.socket.bind(self.path)
        self.clock.advance(5)
        self.assertEqual(self.told(), [TOLD])

    def test_nobody_watches(self) -> None:
        for environ in (
            {"NOTIFY_SOCKET": ""},
            {"WATCHDOG_PID": "1"},
            {"NOTIFY_SOCKET": "vsock:2:1"},
        ):
            self.assertIsNone(self.watchdog(**environ), environ)

    def test_a_reactor_that_hangs(self) -> None:
        """In one turn of it there is nothing, however long the turn is; then it goes on."""
        self.socket.bind(self.path)
        reactor = SelectReactor()
        self.addCleanup(reactor.disconnectAll)
        watchdog = SystemdWatchdog(self.path, 0.002, reactor)
        watchdog.startService()
        said: list[list[bytes]] = []

        def hang() -> None:
            self.told()
            until = reactor.seconds() + 0.05
            while reactor.seconds() < until:
                pass
            said.append(self.told())

        reactor.callLater(0, hang)
        while not said:
            reactor.iterate(0.001)
        self.assertEqual(said, [[]])
        while not self.told():
            reactor.iterate(0.001)
