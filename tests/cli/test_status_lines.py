"""What a running `bbs up` says at its terminal."""

from __future__ import annotations

import os
from datetime import datetime

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.cli.status_lines import LOOK_INTERVAL, Line, LineWriter, StatusReport
from bbs.core.values import DiskState
from bbs.daemons.composition import Runtime
from bbs.storage.database import Database
from bbs.testing import MemoryService
from bbs.testing.service import HINT_KEY
from tests.faulty_database import Disk

LOG = "/x/bbs.log"


class Reported(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = Disk(self.mktemp())
        self.service = service = MemoryService(board, url=self.disk.url)
        self.addCleanup(service.close)
        service.start()
        self.lines: list[str] = []
        self.report(LOG)

    def report(self, log: str) -> None:
        service = self.service
        runtime = Runtime(
            *(board, service.config, service.database, service.broker.client()),
            *(service.clock, service.wall, HINT_KEY),
        )
        self.logs = self.mktemp()
        self.provider_away = ""
        report = StatusReport(runtime, log, self.logs, self.say, lambda: self.provider_away)
        report.startService()
        self.addCleanup(report.stopService)

    def say(self, line: Line) -> None:
        self.lines.append(line() if callable(line) else line)

    def said(self, seconds: float = 2 * LOOK_INTERVAL, *, beats: bool = True) -> list[str]:
        """What it says in so many seconds, in which app servers live, without the times."""
        self.lines.clear()
        for _ in range(int(seconds)):
            (self.service.advance if beats else self.service.clock.advance)(1.0)
        return [line.split(" ", 1)[1] for line in self.lines]

    def test_nothing_while_all_is_well(self) -> None:
        self.service.people("ann")
        self.assertEqual(self.said(10.0), [])

    def test_the_broker(self) -> None:
        self.service.broker.away()
        away = f"The broker is away: messages arrive later. {LOG} says why."
        self.assertEqual(self.said(1.0), [away])
        at = datetime.fromtimestamp(self.service.wall())
        self.assertEqual(self.lines, [f"{at:%H:%M:%S} {away}"])
        self.service.broker.back()
        self.assertEqual(self.said(), ["The broker is back."])

    def test_the_provider(self) -> None:
        self.provider_away = "EC2 does not answer"
        away = "No app server can be launched: EC2 does not answer. It is tried again."
        self.assertEqual(self.said(3.0), [away])
        self.provider_away = ""
        self.assertEqual(self.said(3.0), ["App servers can be launched again."])

    def test_the_database(self) -> None:
        self.disk.take_away(self.service.database)
        away = "The database is away: nobody can log in, and commands are refused."
        self.assertEqual(self.said(6.0, beats=False), [f"{away} {LOG} says why."])
        self.disk.bring_back()
        self.assertEqual(self.said(6.0), ["The database is back."])

    def test_the_disk(self) -> None:
        for state, begins in (
            (
                DiskState.LOW,
                "The disk of the database is nearly full: what people write is refused.",
            ),
            (DiskState.FULL, "The disk of the database is full: nobody can log in or write"),
            (DiskState.FREE, "The disk of the database has room again."),
        ):
            self.patch(Database, "disk", state)
            (line,) = self.said()
            self.assertTrue(line.startswith(begins), line)

    def test_what_was_before_is_no_news(self) -> None:
        (lost,) = self.service.servers
        self.service.kill(self.service.servers[lost].port)
        self.assertEqual(len(self.said(8.0)), 2)
        self.lines.clear()
        self.report("/another")
        self.assertEqual(self.lines, [])

    def test_a_server_more_is_no_news(self) -> None:
        self.said()
        self.service.people(*(f"person{number}" for number in range(12)))
        self.assertEqual(self.said(8.0), [])
        self.assertGreater(len(self.service.servers), 1)

    def test_a_server(self) -> None:
        """One takes the place of another that is lost."""
        self.said()
        (lost,) = self.service.servers
        self.service.boots = False
        self.service.kill(self.service.servers[lost].port)
        self.assertEqual(self.said(8.0), [f"Server {lost[:8]} ended by itself (killed)."])
        new = self.service.provider.launched[-1]
        self.service.boot(new)
        (line,) = self.said(4.0)
        self.assertRegex(line, rf"\AServer {new[:8]} is ready after [\d.]+ s\.\Z")

    def test_the_last_line_of_its_log(self) -> None:
        self.said()
        (lost,) = self.service.servers
        os.makedirs(self.logs)
        path = os.path.join(self.logs, f"app-{lost}.log")
        with open(path, "w") as log:
            log.write("begun\n" * 1000 + "no such \x1b[31mplugin\n\n")
            log.write("2026 [-] Main loop terminated.\n2026 [-] Server Shut Down.\n")
        self.service.kill(self.service.servers[lost].port)
        self.assertEqual(
            self.said(8.0)[0],
            f"Server {lost[:8]} ended by itself (killed). The last line of {path}: no such"
            r" \x1b[31mplugin",
        )

    def test_what_a_terminal_would_obey(self) -> None:
        self.service.broker.away()
        self.report("/\x1b]0;x\x07")
        self.assertIn(r"/\x1b]0;x\x07 says why.", self.lines[-1])


class Written(SynchronousTestCase):
    def setUp(self) -> None:
        self.read, write = os.pipe()
        self.addCleanup(os.close, self.read)
        self.stream = os.fdopen(write, "w")
        self.addCleanup(self.stream.close)

    def test_in_order(self) -> None:
        writer = LineWriter()
        for line in ("one", "zw\xf6lf"):
            writer.write(self.stream, line)
        writer.write(None, "to a stream that is closed")
        writer.end()
        self.assertEqual(os.read(self.read, 100), "one\nzw\xf6lf\n".encode())

    def test_a_terminal_that_is_gone(self) -> None:
        """A line is lost, and one to another stream is not."""
        read, write = os.pipe()
        os.close(read)
        writer = LineWriter()
        with os.fdopen(write, "w") as gone:
            writer.write(gone, "one")
            writer.write(self.stream, "two")
            writer.end()
        self.assertEqual(os.read(self.read, 100), b"two\n")

    def test_a_terminal_that_takes_nothing(self) -> None:
        """Nobody waits for it, and the end does not for long."""
        writer = LineWriter(0.01)
        writer.write(self.stream, "x" * (1 << 20))  # More than a pipe holds.
        writer.end()
        while len(os.read(self.read, 1 << 20)) == 1 << 16:
            pass  # So the thread ends.
