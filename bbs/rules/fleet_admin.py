"""What operators see of the fleet and ask of it, and estimates for users who wait.

The functions that choose the servers to replace, and that describe the choice, are pure: the
transaction, the shell and the page use them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import peewee

from bbs.core.values import REBALANCE, DrainCause, State, version_order
from bbs.rules import membership, page_history, servers
from bbs.rules.page_history import EventKind, FleetEvent
from bbs.rules.servers import OPERATOR, HeardServer, ServerRow
from bbs.storage.database import long_read, read_only, rows
from bbs.storage.models import Action, Lease, Place, Server, User

DELAY = "delay"
"""The figure of the login server that controls the fleet: the `Blocker` that holds replacements up,
0 for none."""


class Blocker(IntEnum):
    """What holds replacements up. Login servers send each other the numbers, so they stay."""

    text: str

    def __new__(cls, number: int, text: str) -> Blocker:
        member = int.__new__(cls, number)
        member._value_, member.text = number, text
        return member

    PROVIDER_AWAY = 1, "the provider is away"
    PROVIDER_SILENT = 2, "the provider has not said for long what runs"
    BROKER_AWAY = 3, "the broker is away"
    PEOPLE_WAIT = 4, "people wait for places"
    REFUSED = 5, "nothing can be launched"
    FAILED_LATELY = 6, "a launch has failed lately"
    FULL = (
        7,
        "fleet.maximum leaves no room for one more, and no others for the people of any of them",
    )


UNKNOWN_BLOCKER = "see the log of the login server that controls the fleet"
"""The text for operators, for a number that only a newer version knows."""


@dataclass(frozen=True)
class Replacement:
    """The result of a request to replace servers."""

    servers: tuple[str, ...]  # The ids of those that are replaced.
    by_hand: int = 0  # Others that an operator runs by hand: they stay.
    booting: int = 0  # Others whose version is not known yet.
    full: bool = False  # No server can be added before one ends.


def choose(
    servers: Iterable[ServerRow], version: str | None, most: int | None, full: bool = False
) -> Replacement:
    """Choose servers to replace: at most `most`, older versions first, of those that the fleet
    launched and that are not to be replaced already. With a `version`, only servers of another
    one."""
    by_hand = booting = 0
    candidates = []
    for row in filter(_is_replaceable, servers):
        if version is not None and row.state is State.LAUNCHING and row.port is None:
            booting += 1
        elif row.version != version:
            by_hand += row.scope == OPERATOR
            if row.scope != OPERATOR:
                # Draining servers last: they may end by themselves.
                order = row.state is State.DRAINING, version_order(row.version), row.created
                candidates.append((order, row.id))
    ids = tuple(id for _, id in sorted(candidates)[:most])
    return Replacement(ids, by_hand, booting, full)


def count_outdated(servers: Iterable[ServerRow], version: str) -> int:
    """Count the ready servers that `choose` would choose."""
    return sum(
        row.state is State.READY
        and row.version != version
        and row.scope != OPERATOR
        and _is_replaceable(row)
        for row in servers
    )


def servers_asked_to_be_replaced(servers: Iterable[ServerRow]) -> tuple[str, ...]:
    """The ids of servers that are to be replaced and do not drain for that yet, oldest first."""
    found = [
        row
        for row in servers
        if row.replace_asked
        and row.state is not State.GONE
        and not (row.state is State.DRAINING and row.cause is DrainCause.REPLACEMENT)
    ]
    return tuple(row.id for row in sorted(found, key=lambda row: row.created))


def _is_replaceable(row: ServerRow) -> bool:
    leaves = row.replace_asked or row.drain_asked or row.warned not in (None, REBALANCE)
    # Lost and gone servers end by themselves.
    return row.state not in (State.LOST, State.GONE) and not leaves


def blocker_text(figures: Iterable[int]) -> str:
    """Say what holds replacements up, by the `DELAY` figures of login servers; "" for nothing."""
    number = max(figures, default=0)
    texts = {blocker.value: blocker.text for blocker in Blocker}
    return texts.get(number, UNKNOWN_BLOCKER) if number else ""


def parse_count(text: str) -> int:
    """Parse a number of servers, of at most 9 digits; ValueError if it is malformed or 0."""
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text):
        return int(text)
    raise ValueError("must be a number from 1 to 999999999")


def count_text(count: int) -> str:
    """Say how many servers: "1 server", "2 servers"."""
    return "1 server" if count == 1 else f"{count} servers"


def replacement_notes(result: Replacement, maximum: int) -> Iterator[str]:
    """Sentences for operators, where the fleet may have `maximum` servers."""
    if result.by_hand:
        stays = "stays" if result.by_hand == 1 else "stay"
        yield f"{count_text(result.by_hand)} that an operator runs by hand {stays}"
    if result.booting:
        boots = "boots" if result.booting == 1 else "boot"
        yield f"{count_text(result.booting)} still {boots} with an unknown version: ask again later"
    if result.full and result.servers:
        yield (
            f"fleet.maximum ({maximum}) is reached: each server is replaced once its people fit on"
            " the others"
        )


LONGEST_HOLD = 600.0  # Seconds after a refusal until the provider is asked again, at most.
LAUNCHES_AVERAGED = 5  # The latest launches whose mean is the estimate for users who wait.
AT_ONCE = 500  # Rows that one statement marks.


class FleetFull(Exception):
    """As many app servers run as `[fleet] maximum` allows; its text says what to do."""


class NoSuchServer(Exception):
    """No live app server has an id that begins so, or several have."""


@dataclass(frozen=True, kw_only=True)
class OperatorAction:
    """An act of an operator."""

    id: int
    at: float  # Seconds since the epoch.
    operator: str
    address: str
    action: str
    target: str  # A server, or "".
    person: str | None = None  # The name of a user.
    detail: str | None = None


@dataclass(frozen=True)
class LaunchTimes:
    """Seconds: the mean of the latest launches, and of the oldest under way so far."""

    usual: float
    oldest: float


@dataclass(frozen=True)
class Hold:
    """Why the provider launches nothing, and when it is asked again (seconds since the epoch)."""

    reason: str
    until: float


@read_only
def launches_under_way(now: float) -> LaunchTimes | None:
    """The launch times for an estimate; None if no launch has been measured."""
    latest = (
        Server.select(Server.ready - Server.created)
        .where(Server.ready.is_null(False))
        .order_by(Server.ready.desc())
        .limit(LAUNCHES_AVERAGED)
    )
    times = [seconds for (seconds,) in rows(latest)]
    if not times:
        return None
    for_people = (Server.state == State.LAUNCHING) & ~Server.shelved
    oldest = Server.select(peewee.fn.MIN(Server.created)).where(for_people).scalar()
    # If a clock was set back, the estimate is still at most one launch.
    return LaunchTimes(sum(times) / len(times), max(0.0, now - oldest) if oldest else 0.0)


@read_only
def refusal() -> Hold | None:
    """Why no server can be launched; None if the provider does not refuse."""
    lease = Lease.get_or_none(Lease.name == membership.FLEET_LEASE)
    if lease is None or lease.refusal is None or lease.refused_until is None:
        return None
    return Hold(lease.refusal, lease.refused_until)


@read_only
def is_hopeless(now: float) -> bool:
    """Whether no server will come for users who wait now: the provider refuses, and no launch is
    under way. A refusal that would last too long comes from a wrong clock, and is ignored."""
    refused = refusal()
    # Twice, as clocks differ a little from each other.
    if refused is None or not 0 < refused.until - now < 2 * LONGEST_HOLD:
        return False
    return not Server.select().where(Server.state == State.LAUNCHING).exists()


@dataclass(frozen=True)
class Outlook:
    """The prospects of users who wait now. `hopeless`: no server will come before an operator has
    acted (`is_hopeless`). `crowded`: none before one of the fleet's ends, and some of those who
    have places may give way, as they log in from networks that are not trusted."""

    crowded: bool
    hopeless: bool


@read_only
def outlook(now: float, maximum: int) -> Outlook:
    """The outlook in a fleet of at most `maximum` servers."""
    hopeless = is_hopeless(now)
    booting = (Server.state == State.LAUNCHING) & (Server.shelved == False)  # noqa: E712
    counted = (Server.state == State.READY) & (Place.origin != "")
    return Outlook(
        (hopeless or servers.running().count() >= maximum)
        and not Server.select().where(booting).exists()
        and Place.select().join(Server).where(counted).exists(),
        hopeless,
    )


@dataclass(frozen=True)
class ListedServer:
    """An app server, and the names of the users on it."""

    server: HeardServer
    people: tuple[str, ...]


@long_read
def listing() -> tuple[ListedServer, ...]:
    """The servers that live, oldest first, with their users."""
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
        ListedServer(server, tuple(people.get(server.id, ())))
        for server in servers.read(servers.living().order_by(Server.created, Server.id))
    )


def ask_launch(capacity: int, maximum: int, now: float) -> str:
    """Store a launch for the fleet's controller; returns its id, or raises FleetFull."""
    membership.locked_leader()  # The controller counts under the same lock.
    if servers.running().count() >= maximum:
        raise FleetFull(f"fleet.maximum ({maximum}) is reached: raise it, or drain a server first")
    return servers.add("", capacity, now)


def ask_drain(beginning: str) -> str:
    """Ask that the server whose id begins so drains; returns its id, or raises NoSuchServer. One
    that was run by hand may have died: then it is missed no more (`overview.missed`)."""
    known = Server.select(Server.id).where((Server.state != State.GONE) | servers.died_by_hand())
    ids = [row.id for row in known if row.id.startswith(beginning)]
    if not beginning or len(ids) != 1:
        raise NoSuchServer()
    Server.update(drain_asked=True).where(Server.id == ids[0]).execute()
    return str(ids[0])


def ask_replace(maximum: int, version: str | None, most: int | None) -> Replacement:
    """Ask for another server in place of each that `choose` finds."""
    membership.locked_leader()  # So that two operators do not ask for the same servers.
    full = servers.running().count() >= maximum
    chosen = choose(servers.read_all(), version, most, full)
    _mark(chosen.servers, True)
    return chosen


def cancel_replace() -> tuple[str, ...]:
    """Cancel the replacement of servers that do not drain for that yet; returns their ids."""
    ids = servers_asked_to_be_replaced(servers.read_all())
    _mark(ids, False)
    return ids


def _mark(ids: tuple[str, ...], asked: bool) -> None:
    for some in peewee.chunked(ids, AT_ONCE):
        Server.update(replace_asked=asked).where(Server.id.in_(some)).execute()


LAUNCH, DRAIN, REPLACE, CANCEL_REPLACE = "launch", "drain", "replace", "replace-cancel"


@dataclass(frozen=True)
class By:
    """The operator who acts."""

    operator: str
    address: str  # Or the command that acted.
    now: float  # Seconds since the epoch.


def run_by_hand(service_name: str) -> str:
    """Say what operators do where nothing is launched."""
    return f"fleet.provider is none: run twistd {service_name}-app yourself"


def launch(by: By, capacity: int, maximum: int) -> str:
    """`ask_launch`, recorded."""
    server = ask_launch(capacity, maximum, by.now)
    record(by, LAUNCH, server)
    page_history.add(FleetEvent(EventKind.LAUNCHING, by.now, server))
    return server


def drain(by: By, beginning: str) -> str:
    """`ask_drain`, recorded."""
    membership.locked_leader()  # First of all, as the controller locks it first.
    server = ask_drain(beginning)
    record(by, DRAIN, server)
    return server


def replace(
    by: By, maximum: int, version: str | None = None, most: int | None = None
) -> Replacement:
    """`ask_replace`, recorded if it finds servers."""
    asked = ask_replace(maximum, version, most)
    if asked.servers:
        what = "" if version is None else f" of other versions than {version}"
        record(by, REPLACE, detail=f"{count_text(len(asked.servers))}{what}"[:250])
    return asked


def cancel(by: By) -> tuple[str, ...]:
    """`cancel_replace`, recorded likewise."""
    membership.locked_leader()
    kept = cancel_replace()
    if kept:
        record(by, CANCEL_REPLACE, detail=count_text(len(kept)))
    return kept


@long_read
def actions(most: int) -> list[OperatorAction]:
    """The latest actions, newest first."""
    latest: Any = Action.select().order_by(Action.id.desc()).limit(most).dicts()
    return [OperatorAction(**row) for row in latest]


def record(
    by: By, action: str, target: str = "", *, person: str | None = None, detail: str | None = None
) -> None:
    """Record an act, in the transaction that performs it. An act on servers is also a public event,
    which needs the lock of the fleet's lease (`bbs.rules.page_history`)."""
    row = {"at": by.now, "operator": by.operator, "address": by.address, "action": action}
    Action.insert(**row, target=target, person=person, detail=detail).execute()
    if action in _EVENTS:
        page_history.add(FleetEvent(_EVENTS[action], by.now, target, detail or ""))


_EVENTS = {
    LAUNCH: EventKind.LAUNCH_ASKED,
    DRAIN: EventKind.DRAIN_ASKED,
    REPLACE: EventKind.REPLACE_ASKED,
    CANCEL_REPLACE: EventKind.REPLACE_CANCELLED,
}
