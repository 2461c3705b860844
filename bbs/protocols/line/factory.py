"""Makes the connections of the line protocol, and ends them.

What is to happen by a certain time, for thousands, with one timer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from bbs.core.errors import TooManyConnections
from bbs.core.values import IDoor
from bbs.protocols.admission import OpenDoor
from bbs.protocols.connection_state import ConnectionShutdown, RejectedConnection
from bbs.protocols.line.connection import ILineFactory, LineConnection
from bbs.protocols.line.interfaces import IRequestHandler, LineLimits, encode, refusal
from bbs.protocols.sockets import host_of

K = TypeVar("K")

AT_ONCE = 200
"""How many are dealt with in one turn of the reactor: thousands may be due in the same moment, and
some 50 µs each would keep everybody else waiting."""


class IdleTimeouts(Generic[K]):
    """Those who wait, in the order in which their time is over, as all have the same `period`
    (seconds); `over` is called with each whose time is, who is forgotten."""

    def __init__(self, clock: IReactorTime, period: float, over: Callable[[K], None]) -> None:
        self._clock = clock
        self._period = period
        self._over = over
        self._due: OrderedDict[K, float] = OrderedDict()
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[K]:
        return iter(self._due)

    def __contains__(self, key: object) -> bool:
        return key in self._due

    def renew(self, key: K) -> None:
        """`key` has the whole period from now on."""
        self._due[key] = self._clock.seconds() + self._period
        self._due.move_to_end(key)
        if self._timer is None:
            self._timer = self._clock.callLater(self._period, self._sweep)

    def forget(self, key: K) -> None:
        """Nothing is to happen to `key`."""
        self._due.pop(key, None)
        if not self._due and self._timer is not None:
            if self._timer.active():  # Else it fires just now.
                self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        for _ in range(AT_ONCE):
            if not self._is_due(self._clock.seconds()):
                break
            key, _due = self._due.popitem(last=False)
            self._over(key)
        # This timer has fired; what `over` did may have set another.
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._due:
            first = next(iter(self._due.values()))
            left = max(0.0, first - self._clock.seconds())
            self._timer = self._clock.callLater(left, self._sweep)

    def _is_due(self, now: float) -> bool:
        return bool(self._due) and next(iter(self._due.values())) <= now


_TOO_MANY = encode(refusal(TooManyConnections()).body)

_log = Logger()


@implementer(ILineFactory)
class LineFactory(Factory):
    """Makes the connections, ends the idle ones, and all of them when the service stops.

    The connections are kept in the order of their last request, and those that have asked nothing
    yet in the order in which they came. So one timer each does for all of them, set for the one
    that is first.

    :param door: who is let in; everybody, unless it is given.
    """

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        handler: IRequestHandler,
        limits: LineLimits,
        door: IDoor | None = None,
    ) -> None:
        self.clock = reactor
        self.handler = handler
        self.limits = limits
        self._door = door or OpenDoor()
        self._connections = IdleTimeouts(reactor, limits.idle_timeout, self._look_whether_idle)
        self._newcomers = IdleTimeouts(reactor, limits.first_request, LineConnection.time_out)
        self._turned_away: set[RejectedConnection] = set()
        self._stopping = False
        self._departure = ConnectionShutdown(reactor, self._connections)

    def buildProtocol(self, address: IAddress) -> IProtocol | None:  # type: ignore[override]
        """Return a new connection, or what tells the peer that it is one too many; None once
        `close_all` was called, and where there is room for neither."""
        if self._stopping:
            return None
        entry = self._door.enter(host_of(address))
        if entry is not None:
            return LineConnection(self, entry)
        return (
            None
            if self._door.is_jammed
            else RejectedConnection(self.clock, _TOO_MANY, self._turned_away)
        )

    def close_all(self, grace: float = 2.0) -> Deferred[None]:
        """Take no new connections and close those there are.

        Requests in progress are answered first; what is still open after `grace` seconds is
        aborted. Fires when all are gone.
        """
        self._stopping = True
        for turned_away in [*self._turned_away]:
            turned_away.abort()
        for connection in [*self._connections]:
            connection.close()
        return self._departure.wait(grace)

    # For the connections

    def came(self, connection: LineConnection) -> None:
        """`connection` is there, and has asked nothing yet."""
        self._newcomers.renew(connection)
        self._connections.renew(connection)

    def touch(self, connection: LineConnection) -> None:
        """Note that something happens on `connection`."""
        self._connections.renew(connection)

    def has_asked(self, connection: LineConnection) -> None:
        """Note its first request."""
        self._newcomers.forget(connection)

    def lost(self, connection: LineConnection) -> None:
        """Forget `connection`."""
        self._newcomers.forget(connection)
        self._connections.forget(connection)
        try:
            self.handler.connection_lost(connection)
        except Exception:
            # A bug there must not keep the others from being closed.
            _log.failure("The end of a connection was not dealt with")
        if not self._connections:
            self._departure.all_gone()

    def _look_whether_idle(self, connection: LineConnection) -> None:
        self._connections.renew(connection)
        if connection.is_idle:
            connection.close()
