"""A service's daemons, for `twistd`.

    login = login_server(lobby)

is what a `twisted.application.service.ServiceMaker` names as its module ("lobby.daemons.login"): it
has `Options` and `makeService`. The daemon itself is loaded when it is made.

What `twistd` in the background ends with: 0 once its service has started, else 1.

twistd's own parent process waits until the child's services have been told to start. Ours start
after that, one part after the other, so the parent would say that all is well before they listen.
Here it waits for what the daemon itself has to say, by a pipe of its own. It begins to wait behind
the fork that is twistd's (`os.register_at_fork`), so nothing of twistd has to be replaced.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from twisted.application.service import IService
from twisted.python import usage

from bbs import __version__
from bbs.commands.service import Service
from bbs.config import Configuration
from bbs.core.clock import IReactor

if TYPE_CHECKING:
    from bbs.daemons.daemon import Daemon

DATA = "{}-data"
"""The folder for what a login server keeps beside the database, unless told otherwise."""


# No zope interface: a plain function provides it, with an argument that may be left out.
class MakeService(Protocol):
    """Makes a daemon as its options say; `reactor` is the installed one, unless it is given."""

    def __call__(self, options: Any, reactor: IReactor | None = None) -> IService: ...


class TwistdPlugin(NamedTuple):
    """What twistd asks a daemon's module for."""

    Options: type[usage.Options]
    makeService: MakeService


def login_server(service: Service) -> TwistdPlugin:
    """`twistd NAME-login`: the login server of `service`, with the fleet's keeper."""
    name = f"{service.name}-login"
    options = _options(
        name,
        [
            ["listen", "l", None, "Endpoint to listen on, instead of login.listen"],
            ["database", "d", None, "URL of the database, instead of database.url"],
            ["broker", "b", None, "URL of the broker, instead of broker.url"],
            [
                "data",
                None,
                DATA.format(service.name),
                "Folder for the app servers' configuration and logs",
            ],
        ],
        {"listen": "login.listen", "database": "database.url", "broker": "broker.url"},
    )

    def make(options: Any, reactor: IReactor | None = None) -> IService:
        from bbs.daemons.daemon import end_process, installed
        from bbs.daemons.login import LoginServerDaemon

        reactor = installed(reactor)
        return _under_twistd(
            LoginServerDaemon(
                service, options.configuration, options["data"], reactor, end_process(reactor)
            ),
            options,
        )

    return TwistdPlugin(options, make)


def app_server(service: Service) -> TwistdPlugin:
    """`twistd NAME-app`: an app server of `service`."""
    name = f"{service.name}-app"
    options = _options(
        name,
        [
            ["server-id", "i", None, "Id under which the fleet launched this server"],
            [
                "lifeline",
                None,
                None,
                "Descriptor of a pipe whose end means that the parent died",
                int,
            ],
            [
                "log",
                None,
                None,
                "Log file that this server keeps as log.rotate and log.keep say",
            ],
            ["security-log", None, None, "File for security events, instead of log.security"],
        ],
        {"security-log": "log.security"},
    )

    def make(options: Any, reactor: IReactor | None = None) -> IService:
        from bbs.daemons.app import AppServer
        from bbs.daemons.daemon import end_process, installed

        reactor = installed(reactor)
        return _under_twistd(
            AppServer(
                service,
                options.configuration,
                options["server-id"],
                options["lifeline"],
                reactor,
                end_process(reactor),
            ),
            options,
        )

    return TwistdPlugin(options, make)


def telnet_gateway(service: Service) -> TwistdPlugin:
    """`twistd NAME-telnet`: a telnet gateway to `service`."""
    name = f"{service.name}-telnet"
    options = _options(
        name,
        [
            ["listen", "l", None, "Endpoint to listen on, instead of telnet.listen"],
            ["server", "s", None, "HOST:PORT of the login server, instead of telnet.server"],
        ],
        {"listen": "telnet.listen", "server": "telnet.server"},
    )

    def make(options: Any, reactor: IReactor | None = None) -> IService:
        from bbs.daemons.daemon import end_process, installed
        from bbs.daemons.telnet import TelnetGateway

        reactor = installed(reactor)
        return _under_twistd(
            TelnetGateway(service, options.configuration, reactor, end_process(reactor)), options
        )

    return TwistdPlugin(options, make)


def _under_twistd(daemon: Daemon, options: Any) -> IService:
    """`daemon` as its `options` and those of twistd want it."""
    twistd = options.parent
    if twistd is not None and not (twistd["nodaemon"] or twistd["debug"]):
        tell_parent(daemon)
    return _logging(daemon, options)


def _logging(daemon: Daemon, options: Any) -> IService:
    """`daemon`, which logs as its `options` and those of twistd want it."""
    twistd = options.parent
    if twistd is None or twistd["logger"]:
        return daemon
    from bbs.daemons import log_files, log_lines

    log = daemon.config.log
    line = log_lines.written_as(log.format, daemon.speaker)
    path = options.get("log") or twistd["logfile"] or log_files.TWISTD_NAME
    try:
        if options.get("log"):
            # What the interpreter says as it crashes belongs into the same file.
            file = log_files.KeptFile(path, log.rotate.bytes, log.keep, also=(1, 2), mark=True)
            daemon.log_observer = log_files.observer_of(file, line)
        else:
            daemon.log_observer = log_files.twistd_observer(twistd, line)
    except OSError as error:
        raise SystemExit(f"{daemon.name}: cannot write {path}: {error.strerror}") from error
    return daemon


def _options(
    name: str, parameters: Sequence[list[Any]], keys: Mapping[str, str]
) -> type[usage.Options]:
    """The options of the daemon `name`; `keys` are those that override one of the configuration."""

    class DaemonOptions(usage.Options):
        optParameters: ClassVar = [["config", "c", None, "Configuration file (TOML)"], *parameters]
        configuration: Configuration

        def opt_version(self) -> None:
            """Show the version, and end."""
            print(f"bbs {__version__}")
            raise SystemExit(0)

        def parseOptions(self, options: Sequence[str] | None = None) -> None:
            """As ever; under twistd, what is no option ends the process with 2."""
            try:
                usage.Options.parseOptions(self, options)
            except usage.UsageError as error:
                if self.parent is None:
                    raise
                print(f"{self}\n{name}: {error}", file=sys.stderr)
                raise SystemExit(2) from error

        def postOptions(self) -> None:
            """Load the configuration; one that is wrong ends the process with one line."""
            from bbs.daemons.daemon import load_or_exit
            from bbs.daemons.log_files import survive_hangups

            survive_hangups()
            given = {key: self[option] for option, key in keys.items()}
            self.configuration = load_or_exit(name, self["config"], given)

    DaemonOptions.__doc__ = (
        f"Options of `twistd {name}`; those that override the file are named as its keys."
    )
    return DaemonOptions


BEGUN = b"+"
"""What is said first, when the services have been told to start."""

STARTED = b"0"

ENDED = "ended before it had started; its log has more"


class Word:
    """What a daemon has to say to the process that started it, if that is another.

    It is made before twistd forks; `name` is the daemon's.
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


def tell_parent(daemon: Daemon) -> None:
    """Have `daemon` say how its start went to the process that twistd forks it from."""
    word = Word(str(daemon.name))
    daemon.when_begun = word.begun
    # Not before twistd has told that process something itself, which else would be gone.
    daemon.when_started = lambda: daemon.reactor.callLater(0, word.started)
    on_failure = daemon.on_failure

    def fail(reason: str) -> None:
        word.failed(reason)
        on_failure(reason)

    daemon.on_failure = fail
