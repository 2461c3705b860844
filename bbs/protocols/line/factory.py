"""Makes the connections of the line protocol, and ends them."""

from collections import OrderedDict

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from bbs.protocols.closing import Departure
from bbs.protocols.line.connection import LineConnection
from bbs.protocols.line.interfaces import IRequestHandler, LineLimits

_log = Logger()


class LineFactory(Factory):
    """Makes the connections, ends the idle ones, and all of them when the service stops.

    The connections are kept in the order of their last activity. So one timer does for all of
    them, set for the one that has been silent longest.
    """

    noisy = False

    def __init__(self, reactor: IReactorTime, handler: IRequestHandler, limits: LineLimits) -> None:
        self.clock = reactor
        self.handler = handler
        self.limits = limits
        self._connections: OrderedDict[LineConnection, None] = OrderedDict()
        self._sweep_timer: IDelayedCall | None = None
        self._stopping = False
        self._departure = Departure(reactor, self._connections)

    def buildProtocol(self, address: IAddress) -> LineConnection | None:  # type: ignore[override]
        """Return a new connection, or None once `close_all` was called."""
        return None if self._stopping else LineConnection(self)

    def close_all(self, grace: float = 2.0) -> Deferred[None]:
        """Take no new connections and close those there are.

        Requests in progress are answered first; what is still open after `grace` seconds is
        aborted. Fires when all are gone.
        """
        self._stopping = True
        for connection in list(self._connections):
            connection.close()
        return self._departure.wait(grace)

    # For the connections

    def touch(self, connection: LineConnection) -> None:
        """Note that something happens on `connection`."""
        self._renew(connection)
        if self._sweep_timer is None:
            self._sweep_timer = self.clock.callLater(self.limits.idle_timeout, self._sweep)

    def lost(self, connection: LineConnection) -> None:
        """Forget `connection`."""
        del self._connections[connection]
        try:
            self.handler.connection_lost(connection)
        except Exception:
            # A bug there must not keep the others from being closed.
            _log.failure("The end of a connection was not dealt with")
        if not self._connections:
            self._all_gone()

    def _all_gone(self) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        self._departure.all_gone()

    def _renew(self, connection: LineConnection) -> None:
        connection.active_at = self.clock.seconds()
        self._connections[connection] = None
        self._connections.move_to_end(connection)

    def _sweep(self) -> None:
        """End the connections that are idle, and wait for the next that may be."""
        now = self.clock.seconds()
        self._sweep_timer = None
        while self._connections:
            longest = next(iter(self._connections))
            left = longest.active_at + self.limits.idle_timeout - now
            if left > 0:
                self._sweep_timer = self.clock.callLater(left, self._sweep)
                return
            self._renew(longest)
            if longest.is_idle:
                longest.close()
