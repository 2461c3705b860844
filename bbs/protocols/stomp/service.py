"""The STOMP client: one connection after another to one of a list of brokers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count, cycle
from random import random as system_random
from typing import TYPE_CHECKING, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IReactorTCP, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from bbs.protocols.stomp.connection import Broker, IConnectionOwner, StompConnection
from bbs.protocols.stomp.frames import Frame, encode_plain_send
from bbs.protocols.stomp.interfaces import (
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

if TYPE_CHECKING:
    from bbs.core.clock import IReactor

_FIRST_PAUSE = 0.1
_MAX_PAUSE = 10.0
# A connection that ends sooner counts as a failed attempt: some brokers accept CONNECT and end the
# connection over the next frame, which would otherwise be repeated at full speed.
_STABLE = 1.0
# Seconds for a broker to confirm DISCONNECT, and again to close.
_PARTING = 1.0


OnMessage = Callable[[Message], None]
Headers = Mapping[str, str] | None


class ISubscriptionOwner(Interface):
    """The client of a subscription."""

    def end(subscription: Subscription) -> None:
        """Stop delivery to `subscription`."""

    def within_deadline(answer: Deferred[None]) -> Deferred[None]:
        """Let a broker's `answer` fail if it does not come in time."""


@implementer(IStomp, IConnectionOwner, ISubscriptionOwner)
class StompService(Service):
    """A client of any of `brokers`, one at a time, on `reactor`; ValueError without a broker.

    `heartbeat`: seconds between signs of life of both sides; 0 is never. A broker that is silent
    for twice that time and a second is dropped. `deadline`: seconds for a connection, from the
    first packet to CONNECTED, and for each receipt. `max_output`: bytes that wait here while the
    broker reads too slowly. `max_frame`: bytes of a frame's headers, and of its body. `random`
    gives [0, 1), to spread out clients that lost the same broker.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTCP,
        brokers: Sequence[Broker],
        *,
        heartbeat: float = 10.0,
        deadline: float = 5.0,
        max_output: int = 1 << 20,
        max_frame: int = 1 << 20,
        random: Callable[[], float] = system_random,
    ) -> None:
        if not brokers:
            raise ValueError("a client needs a broker")
        self.last_error: str | None = None
        """Why the client is not connected, in one line without credentials; None if it is."""
        # The parameter has Twisted's own type, for the callers.
        self._reactor = cast("IReactor", reactor)
        self._brokers = tuple(brokers)
        self._heartbeat = heartbeat
        self._deadline = deadline
        self._max_output = max_output
        self._max_frame = max_frame
        self._random = random
        self._present: StompConnection | None = None
        self._loop: Deferred[None] = succeed(None)
        self._was_connected = False
        self._worst_error: StompError | None = None
        self._first_error: StompError | None = None
        self._first = Waiters()
        self._ids = count(1)
        self._subscriptions: dict[str, Subscription] = {}
        self._listeners: list[Callable[[bool], None]] = []
        self._when_connected = Waiters()

    def first_connection(self) -> Deferred[None]:
        """Fires when a broker has accepted the first connection.

        Fails when every broker has failed: with StompRefused if one of them refused the credential,
        else with StompTimeout or StompDisconnected. The text is one line without the credential.
        The service goes on trying.
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

    def subscribe(self, destination: str, on_message: OnMessage) -> Deferred[ISubscription]:
        subscription = self.keep_subscribed(destination, on_message)
        return subscription.confirmed().addCallback(lambda _: subscription)

    def keep_subscribed(self, destination: str, on_message: OnMessage) -> ISubscription:
        check_destination(destination)
        subscription = Subscription(str(next(self._ids)), destination, on_message, self)
        self._subscriptions[subscription.ident] = subscription
        if self._connection is not None:
            self._ask(self._connection, subscription)
        return subscription

    def subscriptions(self) -> tuple[ISubscription, ...]:
        return tuple(self._subscriptions.values())

    def send(self, destination: str, body: bytes, headers: Headers = None) -> Deferred[None]:
        check_destination(destination)
        if self._connection is None:
            return fail(StompDisconnected("no connection to a broker"))
        if self._connection.held + len(body) > self._max_output:
            return fail(StompOverflow("the broker reads too slowly"))
        frame = {**(headers or {}), "destination": destination}
        return self.within_deadline(self._connection.request("SEND", frame, body))

    def publish(self, destination: str, body: bytes, headers: Headers = None) -> bool:
        check_destination(destination)
        connection = self._connection
        if connection is None or connection.held + len(body) > self._max_output:
            return False
        if headers:
            connection.tell("SEND", {**headers, "destination": destination}, body)
        else:
            connection.write(encode_plain_send(destination, body))
        return True

    def publish_frame(self, data: bytes) -> bool:
        """Publish `data`, a frame that is encoded already, for several brokers.

        :meta private:"""
        connection = self._connection
        if connection is None or connection.held + len(data) > self._max_output:
            return False
        connection.write(data)
        return True

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._loop = Deferred.fromCoroutine(self._run()).addErrback(self._loop_ended)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._when_connected.fire(StompDisconnected("stopped"))
        if self._present is not None:
            self._present.disconnect(_PARTING)
        else:
            self._loop.cancel()
        self._first.fire(StompDisconnected("stopped"))
        return self._loop

    # IConnectionOwner

    def message_received(self, frame: Frame) -> None:
        """:meta private:"""
        subscription = self._subscriptions.get(frame.headers.get("subscription", ""))
        if subscription is None or not self.running:
            return  # The subscription ended meanwhile.
        message = Message(frame.headers.get("destination", ""), frame.headers, frame.body)
        try:
            subscription.on_message(message)
        except Exception:
            self.log.failure("a subscriber to {topic} failed", topic=message.destination)

    # ISubscriptionOwner

    def end(self, subscription: Subscription) -> None:
        """:meta private:"""
        if self._subscriptions.pop(subscription.ident, None) and self._connection is not None:
            self._connection.tell("UNSUBSCRIBE", {"id": subscription.ident})

    def within_deadline(self, answer: Deferred[None]) -> Deferred[None]:
        """:meta private:"""
        return within(self._deadline, self._reactor, answer)

    # One connection after the other

    @property
    def _connection(self) -> StompConnection | None:
        # Nothing may be sent after DISCONNECT.
        return self._present if self.running else None

    async def _run(self) -> None:
        failures = 0
        for tried, broker in enumerate(cycle(self._brokers), 1):
            failures += 1
            connection = StompConnection(
                self._reactor, broker, self, heartbeat=self._heartbeat, max_frame=self._max_frame
            )
            handshake = Deferred.fromCoroutine(self._shake_hands(broker, connection))
            try:
                await within(self._deadline, self._reactor, handshake)
            except StompError as error:
                if self.running:  # Otherwise the attempt was given up.
                    self._attempt_failed(broker, error, tried)
            else:
                since = self._reactor.seconds()
                await self._live(broker, connection)
                if self._reactor.seconds() - since >= _STABLE:
                    failures = 0
            if not self.running:
                break
            await deferLater(self._reactor, self._pause(failures))

    async def _shake_hands(self, broker: Broker, connection: StompConnection) -> None:
        try:
            await broker.endpoint(self._reactor).connect(_ConnectionFactory(connection))
        except CancelledError:
            raise
        except Exception as error:
            # Endpoints fail with many kinds of errors.
            raise StompDisconnected(f"cannot connect: {error}") from None
        try:
            await connection.accepted
        except CancelledError:
            connection.abort()
            raise

    async def _live(self, broker: Broker, connection: StompConnection) -> None:
        """Use a connection that the broker has accepted until it ends."""
        self.log.info("connected to {broker}", broker=str(broker))
        self._present = connection
        self.last_error = None
        self._was_connected = True
        for subscription in self._subscriptions.values():
            self._ask(connection, subscription)
        self._tell_listeners(True)
        self._when_connected.fire(None)
        self._first.fire(None)
        reason = await connection.lost
        if self.running:
            self.log.warn(
                "connection to {broker} lost: {reason}", broker=str(broker), reason=str(reason)
            )
        self._present = None
        self.last_error = f"{broker}: {reason}"
        for subscription in tuple(self._subscriptions.values()):
            subscription.answered(StompDisconnected(reason))
        self._tell_listeners(False)

    def _attempt_failed(self, broker: Broker, error: StompError, tried: int) -> None:
        self.log.warn("no connection to {broker}: {reason}", broker=str(broker), reason=str(error))
        self.last_error = f"{broker}: {error}"
        # A refused credential is more important than a broker that is down.
        if not isinstance(self._worst_error, StompRefused):
            self._worst_error = type(error)(self.last_error)
        if tried == len(self._brokers) and not self._was_connected:
            self._first_error = self._worst_error
            self._first.fire(self._first_error)

    def _pause(self, failures: int) -> float:
        """Seconds until the next attempt; they double with each round in which all brokers fail."""
        rounds = min(max(0, failures - 1) // len(self._brokers), 30)
        longest: float = min(_MAX_PAUSE, _FIRST_PAUSE * 2**rounds)
        return longest * (0.5 + self._random() / 2)

    def _loop_ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("the client has stopped connecting to brokers", failure)

    def _tell_listeners(self, connected: bool) -> None:
        for listener in tuple(self._listeners):
            with self.log.failuresHandled("a listener failed"):
                listener(connected)

    # Subscriptions and receipts

    def _ask(self, connection: StompConnection, subscription: Subscription) -> None:
        subscription.asked()
        headers = {"id": subscription.ident, "destination": subscription.destination, "ack": "auto"}

        def refused(failure: Failure) -> None:
            if failure.check(StompRefused):
                # It would end each later connection, for all subscriptions.
                self._subscriptions.pop(subscription.ident, None)
                topic, reason = subscription.destination, str(failure.value)
                self.log.error("no {topic}: {reason}", topic=topic, reason=reason)
            subscription.answered(cast("StompError", failure.value))

        asked = connection.request("SUBSCRIBE", headers)
        asked.addCallbacks(lambda _: subscription.answered(None), refused)


class _ConnectionFactory(Factory):
    """Makes the one connection that it was given."""

    noisy = False

    def __init__(self, connection: StompConnection) -> None:
        self._connection = connection

    # Not Twisted's own, which has the connection refer to its factory: a cycle for each attempt.
    def buildProtocol(self, addr: IAddress | None) -> StompConnection:
        return self._connection


@implementer(ISubscription)
class Subscription:
    """A subscription, and the answer of the broker on the present connection."""

    def __init__(
        self, ident: str, destination: str, on_message: OnMessage, owner: ISubscriptionOwner
    ) -> None:
        self.ident = ident
        self.destination = destination
        self.on_message = on_message
        self._owner = owner
        self._ended = False
        self._confirmed = False
        self._error: StompError | None = StompDisconnected("no connection to a broker")
        self._waiters = Waiters()

    def confirmed(self) -> Deferred[None]:
        if self._confirmed:
            return succeed(None)
        if self._error is not None:
            return fail(self._error)
        return self._owner.within_deadline(self._waiters.wait())

    def unsubscribe(self) -> None:
        self._owner.end(self)
        self.answered(StompDisconnected("unsubscribed"))
        self._ended = True

    # For the service

    def asked(self) -> None:
        self._confirmed, self._error = False, None

    def answered(self, error: StompError | None) -> None:
        """Note that the subscription is confirmed, or with `error` that there is none."""
        if not self._ended:
            self._confirmed, self._error = error is None, error
            self._waiters.fire(error)


class Waiters:
    """Deferreds that fire together, and may be cancelled one by one."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def wait(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def fire(self, error: Exception | Failure | None) -> None:
        """Fire all of them, or fail them with `error`."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if waiter.called:
                continue  # An earlier one has cancelled it.
            if error is None:
                waiter.callback(None)
            else:
                waiter.errback(error)

    def _forget(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:  # Otherwise they are being fired.
            self._waiting.remove(waiter)


def within(seconds: float, clock: IReactorTime, answer: Deferred[None]) -> Deferred[None]:
    """Let `answer` fail with StompTimeout if it does not come in time."""

    def give_up(_: object, seconds: float) -> None:
        raise StompTimeout(f"no answer from the broker within {seconds:g} s")

    return answer.addTimeout(seconds, clock, give_up)
