"""The interfaces between senders and readers of messages and the STOMP client.

`bbs.protocols.stomp.StompService` implements `IStomp` over a broker; `bbs.testing.MemoryBroker`
within one process, for tests. Both pass the contract suite `bbs.testing.BrokerContract`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

_DESTINATION = re.compile(r"/topic/[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_MAX_DESTINATION = 255


class StompError(Exception):
    """A request did not reach the broker, or no answer came; the text says why."""


class StompDisconnected(StompError):
    """The client is not connected, or the connection was lost before the broker answered."""


class StompTimeout(StompError):
    """The broker did not answer within the deadline; it may have carried the request out."""


class StompRefused(StompError):
    """The broker answered with an ERROR frame; it would refuse the same request again."""


class StompOverflow(StompError):
    """The broker reads too slowly, and the output limit is reached: nothing was sent."""


@dataclass(frozen=True)
class Message:
    """A message from the topic `destination`; `headers` are the sender's own and the broker's, and
    `body` is what the sender sent."""

    destination: str
    headers: Mapping[str, str]
    body: bytes


class ISubscription(Interface):
    """A subscription to a topic, which is renewed on each new connection."""

    destination: str = Attribute("The topic, as `/topic/name`.")

    def confirmed() -> Deferred[None]:
        """Fires when the broker has confirmed the subscription on the present connection: all
        messages that are sent from then on arrive.

        Fails with StompDisconnected without a connection, if it is lost first, or if the
        subscription was ended; with StompTimeout at the deadline (the confirmation may still come,
        and this may be called again); with StompRefused if the broker refuses the subscription,
        which ends it.
        """

    def unsubscribe() -> None:
        """End the subscription: it gets no more messages. May be called again."""


class IStomp(Interface):
    """A client of topics. A `destination` is `/topic/` and names of `A-Za-z0-9_-` with dots
    between: for every broker this is one topic. Another destination raises ValueError at once.
    `headers` are the sender's own, for the readers of the `body`; `on_message` gets the messages of
    a topic."""

    connected: bool = Attribute("Whether there is a connection that a broker has accepted.")

    def when_connected() -> Deferred[None]:
        """Fires when there is a connection, at once if there is one; fails with StompDisconnected
        if the client is stopped first."""

    def add_listener(on_change: Callable[[bool], None]) -> None:
        """Call `on_change(connected)` at each change from now on. Before the call with True, all
        subscriptions have been requested again; their `confirmed()` fires when they are there."""

    def subscribe(
        destination: str, on_message: Callable[[Message], None]
    ) -> Deferred[ISubscription]:
        """Call `keep_subscribed`, and fire with the subscription when it is confirmed.

        Fails as `ISubscription.confirmed` does; then the subscription stays among `subscriptions`,
        unless the broker refused it.
        """

    def keep_subscribed(destination: str, on_message: Callable[[Message], None]) -> ISubscription:
        """Subscribe on the present connection, if there is one, and on every later one, until
        `unsubscribe`. `on_message` is called with each message, in order; its exceptions are
        logged. Two subscriptions to one topic each get every message.
        """

    def subscriptions() -> tuple[ISubscription, ...]:
        """The subscriptions that have not ended, oldest first."""

    def send(
        destination: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Deferred[None]:
        """Send, and fire when the broker confirms that it has the message.

        Fails with StompDisconnected, StompOverflow, StompRefused or StompTimeout. The caller is
        responsible for header names with a meaning in STOMP or for the broker (`receipt`,
        `transaction`, …); a header that cannot be written (a NUL) raises ValueError at once.
        """

    def publish(destination: str, body: bytes, headers: Mapping[str, str] | None = None) -> bool:
        """Send without a confirmation; False if nothing was sent, without a connection or over the
        output limit. ValueError as for `send`."""


def check_destination(destination: str) -> None:
    """Raise ValueError unless `destination` is exactly one topic for every broker.

    Brokers disagree on other characters. ActiveMQ delivers messages for `/topic/a.*` or
    `/topic/a.>` to every topic that matches, and reads a comma as two destinations. RabbitMQ
    refuses a `/` within a topic, and has its own wildcards `*` and `#` for subscriptions.
    """
    if len(destination) > _MAX_DESTINATION or not _DESTINATION.fullmatch(destination):
        raise ValueError(f"not a topic that every broker understands: {destination[:80]!r}")
