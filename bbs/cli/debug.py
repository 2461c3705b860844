"""`NAME up --debug`: what developers see at the terminal, and new code without a restart.

A thread looks for changed source files of the service and its extensions. If they compile, as many
app servers are launched as there are. Once all of these serve, the old ones are drained at once, by
the fleet's own means: people move over, and nothing is lost. If a new one does not start, the old
ones stay. The login server is in the process of `up`, and keeps the code that it began with: a
change that it would need is named.
"""

from __future__ import annotations

import ast
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs.commands.extensions import rules_of
from bbs.commands.service import Service
from bbs.commands.strictness import function_of, names_in
from bbs.core.errors import Unavailable
from bbs.core.values import State
from bbs.daemons.composition import Runtime
from bbs.daemons.debugging import DEBUG_VARIABLE, LONGEST
from bbs.protocols.commands import Role
from bbs.rules import fleet_admin
from bbs.scaling.controller import FleetController
from bbs.storage.database import read_only
from bbs.storage.models import Server
from bbs.ui.output import visible

INTERVAL = 0.3  # Seconds between looks at the files.
LOOK = 0.05  # Seconds between looks at the servers that are replaced.

_log = Logger()

Say = Callable[[str], None]


class DebugSocket(DatagramProtocol):
    """Receives the reports of this process's servers and of its children, and says them."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._folder = tempfile.TemporaryDirectory(prefix="debug-")  # Of mode 0700.
        self.path = os.path.join(self._folder.name, "reports")

    def listen(self, reactor: Any) -> None:
        """Receive from now on; servers that start from now on report here."""
        reactor.listenUNIXDatagram(self.path, self, maxPacketSize=LONGEST, mode=0o600)
        os.environ[DEBUG_VARIABLE] = self.path

    def datagramReceived(self, datagram: bytes, address: object) -> None:
        lines = datagram.decode("utf-8", "replace").split("\n")
        self._say("\n".join(map(visible, lines)))


@dataclass(frozen=True)
class Change:
    """Changed source files; `mistake` says where one does not compile, "" if all do."""

    paths: Sequence[str]
    mistake: str = ""


class SourceWatcher:
    """The source files in `folders`, and single `files`."""

    def __init__(self, folders: Iterable[str], files: Iterable[str]) -> None:
        self._folders, self._files = [*folders], [*files]
        self._known = self._find()
        self._changed: set[str] = set()
        self.sources = {path: _read(path) for path in self._known}
        """The source of each file at the start."""

    def look(self) -> Change | None:
        """What has changed, once that lasts from one look to the next: an editor may write several
        files; None if nothing has."""
        now = self._find()
        changed = {path for path, at in now.items() if self._known.get(path) != at}
        self._known, before = now, self._changed
        self._changed = before | changed
        if changed or not self._changed:
            return None
        paths, self._changed = sorted(self._changed), set()
        mistakes = filter(None, map(_mistake, paths))
        return Change(paths, next(mistakes, ""))

    def _find(self) -> dict[str, int]:
        found = {}
        for path in [*self._files, *self._below()]:
            try:
                found[path] = os.stat(path).st_mtime_ns
            except OSError:  # It is being replaced.
                continue
        return found

    def _below(self) -> Iterator[str]:
        for folder in self._folders:
            for here, _, names in os.walk(folder):
                yield from (os.path.join(here, name) for name in names if name.endswith(".py"))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _mistake(path: str) -> str:
    try:
        compile(_read(path), path, "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"{path}, line {error.lineno}: {error.msg}"
    except ValueError as error:  # For example a NUL.
        return f"{path}: {error}"
    return ""


def source_of(service: Service) -> tuple[set[str], set[str]]:
    """The folders with the source of `service` and its extensions, and files outside of these: of
    its models, and of the modules of its functions."""
    folders: set[str] = set()
    files: set[str] = set()
    for name in {thing.__module__ for thing in _things(service)}:
        path = getattr(sys.modules.get(name), "__file__", None)
        if path is None:
            continue
        # The framework is not what is developed: of it only the board, a service.
        depth = 2 if name.startswith("bbs.") else 1
        package: Any = sys.modules.get(".".join(name.split(".")[:depth]))
        if hasattr(package, "__path__"):
            folders.update(package.__path__)
        elif not name.startswith("bbs."):
            files.add(path)
    framework = os.path.dirname(os.path.dirname(__file__))
    return {each for each in folders if _is_own(each, framework)}, files


def _is_own(folder: str, framework: str) -> bool:
    below = os.path.relpath(folder, framework)
    return below.startswith("..") or below == "board"


def _things(service: Service) -> Iterator[Any]:
    for part in service.parts:
        yield from part.models
        for table in part.commands:
            for command in table:
                yield from filter(None, map(function_of, (command.rule, command.handler)))
    yield from filter(None, map(function_of, _of_login_server(service)))


def _of_login_server(service: Service) -> Iterator[Any]:
    """The functions that a login server calls."""
    for part in service.parts:
        yield from rules_of(part)
        yield from (every.handler for every in part.every)
        for table in part.commands:
            for command in table:
                if command.served_by(Role.LOGIN):
                    yield from filter(None, (command.rule, command.handler))
    yield from service.daemons


def used_by_login_server(service: Service) -> set[tuple[str, str]]:
    """The definitions that a login server uses: each a file, and a name at the top of it."""
    used: set[tuple[str, str]] = set()
    waiting: list[Any] = [*_of_login_server(service)]
    while waiting:
        function = function_of(waiting.pop())
        if function is None or function.__module__.startswith("bbs."):
            continue
        path, scope = function.__code__.co_filename, function.__globals__
        new = {*names_in(function.__code__), function.__name__}
        for name in new & {*scope} - {each for file, each in used if file == path}:
            used.add((path, name))
            waiting.append(scope[name])
    return used


DECLARED = ""  # Stands for statements of a module that define no name.


def definitions(source: str) -> Mapping[str, str]:
    """What is defined at the top of a module, by name, in a form without comments and places. A
    declaration that a login server reads (a service, a command) counts as `DECLARED`."""
    found: dict[str, str] = {DECLARED: ""}
    for node in ast.parse(source).body:
        form = ast.dump(node)
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found[node.name] = form
                declared = [ast.dump(each) for each in node.decorator_list]
                if declared and not isinstance(node, ast.ClassDef):
                    found[DECLARED] += node.name + "".join(declared)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = form
                if isinstance(node.value, ast.Call) and _is_declaration(node.value):
                    found[DECLARED] += form
            case ast.Import() | ast.ImportFrom():
                continue
            case ast.Expr(value=ast.Constant()):
                continue
            case _:
                found[DECLARED] += form
    return found


def _is_declaration(call: ast.Call) -> bool:
    called = call.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in ("Service", "Extension", "CommandTable", "replace")


def kept_by_login_server(
    path: str, before: str, after: str, used: set[tuple[str, str]]
) -> Sequence[str]:
    """The changed definitions of a file that a login server uses, or "its declarations"."""
    try:
        old, new = definitions(before), definitions(after)
    except SyntaxError:
        return ()
    changed = {name for name in {*old, *new} if old.get(name) != new.get(name)}
    names = sorted(name for name in changed if (path, name) in used)
    return [*names, *(["its declarations"] if DECLARED in changed else [])]


class Reloader(TwistedService):
    """Replaces the app servers when the source of the service changes.

    :param runtime: what the login server of this process stands on.
    :param controller: the fleet's.
    :param name: the command, for the developer.
    """

    def __init__(
        self,
        runtime: Runtime,
        controller: FleetController,
        watcher: SourceWatcher,
        say: Say,
        name: str,
    ) -> None:
        self._run, self._wall = runtime.database.run, runtime.wall
        self._reactor: Any = runtime.reactor
        self._config = runtime.config
        self._used = used_by_login_server(runtime.service)
        self._controller, self._watcher, self._say, self._name = controller, watcher, say, name
        self._ended = Event()
        self._is_replacing = self._again = False

    def startService(self) -> None:
        TwistedService.startService(self)
        Thread(target=self._watch, name="source-watcher", daemon=True).start()

    def stopService(self) -> None:
        TwistedService.stopService(self)
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL):
            change = self._watcher.look()
            if change is not None:
                self._reactor.callFromThread(self.note, change)

    def note(self, change: Change) -> None:
        """Act on a change of the source."""
        if not self.running:
            return
        if change.mistake:
            self._say(f"{change.mistake}. The app servers keep the old code.")
            return
        for path in change.paths:
            before = self._watcher.sources.get(path, "")
            kept = kept_by_login_server(path, before, _read(path), self._used)
            if kept:
                names = ", ".join(kept)
                self._say(
                    f"{path}: the login server keeps the old code of {names} until {self._name} is"
                    " started again."
                )
        self._again = True
        if not self._is_replacing:
            self._is_replacing = True
            replaced = Deferred.fromCoroutine(self._replace_while_changing())
            replaced.addErrback(
                lambda failure: _log.failure("app servers were not replaced", failure=failure)
            )

    async def _replace_while_changing(self) -> None:
        try:
            while self._again and self.running:
                self._again = False
                await self._replace()
        finally:
            self._is_replacing = False

    async def _replace(self) -> None:
        began = self._reactor.seconds()
        try:
            old = await self._run(serving)
            new, reason = await self._launch(len(old))
            for server in new if reason else old:
                with suppress(fleet_admin.NoSuchServer):  # It has ended.
                    await self._run(fleet_admin.ask_drain, server)
            self._controller.look_soon()
            while self.running and not reason and await self._run(people_on, old):
                await deferLater(self._reactor, LOOK)
        except Unavailable as error:
            reason = str(error)
        if reason:
            self._say(f"The app servers keep the old code: {reason}")
            return
        took = self._reactor.seconds() - began
        self._say(f"New code: {len(new)} app server{'s' * (len(new) != 1)} in {took:.1f} s.")

    async def _launch(self, count: int) -> tuple[Sequence[str], str]:
        """Launch app servers, and wait until all serve; returns their ids, and why they must not
        replace others, "" if they may."""
        new: list[str] = []
        app, fleet = self._config.app, self._config.fleet
        try:
            for _ in range(count):
                most, now = fleet.maximum, self._wall()
                new.append(await self._run(fleet_admin.ask_launch, app.capacity, most, now))
        except fleet_admin.FleetFull as error:
            return new, str(error)
        return new, "" if await self._serve(new) else "the new ones do not start."

    async def _serve(self, servers: Sequence[str]) -> bool:
        """Wait until all `servers` serve; False once one of them has ended instead."""
        self._controller.look_soon()
        while self.running:
            states = await self._run(states_of, servers)
            if any(state in (State.LOST, State.GONE) for state in states):
                return False
            if all(state is State.READY for state in states):
                return True
            await deferLater(self._reactor, LOOK)
        return False


@read_only
def serving() -> Sequence[str]:
    """The ids of the servers that serve, or will."""
    states = (State.LAUNCHING, State.READY)
    rows = Server.select(Server.id).where(
        Server.state.in_(states) & (Server.drain_asked == False)  # noqa: E712
    )
    return [row.id for row in rows]


@read_only
def people_on(ids: Sequence[str]) -> int:
    """The number of people on servers."""
    return sum(row.taken for row in Server.select(Server.taken).where(Server.id.in_(ids)))


@read_only
def states_of(ids: Sequence[str]) -> Sequence[State]:
    """The states of servers; one without a row is gone."""
    found = {row.id: State(row.state) for row in Server.select().where(Server.id.in_(ids))}
    return [found.get(each, State.GONE) for each in ids]
