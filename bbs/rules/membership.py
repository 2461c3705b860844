"""Membership of the fleet: its leader, and the heartbeats of login servers and app servers.

One login server at a time, or one process that does nothing else, leads the fleet and runs its
controller: it holds the lease. Such processes have rows among the login servers'. No clocks are
compared: heartbeats are counts, and a watcher measures by its own clock how long a count has not
changed. Rows name processes by identities, by which a reader judges whether a process is dead.
Commands read from `signs` which servers could lead the fleet.

Heartbeats have rows of their own (`HeartbeatRow`), so that they meet nobody who takes a place.
While a login server of an older version runs, they are also written where it watches them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

import peewee

from bbs import __version__
from bbs.core.clock import Reading
from bbs.core.values import State, Tally
from bbs.rules import placement, servers
from bbs.rules.servers import OPERATOR, ServerRow
from bbs.storage import clock
from bbs.storage.database import for_update, read_only, rows
from bbs.storage.models import HeartbeatRow, Lease, LoginServer, Place, Server, Waiter
from bbs.storage.statements import statement

FLEET_LEASE = "fleet"  # The name of the lease.


@dataclass(frozen=True)
class Member:
    """A login server, or a process that only controls the fleet: its id, the identity of its
    process, and the version of bbs that it runs."""

    id: str
    identity: str
    version: str = ""


@dataclass(frozen=True)
class PeerSeen:
    """A login server's row."""

    id: str
    identity: str
    beats: int


@dataclass(frozen=True)
class LeaseSeen:
    """The leader's id, its process's identity, and its count of heartbeats."""

    holder: str
    identity: str
    beats: int


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The fleet at one moment; all but the lease only for its leader."""

    lease: LeaseSeen
    servers: tuple[ServerRow, ...] = ()
    serving: Mapping[str, ServerRow] = field(default_factory=dict)  # As in `LiveServers`.
    others: tuple[ServerRow, ...] = ()  # As in `LiveServers`.
    beats: Mapping[str, int] = field(default_factory=dict)  # Counts of heartbeats.
    peers: tuple[PeerSeen, ...] = ()
    waiting: int = 0  # Users who wait for a place; not those who are away.
    homeless: int = 0  # Those of them who are online, and lost their place.
    reading: Reading | None = None  # Of the service's clock; None at the first heartbeat.


class Watch:
    """Measures how long counts of heartbeats have not changed, by the watcher's own clock. Only
    time during which the watcher looked counts."""

    def __init__(self) -> None:
        self._beats: dict[str, int] = {}
        self._silence: dict[str, float] = {}

    def silence(self, key: str, beats: int, elapsed: float) -> float:
        """Return the seconds for which `key` has been silent, `elapsed` since the last look."""
        moved = self._beats.get(key) != beats
        self._beats[key] = beats
        self._silence[key] = 0.0 if moved else self._silence[key] + elapsed
        return self._silence[key]

    def silences(self, beats: Mapping[str, int], elapsed: float) -> Mapping[str, float]:
        """Return the seconds of silence by key, without keys whose count has just changed."""
        before, silence = self._beats, self._silence
        self._beats = {**beats}
        self._silence = {
            key: silence.get(key, 0.0) + elapsed
            for key, count in beats.items()
            if before.get(key) == count
        }
        return self._silence

    def keep(self, keys: Collection[str]) -> None:
        """Forget all but `keys`."""
        self._beats = {key: beats for key, beats in self._beats.items() if key in keys}
        self._silence = {key: silence for key, silence in self._silence.items() if key in keys}


def enroll(me: Member) -> None:
    """Add `me` as a login server, with its first heartbeat: without one, others take it for a login
    server of an older version."""
    LoginServer.insert(id=me.id, identity=me.identity, version=me.version).execute()
    HeartbeatRow.insert(server=me.id).on_conflict_replace().execute()


@read_only
def count_login_servers() -> int:
    """Count the login servers, and processes that only control the fleet."""
    return int(LoginServer.select().count())


def attend(me: Member, tally: Tally, node: str = "") -> Reading | None:
    """Write the heartbeat of `me` with its counts, and leave the lease to others. `node` is the
    database node that it writes to. Returns what it read of the service's clock."""
    _, reading = _attend(me, tally, node)
    return reading


def _attend(me: Member, tally: Tally, node: str) -> tuple[tuple[PeerSeen, ...], Reading | None]:
    """Write the heartbeat of `me`; returns the other login servers, and the service's clock, which
    is not known while no login server has a row."""
    found = [*_login_servers()]
    if all(id != me.id for id, *_ in found):
        enroll(me)  # The controller took this server for dead.
    counts, figures = json.dumps(tally.counts), json.dumps(tally.figures)
    if not _write_heartbeat(me.id, node, tally.logins, counts, figures):
        row = {"logins": tally.logins, "counts": counts, "figures": figures}
        HeartbeatRow.insert(server=me.id, beats=1, node=node, **row).execute()
    others = [row for row in found if row[0] != me.id]
    if any(is_older for _, _, _, is_older, *_ in others):
        _write_older_heartbeat(me.id, tally.logins, counts, figures)
    peers = tuple(PeerSeen(id, identity, beats) for id, identity, beats, *_ in others)
    return peers, next((clock.reading(*row[4:]) for row in found), None)


def observe(
    me: Member,
    tally: Tally,
    known: Mapping[str, ServerRow] = MappingProxyType({}),
    node: str = "",
) -> Observation:
    """Write the heartbeat of `me` as `attend` does, and take or hold the lease if it is free or
    `me`'s. The leader also reads the fleet, its servers by `servers.read_again`."""
    peers, reading = _attend(me, tally, node)
    lease = seen_lease(FLEET_LEASE)
    if lease is None:
        Lease.insert(name=FLEET_LEASE, holder=me.id, identity=me.identity).execute()
        lease = LeaseSeen(me.id, me.identity, 0)
    elif lease.holder == me.id:
        _hold(FLEET_LEASE, me.id)
    else:
        return Observation(lease=lease, reading=reading)
    # Servers first: a user who gets a place meanwhile may be missed, but is not counted twice,
    # which would launch a server too many.
    found = servers.read_again(known)
    [(offline,)], [(online,)] = _offline_waiting(), _online_waiting()
    return Observation(
        lease=lease,
        servers=(*found.serving.values(), *found.others),
        serving=found.serving,
        others=tuple(found.others),
        beats=found.beats,
        peers=peers,
        waiting=offline + online,
        homeless=online,
        reading=reading,
    )


@statement
def _write_heartbeat(
    server: str, node: str, logins: int | None, counts: str, figures: str
) -> peewee.Update:
    row = {"node": node, "logins": logins, "counts": counts, "figures": figures}
    own = HeartbeatRow.server == server
    return HeartbeatRow.update(beats=HeartbeatRow.beats + 1, **row).where(own)


@statement
def _write_older_heartbeat(me: str, logins: int, counts: str, figures: str) -> peewee.Update:
    """Write the heartbeat of a login server where those of older versions watch it."""
    row = {"logins": logins, "counts": counts, "figures": figures}
    return LoginServer.update(beats=LoginServer.beats + 1, **row).where(LoginServer.id == me)


@statement
def _login_servers() -> peewee.Select:
    """The login servers, and whether each is of an older version; in each row the clock."""
    columns = LoginServer.id, LoginServer.identity, servers.beats_of(LoginServer)
    query = LoginServer.select(*columns, HeartbeatRow.server.is_null(), *clock.columns())
    return clock.with_clock(servers.with_heartbeats(query, LoginServer))


@statement
def _hold(lease: str, me: str) -> peewee.Update:
    return Lease.update(beats=Lease.beats + 1).where((Lease.name == lease) & (Lease.holder == me))


@statement
def _offline_waiting() -> peewee.Select:
    return Waiter.select(peewee.fn.COUNT(Waiter.name.distinct()))


@statement
def _online_waiting() -> peewee.Select:
    return Place.select(peewee.fn.COUNT(peewee.SQL("*"))).where(placement.is_waiting())


def wait(me: Member, waiter: str, name: str, now: float, trace: str = "") -> None:
    """Store that `name` waits at `me` for a place since `now`, under the id `waiter`, as part of
    `trace`. A second call is harmless: the outcome of a call that was given up is unknown."""
    row = {"id": waiter, "login_server": me.id, "name": name, "since": now, "trace": trace}
    Waiter.insert(row).on_conflict("REPLACE").execute()


@read_only
def oldest_waiter_trace() -> str:
    """The trace of the user who has waited longest and has one; "" for none."""
    return next((trace for (trace,) in _oldest_trace()), "")


@statement
def _oldest_trace() -> peewee.Select:
    return Waiter.select(Waiter.trace).where(Waiter.trace != "").order_by(Waiter.since).limit(1)


def stop_waiting(waiter: str) -> None:
    """Remove the user who waited under the id `waiter`."""
    Waiter.delete().where(Waiter.id == waiter).execute()


def take_lease(me: Member, lapsed: LeaseSeen) -> bool:
    """Take the lease from a holder whose lease is still as `lapsed`; False if it has changed."""
    row = {"holder": me.id, "identity": me.identity, "beats": lapsed.beats + 1}
    is_unchanged = (Lease.name == FLEET_LEASE) & (Lease.holder == lapsed.holder)
    is_unchanged &= Lease.beats == lapsed.beats
    taken = Lease.update(**row, refusal=None, refused_until=None).where(is_unchanged).execute()
    return bool(taken)


def resign(me: Member) -> None:
    """Remove `me`, which stops, and free the lease."""
    Lease.delete().where((Lease.name == FLEET_LEASE) & (Lease.holder == me.id)).execute()
    LoginServer.delete().where(LoginServer.id == me.id).execute()
    HeartbeatRow.delete().where(HeartbeatRow.server == me.id).execute()


def locked_leader() -> str | None:
    """Lock the lease's row, and return the leader's id, if there is one."""
    return next((holder for (holder,) in _locked_holder(FLEET_LEASE)), None)


@statement
def _locked_holder(name: str) -> peewee.Select:
    return for_update(Lease.select(Lease.holder).where(Lease.name == name))


def seen_lease(name: str) -> LeaseSeen | None:
    """Read the lease `name`; None if it is free."""
    return next((LeaseSeen(*row) for row in _lease(name)), None)


@statement
def _lease(name: str) -> peewee.Select:
    return Lease.select(Lease.holder, Lease.identity, Lease.beats).where(Lease.name == name)


def report(server: str, port: int, host: str | None = None, version: str = __version__) -> bool:
    """Store that a launched server of this `version` serves at `port`, and at `host` if it knows
    its host; False if it does not launch any more."""
    row = {"port": port, "version": version} | ({} if host is None else {"host": host})
    return bool(
        Server.update(beats=Server.beats + 1, **row)
        .where((Server.id == server) & (Server.state == State.LAUNCHING))
        .execute()
    )


def name_instance(server: str, instance_id: str) -> None:
    """Store the provider's name for the machine that `server` runs on, which knows it best."""
    Server.update(instance_id=instance_id).where(Server.id == server).execute()


def join(host: str, port: int, capacity: int, now: float, version: str = __version__) -> str:
    """Add a server of this `version` that an operator runs by hand; returns its id."""
    server = servers.add(OPERATOR, capacity, now)
    row = {"host": host, "port": port, "version": version}
    Server.update(row).where(Server.id == server).execute()
    return server


def beat(
    server: str,
    counts: Mapping[str, int],
    figures: Mapping[str, int] = MappingProxyType({}),
    node: str = "",
) -> Reading | Literal[False]:
    """Write the heartbeat of `server` with its counts, and the database `node` that it writes to;
    False if it is closed and should end, else what it read of the service's clock. The row of the
    server, in which places are taken, is only read, unless a login server of an older version
    watches it."""
    found = next(iter(_standing(server)), None)
    if found is None:
        return False
    is_watched_by_older, *read = found
    said = json.dumps(counts), json.dumps({**figures})
    if not _write_heartbeat(server, node, None, *said):
        row = {"counts": said[0], "figures": said[1]}
        HeartbeatRow.insert(server=server, beats=1, node=node, **row).execute()
    if is_watched_by_older and not _beat_for_older(server, *said):
        return False
    return clock.reading(*read)


@statement
def _standing(server: str) -> peewee.Select:
    """One row if `server` is not closed: whether a login server of an older version runs, and the
    clock."""
    older = servers.with_heartbeats(LoginServer.select(LoginServer.id), LoginServer)
    runs = peewee.fn.EXISTS(older.where(HeartbeatRow.server.is_null()))
    own = (Server.id == server) & (Server.state != State.GONE)
    return clock.with_clock(Server.select(runs, *clock.columns()).where(own))


@statement
def _beat_for_older(server: str, counts: str, figures: str) -> peewee.Update:
    return Server.update(beats=Server.beats + 1, counts=counts, figures=figures).where(
        (Server.id == server) & (Server.state != State.GONE)
    )


def warn(server: str, why: str) -> None:
    """Store `why` the provider will soon take `server` away."""
    Server.update(warned=why).where(Server.id == server).execute()


def leave(server: str) -> None:
    """Store that `server` stops. Ignored for one that has not reported since its last start: it may
    say so late, from before it was stopped for the warm pool."""
    Server.update(leaving=True).where((Server.id == server) & Server.port.is_null(False)).execute()


@read_only
def versions() -> Mapping[str, int]:
    """How many servers run each version: the app servers that serve users, and all others."""
    found: Counter[str] = Counter(dict(_versions(placement.SERVING)))
    found.update(version for (version,) in _login_versions())
    return found


@statement
def _versions(states: Sequence[str]) -> peewee.Select:
    count = peewee.fn.COUNT(peewee.SQL("*"))
    serving = Server.select(Server.version, count).where(Server.state.in_(states))
    return serving.group_by(Server.version)


@statement
def _login_versions() -> peewee.Select:
    return LoginServer.select(LoginServer.version)


class Sign(NamedTuple):
    """The identity of a process (`bbs.scaling.identity`) and its count of heartbeats."""

    identity: str
    beats: int


@read_only
def signs() -> Mapping[str, Sign]:
    """The signs of life of all who may control the fleet, and of the lease's holder, by id."""
    columns = LoginServer.id, LoginServer.identity, servers.beats_of(LoginServer)
    query = LoginServer.select(*columns, servers.heard(LoginServer, "figures"))
    found = {
        id: Sign(identity, beats)
        for id, identity, beats, figures in rows(servers.with_heartbeats(query, LoginServer))
        if not json.loads(figures or "{}").get(servers.FOLLOWS)
    }
    for lease in Lease.select():
        found[f"lease of {lease.holder}"] = Sign(lease.identity, lease.beats)
    return found
