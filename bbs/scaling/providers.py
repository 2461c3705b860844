"""Where app servers come from: the providers that are installed, and what each is given.

Somebody who starts app servers in another way names a `Provider` in the entry-point group
`bbs.providers` of a package of their own; `fleet.provider` then takes its name. Those of this
package, `local`, `none` and `ec2`, are declared alike. Whoever reads a configuration imports these
declarations, so what does the work is imported when it is needed.

A login server has `make_provider` make its own. The command, the configuration and the environment
of app servers are made here as well.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from inspect import isawaitable
from types import MappingProxyType
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from bbs.config import ConfigError, Configuration, to_toml
from bbs.config.sections import installed_providers
from bbs.config.settings import keys_of
from bbs.core import tracing
from bbs.core.addresses import ListeningPlace
from bbs.core.clock import IReactor
from bbs.core.plugins import Plugin
from bbs.core.values import Instance
from bbs.rules.fleets import FleetIdentity
from bbs.rules.membership import Member
from bbs.scaling.data_folder import Unusable, make_private, write_privately
from bbs.scaling.interfaces import IKeepsWarm, IProvider, LaunchRefused

SQLITE = "sqlite:///"

_log = Logger()


@dataclass(frozen=True)
class LaunchKit:
    """What a provider is made of.

    :param reactor: the login server's.
    :param section: the provider's section of the configuration, an instance of its class; None
        where it has none.
    :param scope: what `IProvider.scope` may be where the launches end with this process:
        `NAME:<process identity>`.
    :param command: the argument list that runs an app server on this machine, from the id that it
        is launched under. There is no secret in it. Its standard input is to be a pipe to which
        nobody writes and whose other end this process alone has: the app server ends with it.
    :param environment: the whole environment of such a process.
    :param configuration: the TOML text that the option `--config` of `twistd NAME-app` names, for a
        provider that runs it elsewhere, from the id of the launch. It has secrets in it.
    :param on_stop: takes a function, and calls it when the login server stops, after the provider
        has; a Deferred that it returns is waited for.
    :param service_name: the NAME in `twistd NAME-app`.
    :param host: what `Instance.host` should be for an app server that `command` runs.
    :param data_folder: where this login server keeps its files.
    :param only_here: the keys (`database.url`, `broker.url`) whose values only processes on this
        machine can use.
    :param logs_kept: of how many app servers that have ended the logs stay, if the provider has
        these.
    :param fleet_id: which fleet this is, 16 hex digits. A provider whose launches outlive this
        process marks each with it, and lists those that have this mark: another fleet, of a copy of
        the database for one, may launch in the same place.
    :param other_ids: what has one of these marks is this fleet's as well: it launched so while it
        was taken for a copy.
    :param former: whether there may be launches of a version that knew of no such ids.
    :param traceparent: of which trace a launch is part, from its id: what its app server is to find
        in its environment as `TRACEPARENT`. "" for none, and then there is to be no such variable.
    """

    reactor: Any  # An `IReactor`; other people's providers type-check against this.
    section: Any
    scope: str
    command: Callable[[str], Sequence[str]]
    environment: Mapping[str, str]
    configuration: Callable[[str], str]
    on_stop: Callable[[Callable[[], Any]], None]
    _: KW_ONLY
    service_name: str = "bbs"
    host: str = ""
    data_folder: str = "."
    only_here: tuple[str, ...] = ()
    logs_kept: int = 5
    fleet_id: str = ""
    other_ids: tuple[str, ...] = ()
    former: bool = False
    traceparent: Callable[[str], str] = lambda launch_id: ""


@dataclass(frozen=True)
class Provider:
    """A way to start app servers.

    :param name: what `fleet.provider` calls it, and the name of its section: small letters and
        digits.
    :param section: a frozen dataclass of `setting`s; None for a provider without a section. If it
        has a method `check`, that is called when the provider is the one in use, and a ValueError
        of it is told to the operator.
    :param make: makes the `IProvider`, not started; it may be a coroutine function. It may raise
        `LaunchRefused`, whose text is told to the operator instead of a start.
    :param launches: whether it ever launches anything.
    :param here: whether it runs `LaunchKit.command`, for which a file is written.
    :param warms: whether what it makes can stop machines and start them again (`IKeepsWarm`), as
        `fleet.warm` needs.
    :param check: looks at all that `make` may refuse because of the configuration alone, without
        the network, for `bbs config check`. It blocks, and raises as `make` does; the kit that it
        is given can launch nothing.
    :raises ValueError: the name is none.
    :raises TypeError: the section is none.
    """

    name: str
    section: type[Any] | None
    make: Callable[[LaunchKit], IProvider | Awaitable[IProvider]]
    _: KW_ONLY
    launches: bool = True
    here: bool = True
    warms: bool = False
    check: Callable[[LaunchKit], object] | None = None

    @property
    def outlives(self) -> bool:
        """Whether its app servers go on when the login server that launched them has ended."""
        return self.launches and not self.here

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z][a-z0-9]*", self.name):
            raise ValueError(f"a provider's name is small letters and digits, not {self.name!r}")
        if self.section is not None:
            keys_of(self.section)


def _make_local(kit: LaunchKit) -> IProvider:
    from bbs.scaling.local import LocalProvider

    return LocalProvider(kit, own_logs=True)


def _make_none(kit: LaunchKit) -> IProvider:
    return NoProvider(kit.service_name)


local = Provider("local", None, _make_local)
"""App servers as child processes."""

by_hand = Provider("none", None, _make_none, launches=False, here=False)
"""App servers that operators run themselves."""


def named(name: str) -> tuple[Plugin, Provider]:
    """The provider that `fleet.provider` calls `name`, and where it comes from.

    :raises ConfigError: there is none.
    :raises PluginUnusable: one that is installed cannot be used.
    """
    for plugin, provider in installed_providers():
        if provider.name == name:
            return plugin, provider
    raise ConfigError(f"fleet.provider: there is no provider {name!r}")


def check(config: Configuration, service_name: str) -> None:
    """Have the provider that the configuration wants check it, for `bbs config check`: without the
    network and without a login server. It blocks.

    :raises ConfigError: something in the configuration is no use for this provider.
    :raises LaunchRefused: the provider says so.
    :raises PluginUnusable: one that is installed cannot be used.
    """
    _, provider = named(config.fleet.provider)
    _check_warm(config, provider)
    if provider.check is None:
        return
    text = configuration_text(config, config.broker.url, config.app.listen)

    def nothing_runs(server_id: str) -> list[str]:
        raise LookupError("nothing is launched to check a configuration")

    provider.check(
        LaunchKit(
            None,
            config.sections().get(provider.name),
            f"{provider.name}:check",
            nothing_runs,
            {},
            lambda server_id: text,
            lambda stop: None,
            service_name=service_name,
            only_here=only_here(config),
        )
    )


async def make_provider(
    config: Configuration,
    brokers: tuple[str, ...],
    me: Member,
    data_folder: str,
    reactor: IReactor,
    in_thread: Callable[..., Deferred[Any]],
    on_stop: Callable[[Callable[[], Any]], None],
    fleet: FleetIdentity,
    service_name: str = "bbs",
    traces: Mapping[str, str] = MappingProxyType({}),
) -> IProvider:
    """The provider of the login server `me`, not started, as the configuration wants it.

    :param brokers: where the broker is, the embedded one too.
    :param in_thread: does blocking work.
    :param on_stop: takes what is to be called, in the order last to first, when the server stops.
    :param fleet: which one it is to launch for.
    :param traces: of which trace a launch is part, by its id, as far as it is of one.
    :raises ConfigError: something in the configuration is no use for this provider.
    :raises LaunchRefused: the provider says so, or a file cannot be written.
    :raises PluginUnusable: what the provider made is none.
    """
    plugin, provider = named(config.fleet.provider)
    _check_warm(config, provider)
    nearby = (config.app.listen[0], config.login.listen[0])
    listen = (ListeningPlace.on_free_port(*nearby),) if provider.here else config.app.listen
    text = configuration_text(config, brokers, listen)
    path = os.path.join(data_folder, "run", f"app-{me.id}.toml")
    if provider.here and provider.launches:
        try:
            mended = await in_thread(make_private, data_folder, service_name)
            await in_thread(write_privately, path, text)
        except Unusable as error:
            raise LaunchRefused(str(error)) from error
        except OSError as error:
            raise LaunchRefused(f"cannot write {path}: {error.strerror}") from error
        if mended:
            _log.warn("others could read {paths}; now they cannot", paths=", ".join(mended))
        on_stop(lambda: in_thread(os.unlink, path))

    def command_for(server_id: str) -> list[str]:
        if not provider.here:
            raise LookupError(f"the provider {provider.name} was declared with here=False")
        return command(path, server_id, service_name, config.log.security)

    # Before the provider is started, so that these run after it has stopped, whenever it asks.
    stops = _Stops()
    on_stop(stops.run)
    made = provider.make(
        LaunchKit(
            reactor,
            config.sections().get(provider.name),
            f"{provider.name}:{me.identity}",
            command_for,
            environment(os.environ),
            lambda server_id: text,
            stops.add,
            service_name=service_name,
            host=nearby[0].interface or nearby[1].interface,
            data_folder=data_folder,
            only_here=only_here(config),
            logs_kept=config.log.keep,
            fleet_id=fleet.id,
            other_ids=fleet.others,
            former=fleet.former,
            traceparent=lambda server_id: traces.get(server_id, ""),
        )
    )
    if isawaitable(made):
        made = await made
    if not IProvider.providedBy(made):
        raise plugin.unusable(f"it made {made!r}, which is no IProvider")
    if provider.warms and not IKeepsWarm.providedBy(made):
        raise plugin.unusable(f"it made {made!r}, which is no IKeepsWarm")
    return made


def _check_warm(config: Configuration, provider: Provider) -> None:
    if config.fleet.warm and not provider.warms:
        raise ConfigError(
            f"fleet.warm: the provider {provider.name} cannot keep stopped servers: set it to 0"
        )


class _Stops:
    """Calls functions at the end, last to first, whatever becomes of the others."""

    def __init__(self) -> None:
        self._stops: list[Callable[[], Any]] = []

    def add(self, stop: Callable[[], Any]) -> None:
        self._stops.append(stop)

    def run(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        while self._stops:
            with _log.failuresHandled("a part of the provider did not stop well"):
                await maybeDeferred(self._stops.pop())


@implementer(IProvider)
class NoProvider(Service):
    """The provider of a fleet whose app servers an operator runs by hand: refuses every launch."""

    scope = "none"
    shared = False
    when_changed: Callable[[], None] | None = None

    def __init__(self, service_name: str = "bbs") -> None:
        self._service_name = service_name

    def launch(self, launch_id: str) -> Deferred[None]:
        """Refuse the launch."""
        how = f"run twistd {self._service_name}-app yourself"
        return fail(LaunchRefused(f"fleet.provider is none: {how}"))

    def list(self) -> Deferred[Mapping[str, Instance]]:
        """Nothing."""
        return succeed({})

    def terminate(self, launch_id: str) -> Deferred[None]:
        """End nothing: a server whose row is gone ends by itself."""
        return succeed(None)


# What app servers are given


def command(path: str, server: str, service_name: str = "bbs", security_log: str = "") -> list[str]:
    """The command that runs the app server `server` with the configuration file `path`; it writes
    to the same `security_log` as this process, if there is one.

    Its standard input is the pipe that tells it when its parent has died.
    """
    return [
        sys.executable,
        "-c",
        "from twisted.scripts.twistd import run; run()",
        "--nodaemon",
        "--pidfile=",
        f"{service_name}-app",
        f"--config={path}",
        f"--server-id={server}",
        "--lifeline=0",
        *([f"--security-log={os.path.abspath(security_log)}"] if security_log else ()),
    ]


def configuration_text(
    config: Configuration, brokers: tuple[str, ...], listen: tuple[ListeningPlace, ...]
) -> str:
    """The configuration of app servers, in place of the file, environment and options that made
    `config`: the keys that concern them, secrets included.

    :param brokers: where the broker is, the embedded one too.
    :param listen: where they listen.
    """
    used = config.fleet.provider
    theirs = replace(
        config,
        app=replace(config.app, listen=listen),
        database=replace(config.database, url=absolute(config.database.url)),
        broker=replace(config.broker, url=brokers),
        providers={name: each for name, each in config.providers.items() if name == used},
    )
    # A server that has this key asks for metadata, which only machines on EC2 have.
    without = [] if used == "ec2" else ["ec2.address"]
    # Servers of before there were these, which an image may still have, refuse what they do not
    # know.
    if not config.tracing.endpoint:
        without += ["tracing.endpoint", "tracing.sample"]
    if config.log.format == Configuration().log.format:
        without.append("log.format")
    return to_toml(theirs, for_app_servers=True, without=without)


def only_here(config: Configuration) -> tuple[str, ...]:
    """The keys whose values only processes on this machine can use."""
    bound = {
        "database.url": config.database.url.startswith(SQLITE),
        "broker.url": config.broker.url == ("embedded",),
    }
    return tuple(key for key, is_bound in bound.items() if is_bound)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """A child's environment: without the configuration, which its file has, secrets and all, and
    without the trace of whoever began this process."""
    return {
        key: value
        for key, value in environ.items()
        if not key.startswith("BBS_") and key != tracing.VARIABLE
    }


def absolute(url: str) -> str:
    """`url`, with the path of an SQLite file made absolute: children may run elsewhere."""
    return SQLITE + os.path.abspath(url[len(SQLITE) :]) if url.startswith(SQLITE) else url
