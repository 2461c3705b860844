"""App servers as child processes on this machine.

Each launch is one process. Its standard input is a pipe that nobody writes to. The pipe ends when
this process does, however that dies, and so tells the child (`bbs.daemons.app`). Its output goes to
a log file of its own, which only this user may read; the child begins another when that is long
(`bbs.daemons.logs`). A child's end is noticed at once; it stays in `list`, not alive, until a
thousand others have ended after it.

A child holds a lock on its log (`flock`, shared) until it ends, so the logs of another login
server's children in the same folder are left alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from errno import EACCES, EISDIR, ENOENT, ENOEXEC, ENOTDIR, EPERM, EROFS

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.core import tracing
from bbs.core.clock import IReactor
from bbs.core.values import Instance
from bbs.scaling.interfaces import IKeepsLogs, IProvider, LaunchFailed, LaunchRefused
from bbs.scaling.providers import LaunchKit

# The program or the folder is wrong, so asking again does not help. It may if memory, processes or
# descriptors have run out.
_NEEDS_OPERATOR = {ENOENT, EACCES, EPERM, ENOEXEC, ENOTDIR, EISDIR, EROFS}

_LOG = re.compile(r"(app-[A-Za-z0-9_-]{1,64}\.log)(\.[0-9]+)?")
"""The log of a child, or an earlier part of it."""


@implementer(IProvider, IKeepsLogs)
class LocalProvider(Service):
    """Launches app servers as children of this process, and ends them with itself.

    A child runs the command of `kit`, which everybody on the machine can read. Its log is
    `app-<launch id>.log` in the folder `logs` of the data folder, made if missing. `grace`: seconds
    that a child has between SIGTERM and SIGKILL. `own_logs`: the command takes an option `--log
    FILE`, and the child writes its log itself. `ended_kept`: how many ended children stay in
    `list`.
    """

    shared = False
    when_changed: Callable[[], None] | None = None
    _log = Logger()

    def __init__(
        self, kit: LaunchKit, *, grace: float = 5.0, own_logs: bool = False, ended_kept: int = 1000
    ) -> None:
        self.scope = kit.scope
        self._kit = kit
        self._reactor: IReactor = kit.reactor
        self._log_folder = os.path.join(kit.data_folder, "logs")
        self._environ = dict(kit.environment)
        self._grace = grace
        self._own_logs = own_logs
        self._ended_kept = ended_kept
        self._children: dict[str, _Child] = {}

    def launch(self, launch_id: str) -> Deferred[None]:
        """Start a child. Fails with `LaunchRefused` if its program or folder is wrong."""
        if launch_id in self._children:
            return succeed(None)
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", launch_id):
            raise ValueError(f"not a launch id: {launch_id!r}")
        if not self.running:
            return fail(LaunchFailed("the provider is not running"))
        try:
            self._spawn(launch_id)
        except OSError as error:
            kind = LaunchRefused if error.errno in _NEEDS_OPERATOR else LaunchFailed
            return fail(kind(f"cannot start an app server: {error}"))
        return succeed(None)

    def list(self) -> Deferred[Mapping[str, Instance]]:
        host, children = self._kit.host, self._children.items()
        return succeed({id: Instance(id, host, each.alive, each.detail) for id, each in children})

    def terminate(self, launch_id: str) -> Deferred[None]:
        """End a child by SIGTERM, and after the grace by SIGKILL. Fires when it has exited."""
        child = self._children.get(launch_id)
        return child.end(self._reactor, self._grace) if child else succeed(None)

    def reopen_logs(self) -> None:
        if self._own_logs:
            for child in self._children.values():
                child.hang_up()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        ends = [self.terminate(launch_id) for launch_id in list(self._children)]
        return DeferredList(ends).addCallback(lambda _: None)

    def _spawn(self, launch_id: str) -> None:
        child = _Child(lambda: self._child_ended(launch_id))
        argv = self._kit.command(launch_id)
        path = os.path.join(self._log_folder, f"app-{launch_id}.log")
        if self._own_logs:
            argv = [*argv, f"--log={path}"]
        log_file = _open_log(path)
        self._children[launch_id] = child
        trace = self._kit.traceparent(launch_id)
        environ = {**self._environ, tracing.VARIABLE: trace} if trace else self._environ
        try:
            with _hangups_wait() if self._own_logs else nullcontext():
                self._reactor.spawnProcess(
                    child, argv[0], argv, environ, childFDs={0: "w", 1: log_file, 2: log_file}
                )
        except BaseException:
            del self._children[launch_id]
            raise
        finally:
            os.close(log_file)
        self._log.info("launched {server}: {detail}", server=launch_id, detail=child.detail)
        self._changed()

    def _child_ended(self, launch_id: str) -> None:
        child = self._children.pop(launch_id)
        self._log.info("{server} ended: {detail}", server=launch_id, detail=child.detail)
        # It moves to the end, behind those that ended earlier.
        self._children[launch_id] = child
        ended = [id for id, child in self._children.items() if not child.alive]
        for forgotten in ended[: -self._ended_kept]:
            del self._children[forgotten]
        with self._log.failuresHandled("could not remove old logs"):
            remove_old_logs(self._log_folder, self._kit.logs_kept)
        self._changed()

    def _changed(self) -> None:
        if self.when_changed:
            with self._log.failuresHandled("when_changed of the local provider failed"):
                self.when_changed()


@contextmanager
def _hangups_wait() -> Iterator[None]:
    """Block SIGHUP for a child that is started meanwhile, until it handles the signal
    (`bbs.daemons.logs.survive_hangups`): before, it would die of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Child(ProcessProtocol):
    """A child process: alive until the system says that it has exited."""

    alive = True
    detail = "starting"

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._waiting: list[Deferred[None]] = []
        self._kill: IDelayedCall | None = None

    def end(self, reactor: IReactor, grace: float) -> Deferred[None]:
        """Have the child end, by force once the grace is over. Fires when it has exited."""
        if not self.alive:
            return succeed(None)
        if self._kill is None:
            self.detail += ", ending"
            self._signal("TERM")
            self._kill = reactor.callLater(grace, self._signal, "KILL")
        exited: Deferred[None] = Deferred()
        self._waiting.append(exited)
        return exited

    def hang_up(self) -> None:
        if self.alive:
            self._signal("HUP")

    def connectionMade(self) -> None:
        self.detail = f"process {self._process.pid}"

    def processExited(self, reason: Failure) -> None:
        self.alive = False
        self.detail = _how_it_ended(reason)
        if self._kill and self._kill.active():
            self._kill.cancel()
        # A grandchild may hold the other end of standard input; this end is ours to close.
        self._process.loseConnection()
        self._on_end()
        waiting, self._waiting = self._waiting, []
        for exited in waiting:
            exited.callback(None)

    def _signal(self, name: str) -> None:
        # The child can exit before the reactor notices.
        with suppress(ProcessExitedAlready):
            self._process.signalProcess(name)

    @property
    def _process(self) -> IProcessTransport:
        assert self.transport is not None
        return self.transport


def _how_it_ended(reason: Failure) -> str:
    ended = reason.value
    if not isinstance(ended, ProcessTerminated):
        return "exited with 0"
    if ended.signal is None:
        return f"exited with {ended.exitCode}"
    try:
        return f"killed by {signal.Signals(ended.signal).name}"
    except ValueError:
        return f"killed by signal {ended.signal}"


def _open_log(path: str) -> int:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    log_file = os.open(path, flags, 0o600)
    os.fchmod(log_file, 0o600)
    mark_in_use(log_file)
    return log_file


def mark_in_use(descriptor: int) -> None:
    """Mark the log at `descriptor` as in use, until the last copy of the descriptor is closed."""
    with suppress(OSError):  # Some network file systems have no locks.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def remove_old_logs(folder: str, keep: int) -> None:
    """Remove the logs of ended app servers in `folder`, but for the `keep` written to last."""
    files: dict[str, list[str]] = defaultdict(list)
    for entry in os.listdir(folder):
        if matched := _LOG.fullmatch(entry):
            files[matched[1]].append(entry)
    ended = []
    for log in files:
        with suppress(OSError):  # The log is being moved, or is not ours.
            path = os.path.join(folder, log)
            if not _is_in_use(path):
                ended.append((os.lstat(path).st_mtime_ns, log))
    for _, log in sorted(ended)[: -keep or None]:
        for entry in files[log]:
            with suppress(OSError):
                os.unlink(os.path.join(folder, entry))


def _is_in_use(path: str) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
