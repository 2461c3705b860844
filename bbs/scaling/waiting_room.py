"""People whose login or locate waits for an app server, while everybody else is served.

A network may have a share of all places. Of its people, as many wait for a server to come as may
have a place on it. The others are held back: they take no place, and the fleet makes no room for
them. When all servers are full and none can be launched, places that nobody uses go to people of
networks that have fewer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.core import tracing
from bbs.core.addresses import weight
from bbs.core.errors import Stopping, Unavailable
from bbs.core.values import Timing
from bbs.protocols.line import IConnection
from bbs.rules import fleet_admin, membership, presence
from bbs.rules.membership import Member
from bbs.rules.placement import IPlacement, Look, Search, Seat, TooManyPlaces, UnusedPlace, site
from bbs.rules.servers import new_id
from bbs.scaling.events import FleetEvents
from bbs.storage.database import Database

LOOK_INTERVAL = 1.0  # seconds between looks without a hint, and between `waiting` events
NEWCOMERS = 30  # people for whom unused places are looked for at a time, to take some 10 ms
LOG_INTERVAL = 1.0  # seconds between lines of a kind in the log: people come and go as they like

_log = Logger()

Finder = Callable[[Look], Awaitable[Search]]  # looks for a place in the way that `Look` says


async def nothing() -> None:
    """Undo nothing."""


@dataclass(eq=False)
class _Waiter:
    """A person who waits. `row`: in the database; None for somebody who is online, whom the
    controller sees there without a place. `network`: whose share counts; "" if none does.
    `is_wanted`: the fleet is to make room, and so the row is there."""

    name: str
    row: str | None
    since: float
    connection: IConnection
    attempt: Finder
    undo: Callable[[], Awaitable[None]]
    origin: str = ""
    network: str = ""
    is_wanted: bool = False
    seated: Deferred[Seat] = field(default_factory=Deferred)
    span: tracing.ISpan | None = None
    sent: tuple[int, int | None] | None = None
    sent_at: float = -LOOK_INTERVAL


@implementer(IPlacement)
@dataclass(kw_only=True)
class WaitingRoom:
    """The queue of one login server: first come, first served. `patience`: the longest wait in
    seconds, a launch's time-out. `wall` stamps the beginnings of waits, for the page. `watchers`:
    the connections that said `events`. `timing` learns how long each person took to get a place.
    `share`: the places that a network may have; None: all. `maximum`: of servers in the fleet."""

    me: Member
    database: Database
    reactor: IReactorTime
    wall: Callable[[], float]
    patience: float
    watchers: set[IConnection]
    news: FleetEvents
    timing: Timing
    share: int | None = None
    maximum: int = 0

    def __post_init__(self) -> None:
        self._queue: list[_Waiter] = []
        self._places: dict[str, int] = {}  # of the networks of those who wait, as last seen
        self._next_crowd = 0.0
        self._serving = False
        self._looks_again = False
        self._closed = False
        self._given_up = 0
        self._logged: dict[str, float] = {}
        # No TimerService: a look is due only while people wait, counted from the end of the last.
        self._next_look: Any = None
        self.news.when_places(self.look)

    async def seat(
        self,
        name: str,
        connection: IConnection,
        attempt: Finder,
        undo: Callable[[], Awaitable[None]] = nothing,
        origin: str = "",
    ) -> Seat:
        """A place for `name`: the one there is, or a new one, in the order in which people came.
        `origin`: where the person is, as in `placement.Look`; "": no share counts. `Unavailable`:
        no place came in time, or none can be launched; `TooManyPlaces`: others of the network have
        had its share all the time; `Stopping`: nobody may wait here any more.

        Cancelling gives up the wait; `undo` is called if a place had just been found.
        """
        began = self.timing.seconds()
        with tracing.span("place"):
            search = await attempt(self._look_for(origin, new=self._first() is None))
        seat = search.seat
        if seat is None:
            if self._closed:
                raise Stopping()
            row = None if search.online else new_id()
            network = "" if search.online or self.share is None else site(origin)
            with tracing.span("wait") as span:
                waiter = _Waiter(name, row, self.wall(), connection, attempt, undo, origin, network)
                waiter.span = span
                self._note_places(waiter, search)
                seat = await self._wait(waiter)
        if self.timing.places is not None:
            self.timing.places(self.timing.seconds() - began)
        return seat

    async def _wait(self, waiter: _Waiter) -> Seat:
        self._queue.append(waiter)
        self._hold_back()
        impatience = self.reactor.callLater(self.patience, self._give_up, waiter)
        if self._is_time_to_log("waiting"):
            _log.info("{count} waiting for a place", count=len(self._queue))
        self.look()
        try:
            return await waiter.seated
        finally:
            self._leave(waiter)
            if impatience.active():
                impatience.cancel()

    def close(self) -> None:
        """End all waits: this login server stops. Connections that said `events` end too, as their
        clients then ask another login server by themselves. The others may belong to clients that
        ask only once, so they are told."""
        self._closed = True
        for waiter in [*self._queue]:
            self._leave(waiter)
            if waiter.connection in self.watchers:
                waiter.connection.abort()
            if not waiter.seated.called:
                waiter.seated.errback(Stopping())

    def look(self) -> None:
        """Serve the queue, as there may be a place."""
        if self._serving:
            self._looks_again = True
        elif self._queue:
            self._serving = True
            with tracing.within(None):  # This serves others too.
                serving = Deferred.fromCoroutine(self._serve())
            serving.addErrback(
                lambda failure: _log.failure("could not serve the waiting", failure=failure)
            )

    async def _serve(self) -> None:
        try:
            self._looks_again = True
            while self._looks_again and self._queue:
                self._looks_again = False
                await self._see_places()
                while (first := self._first()) and await self._seat(first):
                    pass
                if not self._looks_again:
                    # These ask the database, and there may be a place once it has answered.
                    await self._face_outlook()
                    await self._send_positions()
        finally:
            self._serving = False
            self._look_later()

    def _first(self) -> _Waiter | None:
        """The first person who is not held back."""
        return next((waiter for waiter in self._queue if waiter.is_wanted), None)

    def _look_for(
        self, origin: str, *, new: bool, row: str | None = None, instead: UnusedPlace | None = None
    ) -> Look:
        return Look(new, row, origin, self.share if origin else None, instead)

    async def _seat(
        self, waiter: _Waiter, *, new: bool = True, instead: UnusedPlace | None = None
    ) -> bool:
        """Seat a person; returns whether to go on: this one has a place or an answer, or is held
        back from now on."""
        look = self._look_for(waiter.origin, new=new, row=waiter.row, instead=instead)
        try:
            with tracing.span("place", waiter.span):
                search = await waiter.attempt(look)
        except Unavailable:
            return False  # Waiting goes on: the database may be back in time.
        except Exception as error:
            # Any other error is the answer to this person, and the others wait on.
            self._leave(waiter)
            if not waiter.seated.called:
                waiter.seated.errback(error)
            return True
        if self.share is not None:
            # A user who was online may have logged out meanwhile, and the share counts then.
            waiter.network = "" if search.online else site(waiter.origin)
        self._note_places(waiter, search)
        if search.seat is None:
            self._hold_back()
            return not waiter.is_wanted
        self._leave(waiter, seated=True)
        if waiter.seated.called:
            await waiter.undo()
        else:
            waiter.seated.callback(search.seat)
        return True

    def _note_places(self, waiter: _Waiter, search: Search) -> None:
        # Nobody counted for a user who had a place already.
        if waiter.network and (search.places or search.seat is None):
            self._places[waiter.network] = search.places + (search.seat is not None)

    def _hold_back(self) -> None:
        """Find out for whom the fleet is to make room: of each network, only for as many as may
        have a place."""
        left: dict[str, int] = {}
        for waiter in self._queue:
            is_wanted = True
            if waiter.network and self.share is not None:
                places = self._places.get(waiter.network, 0)
                may = left.setdefault(waiter.network, self.share - places)
                left[waiter.network] = may - 1
                is_wanted = may > 0
            if is_wanted and not waiter.is_wanted:
                waiter.is_wanted = True
                self._enter(waiter)
            elif waiter.is_wanted and not is_wanted:
                waiter.is_wanted = False
                self._strike(waiter.row)
                # The removal may be late; it must not meet the row of the next time.
                waiter.row = waiter.row and new_id()
        self._places = {network: self._places.get(network, 0) for network in left}

    async def _see_places(self) -> None:
        """Look again how many places those networks have of which everybody is held back."""
        wanted = {waiter.network for waiter in self._queue if waiter.is_wanted}
        held_back: dict[str, _Waiter] = {}
        for waiter in self._queue:
            if waiter.network not in wanted:
                held_back.setdefault(waiter.network, waiter)
        for waiter in held_back.values():
            if waiter in self._queue:
                await self._seat(waiter, new=False)
        self._hold_back()

    async def _face_outlook(self) -> None:
        """If the fleet cannot grow, give people unused places; give up on all the others if no
        server can come before an operator has acted."""
        if not self._queue:
            return
        with suppress(Unavailable):
            outlook = await self.database.run(fleet_admin.outlook, self.wall(), self.maximum)
            if outlook.crowded:
                await self._use_unused()
            for waiter in [*self._queue] if outlook.hopeless else ():
                self._give_up(waiter)

    async def _use_unused(self) -> None:
        """Give people the unused places of networks that have more."""
        now = self.reactor.seconds()
        if self._first() is None or now < self._next_crowd:
            return
        self._next_crowd = now + LOOK_INTERVAL
        crowd = await self.database.run(presence.crowd, self.wall())
        waiting = [waiter for waiter in self._queue if waiter.is_wanted]
        waiting.sort(key=lambda waiter: weight(crowd.counts, waiter.origin))
        for waiter in waiting[:NEWCOMERS]:
            unused = crowd.give_way(waiter.origin)
            if unused and waiter in self._queue:
                await self._seat(waiter, instead=unused)

    def _leave(self, waiter: _Waiter, seated: bool = False) -> None:
        if waiter in self._queue:
            self._queue.remove(waiter)
            if waiter.is_wanted and not seated:
                self._strike(waiter.row)

    def _enter(self, waiter: _Waiter) -> None:
        row, span = waiter.row, waiter.span

        def is_wanted() -> bool:
            return waiter.is_wanted and waiter in self._queue and waiter.row == row

        def entered(_: object) -> None:
            if is_wanted():
                self.news.wanted()
            else:
                self._strike(row)

        def failed(failure: Failure) -> None:
            failure.trap(Unavailable)
            if is_wanted():
                self.reactor.callLater(LOOK_INTERVAL, self._enter, waiter)

        if row is None:
            self.news.wanted()
        else:
            trace = span.traceparent if span and span.recorded else ""
            member, name = self.me, waiter.name
            written = self.database.run(membership.wait, member, row, name, waiter.since, trace)
            written.addCallbacks(entered, failed)

    def _strike(self, row: str | None) -> None:
        """Remove the `row` of a wait that has ended, so that the fleet stops making room for it."""

        def failed(failure: Failure) -> None:
            failure.trap(Unavailable)
            self.reactor.callLater(LOOK_INTERVAL, self._strike, row)

        if row:
            self.database.run(membership.stop_waiting, row).addErrback(failed)

    def _give_up(self, waiter: _Waiter) -> None:
        self._leave(waiter)
        if not waiter.seated.called:
            self._given_up += 1
            if self._is_time_to_log("given up"):
                _log.warn("no app server for {count} who waited", count=self._given_up)
                self._given_up = 0
            waiter.seated.errback(Unavailable() if waiter.is_wanted else TooManyPlaces())

    def _is_time_to_log(self, kind: str) -> bool:
        """Whether the log has had no line of this `kind` for `LOG_INTERVAL`."""
        now = self.reactor.seconds()
        if now - self._logged.get(kind, float("-inf")) < LOG_INTERVAL:
            return False
        self._logged[kind] = now
        return True

    def _look_later(self) -> None:
        if self._queue and self._next_look is None:
            self._next_look = self.reactor.callLater(LOOK_INTERVAL, self._time_to_look)

    def _time_to_look(self) -> None:
        self._next_look = None
        self.look()

    async def _send_positions(self) -> None:
        if not any(waiter.connection in self.watchers for waiter in self._queue):
            return
        now = self.reactor.seconds()
        try:
            launches = await self.database.run(fleet_admin.launches_under_way, self.wall())
        except Unavailable:
            return
        seconds = None if launches is None else max(0, round(launches.usual - launches.oldest))
        for position, waiter in enumerate(self._queue, 1):
            event = (position, seconds)
            lately = now - waiter.sent_at < LOOK_INTERVAL
            if waiter.connection in self.watchers and waiter.sent != event and not lately:
                waiter.sent, waiter.sent_at = event, now
                waiter.connection.send_event(
                    {"event": "waiting", "position": position, "seconds": seconds}
                )
