"""Membership of the fleet: who keeps it, and what login servers and app servers say of themselves.

One login server at a time keeps the fleet: it holds the lease. Nobody compares clocks: heartbeats
are counts, and whoever watches measures with its own clock how long a count has not moved. Rows
name processes by identities; whoever reads them judges whether a process is dead. Whoever takes the
lease puts into today's form what an older version wrote. `signs` shows who could keep the fleet to
those who ask something of it and are no server.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import peewee

from bbs import __version__
from bbs.core.values import State, Tally
from bbs.rules import placement, servers
from bbs.rules.servers import OPERATOR, ServerRow
from bbs.storage.database import for_update, read_only
from bbs.storage.framework_migrations import fill_causes
from bbs.storage.models import Lease, LoginServer, Place, Server, Waiter
from bbs.storage.statements import statement

KEEPER = "fleet"
"""The name of the lease."""


@dataclass(frozen=True)
class Member:
    """A login server as it presents itself: its id, its process's identity, and the version of bbs
    that it runs."""

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
    """Who keeps the fleet, with which process."""

    holder: str
    identity: str
    beats: int


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What one look at the fleet showed; `servers` and the rest only to its leader.

    Of the servers, `serving` are those, by id, that take people and with which nothing else is the
    matter, and `others` the rest; `beats` is how often each has beaten. `waiting` counts people
    without a place: those who wait for one, and the `homeless`, who are online and lost theirs. Who
    is merely logged in waits for none.
    """

    lease: LeaseSeen
    servers: tuple[ServerRow, ...] = ()
    serving: Mapping[str, ServerRow] = field(default_factory=dict)
    others: tuple[ServerRow, ...] = ()
    beats: Mapping[str, int] = field(default_factory=dict)
    peers: tuple[PeerSeen, ...] = ()
    waiting: int = 0
    homeless: int = 0


class Watch:
    """Since when a count of heartbeats has not moved, by the watcher's own clock.

    Time in which the watcher did not look is not held against anybody.
    """

    def __init__(self) -> None:
        self._beats: dict[str, int] = {}
        self._silence: dict[str, float] = {}

    def silence(self, key: str, beats: int, elapsed: float) -> float:
        """Seconds for which `key` has been silent, `elapsed` of them since the last look."""
        moved = self._beats.get(key) != beats
        self._beats[key] = beats
        self._silence[key] = 0.0 if moved else self._silence[key] + elapsed
        return self._silence[key]

    def silences(self, beats: Mapping[str, int], elapsed: float) -> Mapping[str, float]:
        """For how long each of those has been silent that has not moved; the others have just been
        heard. `beats` are all that there are: any other is forgotten."""
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


# --- what login servers say of themselves ---


def enroll(me: Member) -> None:
    """`me` is a login server from now on."""
    LoginServer.insert(id=me.id, identity=me.identity, version=me.version).execute()


def observe(
    me: Member, tally: Tally, known: Mapping[str, ServerRow] = MappingProxyType({})
) -> Observation:
    """Say that `me` lives and what it has counted, hold the lease if it is free or `me`'s already,
    and look at everything if so; at the servers as `servers.read_again`."""
    counts, figures = json.dumps(tally.counts), json.dumps(tally.figures)
    if not _write_heartbeat(me.id, tally.logins, counts, figures):
        enroll(me)  # Somebody took this server for dead.
    lease = seen_lease(KEEPER)
    if lease is None:
        Lease.insert(name=KEEPER, holder=me.id, identity=me.identity).execute()
        fill_causes()
        lease = LeaseSeen(me.id, me.identity, 0)
    elif lease.holder == me.id:
        _hold(KEEPER, me.id)
    else:
        return Observation(lease=lease)
    # Servers first: somebody who is given a place meanwhile may be missed, and is never counted
    # twice, which would launch a server too many.
    found = servers.read_again(known)
    [(offline,)], [(online,)] = _offline_waiting(), _online_waiting()
    return Observation(
        lease=lease,
        servers=(*found.serving.values(), *found.others),
        serving=found.serving,
        others=tuple(found.others),
        beats=found.beats,
        peers=tuple(PeerSeen(*row) for row in _peers(me.id)),
        waiting=offline + online,
        homeless=online,
    )


@statement
def _write_heartbeat(
    me: str, logins: int | None, counts: str | None, figures: str | None
) -> peewee.Update:
    told = {"logins": logins, "counts": counts, "figures": figures}
    return LoginServer.update(beats=LoginServer.beats + 1, **told).where(LoginServer.id == me)


@statement
def _hold(lease: str, me: str) -> peewee.Update:
    return Lease.update(beats=Lease.beats + 1).where((Lease.name == lease) & (Lease.holder == me))


@statement
def _peers(me: str) -> peewee.Select:
    return LoginServer.select(LoginServer.id, LoginServer.identity, LoginServer.beats).where(
        LoginServer.id != me
    )


@statement
def _offline_waiting() -> peewee.Select:
    return Waiter.select(peewee.fn.COUNT(Waiter.name.distinct()))


@statement
def _online_waiting() -> peewee.Select:
    return Place.select(peewee.fn.COUNT(peewee.SQL("*"))).where(placement.is_waiting())


def wait(me: Member, waiter: str, name: str, now: float, trace: str = "") -> None:
    """`name` waits at `me` for a place from `now` on, under the id `waiter`, as part of `trace`. To
    say so again is no error: nobody knows of a call that was given up whether it was carried
    out."""
    row = {"id": waiter, "login_server": me.id, "name": name, "since": now, "trace": trace}
    Waiter.insert(row).on_conflict("REPLACE").execute()


@read_only
def trace_of_who_waits() -> str:
    """The trace of who has waited longest of those of whom there is one, "" for none."""
    return next((trace for (trace,) in _oldest_trace()), "")


@statement
def _oldest_trace() -> peewee.Select:
    return Waiter.select(Waiter.trace).where(Waiter.trace != "").order_by(Waiter.since).limit(1)


def stop_waiting(waiter: str) -> None:
    """Whoever waited under the id `waiter` gave up."""
    Waiter.delete().where(Waiter.id == waiter).execute()


def take_lease(me: Member, lapsed: LeaseSeen) -> bool:
    """Take the lease from a holder that has not moved since it was `lapsed`; False if it has."""
    taken = (
        Lease.update(
            holder=me.id,
            identity=me.identity,
            beats=lapsed.beats + 1,
            refusal=None,
            refused_until=None,
        )
        .where(
            (Lease.name == KEEPER) & (Lease.holder == lapsed.holder) & (Lease.beats == lapsed.beats)
        )
        .execute()
    )
    if taken:
        fill_causes()
    return bool(taken)


def resign(me: Member) -> None:
    """`me` stops: somebody else may keep the fleet at once."""
    Lease.delete().where((Lease.name == KEEPER) & (Lease.holder == me.id)).execute()
    LoginServer.delete().where(LoginServer.id == me.id).execute()


def locked_leader() -> str | None:
    """Who keeps the fleet, the lease's row locked; None where nobody does."""
    return next((holder for (holder,) in _locked_holder(KEEPER)), None)


@statement
def _locked_holder(name: str) -> peewee.Select:
    query: peewee.Select = for_update(Lease.select(Lease.holder).where(Lease.name == name))
    return query


def seen_lease(name: str) -> LeaseSeen | None:
    """The lease `name` as it is; None where nobody holds it."""
    return next((LeaseSeen(*row) for row in _lease(name)), None)


@statement
def _lease(name: str) -> peewee.Select:
    return Lease.select(Lease.holder, Lease.identity, Lease.beats).where(Lease.name == name)


# --- what app servers say of themselves ---


def report(server: str, port: int, host: str | None = None, version: str = __version__) -> bool:
    """A launched server, which runs this `version`, serves at `port`, and at `host` where it knows
    that itself; False if nobody waits for it any more."""
    told = {"port": port, "version": version} | ({} if host is None else {"host": host})
    return bool(
        Server.update(beats=Server.beats + 1, **told)
        .where((Server.id == server) & (Server.state == State.LAUNCHING))
        .execute()
    )


def join(host: str, port: int, capacity: int, now: float, version: str = __version__) -> str:
    """A server that an operator runs by hand, of this `version`, adds itself to the fleet; returns
    its id."""
    server = servers.add(OPERATOR, capacity, now)
    told = {"host": host, "port": port, "version": version}
    Server.update(told).where(Server.id == server).execute()
    return server


def beat(
    server: str, counts: Mapping[str, int], figures: Mapping[str, int] = MappingProxyType({})
) -> bool:
    """`server` lives, has counted so much of each, and is as its `figures` say; False if its row is
    gone, and so it should end."""
    return bool(_beat(server, json.dumps(counts), json.dumps({**figures})))


@statement
def _beat(server: str, counts: str, figures: str) -> peewee.Update:
    return Server.update(beats=Server.beats + 1, counts=counts, figures=figures).where(
        (Server.id == server) & (Server.state != State.GONE)
    )


def warn(server: str, why: str) -> None:
    """The provider of `server` has said that it will take it away soon, and `why`."""
    Server.update(warned=why).where(Server.id == server).execute()


def leave(server: str) -> None:
    """`server` stops. That says nothing any more of one whose machine was stopped to stand by, and
    is to be started again before its last word has come."""
    Server.update(leaving=True).where((Server.id == server) & Server.port.is_null(False)).execute()


class Sign(NamedTuple):
    """A process that said that it lives: which it is (`bbs.scaling.identity`), and how
    often it has said so."""

    identity: str
    beats: int


@read_only
def signs() -> Mapping[str, Sign]:
    """What the login servers, and who holds the lease, have said of themselves, by their ids."""
    found = {row.id: Sign(row.identity, row.beats) for row in LoginServer.select()}
    for lease in Lease.select():
        found[f"lease of {lease.holder}"] = Sign(lease.identity, lease.beats)
    return found
