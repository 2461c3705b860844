"""A service's daemons, for `twistd`.

    login = login_server(lobby)

is what a `twisted.application.service.ServiceMaker` names as its module ("lobby.daemons.login"): it
has `Options` and `makeService`. The daemon itself is loaded when it is made.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from twisted.application.service import IService
from twisted.python import usage

from bbs import __version__
from bbs.commands.service import Service
from bbs.config import Configuration

if TYPE_CHECKING:
    from bbs.daemons.daemon import Daemon

DATA = "{}-data"
"""The folder for what a login server keeps beside the database, unless told otherwise."""


class MakeService(Protocol):
    """Makes a daemon as its options say; `reactor` is the installed one, unless it is given."""

    def __call__(self, options: Any, reactor: Any = None) -> IService: ...


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

    def make(options: Any, reactor: Any = None) -> IService:
        from bbs.daemons.daemon import end_process, installed
        from bbs.daemons.login import LoginServer

        reactor = installed(reactor)
        return _under_twistd(
            LoginServer(
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

    def make(options: Any, reactor: Any = None) -> IService:
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

    def make(options: Any, reactor: Any = None) -> IService:
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
        from bbs.daemons.background import tell_parent

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

    class Options(usage.Options):
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

    Options.__doc__ = (
        f"Options of `twistd {name}`; those that override the file are named as its keys."
    )
    return Options
