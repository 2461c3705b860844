"""Starts the client at a terminal, once in a process."""

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
from bbs.client.errors import Unreachable
from bbs.core.addresses import Address
from bbs.core.clock import IReactor, measure_steadily
from bbs.ui.process import (
    ClientRun,
    settings_file,
    state_file,
    stop_at,
)
from bbs.ui.terminal.app import TerminalApp
from bbs.ui.terminal.editor import LineEditor, PlainEditor, Terminal
from bbs.ui.terminal.history import History, HistoryFile, not_kept
from bbs.ui.terminal.interfaces import IEditor, IPager
from bbs.ui.terminal.keys import line_keys
from bbs.ui.terminal.remembered import RememberedSession, keyring_caller
from bbs.ui.terminal.scrollback import ExternalPager
from bbs.ui.terminal.settings import Settings, read_settings
from bbs.ui.terminal.theme import Theme, style
from bbs.ui.unsent import UnsentFile


def run(
    login_server: Address,
    password: str | None = None,
    make: Callable[[IReactor, Address], ServiceClient] = ServiceClient,
    *,
    times: bool = True,
    name: str = "",
    server: str = "",
    is_secure: Callable[[], bool] = lambda: False,
    next_step: str = "",
) -> str:
    """Run the client on standard input and output, and return the error; empty after success.
    `password` is for logging in without typing one. `make` creates the client, for a reactor and a
    login server. With `times` off no times are shown, whatever the settings say. `name` is the user
    who logged in last. Under `server` a session may be remembered, while the way `is_secure`.
    `next_step` follows the error if no service answers at the start."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    from twisted.internet import reactor as installed

    reactor = cast("IReactor", installed)
    measure_steadily(reactor)
    threads = ThreadPool(0, 1, "history")
    threads.start()
    client = make(reactor, login_server)
    settings, problems = read_settings(settings_file(os.environ, "client.toml"))
    editor = partial(_editor, reactor, threads, settings)
    app = TerminalApp(
        reactor,
        client,
        login_server,
        editor,
        password,
        theme=Theme(client.vocabulary, time.time, times and settings.times, settings.senders),
        attention=settings.bell,
        pager=_pager(settings),
        last_name=name,
        remembered=RememberedSession(
            state_file(os.environ, "sessions"),
            server,
            keyring_caller(reactor),
            is_secure=is_secure,
        )
        if server
        else None,
    )
    unsent = UnsentFile(state_file(os.environ, "unsent"))
    for problem in (*problems, *unsent.take()):
        reactor.callWhenRunning(app.problem, problem)
    running = _TerminalRun(client, app, next_step)
    running.ended.addCallback(lambda _: reactor.stop())
    # Restore the terminal after these too: the reactor by itself handles only SIGINT and SIGTERM.
    reactor.callWhenRunning(stop_at, reactor, signal.SIGHUP, signal.SIGQUIT)
    reactor.callWhenRunning(running.begin)
    reactor.addSystemEventTrigger("before", "shutdown", running.leave)
    reactor.run()
    if not sys.stdout.isatty():  # The terminal was closed, so nobody has read it.
        unsent.add(app.unsent)
    threads.stop()
    return running.problem


def _pager(settings: Settings) -> IPager | None:
    """The person's pager; None for the one that is built in."""
    command = os.environ.get("PAGER", "") if settings.pager is None else settings.pager
    return ExternalPager(command, os.environ) if command.strip() else None


class _TerminalRun(ClientRun):
    def __init__(self, client: ServiceClient, app: TerminalApp, next_step: str) -> None:
        super().__init__(client)
        self._app, self._next_step = app, next_step
        self._running: Deferred[None] | None = None

    def begin(self) -> None:
        self._running = self.start()

    async def run(self) -> None:
        try:
            await self._app.run()
        except Unreachable as problem:
            self.end(f"{problem}. {self._next_step}" if self._next_step else str(problem))
        self.end("")

    def leave(self) -> Deferred[None] | None:
        """Restore the terminal before the process ends."""
        self._over = True  # A signal ends it: `problem` stays as it is, whatever follows.
        self._app.leave()
        return self._running


def _editor(
    reactor: IReactor, threads: ThreadPool, settings: Settings, app: TerminalApp
) -> IEditor:
    if is_dumb_terminal():
        return PlainEditor(Terminal(reactor, app), app)
    file = HistoryFile(state_file(os.environ, "history"))

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
        keys=line_keys(app, settings.keys),
        style=style(settings.styles),
        ask=True,
    )


def _output() -> Vt100_Output:
    """Standard output for prompt_toolkit; without colours if `NO_COLOR` is set."""
    output = Vt100_Output.from_pty(sys.stdout, os.environ.get("TERM"), ColorDepth.from_env())
    # prompt_toolkit would ask for the cursor's position whenever it draws a prompt; a late answer
    # would be about another screen. `ResizablePrompt` asks at the right time.
    output.enable_cpr = False
    return output
