"""`bbs client` at a terminal: a test presses keys, and reads the screen as a terminal shows it.

terminal = Terminal(service)
await terminal.prompts(">")
await terminal.enter("ping")
await terminal.shows("Pong!")
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import signal
import struct
import termios
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyte
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol

from tests.integration.service import BIN, START_TIMEOUT, STOP_TIMEOUT, Service, eventually

CTRL_C, CTRL_D, CTRL_R, CTRL_Z = "\x03", "\x04", "\x12", "\x1a"
TAB, UP = "\t", "\x1b[A"


class Screen(pyte.HistoryScreen):
    """A terminal that remembers what has scrolled out at its top."""

    def shown(self) -> list[str]:
        """The lines that it shows and the thousand above, without blanks at their ends."""
        above = [self._line(line) for line in self.history.top]
        return [line.rstrip() for line in above + list(self.display)]

    def _line(self, line: Mapping[int, Any]) -> str:
        return "".join(line[column].data for column in range(self.columns))


class Terminal(ProcessProtocol):
    """A client on a pseudo-terminal. `raw` is all that it wrote; it ends with the test."""

    transport: Any

    def __init__(
        self,
        service: Service,
        *options: str,
        columns: int = 80,
        rows: int = 24,
        environ: Mapping[str, str] | None = None,
        output: Path | None = None,
        named: bool = True,
    ) -> None:
        self.service = service
        self.state = service.folder / "state"
        self.raw = b""
        self.exit_code: int | None = None
        self.alive = True
        self.screen = Screen(columns, rows, history=1000, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        place = ("127.0.0.1", str(service.port)) if named else ()
        argv: list[str] = [str(BIN / "bbs"), "client", *options, *place]
        if output is not None:
            argv = ["/bin/sh", "-c", f"exec {shlex.join(argv)} > {shlex.quote(str(output))}"]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(service.folder),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "XDG_STATE_HOME": str(self.state),
            **{
                key: value
                for key, value in os.environ.items()
                if key.startswith(("COVERAGE_", "PYTHONPATH"))
            },
            **(environ or {}),
        }
        reactor.spawnProcess(self, argv[0], argv, env=env, path=str(service.folder), usePTY=True)
        self.pid: int = self.transport.pid
        self._terminal = os.dup(self.transport.fd)
        service.case.addCleanup(lambda: os.close(self._terminal))
        self.resize(columns, rows)
        service.case.addCleanup(self._end)

    # ProcessProtocol

    def outReceived(self, data: bytes) -> None:
        self.raw += data
        self._stream.feed(data)

    def processEnded(self, reason: Any) -> None:
        self.alive = False
        self.exit_code = reason.value.exitCode

    # For the tests

    def type(self, text: str) -> None:
        """Press these keys."""
        self.transport.write(text.encode())

    def enter(self, line: str) -> None:
        """Type a line, and Enter."""
        self.type(f"{line}\r")

    def paste(self, text: str) -> None:
        """Paste, as terminals do that bracket what they paste."""
        self.type(f"\x1b[200~{text}\x1b[201~")

    def hang_up(self) -> None:
        """Close the terminal, as its window does."""
        os.close(self._terminal)
        self._terminal = os.open(os.devnull, os.O_RDWR)
        self.transport.loseConnection()

    def resize(self, columns: int, rows: int = 24) -> None:
        """Make the window so large."""
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.transport.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows by itself what is typed, as a shell leaves it."""
        return bool(termios.tcgetattr(self._terminal)[3] & termios.ECHO)

    @property
    def lines(self) -> list[str]:
        """What it shows and has shown, line for line."""
        return self.screen.shown()

    @property
    def line(self) -> str:
        """The line that the cursor is in."""
        return self.screen.display[self.screen.cursor.y].rstrip()

    def shows(self, text: str, within: float = 20.0) -> Deferred[bool]:
        """Wait until a line has `text` in it."""

        def look() -> bool:
            if any(text in line for line in self.lines):
                return True
            if not self.alive:
                raise AssertionError(f"ended without {text!r}: {self.lines}")
            return False

        return eventually(look, f"{text!r} is on the screen: see {self.dump()}", within)

    def prompts(self, pattern: str, within: float = 20.0) -> Deferred[bool]:
        """Wait until the line with the cursor is all of a pattern's."""
        wanted = re.compile(pattern)
        return eventually(
            lambda: bool(wanted.fullmatch(self.line)),
            f"the line is like {pattern!r}: see {self.dump()}",
            within,
        )

    def talks_to(self, name: str) -> Deferred[bool]:
        """Wait until the line below the prompt names this partner."""
        wanted = re.compile(rf"(.* · )?((to|in) {name}|{name} \w+) · .*/help")
        return eventually(
            lambda: any(wanted.fullmatch(line.rstrip()) for line in self.screen.display),
            f"{name} is talked to: see {self.dump()}",
        )

    def ended(self, within: float = STOP_TIMEOUT) -> Deferred[bool]:
        """Wait until the client has ended."""
        return eventually(lambda: not self.alive, "the client ends", within)

    async def log_in(self, name: str) -> None:
        """Log in somebody whose password is the name."""
        await self.prompts("(.*no user)?>")  # an older client names nobody
        self.enter(f"login {name} {name}")
        await self.prompts(rf"{name}(@\S+)?( \[.*\])?>", START_TIMEOUT)
        if self.screen.columns >= 30:
            await eventually(self.is_served, "the login is over", START_TIMEOUT)

    def is_served(self) -> bool:
        """Whether the line below the prompt says so; an older client's prompt does."""
        if "@" in self.line:
            return True
        below = "\n".join(self.screen.display)
        return re.search(r"(talk( NAME)? · )?help *$", below, re.M) is not None and (
            "connecting · " not in below
        )

    def dump(self) -> str:
        """A file that will show the screen to whoever wonders why a test failed."""
        path = self.service.folder / f"screen-{self.pid}.txt"
        self.service.case.addCleanup(lambda: path.write_text("\n".join(self.lines)))
        return str(path)

    async def _end(self) -> None:
        if self.alive:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess(signal.SIGTERM)
            await self.ended()
