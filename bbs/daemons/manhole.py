"""The manhole: a Python prompt inside of a running server, at a Unix socket (`[manhole] socket`).

The lines run in the thread of the reactor: a line that does not end stops the server. Only
processes of the server's own user may connect. The security log has each session and each line,
but nothing that a line prints.
"""

from __future__ import annotations

import code
import os
import pwd
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import redirect_stdout
from inspect import isawaitable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.core import audit
from bbs.core.values import NAME_LENGTH

SERVER = "{server}"  # In the path of a socket: the id of the server.
MOST_SESSIONS = 4
LONGEST_LINE = 16_384  # Bytes.
LONGEST_VALUE = 20_000  # Characters of a value that are shown.
FIRST, NEXT = ">>> ", "... "  # The prompts, at whose end a client waits for a line.

_log = Logger()


def socket_of(path: str, server_id: str) -> str:
    """The socket of a server, by the configuration's `path`."""
    return path.replace(SERVER, server_id)


class Manhole(Service):
    """Listens at a Unix socket.

    :param path: the socket; one that a dead process has left is replaced.
    :param names: what a session knows by name, beside what Python knows.
    :param name: the server's, for the first line of a session and the security log.
    """

    def __init__(self, path: str, names: dict[str, Any], name: str, reactor: Any) -> None:
        self._path, self._names, self._name, self._reactor = path, names, name, reactor
        self._port: Any = None
        self.sessions: set[ManholeSession] = set()

    def startService(self) -> None:
        Service.startService(self)
        factory = Factory.forProtocol(self._session)
        try:
            # A lock beside the socket prevents replacing a socket that is in use.
            self._port = self._reactor.listenUNIX(self._path, factory, mode=0o600, wantPID=True)
        except (CannotListenError, OSError, ValueError) as error:
            reason = getattr(error, "socketError", error)
            _log.error("no manhole at {path}: {reason}", path=self._path, reason=str(reason))

    def stopService(self) -> Any:
        Service.stopService(self)
        for session in [*self.sessions]:
            session.transport.loseConnection()
        return self._port and self._port.stopListening()

    def _session(self) -> ManholeSession:
        return ManholeSession(self.sessions, self._names, self._name)


@implementer(IHalfCloseableProtocol)
class ManholeSession(LineReceiver):
    """One session: Python in, text out."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST_LINE
    transport: Any

    def __init__(self, sessions: set[ManholeSession], names: dict[str, Any], server: str) -> None:
        self._sessions, self._server = sessions, server
        self._python = _Python(dict(names), self.show)
        self._user: str | None = None
        self._lines: list[str] = []

    def connectionMade(self) -> None:
        user = peer_user(self.transport.getHandle())
        if user != os.geteuid() or len(self._sessions) >= MOST_SESSIONS:
            audit.record("manhole", "refused", address="", name=self._server, by=_name_of(user))
            self.transport.loseConnection()
            return
        self._user = _name_of(user)
        self._sessions.add(self)
        audit.record("manhole", "opened", address="", name=self._server, by=self._user)
        names = ", ".join(sorted(name for name in self._python.names if not name.startswith("_")))
        self.show(f"{self._server}, with {names}. A line that does not end stops this server.\n")
        self.show(FIRST)

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self in self._sessions:
            self._sessions.discard(self)
            audit.record("manhole", "closed", address="", name=self._server, by=self._user or "")

    # IHalfCloseableProtocol

    def readConnectionLost(self) -> None:
        """End once everything has been shown that the lines wait for."""
        self._python.when_idle(self.transport.loseConnection)

    def writeConnectionLost(self) -> None:
        self.transport.loseConnection()

    def lineReceived(self, line: bytes) -> None:
        if self not in self._sessions:
            return
        text = line.decode("utf-8", "replace")
        for at in range(0, len(text) if text.strip() else 0, NAME_LENGTH):
            part = text[at : at + NAME_LENGTH]
            audit.record("manhole-line", "done", address="", name=part, by=self._user or "")
        self._lines.append(text)
        wants_more = self._python.runsource("\n".join(self._lines), "<manhole>")
        if not wants_more:
            self._lines.clear()
        self.show(NEXT if wants_more else FIRST)

    def show(self, text: str) -> None:
        if self in self._sessions:
            self.transport.write(text.encode("utf-8", "backslashreplace"))


class _Python(code.InteractiveInterpreter):
    """Runs what a person types; what it prints goes to `show`. A Deferred or a coroutine shows its
    result when there is one."""

    def __init__(self, names: dict[str, Any], show: Callable[[str], None]) -> None:
        self.names = names
        super().__init__(names)
        self._show = show
        self._number = 0
        self._waiting = 0
        self._idle: Callable[[], object] = lambda: None

    def when_idle(self, call: Callable[[], object]) -> None:
        """Call `call` when no Deferred is waited for."""
        self._idle = call
        if not self._waiting:
            call()

    def write(self, data: str) -> None:
        """Show a text, or a traceback."""
        self._show(data[:LONGEST_VALUE])

    def flush(self) -> None:
        """Do nothing: what is printed is shown at once."""

    def runcode(self, code: Any) -> None:
        """Run a piece of code, with the prints of this thread's code until its end."""
        hook, sys.displayhook = sys.displayhook, self._display
        try:
            with redirect_stdout(self):  # type: ignore[type-var]
                super().runcode(code)
        except SystemExit:
            self.write("The session ends at the end of your input (Ctrl-D).\n")
        finally:
            sys.displayhook = hook

    def _display(self, value: Any) -> None:
        if value is None:
            return
        self.names["_"] = value
        if not isawaitable(value):
            self.write(f"{_shown(value)}\n")
            return
        self._number, self._waiting = self._number + 1, self._waiting + 1
        number = self._number
        deferred = value if isinstance(value, Deferred) else Deferred.fromCoroutine(_wait(value))
        if not deferred.called:
            self.write(f"<waits: #{number}>\n")

        def fired(result: Any) -> Any:
            self._waiting -= 1
            if isinstance(result, Failure):
                self.write(f"#{number} failed: {result.getTraceback()}")
                result = None  # It has been shown.
            else:
                self.write(f"#{number}: {_shown(result)}\n")
            if not self._waiting:
                self._idle()
            return result

        deferred.addBoth(fired)


async def _wait(value: Awaitable[Any]) -> Any:
    return await value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def peer_user(connection: socket.socket) -> int:
    """The id of the user whose process is at the other end of a Unix socket."""
    if not hasattr(socket, "SO_PEERCRED"):  # Not Linux: the mode of the socket has to do.
        return os.geteuid()
    form = "iII"  # The process, the user and the group (unix(7)).
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form)
    )
    user: int = struct.unpack(form, credentials)[1]
    return user


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
