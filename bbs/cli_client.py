"""`bbs client HOST PORT`: the client as a command.

Exit codes: 0 well; 1 with one line on standard error when the service cannot be reached or was
lost for good, or the command was interrupted; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.cli import port
from bbs.client.library import BBSClient
from bbs.client.lines import InputError, Lines, reader
from bbs.client.script import Script
from bbs.client.text import visible
from bbs.client.values import Address, ClientError

STDIN, STDOUT = 0, 1


def main(argv: Sequence[str]) -> int:
    """Run the client on standard input and output; returns the exit code."""
    try:
        login_server = _parse(argv)
    except SystemExit as end:  # argparse has said why, or shown the help that was asked for
        return int(end.code or 0)
    if sys.stdin is None or sys.stdout is None:
        # Their numbers may be somebody else's by now: the reactor's own, for one.
        sys.stderr.write("bbs client: standard input or output is closed\n")
        return 1
    if sys.stdin.isatty() and sys.stdout.isatty():
        from bbs.client.terminal.start import run as talk

        return _exit_code(talk(login_server))
    # Here, so that importing this module chooses no reactor for anybody.
    from twisted.internet import reactor

    client = BBSClient(reactor, login_server)
    read = reader(IReactorFromThreads(reactor), STDIN)
    run = Run(reactor, reactor.stop, client, read, STDOUT)
    reactor.callWhenRunning(run.start)
    reactor.run()
    return _exit_code(run.problem)


def _exit_code(problem: str) -> int:
    if problem:
        sys.stderr.write(f"bbs client: {visible(problem)}\n")
        return 1
    return 0


def _parse(argv: Sequence[str]) -> Address:
    parser = argparse.ArgumentParser(
        prog="bbs client",
        description="Carry out commands from standard input, one a line; `help` lists them.",
    )
    parser.add_argument("host", metavar="HOST", help="where a login server is")
    parser.add_argument("port", metavar="PORT", type=port, help="the port that it listens on")
    options = parser.parse_args(argv)
    return Address(options.host, options.port)


class Run:
    """One script from its first line to the end of the reactor.

    `problem` says in a line why it ended before its end; it is empty when it did not.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        stop_reactor: Callable[[], None],
        client: BBSClient,
        read: Callable[[], Deferred[bytes]],
        output: int,
    ) -> None:
        self.problem = "interrupted"
        self._stop_reactor = stop_reactor
        self._client = client
        self._output = output
        self._script = Script(clock, client, Lines(read).next, self._write)
        self._ending = False

    def start(self) -> None:
        Deferred.fromCoroutine(self._script.run()).addCallbacks(
            lambda _: self._end(""), self._failed
        )

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, (ClientError, InputError)):
            self._log.failure("the script broke off", failure)
        self._end(str(failure.value))

    def _write(self, line: str) -> None:
        """Write a line at once; whoever waits for it sees it before the next command goes out."""
        left = line.encode() + b"\n"
        try:
            while left:
                left = left[os.write(self._output, left) :]
        except OSError as problem:
            self._end(f"standard output: {problem.strerror}")

    def _end(self, problem: str) -> None:
        if not self._ending:
            self._ending = True
            self.problem = problem
            self._client.close().addCallback(lambda _: self._stop_reactor())
