"""Makes the connections of the line protocol, and ends them."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from bbs.errors import TooManyConnections
from bbs.protocols.closing import Departure, TurnedAway
from bbs.protocols.doors import Door, OpenDoor
from bbs.protocols.line.connection import LineConnection
from bbs.protocols.line.interfaces import IRequestHandler, LineLimits, encode
from bbs.protocols.line.overdue import Overdue
from bbs.protocols.line.refusals import refusal
from bbs.protocols.sockets import host_of

_TOO_MANY = encode(refusal(TooManyConnections()).body)

_log = Logger()


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
        door: Door | None = None,
    ) -> None:
        self.clock = reactor
        self.handler = handler
        self.limits = limits
        self._door = door or OpenDoor()
        self._connections = Overdue(reactor, limits.idle_timeout, self._look_whether_idle)
        self._newcomers = Overdue(reactor, limits.first_request, LineConnection.time_out)
        self._turned_away: set[TurnedAway] = set()
        self._stopping = False
        self._departure = Departure(reactor, self._connections)

    def buildProtocol(self, address: IAddress) -> IProtocol | None:  # type: ignore[override]
        """Return a new connection, or what tells the peer that it is one too many; None once
        `close_all` was called, and where there is room for neither."""
        if self._stopping:
            return None
        entry = self._door.enter(host_of(address))
        if entry is not None:
            return LineConnection(self, entry)
        return (
            None if self._door.is_jammed else TurnedAway(self.clock, _TOO_MANY, self._turned_away)
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
