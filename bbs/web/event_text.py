"""What happened between two looks at the service, in sentences.

Pure: it is told what was seen, and reads no clock. Everybody may read it: people are counted and
never named, and a provider is not quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bbs.core.values import Counter, State
from bbs.rules import fleet_admin
from bbs.rules.fleet_admin import OperatorAction
from bbs.rules.overview import Overview
from bbs.rules.servers import OPERATOR, ServerRow

LATE = "what happens reaches people late, or not at all"
"""The words for a broker that is away, if no counter declares others."""


@dataclass(frozen=True)
class Told:
    """One sentence, of what happened `at` when (seconds since the epoch); None: just now."""

    text: str
    at: float | None = None


@dataclass(frozen=True)
class Launched:
    """A launch that succeeded after so many `seconds`, as part of a `trace` ("": of none)."""

    seconds: float
    trace: str = ""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What was seen: everything, as last known, and whether it could be looked at just now."""

    overview: Overview
    database: bool
    broker: bool


def narrate(before: Scene, now: Scene, counters: Iterable[Counter]) -> list[Told]:
    """The news in `now`, for somebody who knows `before`, of a service that counts `counters`."""
    return [
        *map(Told, _connections(before, now, counters)),
        *_actions(before.overview, now.overview),
        *_servers(before.overview, now.overview),
        *map(Told, _people(before.overview, now.overview)),
        *map(Told, _refusals(before.overview, now.overview)),
    ]


def deeds_since(at: float, now: Overview) -> list[Told]:
    """What operators have done after `at` (seconds since the epoch): while nobody looked."""
    return [_deed(deed) for deed in reversed(now.actions) if deed.at > at and _is_told(deed)]


def broker_away(counters: Iterable[Counter], how_late: str) -> str:
    """The sentence for a broker that is away: what arrives meanwhile does so `how_late`."""
    arrivals = " and ".join(each.arrival for each in counters if each.arrival)
    return f"The broker is away: {arrivals + how_late if arrivals else LATE}."


def short(server: str) -> str:
    """A server's id as people tell it from others."""
    return server[:8]


def newly_ready(before: Overview, now: Overview) -> list[Launched]:
    """Which launches have succeeded meanwhile."""
    known = _by_id(before)
    return [
        Launched(server.launch_time, server.trace)
        for server in now.servers
        if server.launch_time is not None
        and server.scope != OPERATOR
        and (server.id not in known or known[server.id].ready is None)
    ]


def newly_failed(before: Overview, now: Overview) -> int:
    """How many launches have failed meanwhile."""
    known = _by_id(before)
    return sum(
        _failed(server) and not (server.id in known and _failed(known[server.id]))
        for server in now.servers
    )


def _connections(before: Scene, now: Scene, counters: Iterable[Counter]) -> Iterator[str]:
    if before.database and not now.database:
        yield "The database is away: nobody can log in, and the fleet is shown as last known."
    if now.database and not before.database:
        yield "The database is back."
    if before.broker and not now.broker:
        yield broker_away(counters, " later")
    if now.broker and not before.broker:
        yield "The broker is back."


def _actions(before: Overview, now: Overview) -> Iterator[Told]:
    last = before.actions[0].id if before.actions else 0
    for deed in reversed(now.actions):
        if deed.id > last and _is_told(deed):
            yield _deed(deed)


def _is_told(deed: OperatorAction) -> bool:
    """Whether it is done to servers: what is done to people is for operators alone."""
    return bool(deed.target) or deed.action in _TO_MANY


_TO_MANY = {
    fleet_admin.REPLACE: "asked for others in place of",
    fleet_admin.CANCEL_REPLACE: "asked to keep",
}


def _deed(deed: OperatorAction) -> Told:
    if deed.action in _TO_MANY:
        return Told(f"An operator {_TO_MANY[deed.action]} {deed.detail}.", deed.at)
    words = "drain" if deed.action == fleet_admin.DRAIN else "start"
    return Told(f"An operator asked to {words} server {short(deed.target)}.", deed.at)


def _servers(before: Overview, now: Overview) -> Iterator[Told]:
    known = _by_id(before)
    for server in now.servers:
        was = known.get(server.id)
        changed = was is None or was.state is not server.state
        # One that could not be launched goes through two states, and is told of once.
        if changed and not (was and _failed(was)):
            at = {State.LAUNCHING: server.created, State.READY: server.ready}
            if was and was.state is State.DRAINING and server.state is State.READY:
                yield Told(f"Server {short(server.id)} is needed after all, and takes people.")
            else:
                yield Told(_of(server), at.get(server.state))


def _of(server: ServerRow) -> str:
    name = f"Server {short(server.id)}"
    why = f": {server.reason}." if server.reason else "."
    match server.state:
        case State.LAUNCHING:
            return f"{name} is being launched."
        case State.READY if server.scope == OPERATOR or server.ready is None:
            return f"{name} is ready."
        case State.READY:
            return f"{name} is ready after {server.launch_time:.1f} s."
        case State.WARM:
            return f"{name} has booted, and stands by."
        case State.DRAINING:
            return f"{name} drains{why}"
        case _ if _failed(server):
            return f"{name} could not be launched."
        case State.LOST:
            return f"{name} is lost{why}"
        case _:
            return f"{name} is gone{why}"


def _people(before: Overview, now: Overview) -> Iterator[str]:
    """When waiting begins and ends; how many wait meanwhile is among the figures."""
    if now.waiting and not before.waiting:
        one = now.waiting == 1
        yield f"{now.waiting} {'person waits' if one else 'people wait'} for a place."
    if before.waiting and not now.waiting:
        yield "Nobody waits for a place any more."


def _refusals(before: Overview, now: Overview) -> Iterator[str]:
    was, is_now = before.refusal, now.refusal
    if is_now and not was:
        yield "Nothing can be launched: the provider refuses it."
    if was and not is_now:
        yield "Servers can be launched again."


def _failed(server: ServerRow) -> bool:
    """Whether it ended before it was ever ready, and was to be."""
    ended = server.state in (State.LOST, State.GONE)
    return ended and server.ready is None and not server.shelved


def _by_id(overview: Overview) -> Mapping[str, ServerRow]:
    return {server.id: server for server in overview.servers}
