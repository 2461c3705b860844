"""The STOMP client of several brokers at once: each message goes through all of them, and the first
copy that arrives counts. This is parallel redundancy, as of networks in IEC 62439-3.

Each broker has a `StompService` of its own, with its own attempts, heart-beat and output limit, so
none of them waits for another.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, fail, gatherResults
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from bbs.protocols.stomp.client import OnMessage, TopicClient
from bbs.protocols.stomp.connection import Broker
from bbs.protocols.stomp.frames import COPY, encode_plain_send
from bbs.protocols.stomp.interfaces import (
    IStomp,
    ISubscription,
    Message,
    StompDisconnected,
    StompRefused,
    check_destination,
)
from bbs.protocols.stomp.service import StompService

REMEMBERED = 30.0
"""Seconds for which a message is remembered at least: a broker that stops delivering is dropped
after 21 s, and its copies with it."""

MOST_REMEMBERED = 1 << 16
"""Messages after which older ones are forgotten sooner: 5 MiB, twice. What is forgotten counts as
new, which only costs its reader a look."""


class BrokerCount(NamedTuple):
    """How many brokers are connected, and how many of them there should be (`wanted`)."""

    connected: int
    wanted: int


def count_brokers(client: IStomp) -> BrokerCount:
    """Count the brokers of `client`: a list of which it takes one at a time is one broker."""
    if isinstance(client, RedundantStomp):
        return client.brokers
    return BrokerCount(int(client.connected), 1)


class CopyFilter:
    """Tells messages from copies that another broker brings. A second one from the same broker is
    not a copy: somebody has sent it again."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # By a hash, the brokers that brought the message, as bits. Nobody can choose its value.
        self._recent: dict[int, int] = {}
        self._older: dict[int, int] = {}
        self._since = clock.seconds()

    def is_copy(self, message: Message, subscription: int, broker: int) -> bool:
        """Note that `broker` brings `message` for `subscription`; True if another one did, and this
        one did not. A message without a name has no copies."""
        name = message.headers.get(COPY)
        if name is None:
            return False
        key, bit = hash((subscription, name, message.body)), 1 << broker
        known = self._recent.get(key) or self._older.get(key, 0)
        now = self._clock.seconds()
        if now - self._since >= REMEMBERED or len(self._recent) >= MOST_REMEMBERED:
            self._older, self._recent, self._since = self._recent, {}, now
        self._recent[key] = known | bit
        return bool(known) and not known & bit


@implementer(IStomp)
class RedundantStomp(TopicClient, Service):
    """A client of all `brokers`; `reactor` and `options` are those of `StompService`. Connected
    while one of them is. A broker that comes back is reported to listeners like the first: what was
    sent to it alone may have been missed.

    `patience`: seconds that a confirmation, once it is there, waits for the other brokers': where a
    subscription begins at one broker later than at the other, messages may overtake each other.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTCP,
        brokers: Sequence[Broker],
        *,
        patience: float = 0.2,
        **options: Any,
    ) -> None:
        super().__init__()
        self._reactor = cast("IReactorTime", reactor)
        self._patience = patience
        self._clients = [StompService(reactor, [broker], **options) for broker in brokers]
        for client in self._clients:
            client.add_listener(self._changed)
        self._filter = CopyFilter(self._reactor)
        self._name, self._numbers = secrets.token_hex(8), count(1)
        self._idents = count(1)
        self._subscriptions: dict[int, _Subscription] = {}

    @property
    def brokers(self) -> BrokerCount:
        """How many of the brokers are connected."""
        return BrokerCount(sum(each.connected for each in self._clients), len(self._clients))

    def first_connection(self) -> Deferred[None]:
        """Fires when one broker has accepted the first connection; fails when all have failed, as
        that of `StompService`."""
        answers = [each.first_connection() for each in self._clients]
        return _first(answers, refusal_first=True)

    # IStomp

    @property
    def connected(self) -> bool:
        return any(each.connected for each in self._clients)

    def keep_subscribed(self, destination: str, on_message: OnMessage) -> ISubscription:
        check_destination(destination)
        ident, is_copy = next(self._idents), self._filter.is_copy

        def arrived(broker: int, message: Message) -> None:
            if not is_copy(message, ident, broker):
                on_message(message)

        parts = [
            client.keep_subscribed(destination, partial(arrived, broker))
            for broker, client in enumerate(self._clients)
        ]
        forget = partial(self._subscriptions.pop, ident, None)
        self._subscriptions[ident] = _Subscription(destination, parts, forget, self._confirmed)
        return self._subscriptions[ident]

    def subscriptions(self) -> tuple[ISubscription, ...]:
        kept = {part for each in self._clients for part in each.subscriptions()}
        return tuple(
            each for each in self._subscriptions.values() if not kept.isdisjoint(each.parts)
        )

    def send(
        self, destination: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Deferred[None]:
        check_destination(destination)
        named = self._named(headers)
        answers = [each.send(destination, body, named) for each in self._clients if each.connected]
        return _first(answers) if answers else fail(StompDisconnected("no connection to a broker"))

    def publish(
        self, destination: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> bool:
        check_destination(destination)
        if headers:
            named = self._named(headers)
            sent = [each.publish(destination, body, named) for each in self._clients]
        else:
            data = encode_plain_send(destination, body, f"{COPY}:{self._next_name()}\n".encode())
            sent = [each.publish_frame(data) for each in self._clients]
        return any(sent)

    # Service

    def startService(self) -> None:
        Service.startService(self)
        for client in self._clients:
            client.startService()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._when_connected.fire(StompDisconnected("stopped"))
        stopped = gatherResults([client.stopService() for client in self._clients])
        return stopped.addCallback(lambda _: None)

    def _confirmed(self, answers: Sequence[Deferred[None]]) -> Deferred[None]:
        all_of_them = DeferredList(answers)

        def wait(_: None) -> Deferred[None]:
            return all_of_them.addTimeout(self._patience, self._reactor).addCallback(lambda _: None)

        return _first(answers).addCallback(wait)

    def _named(self, headers: Mapping[str, str] | None) -> Mapping[str, str]:
        return {**(headers or {}), COPY: self._next_name()}

    def _next_name(self) -> str:
        return f"{self._name}.{next(self._numbers)}"

    def _changed(self, is_there: bool) -> None:
        connected = self.connected
        if connected and not is_there:
            return  # The others go on, and have what this one had.
        self._tell_listeners(connected)
        if connected:
            self._when_connected.fire(None)


@implementer(ISubscription)
class _Subscription:
    """A subscription, which has a part at each broker."""

    def __init__(
        self,
        destination: str,
        parts: Sequence[ISubscription],
        forget: Callable[[], object],
        when_confirmed: Callable[[Sequence[Deferred[None]]], Deferred[None]],
    ) -> None:
        self.destination = destination
        self.parts = parts
        self._forget = forget
        self._when_confirmed = when_confirmed

    def confirmed(self) -> Deferred[None]:
        # One will do: whoever is connected to that broker too can be heard.
        return self._when_confirmed([part.confirmed() for part in self.parts])

    def unsubscribe(self) -> None:
        for part in self.parts:
            part.unsubscribe()
        self._forget()


def _first(answers: Iterable[Deferred[None]], *, refusal_first: bool = False) -> Deferred[None]:
    """Fires when one of `answers` does, and fails when all have failed: with a StompRefused rather
    than another error, or the other way round, as only all refusals together are final."""

    def decide(found: Any) -> None:
        if isinstance(found, list):  # Else one has succeeded.
            choose = max if refusal_first else min
            errors = [failure.value for _, failure in found]
            raise choose(errors, key=lambda each: isinstance(each, StompRefused))

    return DeferredList(answers, fireOnOneCallback=True, consumeErrors=True).addCallback(decide)
