"""What the parts of the page share: facts of the service, and what the login server lends them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime

from bbs import __version__
from bbs.core.values import Counter, Policy, Timing
from bbs.protocols.stomp.redundant import BrokerCount
from bbs.rules.service_admin import OperatorAct, OperatorList
from bbs.rules.user_admin import OfPerson
from bbs.storage.database import Database


@dataclass(frozen=True, kw_only=True)
class ServiceInfo:
    """What does not change while the login server runs.

    :ivar version: of the programs that run it.
    :ivar counters: what the service counts.
    :ivar lists: the lists of its own things, for operators.
    :ivar acts: its own acts of operators, by name.
    :ivar may_act: whether anybody can log in as an operator.
    :ivar outlives: whether app servers go on without login servers: then it matters which fleet
        this is.
    :ivar has_file: whether the database is an SQLite file, of which the service makes backups.
    """

    service: str
    counters: Sequence[Counter]
    login_server: str
    policy: Policy
    may_act: bool = False
    outlives: bool = False
    has_file: bool = False
    lists: Sequence[OperatorList] = ()
    acts: Mapping[str, OperatorAct] = field(default_factory=dict)
    version: str = __version__


@dataclass(frozen=True, kw_only=True)
class PageContext(ServiceInfo):
    """What the page needs of its login server.

    :ivar on_change: called when an operator has asked for something.
    :ivar on_act: called when an operator has done something to a thing of the service.
    :ivar brokers: says how many brokers are connected.
    :ivar logins: gives the number of people whom this login server has let in.
    :ivar timing: what the login server reports durations to.
    :ivar trouble: says why nobody can log in, "" if people can.
    :ivar wall: the time in seconds since the epoch, for what is stored or shown.
    :ivar password_minimum: in characters.
    :ivar person: gives the service's numbers of one person, if it has any (`Service.person`).
    :ivar on_delete: removes a part of what the service has of an account (`Service.on_delete`).
    """

    database: Database
    on_change: Callable[[], None]
    on_act: Callable[[], None]
    brokers: Callable[[], BrokerCount]
    logins: Callable[[], int]
    timing: Timing
    trouble: Callable[[], str]
    reactor: IReactorTime
    wall: Callable[[], float]
    password_minimum: int = 1
    person: OfPerson | None = None
    on_delete: Callable[[int], int] | None = None
