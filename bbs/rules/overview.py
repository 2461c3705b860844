"""The whole service at one moment, for the operators' page: one transaction, at most once a second
for all viewers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import peewee

from bbs.core.addresses import Address
from bbs.core.values import LossCause, State, version_order
from bbs.rules import fleet_admin, fleets, membership, page_history, placement, servers
from bbs.rules.fleets import SourceFleet
from bbs.rules.membership import LeaseSeen
from bbs.rules.page_history import StoredEvent
from bbs.rules.servers import HeardServer
from bbs.rules.service_clock import APP, LOGIN, Contradiction
from bbs.storage.database import long_read, read_only, rows
from bbs.storage.models import HeartbeatRow, LoginServer, Place, Server, User, Waiter

GONE_SHOWN = 120.0  # Seconds for which a server that has ended is still shown.
NAMES_SHOWN = 2000  # Names of users at most: a longer page would be useless.

FAILURES = (LossCause.FAILED, LossCause.LATE)  # Refused launches are shown separately.
BY_HAND_READ = 200  # The latest servers run by hand that are checked for those that died.
ACTIONS_SHOWN = 1  # The latest actions in an overview; if there is a new one, the page reads all.


@dataclass(frozen=True, kw_only=True)
class LoginServerRow:
    """The counts of a login server since it started."""

    id: str
    logins: int  # People it let in.
    counts: Mapping[str, int]  # Of its service.
    figures: Mapping[str, int] = field(default_factory=dict)  # Every server has these.
    version: str = ""  # Of bbs.

    @property
    def is_fleet_only(self) -> bool:
        """Whether it is a process that only controls the fleet, and lets nobody in."""
        return bool(self.figures.get(servers.FLEET_ONLY))


@dataclass(frozen=True, kw_only=True)
class Failures:
    """The launches that have failed since the last one that succeeded. Those decided at one moment
    count once: what lets one of them fail lets all of them."""

    count: int = 0
    lasted: float = 0.0  # Seconds since the first of them was decided.
    ago: float = 0.0  # Seconds since the last of them was decided.


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The service at one moment."""

    servers: tuple[HeardServer, ...]
    login_servers: tuple[LoginServerRow, ...]
    waiting: int  # Users who wait for a place.
    waiting_since: float | None  # When the first offline one came (seconds since the epoch).
    away: int = 0  # Users who are logged in without a place, and do not wait.
    connected: int = 0  # Listeners, by the last heartbeats of the live servers.
    refusal: fleet_admin.Hold | None
    usual: float | None  # The mean time of recent launches (s).
    failures: Failures = field(default_factory=Failures)
    missed: tuple[str, ...] = ()  # The addresses of servers run by hand that died; see `missed`.
    actions: tuple[fleet_admin.OperatorAction, ...]
    who: Mapping[str, tuple[str, ...]] | None  # Names by server, "" for none; None: not asked.
    leader: LeaseSeen | None = None
    news: tuple[StoredEvent, ...] = ()  # The events that were asked for.
    fleet: str = ""  # The fleet's id.
    copy_of: SourceFleet | None = None  # The fleet that it may adopt.
    nodes: tuple[str, ...] = ()  # The nodes of the database that running servers write to.
    backed_up: float | None = None  # When `bbs backup` last succeeded (seconds since the epoch).

    @property
    def clocks(self) -> Sequence[Contradiction]:
        """What running servers say against the service's clock, login servers first."""
        running = (each for each in self.servers if each.state not in servers.NOT_RUNNING)
        said = [Contradiction.of(each.id, LOGIN, each.figures) for each in self.login_servers]
        said += [Contradiction.of(each.id, APP, each.figures) for each in running]
        return [each for each in said if each]


@dataclass(frozen=True)
class HeadCount:
    """Counts of users."""

    placed: int  # With a place.
    connected: int  # Those of them who listen.
    away: int  # Logged in without a place.
    waiting: int  # For a place.


@long_read
def head_count() -> HeadCount:
    """Count all users who are logged in or wait for a login."""
    # In one statement: on MySQL a second one would see later changes.
    placed = peewee.fn.SUM(peewee.Case(None, [(Place.server.is_null(), 0)], 1))
    gone = peewee.fn.SUM(peewee.Case(None, [(placement.is_away(), 1)], 0))
    [(here, there)] = rows(Place.select(placed, gone))
    listen = connected(servers.read(servers.living()))
    return HeadCount(int(here or 0), listen, int(there or 0), placement.count_waiting())


@long_read
def overview(now: float, names: bool, behind: int | None = None) -> Overview:
    """Read everything; also the `names` of users if asked, and the news behind the id `behind`."""
    lately = Server.ended.between(now - GONE_SHOWN, now + GONE_SHOWN)  # Clocks may be set back.
    shown = (Server.state != State.GONE) | lately
    since = Waiter.select(peewee.fn.MIN(Waiter.since)).scalar()
    launches = fleet_admin.launches_under_way(now)
    facts = fleets.facts()
    found = servers.read(Server.select().where(shown).order_by(Server.created, Server.id))
    return Overview(
        servers=found,
        login_servers=login_servers(),
        waiting=placement.count_waiting(),
        waiting_since=since,
        away=away(),
        connected=connected(found),
        refusal=fleet_admin.refusal(),
        usual=launches.usual if launches else None,
        failures=failures(now),
        missed=missed(),
        actions=tuple(fleet_admin.actions(ACTIONS_SHOWN)),
        who=_who() if names else None,
        leader=membership.seen_lease(membership.FLEET_LEASE),
        news=() if behind is None else page_history.news_behind(behind),
        fleet=facts.id,
        copy_of=facts.source,
        nodes=nodes(),
        backed_up=facts.backed_up,
    )


@read_only
def login_servers() -> tuple[LoginServerRow, ...]:
    """The login servers that run, those of older versions first."""
    said = (servers.heard(LoginServer, name) for name in ("logins", "counts", "figures"))
    query = LoginServer.select(LoginServer.id, LoginServer.version, *said)
    found = [
        LoginServerRow(
            id=id,
            logins=logins or 0,
            counts=json.loads(counts or "{}"),
            figures=json.loads(figures or "{}"),
            version=version,
        )
        for id, version, logins, counts, figures in rows(
            servers.with_heartbeats(query, LoginServer)
        )
    ]
    return tuple(sorted(found, key=lambda row: (version_order(row.version), row.id)))


def nodes() -> tuple[str, ...]:
    """The nodes of the database that running servers write to, by their last heartbeats."""
    app_server = (Server.id == HeartbeatRow.server) & Server.state.not_in(servers.NOT_RUNNING)
    of_app_server = Server.select(peewee.SQL("1")).where(app_server)
    of_login_server = LoginServer.select(peewee.SQL("1")).where(
        LoginServer.id == HeartbeatRow.server
    )
    runs = peewee.fn.EXISTS(of_app_server) | peewee.fn.EXISTS(of_login_server)
    found = HeartbeatRow.select(HeartbeatRow.node).where((HeartbeatRow.node != "") & runs)
    return tuple(sorted(node for (node,) in rows(found.distinct())))


def failures(now: float) -> Failures:
    """The launches that failed since the last one that succeeded; only those a provider was asked
    for. One that was decided before that success says nothing about what came after it."""
    asked = Server.scope.not_in(["", servers.OPERATOR])
    # One that is warm has booted, and is stopped; `created` is then the time of that.
    booted = Server.ready.is_null(False) | (Server.state == State.WARM)
    latest = peewee.fn.MAX(peewee.fn.COALESCE(Server.ready, Server.created))
    succeeded = Server.select(latest).where(asked & booted)
    failed = asked & Server.cause.in_(FAILURES) & Server.ready.is_null()
    since = Server.created > peewee.fn.COALESCE(succeeded, 0)
    counted = peewee.fn.COUNT(Server.created.distinct())
    ends = peewee.fn.MIN(Server.created), peewee.fn.MAX(Server.created)
    [(count, first, last)] = rows(Server.select(counted, *ends).where(failed & since))
    return Failures(count=count, lasted=now - first, ago=now - last) if count else Failures()


def missed() -> tuple[str, ...]:
    """The addresses at which servers run by hand have died, oldest first, for as long as their rows
    are kept. One is missed no more once a server runs at its address again, once one has begun
    elsewhere since, or once an operator has asked that it drains."""
    by_hand = rows(
        Server.select(
            Server.host,
            Server.port,
            Server.ready,
            Server.ended,
            servers.died_by_hand(),
        )
        .where((Server.scope == servers.OPERATOR) & Server.port.is_null(False))
        .order_by(Server.created.desc())
        .limit(BY_HAND_READ)
    )
    dead: dict[str, float] = {}  # When each was found dead.
    for host, port, ready, ended, has_died in reversed(by_hand):
        address = str(Address(host or "", port))
        is_new = dead.pop(address, None) is None
        if is_new and ready is not None:
            replaced = next((place for place, died in dead.items() if died < ready), None)
            dead.pop(replaced or "", None)
        if has_died:
            dead[address] = float("inf") if ended is None else ended
    return tuple(dead)


def away() -> int:
    """Count the users who are logged in without a place, and do not wait."""
    return int(Place.select().where(placement.is_away()).count())


def connected(rows: Iterable[HeardServer]) -> int:
    """Count the listeners at those of the servers that live."""
    return sum(row.connected or 0 for row in rows if row.state in placement.SERVING)


def _who() -> dict[str, tuple[str, ...]]:
    placed = (
        Place.select(Place.server, User.name)
        .join(User)
        .where(Place.server.is_null(False))
        .order_by(Place.server, Place.user)
        .limit(NAMES_SHOWN)
    )
    found: dict[str, list[str]] = {}
    for server, name in rows(placed):
        found.setdefault(server, []).append(name)
    for (name,) in rows(placement.waiting_names().limit(NAMES_SHOWN)):
        found.setdefault("", []).append(name)
    return {server: tuple(sorted(names)) for server, names in found.items()}
