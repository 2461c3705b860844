"""A broker in memory, which passes the contract of the real ones (`broker_contract.py`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import count

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from bbs.protocols.stomp.client import (
    ISubscriptionOwner,
    OnMessage,
    Subscription,
    TopicClient,
)
from bbs.protocols.stomp.frames import Frame, encode
from bbs.protocols.stomp.interfaces import (
    IStomp,
    ISubscription,
    Message,
    StompDisconnected,
    check_destination,
)

__all__ = ["MemoryBroker"]


class MemoryBroker:
    """A broker of topics within one test, without sockets and time.

    Confirmations come at once, and messages too, one after the other: a message that a subscriber
    sends while it gets one is delivered after it returns.

    :ivar published: how many messages its clients have sent.
    """

    def __init__(self) -> None:
        self.present = True
        self.published = 0
        self._clients: list[_MemoryClient] = []
        self._undelivered: deque[Message] = deque()
        self._delivering = False

    def client(self) -> IStomp:
        """A new client, connected unless the broker is away."""
        client = _MemoryClient(self)
        self._clients.append(client)
        return client

    def away(self) -> None:
        """Go away: every client loses its connection."""
        self.present = False
        for client in self._clients:
            client.lost()

    def back(self) -> None:
        """Come back: every client is connected again, with its subscriptions."""
        self.present = True
        for client in self._clients:
            client.found()

    def deliver(self, message: Message) -> None:
        """Hand `message` to its subscribers."""
        self._undelivered.append(message)
        if self._delivering:
            return
        self._delivering = True
        while self._undelivered:
            message = self._undelivered.popleft()
            for client in self._clients:
                client.hear(message)
        self._delivering = False


@implementer(IStomp, ISubscriptionOwner)
class _MemoryClient(TopicClient):
    log = Logger()

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__()
        self._broker = broker
        self._ids = count(1)
        self._subscriptions: dict[str, Subscription] = {}

    @property
    def connected(self) -> bool:
        return self._broker.present

    def keep_subscribed(self, destination: str, on_message: OnMessage) -> ISubscription:
        check_destination(destination)
        subscription = Subscription(str(next(self._ids)), destination, on_message, self)
        self._subscriptions[subscription.ident] = subscription
        if self.connected:
            subscription.answered(None)
        return subscription

    def subscriptions(self) -> tuple[ISubscription, ...]:
        return tuple(self._subscriptions.values())

    def send(
        self, destination: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Deferred[None]:
        if self.publish(destination, body, headers):
            return succeed(None)
        return fail(StompDisconnected("the broker is away"))

    def publish(
        self, destination: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> bool:
        check_destination(destination)
        if headers:
            # Raises FrameError for what cannot be written to a real broker.
            encode(Frame("SEND", headers, body))
        if self.connected:
            self._broker.published += 1
            headers = {**(headers or {}), "destination": destination}
            self._broker.deliver(Message(destination, headers, body))
        return self.connected

    def end(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription.ident, None)

    def within_deadline(self, answer: Deferred[None]) -> Deferred[None]:
        return answer

    def lost(self) -> None:
        for subscription in tuple(self._subscriptions.values()):
            subscription.answered(StompDisconnected("the broker is away"))
        self._tell_listeners(False)

    def found(self) -> None:
        for subscription in tuple(self._subscriptions.values()):
            subscription.answered(None)
        self._tell_listeners(True)
        self._when_connected.fire(None)

    def hear(self, message: Message) -> None:
        for ident, subscription in tuple(self._subscriptions.items()):
            if subscription.destination == message.destination and ident in self._subscriptions:
                with self.log.failuresHandled("a subscriber failed"):
                    subscription.on_message(message)
