"""The operators' page, put together: what a login server starts when `[web] listen` is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.template import XMLString

from bbs.core.values import Counter, IDoor, Policy, Rate, Timing
from bbs.limits.connections import Admission
from bbs.limits.fair_queue import FairQueue
from bbs.limits.password_hashing import Hasher
from bbs.storage.database import Database
from bbs.web.actions import Controls, Passwords, PeopleControls, Servers, answered, from_page
from bbs.web.auth import Operators, OperatorSessions, PasswordFileUnusable, hashed, read_passwords
from bbs.web.http_limits import CONNECTIONS_PER_ADDRESS, BoundedSite
from bbs.web.metrics import Metrics
from bbs.web.poller import Poller, TTLCache
from bbs.web.resources import Asked, Branch, ChangeResource, Reading, Stream, read_static, static
from bbs.web.snapshot import ServiceInfo
from bbs.web.stream import Streams

__all__ = ["OperatorsPage", "PageContext", "PasswordFileUnusable", "make"]

PAGE = "page.html"
"""The markup of `/`."""


@dataclass(frozen=True, kw_only=True)
class PageContext:
    """What the page needs of the login server `me` of a service, which counts `counters`.

    `on_change` is called when an operator has asked for something; `broker` says whether the broker
    is there, `logins` how many people this login server has let in, `trouble` why nobody can log
    in, "" if they can. `timing` is whom it tells how long things take. `wall` tells what time it is
    (seconds since the epoch). `password_minimum` is in characters; `outlives` says whether app
    servers go on without login servers; `person` and `on_delete` are the service's own (`Service`).
    """

    service: str
    counters: Sequence[Counter]
    me: str
    policy: Policy
    database: Database
    on_change: Callable[[], None]
    broker: Callable[[], bool]
    logins: Callable[[], int]
    timing: Timing
    trouble: Callable[[], str]
    reactor: IReactorTime
    wall: Callable[[], float]
    password_minimum: int = 1
    outlives: bool = False
    person: Callable[[int], Mapping[str, int]] | None = None
    on_delete: Callable[[int], int] | None = None


async def make(
    parts: PageContext,
    *,
    password_file: str,
    failed_logins: Rate,
    hasher: Hasher,
    queue: FairQueue,
    in_thread: Callable[..., Deferred[Any]],
    admission: Admission | None = None,
) -> OperatorsPage:
    """The page, for operators whose passwords are in `password_file` ("": there are none); files
    are read `in_thread`, and passwords that are tried wait for their turn in `queue`. Its
    connections are counted by the process's `admission`; None: nowhere.

    :raises PasswordFileUnusable: nobody could log in with it.
    """
    operators = passwords = None
    if password_file:
        hashes = await hashed(await in_thread(read_passwords, password_file), hasher)
        operators = Operators(hashes, hasher, rate=failed_logins, clock=parts.reactor, queue=queue)
        passwords = Passwords(hasher=hasher, queue=queue, minimum=parts.password_minimum)
    door = admission.door(CONNECTIONS_PER_ADDRESS) if admission else None
    return OperatorsPage(parts, await in_thread(read_static), operators, door, passwords)


class OperatorsPage(Service):
    """Looks at the service, and serves what it sees by `site`, which somebody else listens with.

    :param files: the page's own, by name.
    :param operators: who may act; None for nobody.
    :param door: lets people in; None: everybody, up to the page's own limit.
    :param passwords: how operators set other people's; None where nobody may act.
    """

    def __init__(
        self,
        parts: PageContext,
        files: Mapping[str, bytes],
        operators: Operators | None,
        door: IDoor | None = None,
        passwords: Passwords | None = None,
    ) -> None:
        reactor = parts.reactor
        standing = ServiceInfo(
            service=parts.service,
            counters=parts.counters,
            login_server=parts.me,
            policy=parts.policy,
            may_act=operators is not None,
            outlives=parts.outlives,
        )
        sessions = OperatorSessions(reactor)
        self._timing = parts.timing
        self._streams = Streams(standing, sessions, reactor)
        self._metrics = metrics = Metrics(standing, parts.logins)
        self._lookout = self._streams.lookout = Poller(
            me=parts.me,
            counters=parts.counters,
            database=parts.database,
            broker=parts.broker,
            watchers=self._streams,
            meter=metrics,
            reactor=reactor,
            wall=parts.wall,
        )
        metrics.lookout = self._lookout
        controls = Controls(
            service=parts.service,
            operators=operators,
            sessions=sessions,
            database=parts.database,
            policy=parts.policy,
            on_change=parts.on_change,
            wall=parts.wall,
        )
        people = PeopleControls(
            controls=controls,
            passwords=passwords,
            count=parts.person,
            on_delete=parts.on_delete,
            kept=TTLCache(reactor),
        )
        reading = Reading(
            lookout=self._lookout,
            standing=standing,
            sessions=sessions,
            metrics=metrics,
            trouble=parts.trouble,
            markup=XMLString(files[PAGE]),
            kept=TTLCache(reactor),
        )
        self.site = BoundedSite(self._root(files, controls, people, reading), reactor, door)

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._timing.requests = self._metrics.requested
        self._timing.places = self._metrics.placed
        self._lookout.startService()

    def stopService(self) -> Deferred[Any]:
        Service.stopService(self)
        self._timing.requests = self._timing.places = None
        self._streams.close()
        return self._lookout.stopService()

    def _root(
        self,
        files: Mapping[str, bytes],
        controls: Controls,
        people: PeopleControls,
        reading: Reading,
    ) -> IResource:
        root = Branch()
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
            "login": ChangeResource(from_page(controls.log_in)),
            "logout": ChangeResource(from_page(controls.log_out)),
            "actions": Asked(answered(controls.by_operator(controls.actions))),
            "servers": Servers(controls),
            "people": people.resource(),
            "history": Asked(reading.history),
        }
        for name, child in children.items():
            root.putChild(name.encode(), child)
        return root
