"""What the parts of the page share: facts of the service, and what the login server lends them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from bbs.core.values import Counter, Policy, Timing
from bbs.storage.database import Database


@dataclass(frozen=True, kw_only=True)
class ServiceInfo:
    """What does not change while the login server runs. `may_act` says whether anybody can log in
    as an operator, `outlives` whether app servers go on without login servers: then it matters
    which fleet this is."""

    service: str
    counters: Sequence[Counter]
    login_server: str
    policy: Policy
    may_act: bool
    outlives: bool = False


@dataclass(frozen=True, kw_only=True)
class PageContext:
    """What the page needs of the login server with the id `me`.

    :ivar counters: what the service counts.
    :ivar on_change: called when an operator has asked for something.
    :ivar broker: says whether the broker is connected.
    :ivar logins: gives the number of people whom this login server has let in.
    :ivar timing: what the login server reports durations to.
    :ivar trouble: says why nobody can log in, "" if people can.
    :ivar wall: the time in seconds since the epoch, for what is stored or shown.
    :ivar password_minimum: in characters.
    :ivar outlives: whether app servers go on without login servers.
    :ivar person: gives the service's numbers of one person, if it has any (`Service.person`).
    :ivar on_delete: removes a part of what the service has of an account (`Service.on_delete`).
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

    def info(self, may_act: bool) -> ServiceInfo:
        """The facts that do not change."""
        return ServiceInfo(
            service=self.service,
            counters=self.counters,
            login_server=self.me,
            policy=self.policy,
            may_act=may_act,
            outlives=self.outlives,
        )
