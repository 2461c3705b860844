"""The plugins of `twistd`, which make the servers of a service.

    login = login_server(lobby)

is the module that a `twisted.application.service.ServiceMaker` names ("lobby.daemons.login"). A
plugin reads the options, loads the configuration, makes the server, and gives it its log. If the
server does not start, `twistd` prints one line and exits with 1.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple, Protocol, cast

from twisted.application.service import IService
from twisted.logger import ILogObserver
from twisted.python import usage

from bbs.commands.extensions import extended
from bbs.commands.service import Service
from bbs.config import ConfigError, Configuration, load
from bbs.core.clock import IReactor
from bbs.core.plugins import PluginUnusable
from bbs.core.values import named_version
from bbs.daemons.daemon import Daemon
from bbs.daemons.logs import (
    TWISTD_NAME,
    KeptFile,
    RepeatedFailures,
    observer_of,
    survive_hangups,
    twistd_observer,
    written_as,
)
from bbs.scaling.data_folder import default_folder

Override = tuple[str, str | None, str, str]
"""An option that overrides a key of the configuration: name, letter, help, key."""


_DATA = "Folder for the app servers' configuration and logs"


# No zope interface: a plain function provides it, with an argument that may be left out.
class MakeService(Protocol):
    """Makes a daemon as its options say. Unless given, `reactor` is the installed one."""

    def __call__(self, options: Any, reactor: IReactor | None = None) -> IService: ...


class TwistdPlugin(NamedTuple):
    """The names that twistd looks for in a daemon's module."""

    Options: type[usage.Options]
    makeService: MakeService


def login_server(service: Service) -> TwistdPlugin:
    """`twistd NAME-login`: the login server of `service`, with the fleet controller."""

    def make(options: Any, reactor: IReactor) -> Daemon:
        # Imported here, as below: the other kinds of servers need not hold MiBs of it.
        from bbs.daemons.login import LoginServerDaemon

        return LoginServerDaemon(
            service, options.configuration, options["data"], reactor, _end_process(reactor)
        )

    return _plugin(
        service,
        f"{service.name}-login",
        make,
        [
            ("listen", "l", "Endpoint to listen on", "login.listen"),
            ("database", "d", "URL of the database", "database.url"),
            ("broker", "b", "URL of the broker", "broker.url"),
        ],
        [["data", None, default_folder(service.name), _DATA]],
    )


def fleet_controller(service: Service) -> TwistdPlugin:
    """`twistd NAME-fleet`: a process that controls the fleet of `service`, and listens to nobody,
    where `fleet.controller` says so."""

    def make(options: Any, reactor: IReactor) -> Daemon:
        from bbs.daemons.fleet import FleetProcess

        return FleetProcess(
            service, options.configuration, options["data"], reactor, _end_process(reactor)
        )

    return _plugin(
        service,
        f"{service.name}-fleet",
        make,
        [
            ("database", "d", "URL of the database", "database.url"),
            ("broker", "b", "URL of the broker", "broker.url"),
        ],
        [["data", None, default_folder(service.name), _DATA]],
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
        service,
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
        service,
        f"{service.name}-telnet",
        make,
        [
            ("listen", "l", "Endpoint to listen on", "telnet.listen"),
            ("server", "s", "HOST:PORT of the login server", "telnet.server"),
        ],
    )


class DaemonOptions(usage.Options):
    """The options of a daemon, by which it loads its configuration."""

    daemon_name: ClassVar[str]
    overrides: ClassVar[Sequence[Override]]
    service: ClassVar[Service]
    configuration: Configuration

    def opt_version(self) -> None:
        """Show the version, and end."""
        print(named_version(self.service.name, self.service.release))
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse as usual; under twistd, a malformed option ends the process with 2."""
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            print(f"{self}\n{self.daemon_name}: {error}", file=sys.stderr)
            raise SystemExit(2) from error

    def postOptions(self) -> None:
        """Load the configuration; a malformed one ends the process with one line."""
        survive_hangups()
        given = {key: self[option] for option, _, _, key in self.overrides}
        try:
            sections = extended(self.service).sections
            self.configuration = load(self["config"], os.environ, given, sections)
        except (ConfigError, PluginUnusable) as error:
            raise SystemExit(f"{self.daemon_name}: {error}") from error


def _plugin(
    service: Service,
    name: str,
    make: Callable[[Any, Any], Daemon],
    overrides: Sequence[Override],
    parameters: Sequence[list[Any]] = (),
) -> TwistdPlugin:
    """The plugin of the daemon `name` of `service`. `make` makes it of its options and the reactor.

    :param parameters: options that override no key, in twistd's form.
    """

    class PluginOptions(DaemonOptions):
        optParameters: ClassVar = [
            ["config", "c", None, "Configuration file (TOML)"],
            *(
                [option, letter, None, f"{help}, instead of {key}"]
                for option, letter, help, key in overrides
            ),
            *parameters,
        ]

    PluginOptions.daemon_name, PluginOptions.overrides = name, overrides
    PluginOptions.service = service
    PluginOptions.__doc__ = (
        f"Options of `twistd {name}`; those that override the file are named as its keys."
    )

    def make_service(options: Any, reactor: IReactor | None = None) -> IService:
        if reactor is None:
            # Imported here, as nothing that a plugin of twistd imports may choose a reactor.
            from twisted.internet import reactor as installed

            reactor = cast("IReactor", installed)
        daemon = make(options, reactor)
        if options.parent is not None:
            _adapt(daemon, options, options.parent)
        return daemon

    return TwistdPlugin(PluginOptions, make_service)


def _end_process(reactor: IReactor) -> Callable[[str], None]:
    """The function for a daemon that cannot start: it prints the reason, stops, and exits with
    1."""

    def exit_with_1() -> None:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(1)

    def fail(reason: str) -> None:
        # twistd itself exits with 0 when the reactor has stopped.
        atexit.register(exit_with_1)
        reactor.callLater(0, reactor.stop)
        with suppress(OSError):  # Standard error may be a log on a full disk.
            print(reason, file=sys.__stderr__, flush=True)

    return fail


def _adapt(daemon: Daemon, options: Any, twistd: Any) -> None:
    """Prepare `daemon` by its `options` and those of `twistd`."""
    # Both an operator and the fleet may end an app server, and Twisted would log a traceback for a
    # SIGTERM that arrives while it stops.
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
            # What the interpreter prints when it crashes belongs to the same file.
            file = KeptFile(path, log.rotate.bytes, log.keep, also=(1, 2), mark=True)
            observer: ILogObserver | None = observer_of(file, line)
        else:
            observer = twistd_observer(twistd, line)
        if observer is not None:
            daemon.log_observer = RepeatedFailures(observer, daemon.reactor)
    except OSError as error:
        raise SystemExit(f"{daemon.name}: cannot write {path}: {error.strerror}") from error


def _report_to_parent(daemon: Daemon) -> None:
    """Have `daemon` report its start to the process that twistd forks it from."""
    report = StartReport(str(daemon.name))
    daemon.when_begun = report.begun
    # Later, so that the process still reads what twistd reports to it.
    daemon.when_started = lambda: daemon.reactor.callLater(0, report.started)
    on_failure = daemon.on_failure

    def fail(reason: str) -> None:
        report.failed(reason)
        on_failure(reason)

    daemon.on_failure = fail


BEGUN, STARTED = b"+", b"0"
"""The bytes of a report: the services have been told to start, and have started."""

ENDED = "ended before it had started; its log has more"


class StartReport:
    """Reports by a pipe how the start of the daemon `name` went, to the process that twistd forks
    it from. A report is made before twistd forks.

    twistd's parent process only waits until the child's services have been told to start. Ours
    start after that, one part after the other, so the parent would exit with 0 before they listen.
    Here the parent waits after twistd's fork (`os.register_at_fork`), which replaces nothing of
    twistd. The parent exits with 0 once the daemon has started, else with 1."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._parent = os.getpid()
        self._from, self._to = os.pipe()
        os.register_at_fork(after_in_parent=self._forked)

    def begun(self) -> None:
        os.close(self._from)
        self._write(BEGUN)

    def started(self) -> None:
        self._write(STARTED)
        self._close()

    def failed(self, reason: str) -> None:
        """Report why the daemon has not started, in one line; the parent prints it when this
        process has ended."""
        self._write(f"1{reason}".encode())

    def _write(self, word: bytes) -> None:
        if self._to >= 0 and os.getpid() != self._parent:
            try:
                os.write(self._to, word)
            except OSError:
                self._close()  # The parent waits no longer.

    def _close(self) -> None:
        os.close(self._to)
        self._to = -1

    def _forked(self) -> None:
        if os.getpid() != self._parent:
            return  # This is the process between, or a daemon that runs a program.
        os.close(self._to)
        report = b""
        while not report.endswith(BEGUN + STARTED) and (piece := os.read(self._from, 4096)):
            report += piece
        if report == BEGUN + STARTED:
            os._exit(0)
        if not report.startswith(BEGUN):
            os.close(self._from)
            return  # twistd itself failed, and reports that itself.
        reason = report[len(BEGUN) + 1 :].decode("utf-8", "replace")
        print(reason or f"{self._name}: {ENDED}", file=sys.__stderr__, flush=True)
        os._exit(1)
