"""The providers of app servers that are installed, and what each is given.

A package with another way to start app servers names a `Provider` in the entry-point group
`bbs.providers`; `fleet.provider` then takes its name. Every program that reads a configuration
imports these declarations, so the code that does the work is imported when it is needed.

A login server calls `make_provider`, which also makes the command, the configuration and the
environment of app servers. An app server calls `make_machine`, to learn of the machine it runs on.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
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
from bbs.rules.fleet_admin import run_by_hand
from bbs.rules.fleets import FleetIdentity
from bbs.rules.membership import Member
from bbs.scaling.data_folder import Unusable, make_private, write_privately
from bbs.scaling.interfaces import IKeepsWarm, IMachine, IProvider, LaunchRefused

SQLITE = "sqlite:///"

_log = Logger()


@dataclass(frozen=True)
class LaunchKit:
    """Everything that a provider may need to launch app servers.

    :param reactor: the login server's.
    :param section: the provider's section of the configuration, an instance of its class; None if
        it has none.
    :param scope: `NAME:<process identity>`, for `IProvider.scope` if the launches end with this
        process.
    :param command: makes, from a launch's id, the argument list that runs an app server on this
        machine. The list holds no secret. The app server's standard input must be a pipe that
        nobody writes to and whose other end this process alone has: the app server ends with it.
        LookupError for a `Provider` with `here=False`.
    :param environment: the whole environment of such a process.
    :param configuration: makes, from a launch's id, the TOML text for the option `--config` of
        `twistd NAME-app`, for a provider that runs it elsewhere. The text holds secrets.
    :param on_stop: takes a function to call when the login server stops, after the provider has; a
        Deferred that the function returns is waited for.
    :param service_name: the NAME in `twistd NAME-app`.
    :param host: the `Instance.host` of an app server that `command` runs.
    :param data_folder: where this login server keeps its files.
    :param only_here: the keys (`database.url`, `broker.url`) whose values only processes on this
        machine can use.
    :param logs_kept: how many logs of ended app servers to keep, if the provider has these logs.
    :param fleet_id: which fleet this is, 16 hex digits. A provider whose launches outlive this
        process marks each with it, and lists only launches with this mark: another fleet, e.g. of a
        copy of the database, may launch in the same place.
    :param other_ids: other marks of this fleet, which it used while it was taken for a copy.
    :param former: whether there may be launches of a version that knew no such ids.
    :param traceparent: gives, from a launch's id, the trace for its app server's environment
        variable `TRACEPARENT`; "" for none, and then the variable must not be set.
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
class MachineKit:
    """Everything that an app server may need to ask about the machine that it runs on.

    :param reactor: the app server's.
    :param section: the provider's section of the app server's configuration. Keys that are not
        handed on have their defaults.
    :param launch_id: the id under which the provider launched the app server.
    :param environment: the environment of the app server's process.
    :param on_stop: takes a function to call when the app server stops; a Deferred that the function
        returns is waited for.
    """

    reactor: Any  # An `IReactor`; other people's providers type-check against this.
    section: Any
    launch_id: str
    environment: Mapping[str, str]
    on_stop: Callable[[Callable[[], Any]], None]


@dataclass(frozen=True)
class Provider:
    """A way to start app servers.

    :param name: the value of `fleet.provider`, and the name of its section: small letters and
        digits.
    :param section: a frozen dataclass of `setting`s; None for a provider without a section. Its
        method `check`, if any, is called when the provider is the one in use; the text of a
        ValueError is for the operator.
    :param make: makes the `IProvider`, not started; may be a coroutine function. If this raises
        `LaunchRefused`, the login server prints the text and does not start.
    :param launches: whether it ever launches anything.
    :param here: whether it runs `LaunchKit.command`, which needs a file to be written.
    :param warms: whether it can stop machines and start them again (`IKeepsWarm`), as `fleet.warm`
        needs.
    :param check: checks, for `bbs config check`, all that `make` may refuse because of the
        configuration alone, without the network. This blocks, and raises as `make` does; its kit
        can launch nothing.
    :param machine: makes, in an app server that this provider launched, the `IMachine` that the app
        server asks; None if there is nothing to ask. This may not block. An app server knows by its
        configuration who launched it: it is told the keys of the provider's section. The section
        therefore needs a key that is handed on.
    :param everywhere: the keys of the section that app servers of other providers are told too, so
        that they say nothing of who launched them.
    :param behind_proxy: whether a host, which a server of the section has told people, is a name
        that leads to a proxy, at which the login servers are reached too. Called with the section
        and the host.
    :param price: the US dollars for an hour of a machine, for orientation; None if not known.
        Called with the section and `Instance.kind`.
    :raises ValueError: the name is malformed, the section lacks a key of `everywhere`, or a
        provider with a `machine` hands no key on.
    :raises TypeError: the section is malformed.
    """

    name: str
    section: type[Any] | None
    make: Callable[[LaunchKit], IProvider | Awaitable[IProvider]]
    _: KW_ONLY
    launches: bool = True
    here: bool = True
    warms: bool = False
    check: Callable[[LaunchKit], object] | None = None
    machine: Callable[[MachineKit], IMachine | None] | None = None
    everywhere: Collection[str] = ()
    behind_proxy: Callable[[Any, str], bool] | None = None
    price: Callable[[Any, str], float | None] | None = None

    @property
    def launched_keys(self) -> Collection[str]:
        """The keys of the section, with its name, that only app servers are told that this provider
        launches."""
        keys = keys_of(self.section) if self.section else {}
        handed_on = {key for key, declared in keys.items() if declared.handed_on}
        return [f"{self.name}.{key}" for key in sorted(handed_on.difference(self.everywhere))]

    @property
    def outlives(self) -> bool:
        """Whether its app servers outlive the login server that launched them."""
        return self.launches and not self.here

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z][a-z0-9]*", self.name):
            raise ValueError(f"a provider's name is small letters and digits, not {self.name!r}")
        known = {} if self.section is None else keys_of(self.section)
        if strange := sorted({*self.everywhere} - {*known}):
            raise ValueError(f"everywhere: the section has no key {strange[0]}")
        if self.machine and not self.launched_keys:
            raise ValueError("a provider with a machine needs a key that it hands on")


def _make_local(kit: LaunchKit) -> IProvider:
    from bbs.scaling.local import LocalProvider

    return LocalProvider(kit, own_logs=True)


local = Provider("local", None, _make_local)

by_hand = Provider(
    "none", None, lambda kit: NoProvider(kit.service_name), launches=False, here=False
)


def named(name: str) -> tuple[Plugin, Provider]:
    """The provider that `fleet.provider` calls `name`, and the plugin that declares it.
    `ConfigError`: the name is unknown. `PluginUnusable`: an installed provider cannot be used."""
    for plugin, provider in installed_providers():
        if provider.name == name:
            return plugin, provider
    raise ConfigError(f"fleet.provider: unknown provider {name!r}")


def check(config: Configuration, service_name: str) -> None:
    """Have the configured provider check the configuration, for `bbs config check`: without the
    network and without a login server. This blocks. Raises as `make_provider` does."""
    _, provider = named(config.fleet.provider)
    _check_warm(config, provider)
    if provider.check is None:
        return
    text = configuration_text(config, config.broker.url, config.app.listen)

    provider.check(
        LaunchKit(
            None,
            config.sections().get(provider.name),
            f"{provider.name}:check",
            partial(_refuse_command, "nothing is launched to check a configuration"),
            {},
            lambda server_id: text,
            lambda stop: None,
            service_name=service_name,
            only_here=only_here(config),
        )
    )


def launcher(config: Configuration) -> Provider | None:
    """The provider that launched the app server with this configuration, which the server is to ask
    about its machine; None if there is none. A server that was launched asks no other: it cannot
    know what answers elsewhere."""
    given = {key for key, source in config.sources.items() if source != "default"}
    with_machines = (each for _, each in installed_providers() if each.machine)
    return next((each for each in with_machines if given.intersection(each.launched_keys)), None)


def make_machine(provider: Provider, kit: MachineKit) -> IMachine | None:
    """The machine of an app server that `provider` launched; None if there is nothing to ask.
    Raises whatever the provider raises; TypeError if it made something else."""
    made = provider.machine(kit) if provider.machine else None
    if made is not None and not IMachine.providedBy(made):
        raise TypeError(f"it made {made!r}, which does not provide IMachine")
    return made


def behind_proxy(config: Configuration) -> Callable[[str], bool]:
    """A function that says whether a host, which an app server told people, leads to the proxy at
    which the login servers are reached too."""
    each_says = [
        partial(provider.behind_proxy, _section(config, provider))
        for _, provider in installed_providers()
        if provider.behind_proxy
    ]
    return lambda host: any(says(host) for says in each_says)


def prices(config: Configuration) -> Mapping[str, Callable[[str], float | None]]:
    """The price lists: for each provider that knows prices, a function that gives the US dollars
    for an hour of a machine of some kind; it gives None for one that it does not know."""
    return {
        provider.name: partial(provider.price, _section(config, provider))
        for _, provider in installed_providers()
        if provider.price
    }


def _section(config: Configuration, provider: Provider) -> Any:
    """The provider's section; with its defaults if nothing was loaded."""
    return config.sections().get(provider.name) or (provider.section and provider.section())


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
    """The configured provider of the login server `me`, not started, for `fleet`.

    :param brokers: where the broker is, even the embedded one.
    :param in_thread: does blocking work.
    :param on_stop: takes a function to call, last to first, when the server stops.
    :param traces: the traces that launches are part of, by launch id.
    :raises ConfigError: the configuration does not suit this provider.
    :raises LaunchRefused: the provider refuses it, or a file cannot be written.
    :raises PluginUnusable: the provider made something that is not a provider.
    """
    plugin, provider = named(config.fleet.provider)
    _check_warm(config, provider)
    nearby = (config.app.listen[0], config.login.listen[0])
    listen = (ListeningPlace.on_free_port(*nearby),) if provider.here else config.app.listen
    text = configuration_text(config, brokers, listen)
    path = os.path.join(data_folder, "run", f"app-{me.id}.toml")
    if provider.here and provider.launches:
        mended = await in_thread(_write_configuration, data_folder, service_name, path, text)
        if mended:
            _log.warn("others could read {paths}; now they cannot", paths=", ".join(mended))
        on_stop(lambda: in_thread(os.unlink, path))

    run: Callable[[str], list[str]] = partial(
        command, path, service_name=service_name, security_log=config.log.security
    )
    if not provider.here:
        run = partial(_refuse_command, f"{provider.name} was declared with here=False")
    # Before the provider is started, so that these run after it has stopped, whenever it asks.
    stops: list[Callable[[], Any]] = []
    on_stop(lambda: Deferred.fromCoroutine(_stop_all(stops)))
    kit = LaunchKit(
        reactor,
        config.sections().get(provider.name),
        f"{provider.name}:{me.identity}",
        run,
        environment(os.environ),
        lambda server_id: text,
        stops.append,
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
    made = provider.make(kit)
    if isawaitable(made):
        made = await made
    _check_made(made, provider, plugin)
    return made


def _check_made(made: object, provider: Provider, plugin: Plugin) -> None:
    for interface in (IProvider, *([IKeepsWarm] if provider.warms else ())):
        if not interface.providedBy(made):
            raise plugin.unusable(f"it made {made!r}, which does not provide {interface.__name__}")


def _refuse_command(reason: str, server_id: str) -> list[str]:
    raise LookupError(reason)


def _write_configuration(folder: str, service_name: str, path: str, text: str) -> list[str]:
    """Write the file, in a thread; returns the paths in `folder` that others could read."""
    try:
        mended = make_private(folder, service_name)
        write_privately(path, text)
    except Unusable as error:
        raise LaunchRefused(str(error)) from error
    except OSError as error:
        raise LaunchRefused(f"cannot write {path}: {error.strerror}") from error
    return mended


async def _stop_all(stops: list[Callable[[], Any]]) -> None:
    """Call the functions, last to first, even if one fails."""
    while stops:
        with _log.failuresHandled("a part of the provider did not stop well"):
            await maybeDeferred(stops.pop())


def _check_warm(config: Configuration, provider: Provider) -> None:
    if config.fleet.warm and not provider.warms:
        raise ConfigError(
            f"fleet.warm: the provider {provider.name} cannot keep stopped servers: set it to 0"
        )


@implementer(IProvider)
class NoProvider(Service):
    """The provider of a fleet whose app servers an operator runs by hand: refuses every launch."""

    scope = "none"
    shared = False
    when_changed: Callable[[], None] | None = None

    def __init__(self, service_name: str = "bbs") -> None:
        self._service_name = service_name

    def launch(self, launch_id: str) -> Deferred[None]:
        return fail(LaunchRefused(run_by_hand(self._service_name)))

    def list(self) -> Deferred[Mapping[str, Instance]]:
        return succeed({})

    def terminate(self, launch_id: str) -> Deferred[None]:
        """End nothing: a server without a row ends by itself."""
        return succeed(None)


def command(path: str, server: str, service_name: str = "bbs", security_log: str = "") -> list[str]:
    """The command that runs the app server `server` with the configuration file `path`, and writes
    to the same `security_log` as this process, if any. Its standard input is the pipe that tells it
    when its parent has died."""
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
    `config`: the keys for app servers, secrets included. `brokers`: even the embedded one."""
    used = config.fleet.provider
    theirs = replace(
        config,
        app=replace(config.app, listen=listen),
        database=replace(config.database, url=absolute(config.database.url)),
        broker=replace(config.broker, url=brokers),
        providers={name: each for name, each in config.providers.items() if name == used},
    )
    # By such keys a server knows who launched it (`launcher`).
    others = (provider for _, provider in installed_providers() if provider.name != used)
    without = [key for provider in others for key in provider.launched_keys]
    # Older servers, which an image may still have, refuse unknown keys.
    if not config.tracing.endpoint:
        without += ["tracing.endpoint", "tracing.sample"]
    if not config.app.trusted_proxies:
        without.append("app.trusted_proxies")
    if not config.manhole.socket:
        without.append("manhole.socket")
    if not config.broker.all:
        without.append("broker.all")
    if config.log.format == Configuration().log.format:
        without.append("log.format")
    return to_toml(theirs, for_app_servers=True, without=without)


def only_here(config: Configuration) -> tuple[str, ...]:
    bound = {
        "database.url": config.database.url.startswith(SQLITE),
        "broker.url": config.broker.url == ("embedded",),
    }
    return tuple(key for key, is_bound in bound.items() if is_bound)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """A child's environment: without the configuration and the trace of this process, and without
    systemd, which listens to this process alone."""
    return {
        key: value
        for key, value in environ.items()
        if not key.startswith("BBS_") and key not in (tracing.VARIABLE, "NOTIFY_SOCKET")
    }


def absolute(url: str) -> str:
    """`url`, with the path of an SQLite file made absolute, as children may run elsewhere."""
    return SQLITE + os.path.abspath(url[len(SQLITE) :]) if url.startswith(SQLITE) else url
