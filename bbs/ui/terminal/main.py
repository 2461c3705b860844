"""From a terminal to a conversation on it: everything put together, once in a process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from prompt_toolkit.input import create_input
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.utils import is_dumb_terminal
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from bbs.client.client import ServiceClient
from bbs.client.errors import ClientError
from bbs.core.addresses import Address
from bbs.core.clock import measure_steadily
from bbs.ui.stdin import Lines, reader
from bbs.ui.terminal import settings
from bbs.ui.terminal.app import Face
from bbs.ui.terminal.editor import Editor
from bbs.ui.terminal.history import History, HistoryFile, history_path, not_kept
from bbs.ui.terminal.interfaces import IEditor
from bbs.ui.terminal.keys import line_keys
from bbs.ui.terminal.plain import PlainEditor, set_mode
from bbs.ui.terminal.scrollback import Pager
from bbs.ui.terminal.settings import Settings
from bbs.ui.terminal.theme import Looks, style

STDIN = 0


def run(
    login_server: Address,
    password: str | None = None,
    make: Callable[[Any, Address], ServiceClient] = ServiceClient,
    *,
    times: bool = True,
) -> str:
    """Talk with the person at the terminal on standard input and output until that is over.

    Answers why it could not go on, in a line; empty when it ended well. `password` is for logging
    in without typing one. `make` makes the client, on a reactor and for the login server. With
    `times` off no times are shown, whatever the settings say.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    from twisted.internet import reactor

    measure_steadily(reactor)
    threads = ThreadPool(0, 1, "history")
    threads.start()
    client = make(reactor, login_server)
    own, problems = settings.read_settings(settings.settings_path(os.environ))
    editor = partial(_plain if is_dumb_terminal() else _editor, reactor, threads, own)
    face = Face(
        reactor,
        client,
        login_server,
        editor,
        password,
        looks=Looks(
            client.vocabulary,
            time.time,
            shows_times=times and own.times,
            senders=own.senders,
        ),
        attention=own.bell,
        pager=_pager(own),
    )
    for problem in problems:
        reactor.callWhenRunning(face.problem, problem)
    talk = _Talk(reactor, client, face)
    reactor.callWhenRunning(_end_at_signals, reactor)
    reactor.callWhenRunning(talk.begin)
    reactor.addSystemEventTrigger("before", "shutdown", talk.leave)
    reactor.run()
    threads.stop()
    return talk.problem


class _Pager(Pager):
    """A pager on the loop that the reactor runs on."""

    def show(self, text: str) -> Deferred[None]:  # type: ignore[override]
        return Deferred.fromFuture(asyncio.ensure_future(super().show(text)))


def _pager(own: Settings) -> _Pager | None:
    """The pager of whoever sits there; None where that is the one that is built in."""
    command = os.environ.get("PAGER", "") if own.pager is None else own.pager
    return _Pager(command, os.environ) if command.strip() else None


def _end_at_signals(reactor: Any) -> None:
    """Give the terminal back at these too: only SIGINT and SIGTERM are the reactor's by itself."""
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, reactor.sigTerm)


class _Talk:
    """From the first prompt to the end of the reactor."""

    _log = Logger()

    def __init__(self, reactor: Any, client: ServiceClient, face: Face) -> None:
        self.problem = "interrupted"
        self._reactor = reactor
        self._client = client
        self._face = face
        self._running: Deferred[None] | None = None
        self._leaving = False

    def begin(self) -> None:
        self._running = Deferred.fromCoroutine(self._face.run())
        self._running.addCallbacks(lambda _: self._end(""), self._failed)

    def leave(self) -> Deferred[None] | None:
        """Give the terminal back before the process ends."""
        self._leaving = True
        self._face.leave()
        return self._running

    def _failed(self, failure: Failure) -> None:
        if not self._leaving and not isinstance(failure.value, ClientError):
            self._log.failure("the terminal broke off", failure)
        self._end(str(failure.value))

    def _end(self, problem: str) -> None:
        if not self._leaving:
            self.problem = problem
            self._client.close().addCallback(lambda _: self._reactor.stop())


def _editor(reactor: Any, threads: ThreadPool, own: Settings, face: Face) -> IEditor:
    """A line with all that prompt_toolkit has."""
    file = HistoryFile(history_path(os.environ))

    def keep(lines: Sequence[str]) -> Deferred[None]:
        return deferToThreadPool(reactor, threads, file.add, lines)

    try:
        history = History(file.read(), keep, face.problem, face.place)
    except OSError as problem:
        history = History([], None, face.problem, face.place)
        reactor.callWhenRunning(face.problem, not_kept(problem))
    return Editor(
        create_input(),
        _output(),
        history=history,
        keys=line_keys(
            face.work,
            say=face.notice,
            interrupt=face.interrupt,
            leave=face.leave,
            look_back=face.look_back,
            own=own.keys,
        ),
        style=style(own.styles),
        ask=True,
        prompt=face.prompt,
        hint=face.conversation.hint,
        completions=face.conversation.completions,
        commands=face.is_command,
    )


def _output() -> Vt100_Output:
    """Standard output as prompt_toolkit writes to it; without colours where `NO_COLOR` is set."""
    output = Vt100_Output.from_pty(sys.stdout, os.environ.get("TERM"), ColorDepth.from_env())
    # By itself prompt_toolkit asks where the cursor is whenever it draws a prompt; an answer that
    # comes late would be about a screen that has changed meanwhile. `Prompt` asks when it knows.
    output.enable_cpr = False
    return output


def _plain(reactor: Any, threads: ThreadPool, own: Settings, face: Face) -> IEditor:
    """A line of the terminal's own."""

    def write(text: str) -> None:
        # The terminal's locale may lack a character of somebody's.
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding, "replace"))
        sys.stdout.flush()

    @contextmanager
    def interruptible() -> Iterator[None]:
        def interrupt(number: int, frame: object) -> None:
            reactor.callFromThread(face.interrupt)

        before = signal.signal(signal.SIGINT, interrupt)
        set_mode(STDIN, termios.NOFLSH, True)  # else the terminal forgets what was typed so far
        try:
            yield
        finally:
            set_mode(STDIN, termios.NOFLSH, False)
            signal.signal(signal.SIGINT, before)

    lines = Lines(reader(reactor, STDIN))
    echo = partial(set_mode, STDIN, termios.ECHO)
    return PlainEditor(
        next_line=lines.next,
        write=write,
        echo=echo,
        prompt=face.prompt,
        interruptible=interruptible,
    )
