"""People whose login or locate waits for an app server, while everybody else is served."""

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
from bbs.core.errors import Stopping, Unavailable
from bbs.core.values import Timing
from bbs.protocols.line import IConnection
from bbs.rules import fleet_admin, membership
from bbs.rules.membership import Member
from bbs.rules.placement import IPlacement, Look, Search, Seat
from bbs.rules.servers import new_id
from bbs.scaling.events import FleetEvents
from bbs.storage.database import Database

LOOK_INTERVAL = 1.0  # seconds between looks without a hint, and between `waiting` events
LOG_INTERVAL = 1.0  # seconds between lines of a kind in the log: people come and go as they like

_log = Logger()

Finder = Callable[[Look], Awaitable[Search]]  # looks for a place in the way that `Look` says


async def nothing() -> None:
    """Undo nothing."""


@dataclass(eq=False)
class _Waiter:
    """A person who waits. `row`: in the database; None for somebody who is online, whom the
    controller sees there without a place."""

    row: str | None
    since: float
    connection: IConnection
    attempt: Finder
    undo: Callable[[], Awaitable[None]]
    seated: Deferred[Seat] = field(default_factory=Deferred)
    span: tracing.ISpan | None = None
    sent: tuple[int, int | None] | None = None
    sent_at: float = -LOOK_INTERVAL


@implementer(IPlacement)
@dataclass(kw_only=True)
class WaitingRoom:
    """The queue of one login server: first come, first served. `patience`: the longest wait in
    seconds, a launch's time-out. `wall` stamps the beginnings of waits, for the page. `watchers`:
    the connections that said `events`. `timing` learns how long each person took to get a place."""

    me: Member
    database: Database
    reactor: IReactorTime
    wall: Callable[[], float]
    patience: float
    watchers: set[IConnection]
    news: FleetEvents
    timing: Timing

    def __post_init__(self) -> None:
        self._queue: list[_Waiter] = []
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
    ) -> Seat:
        """A place for `name`: the one there is, or a new one, in the order in which people came.
        `Unavailable`: no place came in time, or none can be launched; `Stopping`: nobody may wait
        here any more.

        Cancelling gives up the wait; `undo` is called if a place had just been found.
        """
        began = self.timing.seconds()
        with tracing.span("place"):
            search = await attempt(Look(new=not self._queue))
        seat = search.seat
        if seat is None:
            if self._closed:
                raise Stopping()
            row = None if search.online else new_id()
            with tracing.span("wait") as span:
                waiter = _Waiter(row, self.wall(), connection, attempt, undo, span=span)
                seat = await self._wait(waiter, name)
        if self.timing.places is not None:
            self.timing.places(self.timing.seconds() - began)
        return seat

    async def _wait(self, waiter: _Waiter, name: str) -> Seat:
        self._queue.append(waiter)
        self._enter(waiter, name)
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
                while self._queue and await self._seat_first(self._queue[0]):
                    pass
                if not self._looks_again:
                    # These ask the database, and there may be a place once it has answered.
                    await self._send_away()
                    await self._send_positions()
        finally:
            self._serving = False
            self._look_later()

    async def _seat_first(self, waiter: _Waiter) -> bool:
        """Seat the first person; returns whether to go on: this one has a place or an answer."""
        try:
            with tracing.span("place", waiter.span):
                search = await waiter.attempt(Look(new=True, waiter=waiter.row))
        except Unavailable:
            return False  # Waiting goes on: the database may be back in time.
        except Exception as error:
            # Any other error is the answer to this person, and the others wait on.
            self._leave(waiter)
            if not waiter.seated.called:
                waiter.seated.errback(error)
            return True
        if search.seat is None:
            return False
        self._leave(waiter, seated=True)
        if waiter.seated.called:
            await waiter.undo()
        else:
            waiter.seated.callback(search.seat)
        return True

    def _leave(self, waiter: _Waiter, seated: bool = False) -> None:
        if waiter in self._queue:
            self._queue.remove(waiter)
            if not seated:
                self._strike(waiter.row)

    def _enter(self, waiter: _Waiter, name: str) -> None:
        def entered(_: object) -> None:
            if waiter in self._queue:
                self.news.wanted()
            else:
                self._strike(waiter.row)

        def failed(failure: Failure) -> None:
            failure.trap(Unavailable)
            if waiter in self._queue:
                self.reactor.callLater(LOOK_INTERVAL, self._enter, waiter, name)

        if waiter.row is None:
            self.news.wanted()
        else:
            row, span = waiter.row, waiter.span
            trace = span.traceparent if span and span.recorded else ""
            written = self.database.run(membership.wait, self.me, row, name, waiter.since, trace)
            written.addCallbacks(entered, failed)

    def _strike(self, row: str | None) -> None:
        """Remove the `row` of a wait that has ended, so that the fleet stops making room for it."""

        def failed(failure: Failure) -> None:
            failure.trap(Unavailable)
            self.reactor.callLater(LOOK_INTERVAL, self._strike, row)

        if row:
            self.database.run(membership.stop_waiting, row).addErrback(failed)

    async def _send_away(self) -> None:
        """Give up on all people if no server can come before an operator has acted."""
        if not self._queue:
            return
        with suppress(Unavailable):
            hopeless = await self.database.run(fleet_admin.is_hopeless, self.wall())
            for waiter in [*self._queue] if hopeless else ():
                self._give_up(waiter)

    def _give_up(self, waiter: _Waiter) -> None:
        self._leave(waiter)
        if not waiter.seated.called:
            self._given_up += 1
            if self._is_time_to_log("given up"):
                _log.warn("no app server for {count} who waited", count=self._given_up)
                self._given_up = 0
            waiter.seated.errback(Unavailable())

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
