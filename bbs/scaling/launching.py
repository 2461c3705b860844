"""The provider of a login server: found by its name, given what it needs, and made."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from inspect import isawaitable
from types import MappingProxyType
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from bbs.addresses import ListeningPlace
from bbs.config import ConfigError, Configuration
from bbs.config.schema import installed_providers
from bbs.plugins import Plugin
from bbs.rules.fleets import Fleet
from bbs.rules.members import Member
from bbs.scaling import children
from bbs.scaling.interfaces import IKeepsWarm, IProvider, LaunchRefused
from bbs.scaling.private import Unusable, make_private
from bbs.scaling.providers import LaunchKit, Provider
from bbs.values import Instance

_log = Logger()


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
    """Have the provider that the configuration wants look at it, for `bbs config check`: without
    the network and without a login server. It blocks.

    :raises ConfigError: something in the configuration is no use for this provider.
    :raises LaunchRefused: the provider says so.
    :raises PluginUnusable: one that is installed cannot be used.
    """
    _, provider = named(config.fleet.provider)
    _check_warm(config, provider)
    if provider.check is None:
        return
    text = children.configuration_text(config, config.broker.url, config.app.listen)

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
            only_here=children.only_here(config),
        )
    )


async def make_provider(
    config: Configuration,
    brokers: tuple[str, ...],
    me: Member,
    data_folder: str,
    reactor: Any,
    in_thread: Callable[..., Deferred[Any]],
    on_stop: Callable[[Callable[[], Any]], None],
    fleet: Fleet,
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
    text = children.configuration_text(config, brokers, listen)
    path = os.path.join(data_folder, "run", f"app-{me.id}.toml")
    if provider.here and provider.launches:
        try:
            mended = await in_thread(make_private, data_folder, service_name)
            await in_thread(children.write_privately, path, text)
        except Unusable as error:
            raise LaunchRefused(str(error)) from error
        except OSError as error:
            raise LaunchRefused(f"cannot write {path}: {error.strerror}") from error
        if mended:
            _log.warn("others could read {paths}; now they cannot", paths=", ".join(mended))
        on_stop(lambda: in_thread(os.unlink, path))

    def command(server_id: str) -> list[str]:
        if not provider.here:
            raise LookupError(f"the provider {provider.name} was declared with here=False")
        return children.command(path, server_id, service_name, config.log.security)

    # Before the provider is started, so that these run after it has stopped, whenever it asks.
    stops = _Stops()
    on_stop(stops.run)
    made = provider.make(
        LaunchKit(
            reactor,
            config.sections().get(provider.name),
            f"{provider.name}:{me.identity}",
            command,
            children.environment(os.environ),
            lambda server_id: text,
            stops.add,
            service_name=service_name,
            host=nearby[0].interface or nearby[1].interface,
            data_folder=data_folder,
            only_here=children.only_here(config),
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
    """What is called at the end, last to first, whatever becomes of the others."""

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
        """Fails with `LaunchRefused`."""
        how = f"run twistd {self._service_name}-app yourself"
        return fail(LaunchRefused(f"fleet.provider is none: {how}"))

    def list(self) -> Deferred[Mapping[str, Instance]]:
        """Nothing."""
        return succeed({})

    def terminate(self, launch_id: str) -> Deferred[None]:
        """There is nothing to end: a server whose row is gone ends by itself."""
        return succeed(None)
