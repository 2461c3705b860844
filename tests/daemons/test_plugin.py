"""How the daemons live under twistd."""

from __future__ import annotations

import signal
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.daemons import app, fleet, login, telnet
from bbs.board.names import Board


class UnderTwistd(SynchronousTestCase):
    def made(self, parent: Any) -> MemoryReactorClock:
        """A reactor for which a daemon was made by a twistd that has these options."""
        reactor: Any = MemoryReactorClock()
        options = telnet.Options()
        options.parent = parent
        options.parseOptions([])
        telnet.makeService(options, reactor)
        return reactor

    def test_a_second_sigterm_is_left_alone(self) -> None:
        """An operator and the fleet may both end an app server; Twisted logs a traceback of a
        SIGTERM that comes while it stops."""
        self.addCleanup(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        reactor = self.made({"nodaemon": True, "debug": False, "logger": "none"})
        ((function, arguments, keywords),) = reactor.triggers["before"]["shutdown"]
        function(*arguments, **keywords)
        self.assertEqual(signal.getsignal(signal.SIGTERM), signal.SIG_IGN)

    def test_signals_are_somebody_elses_without_twistd(self) -> None:
        self.assertEqual(self.made(None).triggers, {})

    def test_every_daemon_takes_the_section_of_the_service(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write('[board]\nlookalikes = "refuse"\n')
        for plugin in (login, app, fleet, telnet):
            options: Any = plugin.Options()
            options.parseOptions(["--config", path])
            self.assertEqual(options.configuration.settings(Board).lookalikes, "refuse")
