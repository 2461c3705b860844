"""The plugins of `twistd`, which make the servers of a service.

    login = login_server(lobby)

is what a `twisted.application.service.ServiceMaker` names as its module ("lobby.daemons.login").
A plugin reads the options, loads the configuration, makes the server, gives it its log, and has the
command `twistd` end with 1 and one line where the server does not start.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, cast

from twisted.application.service import IService
from twisted.python import usage

from bbs import __version__
from bbs.commands.service import Service
from bbs.config import ConfigError, Configuration, load
from bbs.core.clock import IReactor
from bbs.daemons.daemon import Daemon
from bbs.daemons.logs import (
    TWISTD_NAME,
    KeptFile,
    observer_of,
    survive_hangups,
    twistd_observer,
    written_as,
)

DATA = "{}-data"
"""The folder for what a login server keeps beside the database, unless told otherwise."""


# No zope interface: a plain function provides it, with an argument that may be left out.
class MakeService(Protocol):
    """Makes a daemon as its options say; `reactor` is the installed one, unless it is given."""

    def __call__(self, options: Any, reactor: IReactor | None = None) -> IService: ...


class TwistdPlugin(NamedTuple):
    """The names that twistd takes from a daemon's module."""

    Options: type[usage.Options]
    makeService: MakeService


def login_server(service: Service) -> TwistdPlugin:
    """`twistd NAME-login`: the login server of `service`, with the fleet's keeper."""

    def make(options: Any, reactor: IReactor) -> Daemon:
        # Here, and so below: a server of one kind need not hold what the others import, MiBs of it.
        from bbs.daemons.login import LoginServerDaemon

        return LoginServerDaemon(
            service, options.configuration, options["data"], reactor, _end_process(reactor)
        )

    return _plugin(
        f"{service.name}-login",
        make,
        [
            ("listen", "l", "Endpoint to listen on", "login.listen"),
            ("database", "d", "URL of the database", "database.url"),
            ("broker", "b", "URL of the broker", "broker.url"),
        ],
        [
            [
                *("data", None, DATA.format(service.name)),
                "Folder for the app servers' configuration and logs",
            ]
        ],
    )


def app_server(service: Service) -> TwistdPlugin:
    """`twistd NAME-app`: an app server of `service`."""

    def make(options: Any, reactor: IReactor) -> Daemon:
        from bbs.daemons.app import AppServer

        return AppServer(
            service,
            options.configuration,
            options["server-id"],
            options["lifeline"],
            reactor,
            _end_process(reactor),
        )

    lifeline = "Descriptor of a pipe whose end means that the parent died"
    return _plugin(
        f"{service.name}-app",
        make,
        [("security-log", None, "File for security events", "log.security")],
        [
            ["server-id", "i", None, "Id under which the fleet launched this server"],
            ["lifeline", None, None, lifeline, int],
            ["log", None, None, "Log file that this server keeps as log.rotate and log.keep say"],
        ],
    )


def telnet_gateway(service: Service) -> TwistdPlugin:
    """`twistd NAME-telnet`: a telnet gateway to `service`."""

    def make(options: Any, reactor: IReactor) -> Daemon:
        from bbs.daemons.telnet import TelnetGateway

        return TelnetGateway(service, options.configuration, reactor, _end_process(reactor))

    return _plugin(
        f"{service.name}-telnet",
        make,
        [
            ("listen", "l", "Endpoint to listen on", "telnet.listen"),
            ("server", "s", "HOST:PORT of the login server", "telnet.server"),
        ],
    )


def _plugin(
    name: str,
    make: Callable[[Any, Any], Daemon],
    overrides: Sequence[tuple[str, str | None, str, str]],
    parameters: Sequence[list[Any]] = (),
) -> TwistdPlugin:
    """The plugin of the daemon `name`, which `make` makes of its options and the reactor.

    :param overrides: options that override a key of the configuration: name, letter, help, key.
    :param parameters: other options, as twistd wants them.
    """
    instead = [
        [option, letter, None, f"{help}, instead of {key}"]
        for option, letter, help, key in overrides
    ]

    class DaemonOptions(usage.Options):
        optParameters: ClassVar = [
            ["config", "c", None, "Configuration file (TOML)"],
            *instead,
            *parameters,
        ]
        configuration: Configuration

        def opt_version(self) -> None:
            """Show the version, and end."""
            print(f"bbs {__version__}")
            raise SystemExit(0)

        def parseOptions(self, options: Sequence[str] | None = None) -> None:
            """Parse as usual; under twistd, a malformed option ends the process with 2."""
            try:
                usage.Options.parseOptions(self, options)
            except usage.UsageError as error:
                if self.parent is None:
                    raise
                print(f"{self}\n{name}: {error}", file=sys.stderr)
                raise SystemExit(2) from error

        def postOptions(self) -> None:
            """Load the configuration; one that is wrong ends the process with one line."""
            survive_hangups()
            given = {key: self[option] for option, _, _, key in overrides}
            try:
                self.configuration = load(self["config"], os.environ, given)
            except ConfigError as error:
                raise SystemExit(f"{name}: {error}") from error

    DaemonOptions.__doc__ = (
        f"Options of `twistd {name}`; those that override the file are named as its keys."
    )

    def make_service(options: Any, reactor: IReactor | None = None) -> IService:
        if reactor is None:
            # Here, as nothing that a plugin of twistd imports may choose one.
            from twisted.internet import reactor as installed

            reactor = cast("IReactor", installed)
        daemon = make(options, reactor)
        if options.parent is not None:
            _adapt(daemon, options, options.parent)
        return daemon

    return TwistdPlugin(DaemonOptions, make_service)


def _end_process(reactor: IReactor) -> Callable[[str], None]:
    """Make what a daemon calls when it cannot start: it says why, stops, and exits with 1."""

    def fail(reason: str) -> None:
        print(reason, file=sys.__stderr__, flush=True)
        # twistd always exits with 0 when the reactor has stopped by itself.
        atexit.register(_exit, 1)
        reactor.callLater(0, reactor.stop)

    return fail


def _exit(code: int) -> None:
    sys.stdout.flush()
    os._exit(code)


def _adapt(daemon: Daemon, options: Any, twistd: Any) -> None:
    """Have `daemon` live as its `options` and those of `twistd` want it."""
    # Both an operator and the fleet may end an app server, and Twisted logs a traceback of a
    # SIGTERM that comes while it stops.
    daemon.reactor.addSystemEventTrigger(
        "before", "shutdown", signal.signal, signal.SIGTERM, signal.SIG_IGN
    )
    if not (twistd["nodaemon"] or twistd["debug"]):
        _report_to_parent(daemon)
    if twistd["logger"]:
        return
    log = daemon.config.log
    line = written_as(log.format, daemon.speaker)
    path = options.get("log") or twistd["logfile"] or TWISTD_NAME
    try:
        if options.get("log"):
            # What the interpreter says as it crashes belongs into the same file.
            file = KeptFile(path, log.rotate.bytes, log.keep, also=(1, 2), mark=True)
            daemon.log_observer = observer_of(file, line)
        else:
            daemon.log_observer = twistd_observer(twistd, line)
    except OSError as error:
        raise SystemExit(f"{daemon.name}: cannot write {path}: {error.strerror}") from error


def _report_to_parent(daemon: Daemon) -> None:
    """Have `daemon` say how its start went to the process that twistd forks it from."""
    report = StartReport(str(daemon.name))
    daemon.when_begun = report.begun
    # Not before twistd has told that process something itself, which else would be gone.
    daemon.when_started = lambda: daemon.reactor.callLater(0, report.started)
    on_failure = daemon.on_failure

    def fail(reason: str) -> None:
        report.failed(reason)
        on_failure(reason)

    daemon.on_failure = fail


BEGUN = b"+"
"""The first byte of a report, sent when the services have been told to start."""

STARTED = b"0"

ENDED = "ended before it had started; its log has more"


class StartReport:
    """Reports by a pipe, to the process that twistd forks a daemon from, how its start went.

    twistd's own parent process waits until the child's services have been told to start. Ours start
    after that, one part after the other, so the parent would say that all is well before they
    listen. Here the parent begins to wait behind the fork that is twistd's (`os.register_at_fork`),
    so nothing of twistd has to be replaced. The parent ends with 0 once the daemon has started,
    else with 1. A report is made before twistd forks; `name` is the daemon's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._parent = os.getpid()
        self._from, self._to = os.pipe()
        os.register_at_fork(after_in_parent=self._forked)

    def begun(self) -> None:
        """The daemon has been told to start."""
        os.close(self._from)
        self._say(BEGUN)

    def started(self) -> None:
        """The daemon has started."""
        self._say(STARTED)
        self._close()

    def failed(self, reason: str) -> None:
        """The daemon has not started, for a reason in one line; the parent is told all of it when
        this process has ended."""
        self._say(f"1{reason}".encode())

    def _say(self, word: bytes) -> None:
        if self._to >= 0 and os.getpid() != self._parent:
            try:
                os.write(self._to, word)
            except OSError:
                self._close()  # Nobody waits any more.

    def _close(self) -> None:
        os.close(self._to)
        self._to = -1

    # In the process that waits

    def _forked(self) -> None:
        if os.getpid() != self._parent:
            return  # The process between, or a daemon that runs something.
        os.close(self._to)
        said = b""
        while not said.endswith(BEGUN + STARTED) and (piece := os.read(self._from, 4096)):
            said += piece
        if said == BEGUN + STARTED:
            os._exit(0)
        if not said.startswith(BEGUN):
            os.close(self._from)
            return  # It got no further than twistd, which says so itself.
        reason = said[len(BEGUN) + 1 :].decode("utf-8", "replace")
        print(reason or f"{self._name}: {ENDED}", file=sys.__stderr__, flush=True)
        os._exit(1)
