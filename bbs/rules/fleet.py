"""The fleet's rows: what app servers say of themselves, and what the keeper of the fleet decides.

One login server at a time keeps the fleet: it holds the lease. Every decision's transaction checks
the lease again, so one that has lost it changes nothing more. Nobody compares clocks: heartbeats
are counts, and whoever watches measures with its own clock how long one has not moved.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import peewee

from bbs.rules import places
from bbs.scaling.identity import is_certainly_dead
from bbs.storage.database import for_update
from bbs.storage.models import Lease, LoginServer, Place, Server, Waiter
from bbs.values import Instance, State

KEEPER = "fleet"
"""The name of the lease."""

OPERATOR = "operator"
"""The scope of servers that no provider launched: somebody runs them by hand."""


class NotKeeper(Exception):
    """Another login server has taken the fleet over."""


@dataclass(frozen=True)
class ServerSeen:
    """An app server's row, and whether the process that launched it is known to be dead.

    `instance_id` is what its provider calls it, None while that is not known.
    """

    id: str
    state: State
    scope: str
    host: str | None
    port: int | None
    capacity: int
    taken: int
    beats: int
    created: float
    leaving: bool
    drain_asked: bool
    orphan: bool
    instance_id: str | None = None


@dataclass(frozen=True)
class PeerSeen:
    """A login server's row."""

    id: str
    beats: int
    dead: bool


@dataclass(frozen=True)
class LeaseSeen:
    """Who keeps the fleet."""

    holder: str
    beats: int
    dead: bool


@dataclass(frozen=True)
class Observation:
    """What one look at the fleet showed; `servers` and the rest only to its keeper.

    `waiting` counts people without a place: those who wait for one, and those who are online and
    lost theirs.
    """

    lease: LeaseSeen
    servers: tuple[ServerSeen, ...] = ()
    peers: tuple[PeerSeen, ...] = ()
    waiting: int = 0


@dataclass(frozen=True)
class Member:
    """A login server as it presents itself: its id and its process's identity."""

    id: str
    identity: str


def new_id() -> str:
    """An id for a server or a launch: 128 random bits, which no two share."""
    return secrets.token_hex(16)


# --- what login servers say of themselves ---


def enroll(me: Member) -> None:
    """`me` is a login server from now on."""
    LoginServer.insert(id=me.id, identity=me.identity).execute()


def observe(me: Member, logins: int = 0) -> Observation:
    """Say that `me` lives and has let people in `logins` times, hold the lease if it is free or
    `me`'s already, and look at everything if so."""
    beat = LoginServer.update(beats=LoginServer.beats + 1, logins=logins)
    if not beat.where(LoginServer.id == me.id).execute():
        enroll(me)  # Somebody took this server for dead.
    lease = Lease.get_or_none(Lease.name == KEEPER)
    if lease is None:
        Lease.insert(name=KEEPER, holder=me.id, identity=me.identity).execute()
        seen = LeaseSeen(me.id, 0, False)
    elif lease.holder == me.id:
        Lease.update(beats=Lease.beats + 1).where(
            (Lease.name == KEEPER) & (Lease.holder == me.id)
        ).execute()
        seen = LeaseSeen(me.id, lease.beats, False)
    else:
        return Observation(LeaseSeen(lease.holder, lease.beats, is_certainly_dead(lease.identity)))
    # Servers first: somebody who is given a place meanwhile may be missed, and is never counted
    # twice, which would launch a server too many.
    servers = tuple(_seen(row) for row in Server.select().where(Server.state != State.GONE))
    peers = tuple(
        PeerSeen(row.id, row.beats, is_certainly_dead(row.identity))
        for row in LoginServer.select().where(LoginServer.id != me.id)
    )
    offline: int = Waiter.select(peewee.fn.COUNT(Waiter.name.distinct())).scalar()
    online: int = Place.select().where(Place.server.is_null()).count()
    return Observation(seen, servers, peers, offline + online)


def wait(me: Member, waiter: str, name: str, now: float) -> None:
    """`name` waits at `me` for a place from `now` on, under the id `waiter`."""
    Waiter.insert(id=waiter, login_server=me.id, name=name, since=now).execute()


def stop_waiting(waiter: str) -> None:
    """Whoever waited under the id `waiter` gave up."""
    Waiter.delete().where(Waiter.id == waiter).execute()


def seize(me: Member, lapsed: LeaseSeen) -> bool:
    """Take the lease from a holder that has not moved since it was `lapsed`; False if it has."""
    return bool(
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


def resign(me: Member) -> None:
    """`me` stops: somebody else may keep the fleet at once."""
    Lease.delete().where((Lease.name == KEEPER) & (Lease.holder == me.id)).execute()
    LoginServer.delete().where(LoginServer.id == me.id).execute()


def forget_peer(me: Member, peer: str) -> None:
    """A login server is dead: nobody waits there any more."""
    _check_keeper(me)
    LoginServer.delete().where(LoginServer.id == peer).execute()


# --- what the keeper decides ---


def add_launches(
    me: Member, count: int, scope: str, capacity: int, maximum: int, now: float
) -> list[str]:
    """Rows for `count` launches, which begin only now that they are written down."""
    _check_keeper(me)
    room = maximum - alive()
    return [add(scope, capacity, now) for _ in range(min(count, room))]


def adopt(me: Member, scope: str) -> list[str]:
    """Take on the launches that an operator wrote down for whoever keeps the fleet."""
    _check_keeper(me)
    asked = Server.select(Server.id).where((Server.state == State.LAUNCHING) & (Server.scope == ""))
    ids = [server.id for server in asked]
    Server.update(scope=scope).where(Server.id.in_(ids)).execute()
    return ids


def note_instances(me: Member, instances: Iterable[Instance]) -> None:
    """What the provider calls its launches, and where they are reached, as far as it tells."""
    _check_keeper(me)
    for instance in instances:
        told = {
            "host": instance.host,
            "instance_id": instance.instance_id,
            "kind": instance.kind,
        }
        values = {name: value for name, value in told.items() if value is not None}
        Server.update(values).where(Server.id == instance.launch_id).execute()


def refuse(me: Member, reason: str | None, until: float | None) -> None:
    """The provider launches nothing, for a reason that an operator must mend, and is not asked
    again before `until`; None: it launches."""
    _check_keeper(me)
    Lease.update(refusal=reason, refused_until=until).where(Lease.name == KEEPER).execute()


def mark_ready(me: Member, server: str, host: str | None, now: float) -> list[places.Move]:
    """People may be placed on `server`, reached at `host` (None: as its row says already)."""
    _check_keeper(me)
    values = {"state": State.READY, "ready": now} | ({} if host is None else {"host": host})
    Server.update(values).where((Server.id == server) & (Server.state == State.LAUNCHING)).execute()
    return places.settle()


def lose(me: Member, server: str, reason: str) -> list[places.Move]:
    """`server` is dead to us; its people are placed again."""
    _check_keeper(me)
    Server.update(state=State.LOST, reason=reason).where(
        (Server.id == server) & (Server.state != State.GONE)
    ).execute()
    return places.vacate(server)


def drain(me: Member, server: str, reason: str) -> list[places.Move] | None:
    """`server` takes nobody any more, and whoever is there moves as places are found; None if it is
    wanted after all: somebody has come since it was seen empty, and no operator asked."""
    _check_keeper(me)
    changed = (
        Server.update(state=State.DRAINING, reason=reason)
        .where((Server.id == server) & ((Server.taken == 0) | Server.drain_asked))
        .execute()
    )
    return places.move_off(server) if changed else None


def move_off(me: Member, server: str) -> list[places.Move]:
    """Move people from `server`, which drains, as far as there are other places."""
    _check_keeper(me)
    return places.move_off(server)


def close(me: Member, server: str, reason: str, now: float) -> list[places.Move]:
    """`server` has been terminated: it is gone, and should it still run, it ends itself. `reason`
    is noted unless it was lost, for a reason noted then."""
    _check_keeper(me)
    Server.update(reason=reason).where(
        (Server.id == server) & Server.state.not_in([State.LOST, State.GONE])
    ).execute()
    Server.update(state=State.GONE, ended=now).where(
        (Server.id == server) & (Server.state != State.GONE)
    ).execute()
    return places.vacate(server)


def settle(me: Member) -> list[places.Move]:
    """Find places for people who are online without one."""
    _check_keeper(me)
    return places.settle()


def forget_gone(before: float) -> int:
    """Remove the rows of servers that ended before `before`; returns how many."""
    removed: int = (
        Server.delete().where((Server.state == State.GONE) & (Server.ended < before)).execute()
    )
    return removed


# --- what app servers say of themselves ---


def report(server: str, port: int) -> bool:
    """A launched server serves at `port`; False if nobody waits for it any more."""
    return bool(
        Server.update(port=port, beats=Server.beats + 1)
        .where((Server.id == server) & (Server.state == State.LAUNCHING))
        .execute()
    )


def join(host: str, port: int, capacity: int, now: float) -> str:
    """A server that an operator runs by hand adds itself to the fleet; returns its id."""
    server = add(OPERATOR, capacity, now)
    Server.update(host=host, port=port).where(Server.id == server).execute()
    return server


def beat(server: str, counts: Mapping[str, int]) -> bool:
    """`server` lives, and has counted so much of each; False if its row is gone, and so it should
    end."""
    return bool(
        Server.update(beats=Server.beats + 1, counts=json.dumps(counts))
        .where((Server.id == server) & (Server.state != State.GONE))
        .execute()
    )


def leave(server: str) -> None:
    """`server` stops."""
    Server.update(leaving=True).where(Server.id == server).execute()


def _seen(row: Server) -> ServerSeen:
    return ServerSeen(
        row.id,
        State(row.state),
        row.scope,
        row.host,
        row.port,
        row.capacity,
        row.taken,
        row.beats,
        row.created,
        row.leaving,
        row.drain_asked,
        # A provider's scope names its process after the colon, if its launches end with it.
        is_certainly_dead(row.scope.partition(":")[2]),
        row.instance_id,
    )


def _check_keeper(me: Member) -> None:
    lease = locked_lease()
    if lease is None or lease.holder != me.id:
        raise NotKeeper()


def locked_lease() -> Lease | None:
    """The lease, its row locked."""
    lease: Lease | None = for_update(Lease.select().where(Lease.name == KEEPER)).first()
    return lease


def alive() -> int:
    """How many app servers live, those that are lost and not ended yet among them."""
    count: int = Server.select().where(Server.state != State.GONE).count()
    return count


def add(scope: str, capacity: int, now: float) -> str:
    """A row for a server that is launching; returns its id."""
    server = new_id()
    Server.insert(id=server, scope=scope, capacity=capacity, created=now).execute()
    return server
