"""Where app servers come from: the providers that are installed, and what each is given.

Somebody who starts app servers in another way names a `Provider` in the entry-point group
`bbs.providers` of a package of their own; `fleet.provider` then takes its name. Those of this
package, `local`, `none` and `ec2`, are declared alike. Whoever reads a configuration imports these
declarations, so what does the work is imported when it is needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from bbs.config.settings import keys_of

if TYPE_CHECKING:
    from bbs.scaling.interfaces import IProvider


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

    reactor: Any
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

    return LocalProvider(
        kit.reactor,
        kit.command,
        kit.scope,
        os.path.join(kit.data_folder, "logs"),
        kit.environment,
        host=kit.host,
        own_logs=True,
        logs_kept=kit.logs_kept,
        traceparent=kit.traceparent,
    )


def _make_none(kit: LaunchKit) -> IProvider:
    from bbs.scaling.launching import NoProvider

    return NoProvider(kit.service_name)


local = Provider("local", None, _make_local)
"""App servers as child processes."""

by_hand = Provider("none", None, _make_none, launches=False, here=False)
"""App servers that operators run themselves."""
