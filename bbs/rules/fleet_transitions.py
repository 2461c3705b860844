"""The transactions of the fleet's controller.

Each one checks the lease again, so a login server that has lost it changes nothing more. Each one
also stores the events of the operators' page for its changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import chain, islice, repeat
from typing import Any, TypeVar

import peewee

from bbs.core.values import Cause, DrainCause, Instance, LossCause, State, Urgency
from bbs.rules import fleet_admin, page_history, placement, servers
from bbs.rules.membership import FLEET_LEASE, Member, locked_leader, seen_lease
from bbs.rules.page_history import EventKind, FleetEvent
from bbs.rules.servers import ServerRow
from bbs.storage.database import read_only, rows
from bbs.storage.models import HeartbeatRow, Lease, LoginServer, OutboxEntry, Server, Waiter
from bbs.storage.statements import Row, statement

T = TypeVar("T")

LONGEST_STRATEGY = 200  # characters of a stored launch strategy, with its pool

NOTICES_AT_ONCE = 100  # Notices that one transaction reads at most.

CAN_WAIT = [cause for cause in DrainCause if cause.urgency is Urgency.WHEN_QUIET]
"""The causes for which a server drains although it could stay."""


class Ownership(StrEnum):
    """The owner of an instance that no observed server has, by the servers' rows."""

    LIVES = "a server has it"
    CLOSED = "its server was closed"
    NEVER = "no server of this fleet has it, or had it lately"


class NotLeader(Exception):
    """Another login server controls the fleet now."""


def add_launches(
    me: Member,
    count: int,
    scope: str,
    capacity: int,
    maximum: int,
    now: float,
    pooled: bool = False,
    strategies: Sequence[str] = (),
    trace: str = "",
    together: Sequence[tuple[str, str]] = (),
) -> Mapping[str, str | None]:
    """Add rows for `count` launches, as far as `maximum` allows; the launches begin afterwards.

    :param pooled: they are for the warm pool.
    :param strategies: launch strategies for the first ones, in order.
    :param trace: that of the users whom the launches are for.
    :param together: ids and strategies for all of them, if the provider makes them together. Used
        if there is room for all, and while no login server of another version may take them over.
    :returns: the strategy of each new server, by its id.
    """
    _check_leader(me)
    room = maximum - servers.running().count()
    launches: Iterable[tuple[str | None, str | None]]
    if together and len(together) <= room and _are_of_one_version():
        launches = together
    else:
        chosen = islice(chain(strategies, repeat(None)), max(0, min(count, room)))
        launches = ((None, strategy) for strategy in chosen)
    added = {
        servers.add(scope, capacity, now, pooled, strategy, trace, id): strategy
        for id, strategy in launches
    }
    page_history.add(*(FleetEvent(EventKind.LAUNCHING, now, id) for id in added))
    return added


def _are_of_one_version() -> bool:
    return LoginServer.select(LoginServer.version).distinct().count() <= 1


def adopt(me: Member, scope: str, count: int, strategies: Sequence[str] = ()) -> list[str]:
    """Adopt the first `count` launches that operators have asked for, with these launch
    `strategies` in that order, as far as they go; returns the ids. If operators have asked for more
    since the controller counted, these wait for the next round."""
    _check_leader(me)
    asked = Server.select(Server.id).where((Server.state == State.LAUNCHING) & (Server.scope == ""))
    ids = [server.id for server in asked.order_by(Server.created, Server.id).limit(count)]
    Server.update(scope=scope).where(Server.id.in_(ids)).execute()
    for id, strategy in zip(ids, strategies, strict=False):
        Server.update(way=strategy).where(Server.id == id).execute()
    return ids


def note_strategy(me: Member, server: str, before: str | None, strategy: str) -> bool:
    """Store another `strategy` for the launch of `server`. False if it must not be used: another
    strategy than `before` is stored, or the server no longer launches."""
    _check_leader(me)
    was = Server.way.is_null() if before is None else Server.way == before
    return _update(_is_launching(server) & was, {"way": strategy})


def note_instances(me: Member, instances: Iterable[Instance]) -> None:
    """Store the provider's ids and kinds of launches, and their hosts as far as they are known. If
    an instance is in another pool than its launch strategy names, as the strategy left open which,
    the pool is stored before the strategy."""
    _check_leader(me)
    for instance in instances:
        values = {"instance_id": instance.instance_id, "kind": instance.kind}
        if instance.host is not None:
            values = {"host": instance.host, **values}
        if instance.pool:
            row = Server.select(Server.way).where(Server.id == instance.launch_id).get_or_none()
            before = (row and row.way) or instance.pool
            way = f"{instance.pool}, {before}"
            if servers.pool_of(before) != instance.pool and len(way) <= LONGEST_STRATEGY:
                values["way"] = way
        Server.update(values).where(Server.id == instance.launch_id).execute()


def refuse(me: Member, reason: str | None, until: float | None, now: float) -> None:
    """Store that the provider launches nothing before `until`, for a `reason` that an operator must
    resolve; or with None, that it launches again."""
    _check_leader(me)
    was_refused = fleet_admin.refusal() is not None
    if was_refused != (reason is not None):
        refused, accepted = EventKind.LAUNCHES_REFUSED, EventKind.LAUNCHES_ACCEPTED
        page_history.add(FleetEvent(accepted if was_refused else refused, now))
    Lease.update(refusal=reason, refused_until=until).where(Lease.name == FLEET_LEASE).execute()


def mark_ready(me: Member, booted: Iterable[tuple[str, str | None, float]]) -> list[placement.Move]:
    """Mark servers as ready, and place users on them.

    :param booted: the id of each server, its host (None: as stored), and the time at which it was
        ready: the time at which it was created, and the seconds that were measured since.
    """
    _check_leader(me)
    events = []
    for server, host, ready in booted:
        values = {"state": State.READY, "ready": ready} | ({} if host is None else {"host": host})
        if _update(_is_launching(server), values) and (row := servers.find(server)):
            events.append(_event(row, ready))
    page_history.add(*events)
    return placement.settle()


def park(me: Member, server: str, now: float) -> bool:
    """Mark `server`, which was launched for the warm pool, as warm: it serves nobody until it is
    started again. False if it has left the pool."""
    _check_leader(me)
    values = {"state": State.WARM, "host": None, "port": None, "created": now}
    is_parked = _update(_is_launching(server) & Server.shelved, values)
    if is_parked:
        page_history.add(FleetEvent(EventKind.WARM, now, server))
    return is_parked


def resume(me: Member, server: str, maximum: int, now: float) -> bool:
    """Take `server` out of the warm pool: a warm one is launching from `now` on, and one that boots
    for the pool boots for users. False if `maximum` run already, or it is not in the pool."""
    _check_leader(me)
    row = Server.get_or_none((Server.id == server) & Server.shelved)
    if row is None or row.state not in (State.WARM, State.LAUNCHING):
        return False
    begins: dict[str, object] = {}
    if row.state == State.WARM:
        if servers.running().count() >= maximum:
            return False
        # It had reported that it leaves when it was stopped.
        begins = {"state": State.LAUNCHING, "host": None, "created": now, "leaving": False}
        page_history.add(FleetEvent(EventKind.LAUNCHING, now, server))
    Server.update(shelved=False, **begins).where(Server.id == server).execute()
    return True


def forget_host(me: Member, server: str) -> None:
    """Forget where `server`, which is launching, was reached: its machine is about to be started
    again, and gets another address."""
    _check_leader(me)
    _update(_is_launching(server) & Server.port.is_null(), {"host": None})


def put_back(me: Member, server: str, now: float) -> None:
    """Mark `server`, which could not be started, as warm again."""
    _check_leader(me)
    values = {"state": State.WARM, "shelved": True, "created": now}
    if _update(_is_launching(server) & Server.port.is_null(), values):
        page_history.add(FleetEvent(EventKind.WARM, now, server))


def lose(me: Member, server: str, cause: Cause, reason: str, now: float) -> list[placement.Move]:
    """Mark `server` as lost, for this `cause` and `reason` (text), and place its users again."""
    _check_leader(me)
    _lose(server, (Server.id == server) & (Server.state != State.GONE), cause, reason, now)
    return placement.vacate(server)


def give_up(me: Member, server: str, reason: str, now: float) -> list[placement.Move] | None:
    """Give up the launch of `server`, which is late; None if the server has reported by now."""
    _check_leader(me)
    is_silent = _is_launching(server) & Server.port.is_null()
    is_lost = _lose(server, is_silent, LossCause.LATE, reason, now)
    return placement.vacate(server) if is_lost else None


def _lose(server: str, where: Any, cause: Cause, reason: str, now: float) -> bool:
    was = servers.find(server)
    changed = _update(where, {"state": State.LOST, "cause": cause, "reason": _cut(reason)})
    if changed and was and was.state is not State.LOST:
        lost = replace(was, state=State.LOST, cause=cause, reason=reason)
        page_history.add(_event(lost, now))
    return changed


def drain(
    me: Member, server: str, cause: DrainCause, reason: str, seen: int, now: float
) -> list[placement.Move] | None:
    """Let `server` drain, for this `cause`: it gets no more users. The `reason` is text for people.
    For an urgent cause its users move at once, as far as there are places; otherwise later.

    Returns the moves, or None if the server does not drain. For an urgent cause a server drains if
    it is empty, an operator wants it empty, or its provider will take it away. For another cause it
    drains if the last two are not so and it has no more users than were `seen`. A replacement must
    still be asked for, and a consolidation waits while the server has a user who was moved shortly
    before `now`.
    """
    _check_leader(me)
    if cause is DrainCause.CONSOLIDATION and placement.anybody_moved_lately(server, now):
        return None
    was = servers.find(server)
    values = {"state": State.DRAINING, "cause": cause, "reason": _cut(reason)}
    if not _update((Server.id == server) & _may_drain(cause, seen), values):
        return None
    if was and was.state is not State.DRAINING:
        drains = replace(was, state=State.DRAINING, cause=cause, reason=reason)
        page_history.add(_event(drains, now))
    return placement.move_off(server) if cause.urgency is Urgency.NOW else []


def _may_drain(cause: DrainCause, seen: int) -> Any:
    if cause.urgency is Urgency.NOW:
        return (Server.taken == 0) | servers.must_go()
    serves = (Server.state == State.READY) & (Server.taken <= seen) & ~servers.must_go()
    return serves & Server.replace_asked if cause is DrainCause.REPLACEMENT else serves


def keep(me: Member, server: str, now: float) -> list[placement.Move]:
    """Keep `server`, which drains but could stay; users who wait get places on it. Nothing happens
    if it is empty by now: then it is being terminated."""
    _check_leader(me)
    may_stay = (
        (Server.id == server)
        & (Server.state == State.DRAINING)
        & Server.cause.in_(CAN_WAIT)
        & (Server.taken > 0)
        & ~servers.must_go()
    )
    if _update(may_stay, {"state": State.READY, "cause": "", "reason": ""}):
        page_history.add(FleetEvent(EventKind.KEPT, now, server))
    return placement.settle()


def move_off(me: Member, server: str) -> list[placement.Move]:
    """Move users from `server`, if it drains, as far as there are other places."""
    _check_leader(me)
    return placement.move_off(server) if _drains(server) else []


def move_some_off(
    me: Member, server: str, most: int, now: float, again: bool = False
) -> list[placement.Move]:
    """Move up to `most` users from `server`, if it drains, as far as there are other places. Users
    who were moved shortly before `now` stay, unless they may be moved `again`."""
    _check_leader(me)
    return placement.move_some_off(server, most, now, again) if _drains(server) else []


def _drains(server: str) -> bool:
    """Whether `server` still drains, and is not kept by now."""
    drains = (Server.id == server) & (Server.state == State.DRAINING)
    return bool(Server.select().where(drains).exists())


def close(
    me: Member, server: str, cause: Cause | None, reason: str, now: float
) -> list[placement.Move]:
    """Mark `server`, which was terminated, as gone; should it still run, it then ends itself. The
    `cause` and the `reason` are stored unless it was lost: then those of the loss stay. Without a
    `cause`, the one for which it drained stays."""
    _check_leader(me)
    was = servers.find(server)
    values = {"reason": _cut(reason)} | ({} if cause is None else {"cause": cause})
    _update((Server.id == server) & Server.state.not_in([State.LOST, State.GONE]), values)
    ended = {"state": State.GONE, "ended": now}
    _update((Server.id == server) & (Server.state != State.GONE), ended)
    has_event = was and was.state is State.LOST and was.has_yet_to_serve
    if was and not has_event:
        ends = was
        if was.state is not State.LOST:
            ends = replace(was, cause=was.cause if cause is None else cause, reason=reason)
        page_history.add(_event(replace(ends, state=State.GONE), now))
    return placement.vacate(server)


def settle(me: Member) -> list[placement.Move]:
    """Find places for users who wait online."""
    _check_leader(me)
    return placement.settle()


def forget_peer(me: Member, peer: str) -> None:
    """Remove a dead login server, and with it the users who waited there."""
    _check_leader(me)
    LoginServer.delete().where(LoginServer.id == peer).execute()
    HeartbeatRow.delete().where(HeartbeatRow.server == peer).execute()


def begin(me: Member, now: float) -> None:
    """Store events that are missing when `me` begins to control the fleet: a controller that died
    has missed what followed."""
    note_waiting(me, now)
    if page_history.goes_on(EventKind.LAUNCHES_REFUSED) and fleet_admin.refusal() is None:
        page_history.add(FleetEvent(EventKind.LAUNCHES_ACCEPTED, now))


def note_waiting(me: Member, now: float) -> bool:
    """Store that users begin or cease to wait for places; returns whether one waits."""
    _check_leader(me)
    count = placement.count_waiting()
    was_waiting = page_history.goes_on(EventKind.PEOPLE_WAIT)
    if count and not was_waiting:
        since = Waiter.select(peewee.fn.MIN(Waiter.since)).scalar()
        at = now if since is None else min(since, now)
        page_history.add(FleetEvent(EventKind.PEOPLE_WAIT, at, number=count))
    elif was_waiting and not count:
        page_history.add(FleetEvent(EventKind.NOBODY_WAITS, now))
    return bool(count)


def _event(row: ServerRow, at: float) -> FleetEvent:
    """The event that a server has reached the state in `row`. Everybody may read events, so the
    provider's reason for a failed launch is not quoted."""
    if row.state in (State.LOST, State.GONE) and row.has_yet_to_serve:
        return FleetEvent(EventKind.FAILED, at, row.id)
    is_launched = row.state is State.READY and row.scope != servers.OPERATOR
    seconds = row.launch_time if is_launched else None
    return FleetEvent(EventKind(row.state.value), at, row.id, servers.explain(row), seconds)


@read_only
def ownership(server: str) -> Ownership:
    """Whether this fleet has the instance of `server`."""
    row = Server.get_or_none(Server.id == server)
    if row is None:
        return Ownership.NEVER
    return Ownership.CLOSED if row.state == State.GONE else Ownership.LIVES


def while_leading(me: Member, sweep: Callable[[float], T], now: float) -> T:
    """Carry out a `sweep`, if `me` leads the fleet. The lease is not locked: its holder need not
    wait to renew it, and two who sweep do no harm."""
    lease = seen_lease(FLEET_LEASE)
    if lease is None or lease.holder != me.id:
        raise NotLeader()
    return sweep(now)


def forget_gone(now: float, kept: float) -> int:
    """Remove the rows of servers that ended more than `kept` seconds ago, or as far in the future,
    by a wrong clock; returns how many."""
    old = (Server.ended < now - kept) | (Server.ended > now + kept)
    removed: int = Server.delete().where((Server.state == State.GONE) & old).execute()
    return removed


def forget_heartbeats(most: int = 1000) -> int:
    """Remove up to `most` heartbeats of servers without a row; returns how many. Their servers can
    have been removed by an older version, which knows no heartbeats. One that lives adds its row
    again."""
    strays = (
        HeartbeatRow.select(HeartbeatRow.server)
        .join(Server, peewee.JOIN.LEFT_OUTER, on=(Server.id == HeartbeatRow.server))
        .join(LoginServer, peewee.JOIN.LEFT_OUTER, on=(LoginServer.id == HeartbeatRow.server))
        .where(Server.id.is_null() & LoginServer.id.is_null())
        .limit(most)
    )
    ids = [id for (id,) in rows(strays)]
    return HeartbeatRow.delete().where(HeartbeatRow.server.in_(ids)).execute() if ids else 0


@read_only
def notices() -> list[Row]:
    """The oldest notices: the id of each, the user's channel, and the event that a rule tells, or
    None."""
    return _oldest_notices(NOTICES_AT_ONCE)


def forget_notices(ids: Sequence[int]) -> None:
    """Remove notices that have been sent. Another controller may have sent or removed them too,
    which does no harm."""
    OutboxEntry.delete().where(OutboxEntry.id.in_(ids)).execute()


@statement
def _oldest_notices(limit: int) -> peewee.Select:
    return (
        OutboxEntry.select(OutboxEntry.id, OutboxEntry.channel, OutboxEntry.event)
        .order_by(OutboxEntry.id)
        .limit(limit)
    )


def _check_leader(me: Member) -> None:
    if locked_leader() != me.id:
        raise NotLeader()


def _cut(reason: str) -> str:
    return reason[: Server.reason.max_length]


def _is_launching(server: str) -> Any:
    return (Server.id == server) & (Server.state == State.LAUNCHING)


def _update(where: Any, values: Mapping[str, object]) -> bool:
    """Change the row of the server that fulfils `where`; returns whether there was one."""
    return bool(Server.update(values).where(where).execute())
