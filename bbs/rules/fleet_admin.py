"""The fleet for operators and for people who wait: estimates, what runs, one more, one less.

Which servers are to be replaced when operators ask for that, and what operators are told of it, is
pure: for the transaction that writes it down, for the shell and for the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

import peewee

from bbs.core.values import DrainCause, State, version_order
from bbs.rules import membership, page_history, servers
from bbs.rules.page_history import Event, EventKind
from bbs.rules.servers import OPERATOR, HeardServer, ServerRow
from bbs.storage.database import long_read, read_only, rows
from bbs.storage.models import Action, Lease, Place, Server, User

REPLACEABLE = (State.LAUNCHING, State.WARM, State.READY, State.DRAINING)
"""States of servers that another can be launched for: the others end by themselves."""

DELAY = "delay"
"""The figure of the login server that keeps the fleet: the `Blocker` for which servers that are to
be replaced are not, 0 where nothing holds that up."""


class Blocker(IntEnum):
    """What holds replacements up, by the numbers that login servers tell each other: they stay."""

    PROVIDER_AWAY = 1
    PROVIDER_SILENT = 2
    BROKER_AWAY = 3
    PEOPLE_WAIT = 4
    REFUSED = 5
    FAILED_LATELY = 6
    FULL = 7

    @property
    def text(self) -> str:
        """What operators read of it."""
        return _TEXTS[self]


_TEXTS: Mapping[int, str] = {
    Blocker.PROVIDER_AWAY: "the provider is away",
    Blocker.PROVIDER_SILENT: "the provider has not said for long what runs",
    Blocker.BROKER_AWAY: "the broker is away",
    Blocker.PEOPLE_WAIT: "people wait for places",
    Blocker.REFUSED: "nothing can be launched",
    Blocker.FAILED_LATELY: "a launch has failed lately",
    Blocker.FULL: (
        "fleet.maximum leaves no room for one more, and no others for the people of any of them"
    ),
}

ANOTHER = "the log of the login server that keeps the fleet says for what"
"""What operators read of a number that only a newer version knows."""

LONGEST = 9
"""Digits of how many are meant."""


@dataclass(frozen=True)
class Replacement:
    """What comes of asking for `servers` (their ids) to be replaced: so many of others that it
    concerns are run `by_hand` and stay, and of so many that are `booting` nobody knows yet which
    version they are. `full`: no server can be added before one ends."""

    servers: tuple[str, ...]
    by_hand: int = 0
    booting: int = 0
    full: bool = False


def choose(
    servers: Iterable[ServerRow], version: str | None, most: int | None, full: bool = False
) -> Replacement:
    """Those that the fleet launched and of which that was not asked yet; those alone that run
    another `version`, unless it is None, and `most` at the most, those of older versions first."""
    by_hand = booting = 0
    candidates = []
    for row in filter(_is_replaceable, servers):
        if version is not None and _boots(row):
            booting += 1
        elif row.version != version:
            by_hand += row.scope == OPERATOR
            if row.scope != OPERATOR:
                # What drains may end by itself.
                order = row.state is State.DRAINING, version_order(row.version), row.created
                candidates.append((order, row.id))
    ids = tuple(id for _, id in sorted(candidates)[:most])
    return Replacement(ids, by_hand, booting, full)


def outdated(servers: Iterable[ServerRow], version: str) -> int:
    """How many of those that would be chosen serve people now."""
    return sum(
        row.state is State.READY
        and row.version != version
        and row.scope != OPERATOR
        and _is_replaceable(row)
        for row in servers
    )


def servers_asked_to_be_replaced(servers: Iterable[ServerRow]) -> tuple[str, ...]:
    """The ids of those that are to be replaced, and may stay yet as they do not drain for that; the
    oldest first."""
    found = [
        row
        for row in servers
        if row.replace_asked
        and row.state is not State.GONE
        and not (row.state is State.DRAINING and row.cause is DrainCause.REPLACEMENT)
    ]
    return tuple(row.id for row in sorted(found, key=lambda row: row.created))


def _is_replaceable(row: ServerRow) -> bool:
    leaves = row.replace_asked or row.drain_asked or row.warned is not None
    return row.state in REPLACEABLE and not leaves


def _boots(row: ServerRow) -> bool:
    """Whether it has not said anything yet."""
    return row.state is State.LAUNCHING and row.port is None


def delay(figures: Iterable[int]) -> str:
    """What holds replacements up, by what login servers tell of it; "" for nothing."""
    number = max(figures, default=0)
    return _TEXTS.get(number, ANOTHER) if number else ""


def count_of(text: str) -> int:
    """How many are meant.

    :raises ValueError: it is no number from 1.
    """
    if text.isascii() and text.isdigit() and len(text) <= LONGEST and int(text):
        return int(text)
    raise ValueError("how many is a number from 1")


# --- in words ---


def in_number(count: int) -> str:
    """So many servers."""
    return "1 server" if count == 1 else f"{count} servers"


def notes(result: Replacement, maximum: int) -> Iterator[str]:
    """What else is to be known, where the fleet may have `maximum` servers."""
    if result.by_hand:
        stays = "stays" if result.by_hand == 1 else "stay"
        yield f"{in_number(result.by_hand)} that an operator runs by hand {stays}"
    if result.booting:
        boots = "boots" if result.booting == 1 else "boot"
        yield (
            f"{in_number(result.booting)} still {boots}, and nobody knows which version: ask again"
            " later"
        )
    if result.full and result.servers:
        yield (
            f"fleet.maximum: {maximum} app servers run already: each is replaced when its people"
            " have room on others"
        )


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
class OperatorAction:
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
class LaunchTimes:
    """How long launches took lately (mean of the last, s), and how long the oldest has run (s)."""

    usual: float
    oldest: float


@dataclass(frozen=True)
class Hold:
    """Why the provider launches nothing, and when it is asked again (seconds since the epoch)."""

    reason: str
    until: float


@read_only
def launches_under_way(now: float) -> LaunchTimes | None:
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
    return LaunchTimes(sum(times) / len(times), max(0.0, now - oldest) if oldest else 0.0)


@read_only
def refusal() -> Hold | None:
    """Why no server can be launched, since the last time that one was; None where one can."""
    lease = Lease.get_or_none(Lease.name == membership.KEEPER)
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
    membership.locked_leader()  # Whoever keeps the fleet counts under the same lock.
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
    membership.locked_leader()  # So that of two who ask at once each asks for servers of their own.
    full = servers.running().count() >= maximum
    chosen = choose(servers.read_all(), version, most, full)
    _mark(chosen.servers, True)
    return chosen


def cancel_replace() -> tuple[str, ...]:
    """Let all stay of which it was asked that they are replaced, but for those that drain for that
    already; returns their ids."""
    ids = servers_asked_to_be_replaced(servers.read_all())
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
    page_history.add(Event(EventKind.LAUNCHING, by.now, server))
    return server


def drain(by: By, beginning: str) -> str:
    """`ask_drain`, recorded."""
    membership.locked_leader()  # First of all, as whoever keeps the fleet has it first.
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
        record(by, REPLACE, detail=f"{in_number(len(asked.servers))}{what}"[:250])
    return asked


def cancel(by: By) -> tuple[str, ...]:
    """`cancel_replace`, recorded likewise."""
    membership.locked_leader()
    kept = cancel_replace()
    if kept:
        record(by, CANCEL_REPLACE, detail=in_number(len(kept)))
    return kept


@long_read
def actions(most: int) -> list[OperatorAction]:
    """The latest actions, newest first."""
    latest = Action.select().order_by(Action.id.desc()).limit(most)
    return [
        OperatorAction(
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
    """Write down what is done, in the transaction that does it; for everybody, where it is done to
    servers. That takes the lock of the fleet's lease (`bbs.rules.page_history`)."""
    Action.insert(
        at=by.now,
        operator=by.operator,
        address=by.address,
        action=action,
        target=target,
        person=person,
        detail=detail,
    ).execute()
    page_history.add(*events(by.now, action, target, detail))


def events(at: float, action: str, target: str, detail: str | None) -> Iterator[Event]:
    """The event of an action; none of what is for operators alone."""
    if action in _EVENTS:
        yield Event(_EVENTS[action], at, target, detail or "")


_EVENTS = {
    LAUNCH: EventKind.LAUNCH_ASKED,
    DRAIN: EventKind.DRAIN_ASKED,
    REPLACE: EventKind.REPLACE_ASKED,
    CANCEL_REPLACE: EventKind.REPLACE_CANCELLED,
}
