"""The contract of all providers, on this one, with real processes."""

import os
import signal
import sys
from typing import Any

from bbs.providers import LaunchKit
from bbs.testing import ProviderContract
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from NAME import Section, provider

CHILD = [sys.executable, "-ISc", "import sys; sys.stdin.read()"]
"""Lives until its standard input ends, as an app server does."""


class Contract(ProviderContract, TestCase):
    timeout = 30

    def setUp(self) -> Any:
        return deferLater(reactor, 0)  # The reactor runs then, and notices what ends.

    def make_provider(self) -> Any:
        self.program = CHILD
        kit = LaunchKit(
            reactor=reactor,
            section=Section(),
            scope="NAME:test",
            command=lambda launch_id: self.program,
            environment=dict(os.environ),
            configuration=lambda launch_id: "",
            on_stop=lambda stop: None,
        )
        return provider.make(kit)

    def end_instance(self, provider: Any, launch_id: str) -> None:
        detail = self.successResultOf(provider.list())[launch_id].detail
        os.kill(int(detail.split()[1]), signal.SIGKILL)

    def break_launches(self, provider: Any) -> None:
        self.program = ["/no/such/program"]
