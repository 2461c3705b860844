"""The present, as the page gets it: what was seen and measured, in the shape of its JSON, and
alarms.

The shape is in `docs/web.md`. Names of people are in it for operators alone, and so is what a
provider says of a launch: that names the account and the roles of a cloud.

An alarm is above everything else: people wait, and nothing is launched for them. A delay that ends
by itself is no alarm: while enough is being launched for everybody who waits, nobody needs to act.
Everything here is pure: it is given what is known, and reads no clock.
"""

from __future__ import annotations

import collections
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bbs import __version__
from bbs.core.values import Counter, Policy, State
from bbs.rules import fleet_admin
from bbs.rules.fleet_admin import DELAY
from bbs.rules.overview import Overview
from bbs.rules.servers import NOT_RUNNING, OPERATOR, SPARE, HeardServer


class Cause(StrEnum):
    """Why nothing is launched."""

    NO_KEEPER = "no-keeper"
    REFUSED = "refused"
    FAILED = "failed"
    MAXIMUM = "maximum"
    BY_HAND = "by-hand"


@dataclass(frozen=True)
class Alarm:
    """What is wrong, in words that stay the same while it lasts, as they are read out whenever they
    change; and what is `todo` for operators."""

    cause: Cause
    text: str
    todo: str

    def as_json(self) -> dict[str, str]:
        """As the page gets it."""
        return {"cause": str(self.cause), "text": self.text, "todo": self.todo}


FAILURES = 2
"""Launches that failed in a row after which the next one is not believed in: the first may have
failed by chance."""


def no_keeper_after(policy: Policy) -> float:
    """Seconds without a sign of the fleet's keeper after which there is none: another login server
    takes over after `lost_after`, and has then as long again to show itself."""
    return 2 * policy.lost_after


def alarms(
    seen: Overview, policy: Policy, keeper_silence: float, operator: bool
) -> Iterator[Alarm]:
    """What is to be cried out, the worst first.

    :param keeper_silence: seconds for which the fleet's keeper has given no sign.
    :param operator: whether what a provider says may be said.
    """
    if keeper_silence > no_keeper_after(policy):
        yield Alarm(
            Cause.NO_KEEPER,
            "Nobody keeps the fleet: no server is launched, and none is ended",
            "Look at the logs of the login servers, and restart them one by one.",
        )
    if seen.waiting and seen.failures >= FAILURES and seen.refusal is None:
        # Also while the next one is under way: else this would come and go with each.
        yield Alarm(
            Cause.FAILED,
            "People wait for a place, and one launch after the other fails",
            "Look below the servers for why, and in their logs, or run an app server by hand."
            " It is tried again by itself."
            if operator
            else "Log in as an operator to see why.",
        )
        return
    coming = sum(each.capacity for each in seen.servers if each.state is State.LAUNCHING)
    if seen.waiting <= coming:
        return
    if seen.refusal is not None:
        why = f": {seen.refusal.reason}" if operator else ""
        yield Alarm(
            Cause.REFUSED,
            f"People wait for a place, and the provider launches nothing{why}",
            "Put right what it says, or run an app server by hand. It is asked again by itself."
            if operator
            else "Log in as an operator to see why.",
        )
    living = sum(each.state not in NOT_RUNNING for each in seen.servers)
    if not policy.maximum:
        yield Alarm(
            Cause.BY_HAND,
            "People wait for a place, and nothing launches servers: they are run by hand",
            "Run another app server.",
        )
    elif living >= policy.maximum:
        yield Alarm(
            Cause.MAXIMUM,
            f"People wait for a place, and the fleet is at its maximum of {policy.maximum} servers",
            "Raise fleet.maximum and restart the login servers, or run an app server by hand.",
        )


SHOWN = 100
"""Servers at the most that the page has: 5,000 would be 2 MB each second, for each reader."""

REFUSED = "the provider refuses it, and operators who log in see why"
"""The reason that everybody may read."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures beside the database's rows: rates, ages in seconds, and this process's own times.

    `per_second` is how much is counted of each counter, by all servers together; `per_second_of`
    the same by each app server, None as long as that is not known. `failed_logins`, and `errors`
    by kind, are those of the last minute. `keeper_silence` is for how long the fleet's keeper has
    given no sign.
    """

    logins_per_minute: float
    failed_logins: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    keeper_silence: float = 0.0
    per_second: Mapping[str, float]
    per_second_of: Mapping[str, Mapping[str, float | None]]
    leases: Mapping[str, float]
    launches: int
    reactor_lag: float
    database_time: float | None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What was seen: everything, as last known, and whether it could be looked at just now."""

    overview: Overview
    database: bool
    broker: bool


@dataclass(frozen=True, kw_only=True)
class PageView:
    """One look: at `at`, of a fleet that was seen so at `seen_at` (seconds since the epoch)."""

    at: float
    seen_at: float
    scene: Scene
    measured: Measured


@dataclass(frozen=True, kw_only=True)
class ServiceInfo:
    """What does not change while the server runs: the service's name and what it counts, and whose
    page this is, where somebody `may_act` or nobody. `outlives`: app servers go on without login
    servers, and so it matters which fleet this is."""

    service: str
    counters: Sequence[Counter]
    login_server: str
    policy: Policy
    may_act: bool
    outlives: bool = False


def snapshot(
    view: PageView, standing: ServiceInfo, operator: str | None, search: str = ""
) -> dict[str, object]:
    """`view` for `operator`, or for somebody who is none, with the servers that `search` finds."""
    seen, measured, policy = view.scene.overview, view.measured, standing.policy
    who = seen.who if operator is not None else None
    return {
        "at": round(view.at, 1),
        "service": standing.service,
        "version": __version__,
        "login_server": standing.login_server,
        "database": view.scene.database,
        "fleet_at": round(view.seen_at, 1),
        "broker": view.scene.broker,
        "alarms": [
            each.as_json()
            for each in alarms(seen, policy, measured.keeper_silence, operator is not None)
        ],
        "refusal": seen.refusal
        and {
            "reason": REFUSED if operator is None else seen.refusal.reason,
            "until": round(seen.refusal.until, 1),
        },
        "fleet": _fleet(seen) if standing.outlives and operator is not None else None,
        "operator": operator,
        **({} if who is None else {"last_action": seen.actions[0].id if seen.actions else 0}),
        "may_act": standing.may_act,
        "capacity": policy.capacity,
        "maximum": policy.maximum,
        "minimum": policy.minimum,
        "spare": spare_places(seen, policy),
        "servers": [
            _server(server, view, standing.counters, stranger=operator is None, who=who)
            for server in some_of(seen.servers, search)
        ],
        "login_servers": [
            {"id": each.id, "version": each.version or None} for each in seen.login_servers
        ],
        "replacing": _replacing(seen),
        "states": states(seen.servers),
        "places": sum(server.capacity for server in seen.servers if server.state is State.READY),
        "free_places": free_places(view),
        "people": people(view),
        "connected": seen.connected,
        "away": seen.away,
        "waiting": {"count": seen.waiting, "longest": longest_wait(view)}
        | ({} if who is None else {"who": who.get("", ())}),
        "launches": {
            "under_way": sum(server.state is State.LAUNCHING for server in seen.servers),
            "usual": _rounded(seen.usual),
            "last_hour": measured.launches,
        },
        "logins_per_minute": round(measured.logins_per_minute, 1),
        "failed_logins_per_minute": measured.failed_logins,
        "errors_per_minute": measured.errors,
        **_counted(measured.per_second, standing.counters),
        "reactor_lag": round(measured.reactor_lag, 4),
        "database_time": _rounded(measured.database_time, 5),
    }


def _fleet(seen: Overview) -> dict[str, str | None]:
    """Which fleet this is, and of which one's database this is a copy."""
    return {"id": seen.fleet, "copy_of": seen.copy_of.id if seen.copy_of else None}


def _replacing(seen: Overview) -> dict[str, int | str | None]:
    """How many servers could be replaced as they run another version, how many are to be, and for
    what that waits."""
    asked = len(fleet_admin.servers_asked_to_be_replaced(seen.servers))
    delay = fleet_admin.blocker_text(each.figures.get(DELAY, 0) for each in seen.login_servers)
    return {
        "outdated": fleet_admin.count_outdated(seen.servers, __version__),
        "asked": asked,
        "waits_for": (delay or None) if asked else None,
    }


def some_of(servers: Sequence[HeardServer], search: str = "") -> Sequence[HeardServer]:
    """Those of the `servers` that the page shows: all, up to `SHOWN`; else first those with which
    something is the matter, and then the oldest. With a `search` only those whose id, address or
    instance it is a part of."""
    if search:
        found = ((each, (each.id, each.address or "", each.instance_id or "")) for each in servers)
        servers = [each for each, texts in found if any(search in text for text in texts)]
    if len(servers) <= SHOWN:
        return servers
    return heapq.nsmallest(SHOWN, servers, key=lambda each: (_RANKS[each.state], _is_well(each)))


_ORDER = (State.LOST, State.DRAINING, State.LAUNCHING, State.READY, State.WARM, State.GONE)
_RANKS = {state: rank for rank, state in enumerate(_ORDER)}


def _is_well(server: HeardServer) -> bool:
    return not (server.drain_asked or server.leaving or server.warned)


def states(servers: Sequence[HeardServer]) -> Mapping[str, int]:
    """How many there are in each state, of those that there are any in."""
    counted = collections.Counter(server.state for server in servers)
    return {str(state): counted[state] for state in State if counted[state]}


def essence(view: PageView) -> object:
    """What makes a snapshot another one: of two that are equal in this the page needs one."""
    seen = view.scene.overview
    servers = [
        (each.id, each.state, each.taken, each.capacity, each.port, each.reason, *_marks(each))
        for each in some_of(seen.servers)
    ]
    connections = (view.scene.database, view.scene.broker)
    fleet = (servers, seen.waiting, seen.away, seen.refusal, seen.usual, seen.who, seen.actions[:1])
    versions = [(each.id, each.version) for each in seen.login_servers]
    whose = (seen.fleet, seen.copy_of, versions)
    return (
        connections,
        whose,
        fleet,
        _replacing(seen),
        [connected_to(each) for each in seen.servers],
    )


def _marks(server: HeardServer) -> tuple[object, ...]:
    return server.drain_asked, server.replace_asked, server.version


def free_places(view: PageView) -> int:
    """How many people more could have places."""
    return sum(server.free for server in view.scene.overview.servers)


def spare_places(seen: Overview, policy: Policy) -> int:
    """How many of them are to be kept: as configured, or as the fleet's keeper foresees."""
    if not policy.foresees:
        return policy.spare
    return max((each.figures.get(SPARE, 0) for each in seen.login_servers), default=0)


def people(view: PageView) -> int:
    """How many people have places."""
    return sum(server.taken for server in view.scene.overview.servers)


def connected_to(server: HeardServer) -> int | None:
    """How many people listen on a server that lives, as of its last heartbeat."""
    return None if server.state is State.GONE else server.connected


def longest_wait(view: PageView) -> float | None:
    """For how many seconds the first of those who wait has done so."""
    since = view.scene.overview.waiting_since
    return None if since is None else round(max(0.0, view.at - since), 1)


def _server(
    server: HeardServer,
    view: PageView,
    counters: Sequence[Counter],
    *,
    stranger: bool,
    who: Mapping[str, tuple[str, ...]] | None,
) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": server.id,
        "state": str(server.state),
        "address": server.address,
        "people": server.taken,
        "connected": connected_to(server),
        "capacity": server.capacity,
        "age": round(max(0.0, view.at - server.created), 1),
        "ready_after": None if server.scope == OPERATOR else _rounded(server.launch_time),
        **_counted(view.measured.per_second_of.get(server.id, {}), counters),
        "lease": _rounded(view.measured.leases.get(server.id)),
        "drain_asked": server.drain_asked,
        "replace_asked": server.replace_asked,
        "version": server.version or None,
        # "refused: " and "failed: " are the fleet's words, what follows is the provider's.
        "reason": server.reason.partition(":")[0] if stranger else server.reason,
        "provider": server.provider or None,
        "instance": server.instance_id or None,
        "type": server.kind or None,
    }
    return shown if who is None else shown | {"who": who.get(server.id, ())}


def _counted(rates: Mapping[str, float | None], counters: Sequence[Counter]) -> dict[str, object]:
    """What is counted a second, by name, and before that in the members that counters have."""
    shown = {name: _rounded(rate, 2) for name, rate in rates.items()}
    members = {
        each.member: shown[each.name] for each in counters if each.member and each.name in shown
    }
    return {**members, "counters": {name: {"per_second": rate} for name, rate in shown.items()}}


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)
