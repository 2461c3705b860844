"""The seam between whoever sends and hears messages and the STOMP client that carries them.

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
    """Something did not reach the broker, or its answer did not come: the text says why."""


class StompDisconnected(StompError):
    """No broker is connected, or the connection went before the broker answered."""


class StompTimeout(StompError):
    """The broker did not answer within the deadline; it may have done what it was asked."""


class StompRefused(StompError):
    """The broker answered with an ERROR frame: it will not do this, however often it is asked."""


class StompOverflow(StompError):
    """The broker reads more slowly than is sent, and the output bound is reached: nothing went."""


@dataclass(frozen=True)
class Message:
    """A message as it came from a topic; `headers` hold the sender's own and the broker's."""

    destination: str
    headers: Mapping[str, str]
    body: bytes


class ISubscription(Interface):
    """A wish to hear a topic, which outlives connections: each new one subscribes again."""

    destination: str = Attribute("The topic, as `/topic/name`.")

    def confirmed() -> Deferred[None]:
        """Fires once the broker has confirmed the subscription on the present connection: from
        then on, whatever is sent there arrives.

        Fails with StompDisconnected when there is no connection, when it goes first, or when the
        subscription was ended; with StompTimeout at the deadline (the confirmation may still come,
        and can be asked for again); with StompRefused when the broker will not have the
        subscription, which has thereby ended.
        """

    def unsubscribe() -> None:
        """End the subscription: nothing is delivered to it from here on. May be repeated."""


class IStomp(Interface):
    """A client of topics. Destinations are `/topic/` and names of `A-Za-z0-9_-` with dots between:
    what every broker takes for one topic. Another destination raises ValueError at once.
    """

    connected: bool = Attribute("Whether there is a connection that a broker has accepted.")

    def when_connected() -> Deferred[None]:
        """Fires when there is a connection, at once if there is. Fails with StompDisconnected when
        the client is stopped first."""

    def add_listener(on_change: Callable[[bool], None]) -> None:
        """Call `on_change(connected)` at every change from here on. Subscriptions are asked for
        again before it is called with True; their `confirmed()` says when they hold."""

    def subscribe(
        destination: str, on_message: Callable[[Message], None]
    ) -> Deferred[ISubscription]:
        """`keep_subscribed`, and fire with the subscription when it is confirmed.

        Fails as `ISubscription.confirmed` does. The subscription stays then, and is found among
        `subscriptions`, unless the broker refused it.
        """

    def keep_subscribed(destination: str, on_message: Callable[[Message], None]) -> ISubscription:
        """Subscribe on the present connection, if there is one, and on every later one, until
        `unsubscribe`. `on_message` is called with each message, in order; what it raises is logged.
        Two subscriptions to one topic each get every message.
        """

    def subscriptions() -> tuple[ISubscription, ...]:
        """The subscriptions that have not ended, oldest first."""

    def send(
        destination: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Deferred[None]:
        """Send and fire when the broker confirms that it has the message.

        Fails with StompDisconnected, StompOverflow, StompRefused or StompTimeout. Header names that
        mean something to STOMP or to the broker (`receipt`, `transaction`, …) are the caller's
        responsibility; a header that cannot be written (a NUL) raises ValueError at once.
        """

    def publish(destination: str, body: bytes, headers: Mapping[str, str] | None = None) -> bool:
        """Send without asking for a confirmation; False when nothing was sent, as there is no
        connection or the output bound is reached."""


def check_destination(destination: str) -> None:
    """Raise ValueError unless every broker takes `destination` for exactly one topic.

    Elsewhere than in a name, brokers disagree: ActiveMQ delivers what is sent to `/topic/a.*` or
    `/topic/a.>` to every topic that matches and takes a comma for two destinations; RabbitMQ
    refuses a `/` within a topic, and subscribes by its own wildcards `*` and `#`.
    """
    if len(destination) > _MAX_DESTINATION or not _DESTINATION.fullmatch(destination):
        raise ValueError(f"not a topic that every broker understands: {destination[:80]!r}")
