"""The broker of the stack's login servers, as its unit starts it, with the configuration that the
image's program writes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.deploy.stack_template import program
from tests.deploy.test_deploy import SYSTEMD, sections
from tests.integration.service import Process
from tests.services.servers import ActiveMQ, free_port

START = 60.0
"""Seconds that ActiveMQ may take to start on a busy machine."""


class Log(TestCase):
    """What it logs goes to the journal, from where it is shipped with that of all units."""

    async def test_it_is_written(self) -> None:
        if not ActiveMQ.installed():
            raise SkipTest("ActiveMQ is not there; run tests/services/start")
        broker, folder, port = program("broker"), Path(self.mktemp()).absolute(), free_port()
        folder.mkdir()
        url = f"stomp://bbs:secret@127.0.0.1:{port}"
        here = broker.document([url]).replace("0.0.0.0", "127.0.0.1")  # nosec B104
        for name, text in {"activemq.xml": here, **broker.LOGS}.items():
            (folder / name).write_text(text)
        settings = sections(SYSTEMD / "bbs-broker.service")["Service"]
        [command] = [each for each in settings if each.startswith("ExecStart=")]
        for place in ("/etc/bbs-broker", "/var/lib/bbs-broker"):
            self.assertIn(place, command)
            command = command.replace(place, str(folder))
        process = Process(shlex.split(command.removeprefix("ExecStart=")), folder)
        self.addCleanup(self.end, process)
        await process.says("INFO  Connector stomp started", START)
        self.assertRegex(process.output, r"INFO  Apache ActiveMQ 5\.\S+ \(bbs, \S+\) ")
        self.assertNotIn("log4j:WARN", process.output + process.errors)
        self.assertNotIn("secret", process.output + process.errors)

    def end(self, process: Process) -> Deferred[Any]:
        """End it, and wait for that."""
        process.transport.signalProcess("TERM")
        return process.ended()
