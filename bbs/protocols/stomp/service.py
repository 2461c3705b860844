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
from zope.interface import implementer

from bbs.protocols.stomp.client import (
    ISubscriptionOwner,
    OnMessage,
    Subscription,
    TopicClient,
    Waiters,
)
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
# Seconds for which the log does not repeat that a broker is away.
_QUIET = 60.0


Headers = Mapping[str, str] | None


@implementer(IStomp, IConnectionOwner, ISubscriptionOwner)
class StompService(TopicClient, Service):
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
        super().__init__()
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
        self._warned: dict[tuple[Broker, type[StompError]], float] = {}

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
                if await self._live(broker, connection):
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

    async def _live(self, broker: Broker, connection: StompConnection) -> bool:
        """Use a connection that the broker has accepted until it ends; True if it was stable."""
        since = self._reactor.seconds()
        self.log.info("connected to {broker}", broker=str(broker))
        self._present = connection
        self.last_error = None
        self._was_connected = True
        for subscription in self._subscriptions.values():
            self._ask(connection, subscription)
        self._tell_listeners(True)
        self._when_connected.fire(None)
        self._first.fire(None)
        reason = StompDisconnected(await connection.lost)
        is_stable = self._reactor.seconds() - since >= _STABLE
        if is_stable:
            self._warned.clear()
        if self.running and self._is_news(broker, reason):
            self.log.warn(
                "connection to {broker} lost: {reason}", broker=str(broker), reason=str(reason)
            )
        self._present = None
        self.last_error = f"{broker}: {reason}"
        for subscription in tuple(self._subscriptions.values()):
            subscription.answered(reason)
        self._tell_listeners(False)
        return is_stable

    def _is_news(self, broker: Broker, reason: StompError) -> bool:
        """Note that `broker` is away; whether the log has not said so for this kind of reason."""
        now, key = self._reactor.seconds(), (broker, type(reason))
        if now - self._warned.get(key, -_QUIET) < _QUIET:
            return False
        self._warned[key] = now
        return True

    def _attempt_failed(self, broker: Broker, error: StompError, tried: int) -> None:
        if self._is_news(broker, error):
            self.log.warn(
                "no connection to {broker}: {reason}", broker=str(broker), reason=str(error)
            )
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


def within(seconds: float, clock: IReactorTime, answer: Deferred[None]) -> Deferred[None]:
    """Let `answer` fail with StompTimeout if it does not come in time."""

    def give_up(_: object, seconds: float) -> None:
        raise StompTimeout(f"no answer from the broker within {seconds:g} s")

    return answer.addTimeout(seconds, clock, give_up)
