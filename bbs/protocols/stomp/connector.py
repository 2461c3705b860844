"""One connection after the other, to whichever of a list of brokers is there.

`StompService` says what a connection is for; this makes it, by turns and after growing, jittered
pauses, knows why there is none, and ends it politely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.protocols.stomp.connection import Broker, StompConnection
from bbs.protocols.stomp.interfaces import StompDisconnected, StompError, StompRefused
from bbs.protocols.stomp.subscription import Waiters, within

__all__ = ["Connector"]

_FIRST_PAUSE = 0.1
_MAX_PAUSE = 10.0
# A connection that ends sooner counts as a failed attempt: some brokers accept CONNECT and end the
# connection over what comes next, which would otherwise be tried again at full speed.
_STABLE = 1.0
# How long a broker may take to confirm that we leave, and again to close, s.
_PARTING = 1.0


class Connector:
    """Keeps a connection from `start` to `stop`.

    `make` gives an unused protocol for a broker, whose handshake may take `deadline` s. `made` is
    told of each connection that a broker has accepted, `lost` of its end, with the reason.
    `random` gives [0, 1).
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        brokers: Sequence[Broker],
        *,
        make: Callable[[Broker], StompConnection],
        made: Callable[[StompConnection], None],
        lost: Callable[[str], None],
        deadline: float,
        random: Callable[[], float],
    ) -> None:
        if not brokers:
            raise ValueError("a client needs a broker")
        self.connection: StompConnection | None = None
        self.last_error: str | None = None
        self._reactor = reactor
        self._brokers = tuple(brokers)
        self._make = make
        self._made = made
        self._lost = lost
        self._deadline = deadline
        self._random = random
        self._running = False
        self._loop: Deferred[None] = succeed(None)
        self._was_connected = False
        self._worst_error: StompError | None = None
        self._first_error: StompError | None = None
        self._first = Waiters()

    def start(self) -> None:
        """Begin to connect, at once."""
        self._running = True
        self._loop = Deferred.fromCoroutine(self._run())
        self._loop.addErrback(self._loop_ended)

    def stop(self) -> Deferred[None]:
        """Connect no more; fires when the present connection, if any, has ended."""
        self._running = False
        if self.connection is not None:
            self.connection.disconnect(_PARTING)
        else:
            self._loop.cancel()
        self._first.fire(StompDisconnected("stopped"))
        return self._loop

    def first_connection(self) -> Deferred[None]:
        """As `StompService.first_connection`."""
        if self._was_connected:
            return succeed(None)
        return fail(self._first_error) if self._first_error is not None else self._first.wait()

    async def _run(self) -> None:
        failures = 0
        for tried, broker in enumerate(cycle(self._brokers), 1):
            failures += 1
            try:
                connection = await self._connect(broker)
            except StompError as error:
                # An attempt that was given up has not failed.
                if self._running:
                    self._attempt_failed(broker, error, tried)
            else:
                since = self._reactor.seconds()
                await self._live(broker, connection)
                if self._reactor.seconds() - since >= _STABLE:
                    failures = 0
            if not self._running:
                break
            await deferLater(self._reactor, self._pause(failures))

    async def _connect(self, broker: Broker) -> StompConnection:
        connection = self._make(broker)
        handshake = Deferred.fromCoroutine(self._shake_hands(broker, connection))
        await within(self._deadline, self._reactor, handshake)
        return connection

    async def _shake_hands(self, broker: Broker, connection: StompConnection) -> None:
        try:
            await broker.endpoint(self._reactor).connect(_Ready(connection))
        except CancelledError:
            raise
        except Exception as error:
            # Endpoints fail with errors of no common kind, all of which mean that there is no way.
            raise StompDisconnected(f"cannot connect: {error}") from None
        try:
            await connection.accepted
        except CancelledError:
            connection.abort()
            raise

    async def _live(self, broker: Broker, connection: StompConnection) -> None:
        """From the broker's yes to the end of the connection."""
        self.log.info("connected to {broker}", broker=str(broker))
        self.connection = connection
        self.last_error = None
        self._was_connected = True
        self._made(connection)
        self._first.fire(None)
        reason = await connection.lost
        if self._running:
            self.log.warn(
                "connection to {broker} lost: {reason}", broker=str(broker), reason=str(reason)
            )
        self.connection = None
        self.last_error = f"{broker}: {reason}"
        self._lost(reason)

    def _attempt_failed(self, broker: Broker, error: StompError, tried: int) -> None:
        self.log.warn("no connection to {broker}: {reason}", broker=str(broker), reason=str(error))
        self.last_error = f"{broker}: {error}"
        # Somebody must hear of a refused credential before they hear of a broker that is down.
        if not isinstance(self._worst_error, StompRefused):
            self._worst_error = type(error)(self.last_error)
        if tried == len(self._brokers) and not self._was_connected:
            self._first_error = self._worst_error
            self._first.fire(self._first_error)

    def _pause(self, failures: int) -> float:
        """s until the next attempt; twice as long after each round in which all brokers failed."""
        rounds = min(max(0, failures - 1) // len(self._brokers), 30)
        longest: float = min(_MAX_PAUSE, _FIRST_PAUSE * 2**rounds)
        return longest * (0.5 + self._random() / 2)

    def _loop_ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("nothing connects to a broker any more", failure)


class _Ready(Factory):
    """Gives the one connection that was made for it."""

    noisy = False

    def __init__(self, connection: StompConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> StompConnection:
        return self._connection
