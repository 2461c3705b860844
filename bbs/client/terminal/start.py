"""From a terminal to a conversation on it: everything put together, once in a process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from prompt_toolkit.input import create_input
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from bbs.client.library import BBSClient
from bbs.client.terminal.editor import Editor
from bbs.client.terminal.face import Face
from bbs.client.terminal.history import History, HistoryFile, not_kept, place
from bbs.client.terminal.keys import line_keys
from bbs.client.values import Address, ClientError

_log = Logger()


def run(login_server: Address, password: str | None = None) -> str:
    """Talk with the person at the terminal on standard input and output until that is over.

    Answers why it could not go on, in a line; empty when it ended well. `password` is for logging
    in without typing one.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    from twisted.internet import reactor

    problem = "interrupted"
    threads = ThreadPool(0, 1, "history")
    threads.start()
    file = HistoryFile(place(os.environ))
    complaints: list[str] = []
    lines = _read(file, complaints)

    def keep(lines: Sequence[str]) -> Deferred[None]:
        return deferToThreadPool(IReactorFromThreads(reactor), threads, file.add, lines)

    def editor(face: Face) -> Editor:
        history = History(lines or [], keep if lines is not None else None, face.problem)
        return Editor(
            create_input(),
            _output(),
            history,
            line_keys(face.work, face.notice, face.leave),
            face.prompt,
            face.conversation.hint,
            face.conversation.completions,
            face.is_command,
        )

    client = BBSClient(reactor, login_server)
    face = Face(reactor, client, login_server, editor, password)

    def ended(result: object) -> None:
        nonlocal problem
        problem = ""
        if isinstance(result, Failure):
            problem = str(result.value)
            if not isinstance(result.value, ClientError):
                _log.failure("the terminal broke off", result)
        client.close().addCallback(lambda _: reactor.stop())

    def begin() -> None:
        for complaint in complaints:
            face.problem(complaint)
        Deferred.fromCoroutine(face.run()).addBoth(ended)

    reactor.callWhenRunning(begin)
    reactor.run()
    threads.stop()
    return problem


def _output() -> Vt100_Output:
    """Standard output as prompt_toolkit writes to it; without colours where `NO_COLOR` is set."""
    output = Vt100_Output.from_pty(sys.stdout, os.environ.get("TERM"), ColorDepth.from_env())
    # An answer that comes late would be about a screen that has changed meanwhile.
    output.enable_cpr = False
    return output


def _read(file: HistoryFile, complaints: list[str]) -> list[str] | None:
    """The lines from before; None, with a complaint, when there will be no history."""
    try:
        return file.read()
    except OSError as problem:
        complaints.append(not_kept(problem))
        return None
