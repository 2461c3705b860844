"""`bbs client` as a command: in memory, and as a process on real sockets."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from socket import socket
from types import MappingProxyType
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from bbs import __main__
from bbs.board import BBSClient
from bbs.cli.client import ScriptRun, main, next_step
from bbs.ui import process
from bbs.ui.process import LineReader
from tests.cli.case import BOARD
from tests.client.case import LOGIN, ClientTestCase, on_sockets
from tests.paths import CHECKOUT

Files = dict[int, int | str]
"""What a child process has for its descriptors, as `spawnProcess` takes it."""

MODES = (0o600, 0o700)


class UsageTests(SynchronousTestCase):
    def outcome(self, *argv: str) -> tuple[int, str]:
        errors = StringIO()
        self.patch(sys, "stderr", errors)
        self.patch(sys, "stdout", StringIO())
        return main(argv, BOARD), errors.getvalue()

    def test_wrong_usage(self) -> None:
        for argv in (
            *(("localhost", "1", "2"), ("--what", "a", "1")),
            *(("--ca", "file", "localhost", "1"), ("--ca", "file"), ("--tls", "--ca")),
        ):
            code, errors = self.outcome(*argv)
            self.assertEqual(code, 2)
            self.assertIn("usage: bbs client", errors)

    def test_ports_that_are_none(self) -> None:
        for port in ("0", "65536", "-1", "http", "", "1.5", "²"):
            code, errors = self.outcome("--", "localhost", port)
            self.assertEqual(code, 2)
            self.assertIn("is not a port: a number from 1 to 65535", errors)

    def test_a_host_that_is_none(self) -> None:
        for host in ("", " ", "[]"):
            code, errors = self.outcome(host)
            self.assertEqual(code, 2)
            self.assertIn("argument HOST: is empty", errors)

    def test_a_host_with_a_port_that_is_none(self) -> None:
        for host in ("localhost:0", "localhost:http", "localhost:", "[::1]:65536"):
            code, errors = self.outcome(host)
            self.assertEqual(code, 2)
            self.assertIn(f"argument HOST: '{host}' is not HOST:PORT", errors)

    def test_a_password_file_that_cannot_be_used(self) -> None:
        code, errors = self.outcome("--password-file", "/nowhere/at/all", "localhost", "1")
        self.assertEqual(code, 1)
        self.assertEqual(errors, "bbs client: /nowhere/at/all: No such file or directory\n")

    def test_help_is_no_mistake(self) -> None:
        self.assertEqual(self.outcome("--help"), (0, ""))

    def test_interrupted_before_it_has_begun(self) -> None:
        part = mock.Mock(main=mock.Mock(side_effect=KeyboardInterrupt))
        with mock.patch.dict(sys.modules, {"bbs.cli.client": part}):
            self.assertEqual(__main__.main(("client", "localhost", "1")), 130)

    def test_what_to_type_where_nothing_answers(self) -> None:
        elsewhere = "bbs client HOST PORT"
        for host, port, step in (
            ("127.0.0.1", 22222, "To start one here, type: bbs up."),
            ("localhost", 4000, "To start one here, type: bbs up --port 4000."),
            ("::1", 22222, "To start one here, type: bbs up."),
        ):
            said = next_step("bbs", process.LastServer(host, port))
            self.assertEqual(said, f"{step} For a server elsewhere, type: {elsewhere}")
        said = next_step("bbs", process.LastServer("chat.example.org", 22222))
        self.assertEqual(said, f"For another server, type: {elsewhere}")

    def test_closed_descriptors(self) -> None:
        for stream in ("stdin", "stdout"):
            errors = StringIO()
            self.patch(sys, "stderr", errors)
            with self.subTest(stream):
                self.patch(sys, stream, None)
                self.assertEqual(main(("localhost", "1"), BOARD), 1)
                self.assertEqual(
                    errors.getvalue(), "bbs client: standard input or output is closed\n"
                )


class RunTests(ClientTestCase):
    for_programs = strict = False

    def setUp(self) -> None:
        super().setUp()
        self.stopped = 0
        self.pieces: list[Deferred[bytes]] = []
        self.end, self.start = os.pipe()
        self.addCleanup(os.close, self.end)

    def run_script(self, *pieces: bytes) -> ScriptRun:
        self.pieces.extend(succeed(piece) for piece in pieces)
        run = ScriptRun(
            self.clock,
            self.client,
            lines=LineReader(self.read),
            output=self.start,
            for_programs=self.for_programs,
            strict=self.strict,
        )
        run.ended.addCallback(self.stop)
        run.start()
        self.network.flush()
        return run

    def read(self) -> Deferred[bytes]:
        self.wanted: Deferred[bytes] = Deferred()
        return self.pieces.pop(0) if self.pieces else self.wanted

    def stop(self, _: None) -> None:
        self.stopped += 1

    def printed(self) -> bytes:
        os.close(self.start)
        return os.read(self.end, 65536)

    def test_well(self) -> None:
        run = self.run_script(b"ping\nregister \xc3\xa9 1\nregister \xc3\xa9 1\n", b"")
        self.assertEqual((run.problem, self.stopped), ("", 1))
        self.assertEqual(self.printed().decode(), "Pong!\nSuccess!\né is already used\n")
        self.assertEqual(self.network.links, [])

    def test_strict(self) -> None:
        """Any refusal counts, and the first is told; without it only `--json` minds, the last."""
        lines = b"login bob 1\nnonsense\nping\n"
        for for_programs, strict, end, problem in (
            (False, False, b"nonsense\n", ""),
            (True, False, b"nonsense\n", "Unknown command nonsense"),
            (True, False, b"ping\n", ""),
            (False, True, b"ping\n", "No such user or password error"),
            (True, True, b"ping\n", "No such user or password error"),
        ):
            self.for_programs, self.strict = for_programs, strict
            self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)
            self.assertEqual(self.run_script(lines + end, b"").problem, problem)
        os.close(self.start)

    def test_stopped_in_the_middle(self) -> None:
        run = self.run_script(b"ping\n")
        self.assertEqual((run.problem, self.stopped), ("interrupted", 0))
        self.assertEqual(self.printed(), b"Pong!\n")

    def test_service_out_of_reach(self) -> None:
        self.network.unplug(LOGIN)
        run = self.run_script(b"ping\n")
        self.assertEqual(run.problem, f"cannot reach {LOGIN}: connection refused")
        self.assertEqual((self.stopped, self.printed()), (1, b""))

    def test_service_lost_in_the_middle(self) -> None:
        """The reason begins as ever; then comes the line that was not sent."""
        run = self.run_script(b"ping\n")
        self.network.unplug(LOGIN)
        self.network.cut(LOGIN)
        self.wanted.callback(b"register eve secret\nping\n")
        self.network.advance(80.0)
        lost = f"cannot reach {LOGIN}: connection refused"
        self.assertEqual(run.problem, f"{lost}; not sent: register eve, and what follows")
        self.assertEqual((self.stopped, self.printed()), (1, b"Pong!\n"))

    def test_a_signal_in_the_middle(self) -> None:
        self.hold("register")
        run = self.run_script(b"register eve secret\nping\n")
        run.interrupt()
        lost = "interrupted; may not have been sent: register eve; not sent: what follows"
        self.assertEqual((run.problem, self.printed()), (lost, b""))

    def test_a_signal_after_the_end(self) -> None:
        run = self.run_script(b"ping\n", b"")
        run.interrupt()
        self.assertEqual((run.problem, self.printed()), ("", b"Pong!\n"))

    def test_input_that_cannot_be_read(self) -> None:
        run = self.run_script(b"x" * (16 * 1024 * 1024 + 1))
        self.assertEqual(run.problem, "standard input: a line of over 16777216 bytes")
        self.assertEqual(self.stopped, 1)
        os.close(self.start)

    def test_output_that_nobody_takes(self) -> None:
        end, self.start = self.start, os.open("/dev/full", os.O_WRONLY)
        run = self.run_script(b"ping\nping\n", b"")
        self.assertEqual(run.problem, "standard output: No space left on device")
        self.assertEqual(self.stopped, 1)
        os.close(self.start)
        os.close(end)

    def test_a_mistake_of_our_own(self) -> None:
        self.pieces.append(Deferred())
        self.pieces[0].errback(ZeroDivisionError("oops"))
        run = self.run_script()
        self.assertEqual((run.problem, self.stopped), ("oops", 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        os.close(self.start)


class Client(ProcessProtocol):
    """The command as a child process."""

    transport: Any

    def __init__(
        self,
        reactor: Any,
        *argv: str,
        files: Files | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.out = b""
        self.err = b""
        self.ended: Deferred[int] = Deferred()
        self._waits: list[tuple[bytes, Deferred[None]]] = []
        command = [sys.executable, "-m", "bbs", "client", *argv]
        self.transport = reactor.spawnProcess(
            self,
            command[0],
            command,
            env={
                **os.environ,
                "PYTHONPATH": str(CHECKOUT),
                "XDG_STATE_HOME": os.path.abspath("state"),
                **environ,
            },
            childFDs=files,
        )

    def prints(self, what: bytes) -> Deferred[None]:
        """Fires when that has been printed."""
        printed: Deferred[None] = Deferred()
        self._waits.append((what, printed))
        self._look()
        return printed

    def _look(self) -> None:
        for wait in [wait for wait in self._waits if wait[0] in self.out]:
            self._waits.remove(wait)
            wait[1].callback(None)

    def outReceived(self, data: bytes) -> None:
        self.out += data
        self._look()

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def processEnded(self, reason: Any) -> None:
        reason.trap(ProcessDone, ProcessTerminated)
        self.ended.callback(reason.value.exitCode)


class ProcessTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.service, self.login = on_sockets(self)

    def client(self, *options: str, **how: Any) -> Client:
        return Client(self.reactor, *options, self.login.host, str(self.login.port), **how)

    async def test_each_line_is_out_at_once(self) -> None:
        client = self.client()
        client.transport.write(b"register ann 1\nlogin ann 1\n")
        await client.prints(b"Success!\nSuccess!\n")
        token = self.service.people("bé")["bé"]
        home = self.service.at_home(token)
        home.ask(f"invite {token} ann")
        client.transport.write("accept-invite ann bé\n".encode())
        await client.prints(b"Success!\n" * 3)
        self.assertEqual(home.ask(f"send {token} ann hi\x1b")["status"], 0)
        await client.prints("<<<bé->ann: hi\\x1b>>>\n".encode())
        client.transport.closeStdin()
        self.assertEqual(await client.ended, 0)

    async def test_strict_by_a_file(self) -> None:
        script = Path(self.mktemp())
        script.write_bytes(b"nonsense\nping\n")
        with script.open("rb") as file:
            client = self.client("--strict", files={0: file.fileno(), 1: "r", 2: "r"})
            self.assertEqual(await client.ended, 1)
        self.assertEqual(client.out, b"Unknown command nonsense\nPong!\n")
        self.assertEqual(client.err, b"bbs client: Unknown command nonsense\n")

    async def test_input_that_goes_on_does_not_keep_the_process(self) -> None:
        """Nor does a state folder that cannot be written."""
        client = self.client(environ={"XDG_STATE_HOME": "/proc/nowhere"})
        client.transport.write(b"ping\n")
        await client.prints(b"Pong!\n")
        client.transport.write(b"quit\n")
        self.assertEqual(await client.ended, 0)
        self.assertEqual((client.out, client.err), (b"Pong!\nBye!\n", b""))

    async def test_interrupted(self) -> None:
        client = self.client()
        client.transport.write(b"ping\n")
        await client.prints(b"Pong!\n")
        client.transport.signalProcess("INT")
        self.assertEqual(await client.ended, 1)
        self.assertEqual(client.err, b"bbs client: interrupted\n")

    async def test_output_that_was_closed(self) -> None:
        client = self.client()
        client.transport.write(b"ping\n")
        await client.prints(b"Pong!\n")
        client.transport.closeStdout()
        client.transport.write(b"ping\nping\n")
        self.assertEqual(await client.ended, 1)
        self.assertEqual(client.err, b"bbs client: standard output: Broken pipe\n")

    async def test_hung_up(self) -> None:
        """As when its terminal is closed."""
        client = self.client()
        client.transport.write(b"ping\n")
        await client.prints(b"Pong!\n")
        client.transport.signalProcess("HUP")
        self.assertEqual(await client.ended, 1)
        self.assertEqual(client.err, b"bbs client: interrupted\n")

    async def test_the_last_host(self) -> None:
        """It is what answered last; and what is out of reach is not remembered."""
        state = Path(self.mktemp()).absolute()
        environ = {"XDG_STATE_HOME": str(state)}
        with socket() as nobody:  # It has the port, and does not listen.
            nobody.bind(("127.0.0.1", 0))
            for arguments, code in (
                ((self.login.host, str(self.login.port)), 0),
                (("127.0.0.1", str(nobody.getsockname()[1])), 1),
                ((), 0),
            ):
                client = Client(self.reactor, *arguments, environ=environ)
                client.transport.write(b"ping\n")
                client.transport.closeStdin()
                self.assertEqual(await client.ended, code)
                self.assertEqual(client.out, b"" if code else b"Pong!\n")
                self.assertEqual(client.err.count(b"\n"), code)
                self.assertEqual(b"connection refused" in client.err, bool(code))
        kept = state / "bbs" / "last-host"
        self.assertEqual(
            process.read_last_server(kept),
            process.LastServer(self.login.host, self.login.port),
        )
        self.assertEqual((kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777), MODES)

    async def test_importing_it_chooses_no_reactor(self) -> None:
        from twisted.internet.utils import getProcessOutput

        check = "import sys, bbs.cli.client; print('twisted.internet.reactor' in sys.modules)"
        out = await getProcessOutput(
            sys.executable,
            ("-c", check),
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        )
        self.assertEqual(out, b"False\n")
