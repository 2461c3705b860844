"""`NAME up`: the whole service in one process, with its app servers as children."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, cast

from bbs.cli import Program, port
from bbs.cli.offline import cannot_write, load_config, open_folder
from bbs.client.tls import TrustUnusable, names_in
from bbs.commands.service import Service
from bbs.config import ConfigError, Configuration
from bbs.core.addresses import Address, ListeningPlace, ServerPlace, reached_at
from bbs.core.clock import IReactor
from bbs.core.plugins import PluginUnusable
from bbs.daemons.logs import (
    KeptFile,
    RepeatedFailures,
    observer_of,
    survive_hangups,
    written_as,
)
from bbs.daemons.security_log import IN_DATA
from bbs.rules.fleet_admin import run_by_hand
from bbs.scaling.data_folder import (
    PASSWORD_FILE,
    Unusable,
    default_folder,
    write_privately,
)
from bbs.scaling.providers import Provider, named
from bbs.storage.engines import file_of, without_password

if TYPE_CHECKING:
    from bbs.daemons.composition import Runtime
    from bbs.scaling.controller import FleetController

DESCRIPTION = "Run the whole service in one process, with its app servers as children."

DEFAULT_HOST = "127.0.0.1"
LOOPBACK = "127.0.0.1"  # The operators' page, whatever DEFAULT_HOST is.
DEFAULT_PORT = 22222
TELNET_PORT = 2323
WEB_PORT = 22280


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs up` until SIGINT or SIGTERM; returns the exit code."""
    parser = program.parser("up", DESCRIPTION)
    parser.add_argument("--host", help=f"address to listen on ({DEFAULT_HOST})")
    parser.add_argument("--port", type=port, help=f"port ({DEFAULT_PORT})")
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        default=default_folder(program.name),
        help="folder of the data (%(default)s)",
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file (TOML)")
    parser.add_argument(
        "--debug",
        action="store_true",
        help="show tracebacks, slow rules and whole-table reads here; new code as it is saved",
    )
    options = parser.parse_args(argv)
    survive_hangups()
    # New files, those of children too, are for this user alone.
    os.umask(0o077)
    try:
        given = load_config(
            options.config, options.data, name=program.name, settings=program.settings
        )
        places = overrides(given, options)
        config = load_config(options.config, options.data, places, program.name, program.settings)
        launcher = named(config.fleet.provider)[1]
        lock, mended = open_folder(options.data, program.name)
        config = _with_logs(with_defaults(config, options), options)
        log = _open_log(config, options.data, program.name)
    except (ConfigError, PluginUnusable, Unusable) as error:
        return program.fail("up", error)
    with lock:
        return _Run(program.service(), config, options, log, launcher).run(mended)


def overrides(given: Configuration, options: argparse.Namespace) -> dict[str, object]:
    """Overrides of the `given` configuration by the address and port in the options, whose defaults
    are set here. A login server with TLS keeps it, and its key; without, only an interface that is
    named is listened at, and else the loopback's."""
    wanted = (options.host or "").strip("[]")  # As URLs have IPv6 addresses.
    secure = next((place for place in given.login.listen if place.is_tls), None)
    place = secure or given.login.listen[0]
    options.host = wanted or (not secure and place.interface) or DEFAULT_HOST
    options.port = options.port or place.port or DEFAULT_PORT
    login, app = ListeningPlace.at(options.host, options.port), given.app.listen[0]
    if secure is not None:
        login = secure.moved(wanted or secure.interface, options.port)
    apps = ListeningPlace.at(login.interface if secure else options.host, 0)
    if secure is not None or app.is_tls:
        apps = (app if app.is_tls else login).moved(apps.interface, 0)
    return {"login.listen": str(login), "app.listen": str(apps)}


def _own_server(config: Configuration, options: argparse.Namespace) -> ServerPlace:
    """The login server, as its own gateway reaches it; with TLS, the gateway trusts only that
    server's certificate, whoever signed it."""
    place = config.login.listen[0]
    if not place.is_tls:
        return ServerPlace(Address(reached_at(options.host), options.port))
    try:
        names = names_in(place.certificate)
    except TrustUnusable as error:
        raise ConfigError(f"login.listen: {error}") from error
    address = Address(reached_at(place.interface), options.port)
    return ServerPlace(address, True, os.path.abspath(place.certificate), names[0])


def with_defaults(config: Configuration, options: argparse.Namespace) -> Configuration:
    """Add to `config` the defaults of a `bbs up`: a telnet gateway that its login server trusts,
    and the operators' page on loopback. `telnet.listen` and `web.listen` take precedence."""
    given = {key for key, source in config.sources.items() if source != "default"}
    secret = config.telnet.secret or secrets.token_urlsafe()
    telnet = replace(config.telnet, server=str(_own_server(config, options)), secret=secret)
    if "telnet.listen" not in given:
        port = TELNET_PORT if options.port != TELNET_PORT else 0
        telnet = replace(telnet, listen=(ListeningPlace.at(options.host, port),))
    web = config.web
    if "web.listen" not in given:
        port = WEB_PORT if options.port != WEB_PORT else 0
        web = replace(web, listen=(ListeningPlace.at(LOOPBACK, port),))
    if web.listen and "web.password_file" not in given:
        web = replace(web, password_file=_operators_password(options.data))
    # Its login server has the controller: there are no other processes.
    fleet = replace(config.fleet, controller=Configuration().fleet.controller)
    return replace(config, telnet=telnet, web=web, fleet=fleet)


def second_choice(
    config: Configuration, options: argparse.Namespace
) -> dict[ListeningPlace, ListeningPlace]:
    """Where to listen if a default address is in use, as by another `bbs up` on this machine."""
    return {
        place: ListeningPlace.at(host, 0)
        for key, places, host in (
            ("telnet.listen", config.telnet.listen, options.host),
            ("web.listen", config.web.listen, LOOPBACK),
        )
        if config.sources[key] == "default"
        for place in places
    }


def _operators_password(folder: str) -> str:
    """The path of the operators' password, which is generated once."""
    path = os.path.join(folder, PASSWORD_FILE)
    try:
        if not os.path.exists(path):
            # Written as a whole: half a password would disable the page at every later start.
            new = f"{path}.{os.getpid()}"
            write_privately(new, secrets.token_urlsafe(12) + "\n")
            os.replace(new, path)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return path


def _with_logs(config: Configuration, options: argparse.Namespace) -> Configuration:
    """Add to `config` a security log in the data folder, unless it names one."""
    folder = os.path.join(options.data, os.path.dirname(IN_DATA))
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise cannot_write(options.data, error) from error
    path = config.log.security or os.path.join(options.data, IN_DATA)
    return replace(config, log=replace(config.log, security=path))


def _open_log(config: Configuration, folder: str, name: str) -> KeptFile:
    path = os.path.join(folder, f"{name}.log")
    try:
        return KeptFile(path, config.log.rotate.bytes, config.log.keep)
    except OSError as error:
        raise cannot_write(folder, error) from error


class _Run:
    """One run of the whole service, and what it says meanwhile."""

    def __init__(
        self,
        service: Service,
        config: Configuration,
        options: argparse.Namespace,
        log: KeptFile,
        launcher: Provider,
    ) -> None:
        # Imported here, as a configuration that is wrong needs none of it.
        from twisted.internet import reactor

        from bbs.cli.status_lines import LineWriter
        from bbs.daemons.login import LoginServerDaemon
        from bbs.daemons.telnet import TelnetGateway

        self._name = service.name
        self._config, self._options, self._log = config, options, log
        self._launcher = launcher
        self._reactor = cast("IReactor", reactor)
        self._has_failed = False
        self._unread: BrokenPipeError | None = None
        self._lines = LineWriter()
        self._login_server = LoginServerDaemon(
            service, config, options.data, self._reactor, self._fail
        )
        self._gateway = TelnetGateway(service, config, self._reactor, self._fail)
        self._gateway.first = self._login_server

    def run(self, mended: Sequence[str]) -> int:
        """Serve until a signal; returns the exit code. `mended` has the paths that others could
        read until now.

        :raises BrokenPipeError: nobody reads the address of the service.
        """
        self._begin_logging(mended)
        if self._options.debug:
            self._begin_debugging()
        self._login_server.serving.addCallback(self._announce)
        self._login_server.when_started = self._report
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        for server in (self._login_server, self._gateway):
            server.name = f"{self._name} up"
            server.second_choice = second_choice(self._config, self._options)
            self._reactor.callWhenRunning(server.startService)
            self._reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
        self._print(f"{self._name} keeps {_kept(self._config, self._options.data)}")
        if not self._launcher.launches:
            self._print(run_by_hand(self._name))
        self._reactor.run()
        self._say("has stopped. All data is kept: the next start goes on with it.")
        self._lines.end()
        if self._unread:
            raise self._unread
        return int(self._has_failed)

    def _begin_logging(self, mended: Sequence[str]) -> None:
        from twisted.logger import Logger, globalLogBeginner

        speaker = self._login_server.speaker
        line = written_as(self._config.log.format, lambda: replace(speaker(), kind="up"))
        observer = RepeatedFailures(observer_of(self._log, line), self._reactor)
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
        if mended:
            paths = ", ".join(mended)
            Logger("bbs.cli.up").warn("others could read {paths}; now they cannot", paths=paths)

    def _fail(self, reason: str) -> None:
        self._has_failed = True
        self._reactor.callLater(0, self._reactor.stop)
        with suppress(OSError):  # Standard error may be a file on a full disk.
            print(reason, file=sys.stderr, flush=True)

    def _announce(self, _: object) -> None:
        if self._has_failed:
            return
        page, telnet = self._login_server.page_address, self._gateway.address
        try:
            self._print(*_addresses(self._name, self._config, self._options, page, telnet))
        except BrokenPipeError as error:  # Nobody learns where to log in.
            self._unread = error
            self._reactor.stop()

    def _print(self, *lines: str) -> None:
        """Print `lines`, as far as that goes: without its terminal, or with its output on a full
        disk, the service runs all the same. Raises `BrokenPipeError`."""
        try:
            print(*lines, sep="\n", flush=True)
        except BrokenPipeError:
            raise
        except OSError:
            pass

    def _report(self) -> None:
        from bbs.cli.status_lines import StatusReport

        base, controller = self._login_server.base, self._login_server.controller
        if base and controller:
            say = partial(self._lines.write, sys.stderr)
            logs = os.path.join(self._options.data, "logs")
            report = StatusReport(base, self._log.path, logs, say, lambda: controller.provider_away)
            self._login_server.begin(report)
            if self._options.debug:
                self._begin_reloading(base, controller)

    def _begin_debugging(self) -> None:
        from bbs.cli.debug import DebugSocket

        DebugSocket(self._tell_developer).listen(self._reactor)

    def _begin_reloading(self, base: Runtime, controller: FleetController) -> None:
        from bbs.cli.debug import Reloader, SourceWatcher, source_of

        if not self._launcher.here:
            used = self._config.fleet.provider
            self._tell_developer(f"New code is not taken: fleet.provider is {used}.")
            return
        watcher = SourceWatcher(*source_of(base.service))
        name = f"{self._name} up"
        self._login_server.begin(Reloader(base, controller, watcher, self._tell_developer, name))

    def _tell_developer(self, text: str) -> None:
        self._lines.write(sys.stderr, f"{datetime.now():%H:%M:%S} {text}")

    def _stop(self) -> None:
        # For a second signal, Twisted would log a traceback.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        ends = ", and app servers end" if self._launcher.here else ""
        self._say(f"stops: connections are closed{ends}. This takes some seconds.")

    def _say(self, words: str) -> None:
        if not (self._has_failed or self._unread):
            self._lines.write(sys.stdout, f"{self._name} up {words}")


def _kept(config: Configuration, data: str) -> str:
    """Say where the data and the log are."""
    url, folder = config.database.url, os.path.abspath(data)
    if os.path.dirname(os.path.abspath(file_of(url) or "")) == folder:
        return f"its data and its log in {folder}"
    return f"its log in {folder}, and its data in {without_password(url)}"


def _addresses(
    name: str,
    config: Configuration,
    options: argparse.Namespace,
    page: str | None,
    telnet: tuple[str, int] | None,
) -> Iterator[str]:
    """Say where the service is, by what it is reached; programs wait for the last line."""
    if page:
        password = config.web.password_file
        yield f"operators' page: {page}{f' (password in {password})' if password else ''}"
    if telnet:
        yield "without a client: telnet {} {}".format(*telnet)
    server = ServerPlace.parse(config.telnet.server)
    way = f"--tls {server.name}" if server.tls else options.host
    yield f"{name} is ready: {name} client {way} {options.port}"
