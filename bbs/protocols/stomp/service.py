"""One connection after another to one of a list of brokers, and what is subscribed through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from random import random as system_random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.protocols.stomp.connection import Broker, StompConnection
from bbs.protocols.stomp.connector import Connector
from bbs.protocols.stomp.frames import Frame, encode_plain_send
from bbs.protocols.stomp.interfaces import (
    IStomp,
    ISubscription,
    Message,
    StompDisconnected,
    StompOverflow,
    StompRefused,
    check_destination,
)
from bbs.protocols.stomp.subscription import Subscription, Waiters, within


@implementer(IStomp)
class StompService(Service):
    """A client of whichever of `brokers` is there, one at a time.

    `heartbeat`: s, how often both sides shall show that they live; a broker that is silent for
    twice that, and a second, is dropped; 0 for not at all. `deadline`: s, for a connection from the
    first packet to CONNECTED, and for each receipt. `max_output`: bytes that wait here while the
    broker reads too slowly. `max_frame`: bytes that a frame's headers, and its body, may have.
    `random` gives [0, 1), to spread out clients that lost the same broker.
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
        self._reactor = reactor
        self._heartbeat = heartbeat
        self._deadline = deadline
        self._max_output = max_output
        self._max_frame = max_frame
        self._connector = Connector(
            reactor,
            brokers,
            make=self._make_connection,
            made=self._connection_made,
            lost=self._connection_lost,
            deadline=deadline,
            random=random,
        )
        self._ids = count(1)
        self._subscriptions: dict[str, Subscription] = {}
        self._listeners: list[Callable[[bool], None]] = []
        self._when_connected = Waiters()

    def first_connection(self) -> Deferred[None]:
        """Fires once a broker has accepted the first connection.

        Fails once every broker was tried in vain: with StompRefused when one of them said no to the
        credential, else with StompTimeout or StompDisconnected. The text is one line and shows no
        credential. The service goes on trying either way.
        """
        return self._connector.first_connection()

    @property
    def last_error(self) -> str | None:
        """Why there is no connection, in one line without a credential; None while there is one."""
        return self._connector.last_error

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
        connection = self._connection
        if connection is None or connection.held + len(body) > self._max_output:
            return False
        if headers:
            connection.tell("SEND", {**headers, "destination": destination}, body)
        else:
            connection.write(encode_plain_send(destination, body))
        return True

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._connector.start()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._when_connected.fire(StompDisconnected("stopped"))
        return self._connector.stop()

    # Connections.

    @property
    def _connection(self) -> StompConnection | None:
        # Behind DISCONNECT nothing may be sent.
        return self._connector.connection if self.running else None

    def _make_connection(self, broker: Broker) -> StompConnection:
        return StompConnection(
            self._reactor,
            broker,
            heartbeat=self._heartbeat,
            max_frame=self._max_frame,
            on_message=self._deliver,
        )

    def _connection_made(self, connection: StompConnection) -> None:
        for subscription in self._subscriptions.values():
            self._ask(connection, subscription)
        self._tell_listeners(True)
        self._when_connected.fire(None)

    def _connection_lost(self, reason: str) -> None:
        for subscription in tuple(self._subscriptions.values()):
            subscription.answered(StompDisconnected(reason))
        self._tell_listeners(False)

    def _tell_listeners(self, connected: bool) -> None:
        for listener in tuple(self._listeners):
            with self.log.failuresHandled("a listener failed"):
                listener(connected)

    # Subscriptions and receipts.

    def _within_deadline(self, answer: Deferred[None]) -> Deferred[None]:
        return within(self._deadline, self._reactor, answer)

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
        try:
            subscription.on_message(message)
        except Exception:
            self.log.failure("a subscriber to {topic} failed", topic=message.destination)
