"""From a terminal to a conversation on it: everything put together, once in a process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from prompt_toolkit.input import create_input
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.utils import is_dumb_terminal
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from bbs.client.client import ServiceClient
from bbs.core.addresses import Address
from bbs.core.clock import IReactor, measure_steadily
from bbs.ui.process import ClientRun, stop_at
from bbs.ui.terminal import settings
from bbs.ui.terminal.app import TerminalApp
from bbs.ui.terminal.editor import LineEditor
from bbs.ui.terminal.history import History, HistoryFile, history_path, not_kept
from bbs.ui.terminal.interfaces import IEditor, IPager
from bbs.ui.terminal.keys import line_keys
from bbs.ui.terminal.plain import PlainEditor, Terminal
from bbs.ui.terminal.scrollback import ExternalPager
from bbs.ui.terminal.settings import Settings
from bbs.ui.terminal.theme import Theme, style


def run(
    login_server: Address,
    password: str | None = None,
    make: Callable[[IReactor, Address], ServiceClient] = ServiceClient,
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
    from twisted.internet import reactor as installed

    reactor = cast("IReactor", installed)
    measure_steadily(reactor)
    threads = ThreadPool(0, 1, "history")
    threads.start()
    client = make(reactor, login_server)
    own, problems = settings.read_settings(settings.settings_path(os.environ))
    editor = partial(_plain if is_dumb_terminal() else _editor, reactor, threads, own)
    app = TerminalApp(
        reactor,
        client,
        login_server,
        editor,
        password,
        theme=Theme(
            client.vocabulary, time.time, shows_times=times and own.times, senders=own.senders
        ),
        attention=own.bell,
        pager=_pager(own),
    )
    for problem in problems:
        reactor.callWhenRunning(app.problem, problem)
    running = _TerminalRun(client, app)
    running.ended.addCallback(lambda _: reactor.stop())
    # Give the terminal back at these too: only SIGINT and SIGTERM are the reactor's by itself.
    reactor.callWhenRunning(stop_at, reactor, signal.SIGHUP, signal.SIGQUIT)
    reactor.callWhenRunning(running.begin)
    reactor.addSystemEventTrigger("before", "shutdown", running.leave)
    reactor.run()
    threads.stop()
    return running.problem


def _pager(own: Settings) -> IPager | None:
    """The pager of whoever sits there; None where that is the one that is built in."""
    command = os.environ.get("PAGER", "") if own.pager is None else own.pager
    return ExternalPager(command, os.environ) if command.strip() else None


class _TerminalRun(ClientRun):
    """The run of an app, from the first prompt on."""

    def __init__(self, client: ServiceClient, app: TerminalApp) -> None:
        super().__init__(client)
        self._app = app
        self._running: Deferred[None] | None = None

    def begin(self) -> None:
        self._running = self.start()

    async def run(self) -> None:
        await self._app.run()
        self.end("")

    def leave(self) -> Deferred[None] | None:
        """Give the terminal back before the process ends."""
        self._over = True  # What ends it is a signal: `problem` stays as it is, whatever follows.
        self._app.leave()
        return self._running


def _editor(reactor: IReactor, threads: ThreadPool, own: Settings, app: TerminalApp) -> IEditor:
    """A line with all that prompt_toolkit has."""
    file = HistoryFile(history_path(os.environ))

    def keep(lines: Sequence[str]) -> Deferred[None]:
        return deferToThreadPool(reactor, threads, file.add, lines)

    try:
        history = History(file.read(), keep, app)
    except OSError as problem:
        history = History([], None, app)
        reactor.callWhenRunning(app.problem, not_kept(problem))
    return LineEditor(
        create_input(),
        _output(),
        app,
        history=history,
        keys=line_keys(app, own.keys),
        style=style(own.styles),
        ask=True,
    )


def _output() -> Vt100_Output:
    """Standard output as prompt_toolkit writes to it; without colours where `NO_COLOR` is set."""
    output = Vt100_Output.from_pty(sys.stdout, os.environ.get("TERM"), ColorDepth.from_env())
    # By itself prompt_toolkit asks where the cursor is whenever it draws a prompt; an answer that
    # comes late would be about a screen that has changed. `ResizablePrompt` asks when it knows.
    output.enable_cpr = False
    return output


def _plain(reactor: IReactor, threads: ThreadPool, own: Settings, app: TerminalApp) -> IEditor:
    """A line of the terminal's own."""
    return PlainEditor(Terminal(reactor, app), app)
