"""What people who wait and operators ask of the fleet's rows: estimates, what runs, one more, one
less."""

from __future__ import annotations

from dataclasses import dataclass

import peewee

from bbs.rules import members, replacing, servers
from bbs.rules.replacing import Replacement
from bbs.rules.servers import HeardServer
from bbs.storage.database import long_read, read_only, rows
from bbs.storage.models import Action, Lease, Place, Server, User
from bbs.values import State

LONGEST_HOLD = 600.0
"""Seconds after a refusal for which the provider is not asked again, at the most."""

LAUNCHES_REMEMBERED = 5
"""How many of the latest launches the estimate for those who wait is the mean of."""

AT_ONCE = 500
"""Rows that one statement marks."""


class FleetFull(Exception):
    """There are as many app servers as `[fleet] maximum` allows."""


class NoSuchServer(Exception):
    """No app server that lives has this id, or more than one has one that begins so."""


@dataclass(frozen=True, kw_only=True)
class Deed:
    """What an operator did: `at` when (seconds since the epoch), from which `address`, to which
    server (`target`, else "") or to which `person` (a name), and how (`detail`)."""

    id: int
    at: float
    operator: str
    address: str
    action: str
    target: str
    person: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Launches:
    """How long launches took lately (mean of the last, s), and how long the oldest has run (s)."""

    usual: float
    oldest: float


@dataclass(frozen=True)
class Hold:
    """Why the provider launches nothing, and when it is asked again (seconds since the epoch)."""

    reason: str
    until: float


@read_only
def launches_under_way(now: float) -> Launches | None:
    """What an estimate for those who wait is made from; None where no launch has been measured."""
    latest = (
        Server.select(Server.ready - Server.created)
        .where(Server.ready.is_null(False))
        .order_by(Server.ready.desc())
        .limit(LAUNCHES_REMEMBERED)
    )
    times = [seconds for (seconds,) in rows(latest)]
    if not times:
        return None
    for_people = (Server.state == State.LAUNCHING) & ~Server.shelved
    oldest = Server.select(peewee.fn.MIN(Server.created)).where(for_people).scalar()
    # A clock that was set back makes the estimate no longer than a launch takes.
    return Launches(sum(times) / len(times), max(0.0, now - oldest) if oldest else 0.0)


@read_only
def refusal() -> Hold | None:
    """Why no server can be launched, since the last time that one was; None where one can."""
    lease = Lease.get_or_none(Lease.name == members.KEEPER)
    if lease is None or lease.refusal is None or lease.refused_until is None:
        return None
    return Hold(lease.refusal, lease.refused_until)


@read_only
def is_hopeless(now: float) -> bool:
    """Whether none is launched for those who wait now: the provider refuses, and none is on its
    way. Where none can hold for so long, a clock is wrong, and nobody is sent away for it."""
    refused = refusal()
    # Twice, as clocks differ a little from each other.
    if refused is None or not 0 < refused.until - now < 2 * LONGEST_HOLD:
        return False
    return not Server.select().where(Server.state == State.LAUNCHING).exists()


@dataclass(frozen=True)
class Listed:
    """An app server, and the names of those who are on it."""

    server: HeardServer
    people: tuple[str, ...]


@long_read
def listing() -> tuple[Listed, ...]:
    """The servers that live, oldest first, and who is on each."""
    people: dict[str, list[str]] = {}
    query = (
        Place.select(Place.server, User.name)
        .join(User)
        .where(Place.server.is_null(False))
        .order_by(User.name)
    )
    for server, name in rows(query):
        people.setdefault(server, []).append(name)
    return tuple(
        Listed(server, tuple(people.get(server.id, ())))
        for server in servers.read(servers.living().order_by(Server.created, Server.id))
    )


def ask_launch(capacity: int, maximum: int, now: float) -> str:
    """Write down a launch for whoever keeps the fleet; returns its id.

    :raises FleetFull: no more servers are allowed.
    """
    members.locked_keeper()  # Whoever keeps the fleet counts under the same lock.
    if servers.running().count() >= maximum:
        raise FleetFull()
    return servers.add("", capacity, now)


def ask_drain(beginning: str) -> str:
    """Have everybody moved off the server whose id begins so, which then ends; returns its id.

    :raises NoSuchServer: none that lives has such an id, or several have.
    """
    alive = Server.select(Server.id).where(Server.state != State.GONE)
    ids = [row.id for row in alive if row.id.startswith(beginning)]
    if not beginning or len(ids) != 1:
        raise NoSuchServer()
    Server.update(drain_asked=True).where(Server.id == ids[0]).execute()
    return str(ids[0])


def ask_replace(maximum: int, version: str | None, most: int | None) -> Replacement:
    """Have another server launched in place of each that `replacing.choose` finds."""
    members.locked_keeper()  # So that of two who ask at once each asks for servers of their own.
    full = servers.running().count() >= maximum
    chosen = replacing.choose(servers.read_all(), version, most, full)
    _mark(chosen.servers, True)
    return chosen


def cancel_replace() -> tuple[str, ...]:
    """Let all stay of which it was asked that they are replaced, but for those that drain for that
    already; returns their ids."""
    ids = replacing.asked(servers.read_all())
    _mark(ids, False)
    return ids


def _mark(ids: tuple[str, ...], asked: bool) -> None:
    for some in peewee.chunked(ids, AT_ONCE):
        Server.update(replace_asked=asked).where(Server.id.in_(some)).execute()


# --- what operators do is recorded by the transaction that does it ---

LAUNCH, DRAIN, REPLACE, CANCEL_REPLACE = "launch", "drain", "replace", "replace-cancel"
"""The actions."""


@dataclass(frozen=True)
class By:
    """Who acts, from where (an address, or the command by which it is done), and when (s since the
    epoch)."""

    operator: str
    address: str
    now: float


def launch(by: By, capacity: int, maximum: int) -> str:
    """`ask_launch`, recorded."""
    server = ask_launch(capacity, maximum, by.now)
    record(by, LAUNCH, server)
    return server


def drain(by: By, beginning: str) -> str:
    """`ask_drain`, recorded."""
    server = ask_drain(beginning)
    record(by, DRAIN, server)
    return server


def replace(
    by: By, maximum: int, version: str | None = None, most: int | None = None
) -> Replacement:
    """`ask_replace`, recorded where it concerns anybody."""
    asked = ask_replace(maximum, version, most)
    if asked.servers:
        what = "" if version is None else f" of other versions than {version}"
        record(by, REPLACE, detail=f"{replacing.in_number(len(asked.servers))}{what}"[:250])
    return asked


def cancel(by: By) -> tuple[str, ...]:
    """`cancel_replace`, recorded likewise."""
    kept = cancel_replace()
    if kept:
        record(by, CANCEL_REPLACE, detail=replacing.in_number(len(kept)))
    return kept


@long_read
def actions(most: int) -> list[Deed]:
    """The latest actions, newest first."""
    latest = Action.select().order_by(Action.id.desc()).limit(most)
    return [
        Deed(
            id=row.id,
            at=row.at,
            operator=row.operator,
            address=row.address,
            action=row.action,
            target=row.target,
            person=row.person,
            detail=row.detail,
        )
        for row in latest
    ]


def record(
    by: By, action: str, target: str = "", *, person: str | None = None, detail: str | None = None
) -> None:
    """Write down what is done, in the transaction that does it."""
    Action.insert(
        at=by.now,
        operator=by.operator,
        address=by.address,
        action=action,
        target=target,
        person=person,
        detail=detail,
    ).execute()
