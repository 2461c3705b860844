"""The present in the shape of the page's JSON (`docs/web.md`), in one sentence, and what is wrong.

Only operators see the names of people and what a provider says of a launch, which names the account
and the roles of a cloud.

There is an alarm while operators need to act: while no login server controls the fleet, the disk of
the database is nearly full, a certificate ends within two weeks, too few servers are ready, or too
little is launched for those who wait. Problems without an alarm are warnings. Everything here
is pure: the caller passes in what is known, and nothing reads a clock.
"""

from __future__ import annotations

import collections
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from bbs.core.values import ERRORS, Counter, DiskState, LossCause, Policy, State, Trouble
from bbs.protocols.stomp.redundant import BrokerCount
from bbs.rules import fleet_admin
from bbs.rules.fleet_admin import DELAY
from bbs.rules.overview import Overview
from bbs.rules.page_history import broker_away
from bbs.rules.servers import NOT_RUNNING, OPERATOR, HeardServer, explain
from bbs.rules.service_clock import in_words
from bbs.storage.database import DiskSpace
from bbs.web import certificates, lacks
from bbs.web.context import ServiceInfo
from bbs.web.lacks import spare_places

MOST_SHOWN = 100
"""Servers that a snapshot has: 5,000 would be 2 MB each second, for each reader."""

REFUSED = "the provider refuses it, and operators who log in see why"  # what everybody may read


class Cause(StrEnum):
    """Why there is an alarm; most say why nothing is launched. `bbs_fleet_alarm` has each of them,
    and the alerts for Prometheus and CloudWatch follow from that."""

    NO_CONTROLLER = "no-keeper"
    DISK_FULL = "disk-full"
    TWO_WRITERS = "two-writers"
    EXPIRED = "certificate-expired"
    CERTIFICATE = "certificate"
    CLOCK = "wrong-clock"
    CLOCK_UNPROVED = "unproved-clock"
    REFUSED = "refused"
    FAILED = "failed"
    TOO_FEW = "too-few"
    MAXIMUM = "maximum"
    BY_HAND = "by-hand"
    DIED = "by-hand-died"


class Fault(StrEnum):
    """What is wrong without an alarm."""

    DATABASE_AWAY = "database-away"
    BROKER_AWAY = "broker-away"
    BROKERS_MISSING = "brokers-missing"
    REFUSED = "launches-refused"
    MAXIMUM = "at-maximum"
    FAILED = "launch-failed"
    LOST = "servers-lost"
    INTERNAL = "internal-errors"
    COPY = "copied-database"


class Level(StrEnum):
    """How a service does: `ALARM`: somebody has to act now."""

    WELL = "well"
    ATTENTION = "attention"
    ALARM = "alarm"


@dataclass(frozen=True)
class Problem:
    """What is wrong, and `todo`, what operators should do, at once if it is `urgent`. A screen
    reader says the `text` whenever it changes, so it stays the same while the problem lasts."""

    cause: Cause | Fault
    text: str
    todo: str
    urgent: bool = False


def controller_deadline(policy: Policy) -> float:
    """Seconds without a sign of a fleet controller before there is an alarm: another login server
    takes over after `lost_after`, and then has as long again to show itself."""
    return 2 * policy.lost_after


_ALARMS: Mapping[Cause, tuple[str, str]] = {
    Cause.NO_CONTROLLER: (
        "No login server controls the fleet: no server is launched or ended",
        "Look at the logs of the login servers, or of the fleet's own processes if it has any, and"
        " restart them one by one.",
    ),
    Cause.DISK_FULL: (
        "The disk of the database is nearly full: what people write is refused",
        "Delete old backups or other files on it, or enlarge it; the log says how much room is"
        " missing. Logins, reading and deleting still work.",
    ),
    Cause.TWO_WRITERS: (
        "Servers write to several nodes of the database, which can refuse each other's writes",
        "Let every database.url name the same node first, and restart the servers that write to"
        " another one.",
    ),
    Cause.CLOCK: (
        "A clock is wrong",
        "Set the clock of that machine, and have NTP keep it. While the database, the login server"
        " that controls the fleet or half of the servers are wrong, nothing that is old is removed;"
        " then it goes on by itself. If all clocks are right, a wrong time was accepted: then the"
        " command db clock accept takes the right one.",
    ),
    Cause.CLOCK_UNPROVED: (
        "Nothing that is old is removed: the service was off for a day or more, or its clock is"
        " wrong",
        "Look at the clock of the database. If it is right, the command db clock accept begins at"
        " once, and else set it: in an hour removal begins by itself.",
    ),
    Cause.FAILED: (
        "{need}, and one launch after the other fails",
        "Look for the reason below the servers and in their logs, or run an app server by hand."
        " Launches are tried again by themselves.",
    ),
    Cause.REFUSED: (
        "{need}, and the provider launches nothing",
        "The provider starts the servers: fix what it complains about, or run an app server by"
        " hand. It is asked again by itself.",
    ),
    Cause.TOO_FEW: (
        "Fewer servers than the minimum of {minimum} stay ready",
        "Look for the reason below the servers and in their logs, or run an app server by hand. If"
        " it is not said there, the log of the login server that controls the fleet says what is"
        " launched.",
    ),
    Cause.MAXIMUM: (
        "People wait for a place, and the fleet is at its maximum of {maximum} servers",
        "Raise fleet.maximum and restart the login servers, or run an app server by hand.",
    ),
    Cause.BY_HAND: (
        "People wait for a place, and servers are run by hand",
        "Run another app server.",
    ),
    Cause.DIED: (
        "A server that is run by hand has died, and no other runs in its place",
        'Look at its machine and its log, and start it again. If it is not missed, "fleet drain"'
        " with its id ends this alarm.",
    ),
}


_NO_ROOM = (
    "The disk of the database is full: nobody can log in or write, and no server is launched or"
    " ended",
    "Delete old backups or other files on it, or enlarge it. Leave the files of the database alone."
    " Everything goes on by itself then.",
)


def alarms(
    seen: Overview,
    policy: Policy,
    controller_silence: float,
    operator: bool,
    disk: DiskState = DiskState.FREE,
    short_for: float = 0.0,
    at: float = 0.0,
) -> Iterator[Problem]:
    """The present alarms, the worst first. An `operator` may see what the provider says, and
    the names of nodes, servers and files."""
    values = {
        "need": "People wait for a place" if seen.waiting else "The fleet needs a server",
        "minimum": policy.minimum,
        "maximum": policy.maximum,
    }
    for cause in causes(seen, policy, controller_silence, disk, short_for, at):
        if cause in (Cause.EXPIRED, Cause.CERTIFICATE):
            text = certificates.sentence(certificates.due(seen, at), at, operator)
            yield Problem(cause, text, certificates.TODO, urgent=True)
            continue
        is_full = cause is Cause.DISK_FULL and disk is DiskState.FULL
        text, todo = _NO_ROOM if is_full else _ALARMS[cause]
        text = text.format(**values)
        if cause is Cause.CLOCK and operator:
            text += f": {in_words(seen.clocks)}"
        if cause is Cause.REFUSED and seen.refusal is not None and operator:
            text += f": {seen.refusal.reason}"
        if cause is Cause.TWO_WRITERS and operator:
            text += f": {', '.join(seen.nodes)}"
        if cause is Cause.DIED and operator:
            text += f": {', '.join(seen.missed)}"
        if cause in (Cause.REFUSED, Cause.FAILED) and not operator:
            todo = "Log in as an operator to see why."
        yield Problem(cause, text, todo, urgent=True)


def causes(
    seen: Overview,
    policy: Policy,
    controller_silence: float,
    disk: DiskState = DiskState.FREE,
    short_for: float = 0.0,
    at: float = 0.0,
) -> Iterator[Cause]:
    """The causes of the present alarms, the worst first.

    :param controller_silence: seconds since the last sign of the fleet controller.
    :param short_for: seconds for which fewer servers than the minimum have been ready.
    :param at: the time in seconds since the epoch.
    """
    if controller_silence > controller_deadline(policy):
        yield Cause.NO_CONTROLLER
    if disk is not DiskState.FREE:
        yield Cause.DISK_FULL
    if len(seen.nodes) > 1:
        yield Cause.TWO_WRITERS
    if due := certificates.due(seen, at):
        yield Cause.EXPIRED if due[0].served.expires <= at else Cause.CERTIFICATE
    clocks = seen.clocks
    if in_words(clocks):
        yield Cause.CLOCK
    elif any(each.unproved for each in clocks):
        yield Cause.CLOCK_UNPROVED
    yield from _launch_causes(seen, policy)
    if short_for >= lacks.PATIENCE:
        yield Cause.TOO_FEW
    if seen.missed and not policy.maximum:
        # Where a provider launches servers, the fleet makes up for it.
        yield Cause.DIED


def _launch_causes(seen: Overview, policy: Policy) -> Iterator[Cause]:
    """Why nothing is launched for people who wait, or for the fleet's own need."""
    if seen.refusal is None and lacks.launches_fail(seen, policy):
        # Also while the next launch is under way: else the alarm would come and go with each.
        yield Cause.FAILED
        return
    coming = sum(each.capacity for each in seen.servers if each.state is State.LAUNCHING)
    people_lack = seen.waiting > coming
    if seen.refusal is not None and (people_lack or lacks.is_short(seen, policy)):
        yield Cause.REFUSED
    if people_lack and not policy.maximum:
        yield Cause.BY_HAND
    elif people_lack and running(seen.servers) >= policy.maximum:
        yield Cause.MAXIMUM


_WARNINGS: Mapping[Fault, tuple[str, str]] = {
    Fault.DATABASE_AWAY: (
        "The database is away: nobody can log in, and the fleet is shown as last seen",
        "Look at the database's log, and start it again. All servers then go on by themselves.",
    ),
    Fault.BROKER_AWAY: (
        "{broker}",
        "Look at its log, and start it again. It passes events between servers, and has nothing to"
        " lose.",
    ),
    Fault.BROKERS_MISSING: (
        "This login server reaches {brokers} brokers, and events come in time by these",
        "Look at the log of the other, and start it again.",
    ),
    Fault.REFUSED: (
        "No server can be launched: {refusal}",
        "The provider starts the servers: fix what it complains about. It is asked again by"
        " itself.",
    ),
    Fault.MAXIMUM: (
        "People wait, and the fleet is at its maximum of {maximum} servers",
        "Wait: servers that are starting have places for them. If it happens often, raise"
        " fleet.maximum.",
    ),
    Fault.FAILED: (
        "The last launch of a server failed",
        "Wait: launches are tried again. If this stays, look for the reason below the servers and"
        " in their logs.",
    ),
    Fault.LOST: (
        "{lost}, and the people there get other places",
        "Wait five minutes. If this is still here, read the log of the login server that controls"
        " the fleet.",
    ),
    Fault.INTERNAL: (
        "Requests fail because of a bug",
        "Search the logs for the reference that people were given, and report the bug.",
    ),
    Fault.COPY: (
        "This is fleet {fleet}, whose database is a copy of fleet {other}'s, or was moved",
        'If that fleet no longer runs, "{service} fleet adopt" makes this fleet {other} again.',
    ),
}


def warnings(view: PageView, info: ServiceInfo, operator: bool) -> Iterator[Problem]:
    """What is wrong without an alarm, the worst first. An `operator` may see what the provider
    says."""
    seen, lost = view.overview, _lost(view.overview)
    broker, wanted = broker_away(info.counters, ", seconds later than usual"), view.brokers.wanted
    values = {
        "broker": broker.removesuffix(".") + (f" (0 of {wanted} brokers)" if wanted > 1 else ""),
        "brokers": f"{view.brokers.connected} of {wanted}",
        "refusal": seen.refusal.reason if seen.refusal and operator else REFUSED,
        "maximum": info.policy.maximum,
        "lost": "A server is lost" if lost == 1 else f"{lost} servers are lost",
        "fleet": seen.fleet,
        "other": seen.copy_of.id if seen.copy_of else "",
        "service": info.service,
    }
    for fault in _faults(view, info, operator):
        text, todo = (each.format(**values) for each in _WARNINGS[fault])
        yield Problem(fault, text, todo, urgent=fault is Fault.DATABASE_AWAY)


def _faults(view: PageView, info: ServiceInfo, operator: bool) -> Sequence[Fault]:
    """The present faults, the worst first, of which no alarm tells."""
    seen, maximum = view.overview, info.policy.maximum
    crying = {each.cause for each in alarms_of(view, info.policy, operator)}
    is_full = bool(seen.waiting) and 0 < maximum <= running(seen.servers)
    present = {
        Fault.DATABASE_AWAY: not view.database,
        Fault.BROKER_AWAY: not view.broker,
        Fault.BROKERS_MISSING: 0 < view.brokers.connected < view.brokers.wanted,
        Fault.REFUSED: seen.refusal is not None and Cause.REFUSED not in crying,
        Fault.MAXIMUM: is_full and crying.isdisjoint((Cause.MAXIMUM, Cause.FAILED)),
        Fault.FAILED: seen.failures.count > 0 and Cause.FAILED not in crying,
        Fault.LOST: _lost(seen) > 0,
        Fault.INTERNAL: view.measured.errors.get(ERRORS[Trouble.INTERNAL], 0) > 0,
        Fault.COPY: operator and info.outlives and seen.copy_of is not None,
    }
    return [fault for fault, holds in present.items() if holds]


def _lost(seen: Overview) -> int:
    """The number of servers that served people, and are lost."""
    return sum(each.state is State.LOST and not each.has_yet_to_serve for each in seen.servers)


def alarms_of(view: PageView, policy: Policy, operator: bool) -> Sequence[Problem]:
    """The alarms at the time of `view`."""
    told = view.measured
    silence, short_for = told.controller_silence, told.short_for
    return [*alarms(view.overview, policy, silence, operator, view.room, short_for, view.at)]


def causes_of(view: PageView, policy: Policy) -> Sequence[Cause]:
    """Their causes."""
    told = view.measured
    silence, short_for = told.controller_silence, told.short_for
    return [*causes(view.overview, policy, silence, view.room, short_for, view.at)]


@dataclass(frozen=True)
class Summary:
    """The service in one sentence."""

    level: Level
    text: str


_VERDICTS = {
    Level.WELL: "All is well",
    Level.ATTENTION: "Not urgent, but see below",
    Level.ALARM: "Somebody has to act now",
}


_NONE_READY = "No app server is ready"


def summary(view: PageView, policy: Policy, problems: Sequence[Problem]) -> Summary:
    """Say in one sentence how the service does, given its present `problems`."""
    level = Level.ATTENTION if problems else Level.WELL
    if any(each.urgent for each in problems):
        level = Level.ALARM
    verdict = _VERDICTS[level]
    if not problems and lacks.is_unready(view.overview, policy):
        # As at the start, before it lasts and so is an alarm.
        level, verdict = Level.ATTENTION, _NONE_READY
    waiting = view.overview.waiting
    counts = [
        _counted(people(view), "person", "people"),
        _counted(running(view.overview.servers), "server", "servers"),
        _counted(free_places(view), "free place", "free places"),
    ]
    if waiting:
        counts.append(f"{_counted(waiting, 'person waits', 'people wait')} for a place")
    return Summary(level, f"{verdict}: {', '.join(counts)}.")


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures that are not in the database: rates, ages in seconds, and this process's own times.

    `per_second` is the rate of each counter over all servers; `rates_of_server` gives those of one
    app server by its id, None while a rate is not known. `failed_logins`, and `errors` by kind, are
    those of the last minute. `leases` are the seconds since each server's last heartbeat, and
    `controller_silence` those since the last sign of the fleet controller. `short_for` are the
    seconds for which fewer servers than the minimum have been ready.
    """

    logins_per_minute: float
    failed_logins: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    controller_silence: float = 0.0
    short_for: float = 0.0
    per_second: Mapping[str, float]
    # A function: of thousands of servers few are shown.
    rates_of_server: Callable[[str], Mapping[str, float | None]]
    leases: Mapping[str, float]
    launches: int
    reactor_lag: float
    database_time: float | None


@dataclass(frozen=True, kw_only=True)
class PageView:
    """The service `at` a time, as last seen at `seen_at` (seconds since the epoch). `database` says
    whether it can be reached, `brokers` how many are, `room` how much room the database has.
    `disk` is that of the database, if it is known."""

    at: float
    seen_at: float
    overview: Overview
    database: bool
    brokers: BrokerCount
    measured: Measured
    room: DiskState = DiskState.FREE
    disk: DiskSpace | None = None

    @property
    def broker(self) -> bool:
        """Whether a broker is connected."""
        return self.brokers.connected > 0


def snapshot(
    view: PageView, info: ServiceInfo, operator: str | None, search: str = ""
) -> dict[str, object]:
    """`view` as `operator` may see it (None: a stranger), with the servers that `search` finds."""
    seen, policy = view.overview, info.policy
    present = alarms_of(view, policy, operator is not None)
    others = [*warnings(view, info, operator is not None)]
    who = seen.who if operator is not None else None
    return {
        "at": round(view.at, 1),
        "service": info.service,
        "version": info.version,
        "login_server": info.login_server,
        "database": view.database,
        "fleet_at": round(view.seen_at, 1),
        "broker": view.broker,
        "brokers": view.brokers._asdict(),
        "summary": asdict(summary(view, policy, [*present, *others])),
        "alarms": [asdict(each) for each in present],
        "warnings": [asdict(each) for each in others],
        "disk": view.disk and asdict(view.disk),
        "backup": {"at": seen.backed_up} if info.has_file else None,
        "refusal": seen.refusal
        and {
            "reason": REFUSED if operator is None else seen.refusal.reason,
            "until": round(seen.refusal.until, 1),
        },
        "fleet": _fleet(seen) if info.outlives and operator is not None else None,
        "operator": operator,
        **({} if who is None else {"last_action": seen.actions[0].id if seen.actions else 0}),
        "may_act": info.may_act,
        "capacity": policy.capacity,
        "maximum": policy.maximum,
        "minimum": policy.minimum,
        "spare": spare_places(seen, policy),
        "servers": [
            _server(server, view, info.counters, stranger=operator is None, who=who)
            for server in shown_servers(seen.servers, search)
        ],
        "login_servers": _versions(seen, fleet_only=False),
        "fleet_processes": _versions(seen, fleet_only=True),
        "replacing": _replacing(seen, info.version),
        "states": states(seen.servers),
        **_figures(view, info.counters),
        "waiting": {"count": seen.waiting, "longest": longest_wait(view)}
        | ({} if who is None else {"who": who.get("", ())}),
    }


def _figures(view: PageView, counters: Sequence[Counter]) -> dict[str, object]:
    seen, measured = view.overview, view.measured
    return {
        "places": sum(server.capacity for server in seen.servers if server.state is State.READY),
        "free_places": free_places(view),
        "people": people(view),
        "connected": seen.connected,
        "away": seen.away,
        "launches": {
            "under_way": sum(server.state is State.LAUNCHING for server in seen.servers),
            "usual": _rounded(seen.usual),
            "last_hour": measured.launches,
        },
        "logins_per_minute": round(measured.logins_per_minute, 1),
        "failed_logins_per_minute": measured.failed_logins,
        "errors_per_minute": measured.errors,
        **_rates(measured.per_second, counters),
        "reactor_lag": round(measured.reactor_lag, 4),
        "database_time": _rounded(measured.database_time, 5),
    }


def _versions(seen: Overview, *, fleet_only: bool) -> Sequence[Mapping[str, str | None]]:
    return [
        {"id": each.id, "version": each.version or None}
        for each in seen.login_servers
        if each.is_fleet_only is fleet_only
    ]


def _fleet(seen: Overview) -> dict[str, str | None]:
    """This fleet's id, and that of the fleet whose database this is a copy of."""
    return {"id": seen.fleet, "copy_of": seen.copy_of.id if seen.copy_of else None}


def _replacing(seen: Overview, version: str = "") -> dict[str, int | str | None]:
    """How many servers run another version, how many are to be replaced, and what that waits
    for."""
    asked = len(fleet_admin.servers_asked_to_be_replaced(seen.servers))
    delay = fleet_admin.blocker_text(each.figures.get(DELAY, 0) for each in seen.login_servers)
    return {
        "outdated": fleet_admin.count_outdated(seen.servers, version),
        "asked": asked,
        "waits_for": (delay or None) if asked else None,
    }


def shown_servers(servers: Sequence[HeardServer], search: str = "") -> Sequence[HeardServer]:
    """The servers that the page shows, `MOST_SHOWN` at the most: first those that need attention,
    then the oldest. A `search` finds a part of an id, an address or an instance."""
    if search:
        found = ((each, (each.id, each.address or "", each.instance_id or "")) for each in servers)
        servers = [each for each, texts in found if any(search in text for text in texts)]
    if len(servers) <= MOST_SHOWN:
        return servers
    return heapq.nsmallest(MOST_SHOWN, servers, key=_attention_order)


_ORDER = (State.LOST, State.DRAINING, State.LAUNCHING, State.READY, State.WARM, State.GONE)
_RANKS = {state: rank for rank, state in enumerate(_ORDER)}


def _attention_order(server: HeardServer) -> tuple[int, bool]:
    return _RANKS[server.state], not (server.drain_asked or server.leaving or server.warned)


def states(servers: Sequence[HeardServer]) -> Mapping[str, int]:
    counted = collections.Counter(server.state for server in servers)
    return {str(state): counted[state] for state in State if counted[state]}


def essence(view: PageView) -> object:
    """What the page needs a new snapshot for: while this stays equal, the old snapshot will do."""
    seen = view.overview
    return (
        [
            (each.id, each.state, each.taken, each.capacity, each.port, each.reason, *_marks(each))
            for each in shown_servers(seen.servers)
        ],
        [connected_to(each) for each in seen.servers],
        [(each.id, each.version) for each in seen.login_servers],
        (view.database, view.brokers, view.room, seen.fleet, seen.copy_of, _replacing(seen)),
        in_words(seen.clocks),
        (seen.waiting, seen.away, seen.refusal, seen.usual, seen.who, seen.actions[:1]),
        (seen.backed_up, seen.failures.count, seen.missed),
        bool(view.measured.errors.get(ERRORS[Trouble.INTERNAL])),
    )


def _marks(server: HeardServer) -> tuple[object, ...]:
    return server.drain_asked, server.replace_asked, server.version


def free_places(view: PageView) -> int:
    return sum(server.free for server in view.overview.servers)


def people(view: PageView) -> int:
    return sum(server.taken for server in view.overview.servers)


def connected_to(server: HeardServer) -> int | None:
    """The number of people who listened on a server at its last heartbeat; None if it is gone."""
    return None if server.state is State.GONE else server.connected


def longest_wait(view: PageView) -> float | None:
    """Seconds that the first of those who wait has waited."""
    since = view.overview.waiting_since
    return None if since is None else round(max(0.0, view.at - since), 1)


def running(servers: Sequence[HeardServer]) -> int:
    """The number of servers that count to the maximum."""
    return sum(server.state not in NOT_RUNNING for server in servers)


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
        **_rates(view.measured.rates_of_server(server.id), counters),
        "lease": _rounded(view.measured.leases.get(server.id)),
        "drain_asked": server.drain_asked,
        "replace_asked": server.replace_asked,
        "version": server.version or None,
        # "refused: " and "failed: " are the fleet's words; what follows is the provider's.
        "reason": server.reason.partition(":")[0] if stranger else server.reason,
        "why": _why(server, stranger),
        "provider": server.provider or None,
        "instance": server.instance_id or None,
        "type": server.kind or None,
    }
    return shown if who is None else shown | {"who": who.get(server.id, ())}


_QUOTED = (LossCause.FAILED, LossCause.REFUSED, LossCause.UNSTARTABLE)
"""The causes whose reason has a provider's words, behind a colon."""


def _why(server: HeardServer, stranger: bool) -> str | None:
    words = explain(server)
    if words and server.cause in _QUOTED and not stranger:
        words += f" ({server.reason.partition(': ')[2]})"
    return words or None


def _rates(rates: Mapping[str, float | None], counters: Sequence[Counter]) -> dict[str, object]:
    """The rates by counter, and before them those with a member of their own."""
    shown = {name: _rounded(rate, 2) for name, rate in rates.items()}
    members = {
        each.member: shown[each.name] for each in counters if each.member and each.name in shown
    }
    return {**members, "counters": {name: {"per_second": rate} for name, rate in shown.items()}}


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)
