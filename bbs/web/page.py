"""The operators' page, put together: what a login server starts when `[web] listen` is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource, Resource
from twisted.web.template import XMLString

from bbs.commands.desks import Tally
from bbs.config import Configuration
from bbs.delivery.bus import Bus
from bbs.passwords import Hasher
from bbs.scaling.plan import Policy
from bbs.storage.database import Database
from bbs.web.actions import Desk, Servers, answered, from_page
from bbs.web.auth import Operators, PasswordFileUnusable, Sessions, hashed, read_passwords
from bbs.web.lookout import Lookout
from bbs.web.metrics import Metrics
from bbs.web.resources import Asked, Reading, Stream, Told, read_static, static
from bbs.web.site import BoundedSite
from bbs.web.snapshot import Standing
from bbs.web.stream import Streams

__all__ = ["OperatorsPage", "Parts", "PasswordFileUnusable", "make"]

PAGE = "page.html"
"""The markup of `/`."""


@dataclass(frozen=True)
class Parts:
    """What the page needs of the login server `me`.

    `on_change` is called when an operator has asked for something; `trouble` says why nobody can
    log in, "" if they can.
    """

    me: str
    policy: Policy
    database: Database
    bus: Bus
    hasher: Hasher
    tally: Tally
    on_change: Callable[[], None]
    trouble: Callable[[], str]


async def make(
    config: Configuration, parts: Parts, in_thread: Callable[..., Deferred[Any]], reactor: Any
) -> OperatorsPage:
    """The page as `config` wants it; files are read `in_thread`.

    :raises PasswordFileUnusable: nobody could log in with it.
    """
    operators = None
    if config.web.password_file:
        passwords = await in_thread(read_passwords, config.web.password_file)
        hashes = await hashed(passwords, parts.hasher)
        rate = config.limits.failed_logins
        operators = Operators(hashes, parts.hasher, rate, reactor.seconds)
    desk = Desk(
        operators,
        Sessions(reactor.seconds),
        parts.database,
        replace(config.fleet, maximum=parts.policy.maximum),
        config.app.capacity,
        parts.on_change,
        reactor.seconds,
    )
    return OperatorsPage(parts, await in_thread(read_static), desk, reactor)


class OperatorsPage(Service):
    """Looks at the service, and serves what it sees by `site`, which somebody else listens with.

    :param files: the page's own, by name.
    """

    def __init__(self, parts: Parts, files: Mapping[str, bytes], desk: Desk, reactor: Any) -> None:
        standing = Standing(parts.me, parts.policy, desk.operators is not None)
        self._streams = Streams(standing, desk.sessions, reactor)
        metrics = Metrics(parts.policy, parts.tally)
        self._lookout = self._streams.lookout = Lookout(
            parts.database, parts.bus, self._streams, metrics, reactor
        )
        metrics.lookout = self._lookout
        markup = XMLString(files[PAGE])
        reading = Reading(self._lookout, standing, desk.sessions, metrics, parts.trouble, markup)
        self.site = BoundedSite(self._root(files, desk, reading), reactor)

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._lookout.startService()

    def stopService(self) -> Deferred[Any]:
        Service.stopService(self)
        self._streams.close()
        return self._lookout.stopService()

    def _root(self, files: Mapping[str, bytes], desk: Desk, reading: Reading) -> IResource:
        root = Resource()
        for name, content in files.items():
            if name != PAGE:
                root.putChild(name.encode(), Asked(static(name, content)))
        children: Mapping[str, IResource] = {
            "": Asked(reading.front),
            "state": Asked(reading.state),
            "stream": Stream(self._streams),
            "metrics": Asked(reading.measurements),
            "health": Asked(reading.health),
            "ready": Asked(reading.readiness),
            "login": Told(from_page(desk.log_in)),
            "logout": Told(from_page(desk.log_out)),
            "actions": Asked(answered(desk.by_operator(desk.actions))),
            "servers": Servers(desk),
        }
        for name, child in children.items():
            root.putChild(name.encode(), child)
        return root
