"""The whole service at one moment, as the operators' page shows it: one transaction, once a second
at the most, however many look."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import peewee

from bbs.core.values import LossCause, State, version_order
from bbs.rules import fleet_admin, fleets, membership, page_history, placement, servers
from bbs.rules.fleets import Left
from bbs.rules.membership import LeaseSeen
from bbs.rules.page_history import StoredEvent
from bbs.rules.servers import HeardServer
from bbs.storage.database import long_read, read_only, rows
from bbs.storage.models import LoginServer, Place, Server, User, Waiter

GONE_SHOWN = 120.0
"""Seconds for which a server that has ended is still shown."""

NAMES_SHOWN = 2000
"""Names of people at the most: a page of more is of use to nobody."""

FAILED_LATELY = 600.0
"""Seconds since a launch began after which its failure says nothing of the next one any more: two
that time out in a row, by default, are within it."""

FAILURES = (LossCause.FAILED, LossCause.LATE)
"""Why a launch is lost that failed: one that was refused is told of by itself."""

LAUNCHES_READ = 10
"""The latest launches that are looked at for how many failed in a row."""

ACTIONS_SHOWN = 1
"""The latest actions that one look brings: where there is another, operators ask for them all."""


@dataclass(frozen=True, kw_only=True)
class LoginServerRow:
    """What a login server has done since it started: `logins` are the people it let in, `counts`
    what its service counted, by name, and `figures` what it tells of itself beside that. `version`
    is that of bbs which it runs, "" of an older one than says so."""

    id: str
    logins: int
    counts: Mapping[str, int]
    figures: Mapping[str, int] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What one look showed.

    `waiting` counts people without a place who want one, of whom the first who has none at all came
    at `waiting_since` (seconds since the epoch); `away` counts those who are logged in and want
    none, as they are not there; `connected` counts those who listen, as the servers that live told
    with their last heartbeats. `usual` is what launches took lately (s), and `failures` how many of
    the latest failed in a row. `who` has
    the names of people by server, "" for those without a place; None unless they were asked for.
    `keeper` keeps the fleet. `news` are the events that were asked for. `fleet` is this fleet's id,
    and `copy_of` what it may adopt.
    """

    servers: tuple[HeardServer, ...]
    login_servers: tuple[LoginServerRow, ...]
    waiting: int
    waiting_since: float | None
    away: int = 0
    connected: int = 0
    refusal: fleet_admin.Hold | None
    usual: float | None
    failures: int = 0
    actions: tuple[fleet_admin.OperatorAction, ...]
    who: Mapping[str, tuple[str, ...]] | None
    keeper: LeaseSeen | None = None
    news: tuple[StoredEvent, ...] = ()
    fleet: str = ""
    copy_of: Left | None = None


@dataclass(frozen=True)
class HeadCount:
    """How many people have places, `connected` of whom listen; how many are `away`, logged in and
    without one; and how many wait for one."""

    placed: int
    connected: int
    away: int
    waiting: int


@long_read
def head_count() -> HeadCount:
    """Count everybody who is logged in, and who waits for it."""
    # In one statement: on MySQL another sees who has gone away meanwhile.
    placed = peewee.fn.SUM(peewee.Case(None, [(Place.server.is_null(), 0)], 1))
    gone = peewee.fn.SUM(peewee.Case(None, [(placement.is_away(), 1)], 0))
    [(here, there)] = rows(Place.select(placed, gone))
    listen = connected(servers.read(servers.living()))
    return HeadCount(int(here or 0), listen, int(there or 0), waiting())


@long_read
def overview(now: float, names: bool, told: int | None = None) -> Overview:
    """Look at everything; at people's `names` too, if so asked, and at the news behind the id
    `told`."""
    lately = Server.ended.between(now - GONE_SHOWN, now + GONE_SHOWN)  # Clocks may be set back.
    shown = (Server.state != State.GONE) | lately
    since = Waiter.select(peewee.fn.MIN(Waiter.since)).scalar()
    launches = fleet_admin.launches_under_way(now)
    fleet, copy_of = fleets.standing()
    found = servers.read(Server.select().where(shown).order_by(Server.created, Server.id))
    return Overview(
        servers=found,
        login_servers=login_servers(),
        waiting=waiting(),
        waiting_since=since,
        away=away(),
        connected=connected(found),
        refusal=fleet_admin.refusal(),
        usual=launches.usual if launches else None,
        failures=failures(now),
        actions=tuple(fleet_admin.actions(ACTIONS_SHOWN)),
        who=_who() if names else None,
        keeper=membership.seen_lease(membership.KEEPER),
        news=() if told is None else page_history.news_behind(told),
        fleet=fleet,
        copy_of=copy_of,
    )


@read_only
def login_servers() -> tuple[LoginServerRow, ...]:
    """The login servers that run, those of older versions first."""
    told = (LoginServer.logins, LoginServer.counts, LoginServer.figures, LoginServer.version)
    found = [
        LoginServerRow(
            id=row.id,
            logins=row.logins or 0,
            counts=servers.counts_of(row),
            figures=servers.figures_of(row),
            version=row.version,
        )
        for row in LoginServer.select(LoginServer.id, *told)
    ]
    return tuple(sorted(found, key=lambda row: (version_order(row.version), row.id)))


def failures(now: float) -> int:
    """How many launches have failed in a row lately, up to the latest that is decided; without
    those that no provider was ever asked for."""
    decided = (
        Server.select(Server.ready, Server.cause, Server.created)
        .where((Server.state != State.LAUNCHING) & Server.scope.not_in(["", servers.OPERATOR]))
        .order_by(Server.created.desc())
        .limit(LAUNCHES_READ)
    )
    found = itertools.takewhile(
        lambda row: row[0] is None and row[1] in FAILURES and abs(now - row[2]) < FAILED_LATELY,
        rows(decided),
    )
    return sum(1 for _ in found)


def waiting() -> int:
    """How many people have no place and want one."""
    return int(_waiting().count())


def away() -> int:
    """How many people are logged in and have no place, as they have not been there for a while."""
    return int(Place.select().where(placement.is_away()).count())


def connected(rows: Iterable[HeardServer]) -> int:
    """How many people listen at these servers, as far as they live."""
    return sum(row.connected or 0 for row in rows if row.state in placement.SERVING)


def _waiting() -> Any:
    """The names of those without a place: who is online and who is offline, and who is told to be
    both counts once. (Rows are others' from one look to the next.)"""
    homeless = Place.select(User.name).join(User).where(placement.is_waiting())
    return Waiter.select(Waiter.name) | homeless


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
    for (name,) in rows(_waiting().limit(NAMES_SHOWN)):
        found.setdefault("", []).append(name)
    return {server: tuple(sorted(names)) for server, names in found.items()}
