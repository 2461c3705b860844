"""A STOMP client for the reactor, usable alone (`docs/stomp.md`).

    service = StompService(reactor, [Broker.from_url("stomp://user:password@127.0.0.1:61613")])
    service.startService()
    await service.first_connection()
    await service.subscribe("/topic/news", lambda message: print(message.body))
    await service.send("/topic/news", b"hello")

`StompService` holds one connection to one of a list of brokers. When it goes, it connects again,
by turns and after growing, jittered pauses, and subscribes again to everything. Receipts are
Deferreds, which fail at a deadline or when the connection goes. Nothing that was sent is sent again
by itself: what must not be lost, its sender keeps until the receipt came.

Frames are cut in `bbs.protocols.frames`, one connection is `bbs.protocols.stomp_connection`, and
what a caller may rely on is written in `bbs.protocols.istomp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count, cycle
from random import random as system_random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.protocols.frames import Frame
from bbs.protocols.istomp import (
    IStomp,
    ISubscription,
    Message,
    StompDisconnected,
    StompError,
    StompOverflow,
    StompRefused,
    StompTimeout,
    check_destination,
)
from bbs.protocols.stomp_connection import Broker, StompConnection
from bbs.protocols.stomp_subscription import Subscription, Waiters

__all__ = [
    "Broker",
    "IStomp",
    "ISubscription",
    "Message",
    "StompDisconnected",
    "StompError",
    "StompOverflow",
    "StompRefused",
    "StompService",
    "StompTimeout",
    "check_destination",
]

_FIRST_PAUSE = 0.1
_MAX_PAUSE = 10.0
# A connection that ends sooner counts as a failed attempt: some brokers accept CONNECT and end the
# connection over what comes next, which would otherwise be tried again at full speed.
_STABLE = 1.0
# How long a broker may take to confirm that we leave, and again to close, s.
_PARTING = 1.0


@implementer(IStomp)
class StompService(Service):
    """A client of whichever of `brokers` is there, one at a time.

    `heartbeat`: s, how often both sides shall show that they live; a broker that is silent for
    twice that and a second is dropped. `deadline`: s, for a connection from the first packet to CONNECTED, and
    for each receipt. `max_output`: bytes that wait here while the broker reads too slowly.
    `max_frame`: bytes of the largest frame that is taken. `random` gives [0, 1), to spread out
    clients that lost the same broker.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        brokers: Sequence[Broker],
        *,
        heartbeat: float = 10.0,
        deadline: float = 5.0,
        max_output: int = 1 << 20,
        max_frame: int = 1 << 20,
        random: Callable[[], float] = system_random,
    ) -> None:
        self.last_error: str | None = None
        """Why there is no connection, in one line without a credential; None while there is one."""
        self._reactor = reactor
        self._brokers = tuple(brokers)
        self._heartbeat = heartbeat
        self._deadline = deadline
        self._max_output = max_output
        self._max_frame = max_frame
        self._random = random
        self._connection: StompConnection | None = None
        self._loop: Deferred[None] = succeed(None)
        self._ids = count(1)
        self._subscriptions: dict[str, Subscription] = {}
        self._listeners: list[Callable[[bool], None]] = []
        self._when_connected = Waiters()
        self._first = Waiters()
        self._worst_error: StompError | None = None
        self._first_error: StompError | None = None
        self._was_connected = False

    def first_connection(self) -> Deferred[None]:
        """Fires once a broker has accepted the first connection.

        Fails once every broker was tried in vain: with StompRefused when one of them said no to the
        credential, else with StompTimeout or StompDisconnected. The text is one line and shows no
        credential. The service goes on trying either way.
        """
        if self._was_connected:
            return succeed(None)
        return fail(self._first_error) if self._first_error is not None else self._first.wait()

    # IStomp

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def when_connected(self) -> Deferred[None]:
        return succeed(None) if self.connected else self._when_connected.wait()

    def add_listener(self, on_change: Callable[[bool], None]) -> None:
        self._listeners.append(on_change)

    def subscribe(
        self, destination: str, on_message: Callable[[Message], None]
    ) -> Deferred[ISubscription]:
        subscription = self.keep_subscribed(destination, on_message)
        return subscription.confirmed().addCallback(lambda _: subscription)

    def keep_subscribed(
        self, destination: str, on_message: Callable[[Message], None]
    ) -> ISubscription:
        check_destination(destination)
        subscription = Subscription(
            str(next(self._ids)),
            destination,
            on_message,
            end=self._end,
            within_deadline=self._within_deadline,
        )
        self._subscriptions[subscription.ident] = subscription
        if self._connection is not None:
            self._ask(self._connection, subscription)
        return subscription

    def subscriptions(self) -> tuple[ISubscription, ...]:
        return tuple(self._subscriptions.values())

    def send(
        self, destination: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Deferred[None]:
        check_destination(destination)
        if self._connection is None:
            return fail(StompDisconnected("no connection to a broker"))
        if self._connection.held + len(body) > self._max_output:
            return fail(StompOverflow("the broker reads too slowly"))
        frame = {**(headers or {}), "destination": destination}
        return self._within_deadline(self._connection.request("SEND", frame, body))

    def publish(
        self, destination: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> bool:
        check_destination(destination)
        if self._connection is None or self._connection.held + len(body) > self._max_output:
            return False
        self._connection.tell("SEND", {**(headers or {}), "destination": destination}, body)
        return True

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._loop = Deferred.fromCoroutine(self._run())
        self._loop.addErrback(self._loop_ended)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        if self._connection is not None:
            self._connection.disconnect(_PARTING)
        else:
            self._loop.cancel()
        stopped = StompDisconnected("stopped")
        self._when_connected.fire(stopped)
        self._first.fire(stopped)
        return self._loop

    # Connections, one after the other.

    async def _run(self) -> None:
        failures = 0
        for tried, broker in enumerate(cycle(self._brokers), 1):
            failures += 1
            try:
                connection = await self._open(broker)
            except StompError as error:
                self._attempt_failed(broker, error, tried)
            else:
                since = self._reactor.seconds()
                self._connection_made(broker, connection)
                self._connection_lost(broker, await connection.lost)
                if self._reactor.seconds() - since >= _STABLE:
                    failures = 0
            if not self.running:
                return
            await deferLater(self._reactor, self._pause(failures))

    async def _open(self, broker: Broker) -> StompConnection:
        connection = StompConnection(
            self._reactor,
            broker,
            heartbeat=self._heartbeat,
            max_frame=self._max_frame,
            on_message=self._deliver,
        )
        await self._within_deadline(Deferred.fromCoroutine(self._shake_hands(broker, connection)))
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

    def _pause(self, failures: int) -> float:
        """s until the next attempt; twice as long after each round in which all brokers failed."""
        rounds = min(max(0, failures - 1) // len(self._brokers), 30)
        longest: float = min(_MAX_PAUSE, _FIRST_PAUSE * 2**rounds)
        return longest * (0.5 + self._random() / 2)

    def _attempt_failed(self, broker: Broker, error: StompError, tried: int) -> None:
        self.log.warn("no connection to {broker}: {reason}", broker=broker, reason=str(error))
        self.last_error = f"{broker}: {error}"
        # Somebody must hear of a refused credential before they hear of a broker that is down.
        if not isinstance(self._worst_error, StompRefused):
            self._worst_error = type(error)(self.last_error)
        if tried == len(self._brokers) and not self._was_connected:
            self._first_error = self._worst_error
            self._first.fire(self._first_error)

    def _connection_made(self, broker: Broker, connection: StompConnection) -> None:
        self.log.info("connected to {broker}", broker=broker)
        self._connection = connection
        self.last_error = None
        self._was_connected = True
        for subscription in self._subscriptions.values():
            self._ask(connection, subscription)
        self._tell_listeners(True)
        self._first.fire(None)
        self._when_connected.fire(None)

    def _connection_lost(self, broker: Broker, reason: str) -> None:
        self.log.warn("connection to {broker} lost: {reason}", broker=broker, reason=reason)
        self._connection = None
        self.last_error = f"{broker}: {reason}"
        for subscription in tuple(self._subscriptions.values()):
            subscription.answered(StompDisconnected(reason))
        self._tell_listeners(False)

    def _loop_ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("nothing connects to a broker any more", failure)

    def _tell_listeners(self, connected: bool) -> None:
        for listener in tuple(self._listeners):
            with self.log.failuresHandled("a listener failed"):
                listener(connected)

    # Subscriptions and receipts.

    def _within_deadline(self, answer: Deferred[None]) -> Deferred[None]:
        def give_up(_: object, seconds: float) -> None:
            raise StompTimeout(f"no answer from the broker within {seconds:g} s")

        return answer.addTimeout(self._deadline, self._reactor, give_up)

    def _ask(self, connection: StompConnection, subscription: Subscription) -> None:
        subscription.asked()
        headers = {"id": subscription.ident, "destination": subscription.destination, "ack": "auto"}

        def refused(failure: Failure) -> None:
            reason = str(failure.value)
            if failure.check(StompRefused):
                # It would end each connection to come, and with it what the others hear.
                self._subscriptions.pop(subscription.ident, None)
                self.log.error(
                    "no {topic}: {reason}", topic=subscription.destination, reason=reason
                )
                subscription.answered(StompRefused(reason))
            else:
                subscription.answered(StompDisconnected(reason))

        asked = connection.request("SUBSCRIBE", headers)
        asked.addCallbacks(lambda _: subscription.answered(None), refused)

    def _end(self, subscription: Subscription) -> None:
        if self._subscriptions.pop(subscription.ident, None) and self._connection is not None:
            self._connection.tell("UNSUBSCRIBE", {"id": subscription.ident})

    def _deliver(self, frame: Frame) -> None:
        subscription = self._subscriptions.get(frame.headers.get("subscription", ""))
        if subscription is None or not self.running:
            # It was on its way when the subscription ended.
            return
        message = Message(frame.headers.get("destination", ""), frame.headers, frame.body)
        with self.log.failuresHandled("a subscriber to {topic} failed", topic=message.destination):
            subscription.on_message(message)


class _Ready(Factory):
    """Gives the one connection that was made for it."""

    noisy = False

    def __init__(self, connection: StompConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> StompConnection:
        return self._connection
