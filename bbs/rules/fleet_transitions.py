"""Carries out what the controller of the fleet decides.

Every decision's transaction checks the lease again, so a login server that has lost it changes
nothing more. The same transaction stores what becomes of a server as an event of the operators'
page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import chain, islice, repeat
from typing import Any

import peewee

from bbs.core.values import Cause, DrainCause, Instance, LossCause, State, Urgency
from bbs.rules import fleet_admin, overview, page_history, placement, servers
from bbs.rules.membership import KEEPER, Member, locked_leader
from bbs.rules.page_history import Event, EventKind, sentence
from bbs.rules.servers import ServerRow
from bbs.storage.database import read_only
from bbs.storage.models import Lease, LoginServer, OutboxEntry, Server, Waiter
from bbs.storage.statements import Row, statement

NOTICES_AT_ONCE = 100
"""Notices that are taken at the most in one transaction."""

CAN_WAIT = [cause for cause in DrainCause if cause.urgency is Urgency.WHEN_QUIET]
"""The causes for which a server drains although it could stay."""


class Stands(StrEnum):
    """How it stands with an instance that no server was seen to have."""

    LIVES = "a server has it"
    CLOSED = "its server was closed"
    NEVER = "no server of this fleet has it, or had it lately"


class NotLeader(Exception):
    """Another login server has taken the fleet over."""


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
) -> list[str]:
    """Rows for `count` launches, which begin only now that they are written down; for the warm pool
    if they are to be `pooled`. The launch `strategies` are taken in their order. `trace`: the trace
    of the people whom the launches are for."""
    _check_leader(me)
    room = maximum - servers.running().count()
    ids = [
        servers.add(scope, capacity, now, pooled, strategy, trace)
        for strategy in islice(chain(strategies, repeat(None)), max(0, min(count, room)))
    ]
    page_history.add(*(Event(EventKind.LAUNCHING, now, id) for id in ids))
    return ids


def adopt(me: Member, scope: str, count: int, strategies: Sequence[str] = ()) -> list[str]:
    """Take on the first `count` launches that operators wrote down for whoever keeps the fleet, by
    these launch `strategies` in the order of what is returned, as far as they go. More may have
    been written down since these were counted: they wait until they have been counted too."""
    _check_leader(me)
    asked = Server.select(Server.id).where((Server.state == State.LAUNCHING) & (Server.scope == ""))
    ids = [server.id for server in asked.order_by(Server.created, Server.id).limit(count)]
    Server.update(scope=scope).where(Server.id.in_(ids)).execute()
    for id, strategy in zip(ids, strategies, strict=False):
        Server.update(way=strategy).where(Server.id == id).execute()
    return ids


def note_strategy(me: Member, server: str, before: str | None, strategy: str) -> bool:
    """The launch of `server` is asked for by another `strategy` from now on. False, and then it
    must not be: somebody has written down another than `before`, or nobody wants the server any
    more."""
    _check_leader(me)
    was = Server.way.is_null() if before is None else Server.way == before
    return bool(
        Server.update(way=strategy)
        .where((Server.id == server) & (Server.state == State.LAUNCHING) & was)
        .execute()
    )


def note_instances(me: Member, instances: Iterable[Instance]) -> None:
    """What the provider calls its launches, and where they are reached, as far as it tells."""
    _check_leader(me)
    for instance in instances:
        told = {"host": instance.host, "instance_id": instance.instance_id, "kind": instance.kind}
        values = {name: value for name, value in told.items() if value is not None}
        Server.update(values).where(Server.id == instance.launch_id).execute()


def refuse(me: Member, reason: str | None, until: float | None, now: float) -> None:
    """The provider launches nothing, for a reason that an operator must mend, and is not asked
    again before `until`; None: it launches."""
    _check_leader(me)
    was_refused = fleet_admin.refusal() is not None
    if was_refused != (reason is not None):
        refused, accepted = EventKind.LAUNCHES_REFUSED, EventKind.LAUNCHES_ACCEPTED
        page_history.add(Event(accepted if was_refused else refused, now))
    Lease.update(refusal=reason, refused_until=until).where(Lease.name == KEEPER).execute()


def mark_ready(me: Member, booted: Iterable[tuple[str, str | None, float]]) -> list[placement.Move]:
    """Have people be placed on servers that have `booted`: the id of each, the host at which it is
    reached (None: as its row says already), and since when it is ready: the time at which it was
    created, and what was measured since."""
    _check_leader(me)
    events = []
    for server, host, ready in booted:
        values = {"state": State.READY, "ready": ready} | ({} if host is None else {"host": host})
        launching = (Server.id == server) & (Server.state == State.LAUNCHING)
        changed = Server.update(values).where(launching).execute()
        if changed and (row := servers.find(server)):
            events.append(_event(row, ready))
    page_history.add(*events)
    return placement.settle()


def park(me: Member, server: str, now: float) -> bool:
    """`server`, which was launched for the warm pool, is warm: it serves nowhere until it is
    started again. False if it is wanted after all."""
    _check_leader(me)
    shelved = (
        Server.update(state=State.WARM, host=None, port=None, created=now)
        .where((Server.id == server) & (Server.state == State.LAUNCHING) & Server.shelved)
        .execute()
    )
    if shelved:
        page_history.add(Event(EventKind.WARM, now, server))
    return bool(shelved)


def resume(me: Member, server: str, maximum: int, now: float) -> bool:
    """`server` comes out of the warm pool: one that is warm is launching from `now` on, and one
    that boots for the pool boots for people. False if `maximum` run already, or it is not there."""
    _check_leader(me)
    row = Server.get_or_none((Server.id == server) & Server.shelved)
    if row is None or row.state not in (State.WARM, State.LAUNCHING):
        return False
    begins: dict[str, object] = {}
    if row.state == State.WARM:
        if servers.running().count() >= maximum:
            return False
        # It left as it was stopped.
        begins = {"state": State.LAUNCHING, "host": None, "created": now, "leaving": False}
        page_history.add(Event(EventKind.LAUNCHING, now, server))
    Server.update(shelved=False, **begins).where(Server.id == server).execute()
    return True


def put_back(me: Member, server: str, now: float) -> None:
    """`server`, which was warm, could not be started: it is warm again."""
    _check_leader(me)
    could_not = (
        Server.update(state=State.WARM, shelved=True, created=now)
        .where((Server.id == server) & (Server.state == State.LAUNCHING) & Server.port.is_null())
        .execute()
    )
    if could_not:
        page_history.add(Event(EventKind.WARM, now, server))


def lose(me: Member, server: str, cause: Cause, reason: str, now: float) -> list[placement.Move]:
    """Give up `server`, for this `cause`, and place its people again. `reason` tells people why."""
    _check_leader(me)
    was = servers.find(server)
    changed = (
        Server.update(state=State.LOST, cause=cause, reason=_cut(reason))
        .where((Server.id == server) & (Server.state != State.GONE))
        .execute()
    )
    if changed and was and was.state is not State.LOST:
        page_history.add(_event(replace(was, state=State.LOST, reason=reason), now))
    return placement.vacate(server)


def give_up(me: Member, server: str, reason: str, now: float) -> list[placement.Move] | None:
    """Give up the launch of `server`, which is late; None if it has reported by now."""
    _check_leader(me)
    was = servers.find(server)
    changed = (
        Server.update(state=State.LOST, cause=LossCause.LATE, reason=_cut(reason))
        .where((Server.id == server) & (Server.state == State.LAUNCHING) & Server.port.is_null())
        .execute()
    )
    if not changed:
        return None
    if was:
        page_history.add(_event(replace(was, state=State.LOST, reason=reason), now))
    return placement.vacate(server)


def drain(
    me: Member, server: str, cause: DrainCause, reason: str, seen: int, now: float
) -> list[placement.Move] | None:
    """Place nobody on `server` any more, for this `cause`; `reason` tells people why. For an urgent
    cause its people move at once, as far as there are places; otherwise nobody moves yet.

    Returns the moves, or None if the server is wanted after all. With an urgent cause it drains if
    it is empty, or if an operator wants it empty or its provider will take it away. With another
    cause it drains if neither of these is so and no more people are there than were `seen`. A
    replacement must still be asked for, and a consolidation waits while somebody is there who was
    moved shortly before `now`.
    """
    _check_leader(me)
    if cause is DrainCause.CONSOLIDATION and placement.anybody_moved_lately(server, now):
        return None
    was = servers.find(server)
    changed = (
        Server.update(state=State.DRAINING, cause=cause, reason=_cut(reason))
        .where((Server.id == server) & _may_drain(cause, seen))
        .execute()
    )
    if not changed:
        return None
    if was and was.state is not State.DRAINING:
        page_history.add(Event(EventKind.DRAINING, now, server, reason))
    return placement.move_off(server) if cause.urgency is Urgency.NOW else []


def _may_drain(cause: DrainCause, seen: int) -> Any:
    if cause.urgency is Urgency.NOW:
        return (Server.taken == 0) | servers.must_go()
    serves = (Server.state == State.READY) & (Server.taken <= seen) & ~servers.must_go()
    return serves & Server.replace_asked if cause is DrainCause.REPLACEMENT else serves


def keep(me: Member, server: str, now: float) -> list[placement.Move]:
    """Place people again on `server`, which drains but could stay; first those who are online
    without a place. Nothing happens if it is empty by now: then it is being ended."""
    _check_leader(me)
    may_stay = (
        (Server.id == server)
        & (Server.state == State.DRAINING)
        & Server.cause.in_(CAN_WAIT)
        & (Server.taken > 0)
        & ~servers.must_go()
    )
    if Server.update(state=State.READY, cause="", reason="").where(may_stay).execute():
        page_history.add(Event(EventKind.KEPT, now, server))
    return placement.settle()


def move_off(me: Member, server: str) -> list[placement.Move]:
    """Move people from `server`, if it drains, as far as there are other places."""
    _check_leader(me)
    return placement.move_off(server) if _drains(server) else []


def move_some_off(
    me: Member, server: str, most: int, now: float, again: bool = False
) -> list[placement.Move]:
    """Move `most` people from `server`, if it drains, as far as there are other places, and none
    whom that has happened to not long before `now`, unless they are to be moved `again`."""
    _check_leader(me)
    return placement.move_some_off(server, most, now, again) if _drains(server) else []


def _drains(server: str) -> bool:
    """Whether nobody has decided to keep `server` since it was seen to drain."""
    drains = (Server.id == server) & (Server.state == State.DRAINING)
    return bool(Server.select().where(drains).exists())


def close(
    me: Member, server: str, cause: Cause | None, reason: str, now: float
) -> list[placement.Move]:
    """Note that `server` has been terminated: it is gone, and ends itself should it still run. The
    `cause` and the `reason` are stored unless it was lost: then those of the loss stay. Without a
    `cause`, the one for which it drained stays."""
    _check_leader(me)
    was = servers.find(server)
    noted = {"reason": _cut(reason)} | ({} if cause is None else {"cause": cause})
    Server.update(noted).where(
        (Server.id == server) & Server.state.not_in([State.LOST, State.GONE])
    ).execute()
    Server.update(state=State.GONE, ended=now).where(
        (Server.id == server) & (Server.state != State.GONE)
    ).execute()
    is_told = was and was.state is State.LOST and was.has_yet_to_serve
    if was and not is_told:
        why = was.reason if was.state is State.LOST else reason
        page_history.add(_event(replace(was, state=State.GONE, reason=why), now))
    return placement.vacate(server)


def settle(me: Member) -> list[placement.Move]:
    """Find places for people who are online without one."""
    _check_leader(me)
    return placement.settle()


def forget_peer(me: Member, peer: str) -> None:
    """A login server is dead: nobody waits there any more."""
    _check_leader(me)
    LoginServer.delete().where(LoginServer.id == peer).execute()


# --- what pages show of it ---


def begin(me: Member, now: float) -> None:
    """Store what happened unnoticed before `me` began to keep the fleet: an older version stores
    nothing, and a keeper that died did not see how things went on."""
    note_waiting(me, now)
    if page_history.goes_on(EventKind.LAUNCHES_REFUSED) and fleet_admin.refusal() is None:
        page_history.add(Event(EventKind.LAUNCHES_ACCEPTED, now))
    kept = page_history.news_behind(0)
    if kept:
        # By words, as an older version's page tells what it sees in words alone.
        told = {each.text for each in kept}
        events = sorted(_since(kept[0].at, now), key=lambda event: event.at)
        page_history.add(*(event for event in events if sentence(event) not in told))


def note_waiting(me: Member, now: float) -> bool:
    """Store that people begin to wait for places, or that nobody waits any more; returns whether
    somebody does."""
    _check_leader(me)
    count = overview.waiting()
    was_waiting = page_history.goes_on(EventKind.PEOPLE_WAIT)
    if count and not was_waiting:
        since = Waiter.select(peewee.fn.MIN(Waiter.since)).scalar()
        at = now if since is None else min(since, now)
        page_history.add(Event(EventKind.PEOPLE_WAIT, at, number=count))
    elif was_waiting and not count:
        page_history.add(Event(EventKind.NOBODY_WAITS, now))
    return bool(count)


def _since(then: float, now: float) -> Iterator[Event]:
    """The events after `then` that rows tell of: what operators asked for, and to what servers came
    last. That has a stamp, or may have been just `now`."""
    for deed in fleet_admin.actions(page_history.NEWS_KEPT):
        if deed.at > then:
            yield from fleet_admin.events(deed.at, deed.action, deed.target, deed.detail)
    stamps = {
        State.LAUNCHING: Server.created,
        State.WARM: Server.created,
        State.READY: Server.ready,
        State.GONE: Server.ended,
    }
    at = peewee.Case(Server.state, [*stamps.items()], now)
    found: Any = Server.select(Server, at.alias("at")).where(at > then)
    for row in found:
        yield _event(ServerRow.of(row), row.at)


def _event(row: ServerRow, at: float) -> Event:
    """The event that a server has come to the state in `row`. What a provider says of a launch that
    failed is not for everybody."""
    if row.state in (State.LOST, State.GONE) and row.has_yet_to_serve:
        return Event(EventKind.FAILED, at, row.id)
    is_launched = row.state is State.READY and row.scope != servers.OPERATOR
    return Event(
        EventKind(row.state.value),
        at,
        row.id,
        "" if row.state in _WITHOUT_REASON else row.reason,
        row.launch_time if is_launched else None,
    )


_WITHOUT_REASON = (State.LAUNCHING, State.READY, State.WARM)


# --- what has become of servers ---


@read_only
def stands(server: str) -> Stands:
    """Whether the instance of `server` is one that this fleet has."""
    row = Server.get_or_none(Server.id == server)
    if row is None:
        return Stands.NEVER
    return Stands.CLOSED if row.state == State.GONE else Stands.LIVES


def forget_gone(now: float, kept: float) -> int:
    """Remove the rows of servers that ended more than `kept` seconds ago, or will have by a clock
    that was wrong; returns how many."""
    old = (Server.ended < now - kept) | (Server.ended > now + kept)
    removed: int = Server.delete().where((Server.state == State.GONE) & old).execute()
    return removed


# --- what has been done to people ---


@read_only
def notices() -> list[Row]:
    """The oldest notices, each its id and the channel of whom it is about."""
    return _oldest_notices(NOTICES_AT_ONCE)


def forget_notices(ids: Sequence[int]) -> None:
    """Remove notices whose people have been told. Another controller may have told them too, or
    removed the notices first: either does no harm."""
    OutboxEntry.delete().where(OutboxEntry.id.in_(ids)).execute()


@statement
def _oldest_notices(limit: int) -> peewee.Select:
    return (
        OutboxEntry.select(OutboxEntry.id, OutboxEntry.channel)
        .order_by(OutboxEntry.id)
        .limit(limit)
    )


def _check_leader(me: Member) -> None:
    if locked_leader() != me.id:
        raise NotLeader()


def _cut(reason: str) -> str:
    """As much of `reason` as the column holds."""
    return reason[: Server.reason.max_length]
