"""What every client of topics has, over a broker, over several or in memory: its subscriptions, and
those who wait for a connection or hear of each change."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from bbs.protocols.stomp.interfaces import ISubscription, Message, StompDisconnected, StompError

OnMessage = Callable[[Message], None]


class TopicClient:
    """The part of `IStomp` that does not depend on how messages travel."""

    log: ClassVar[Logger]

    def __init__(self) -> None:
        self._listeners: list[Callable[[bool], None]] = []
        self._when_connected = Waiters()

    @property
    def connected(self) -> bool:
        raise NotImplementedError

    def keep_subscribed(self, destination: str, on_message: OnMessage) -> ISubscription:
        raise NotImplementedError

    def when_connected(self) -> Deferred[None]:
        return succeed(None) if self.connected else self._when_connected.wait()

    def add_listener(self, on_change: Callable[[bool], None]) -> None:
        self._listeners.append(on_change)

    def subscribe(self, destination: str, on_message: OnMessage) -> Deferred[ISubscription]:
        subscription = self.keep_subscribed(destination, on_message)
        return subscription.confirmed().addCallback(lambda _: subscription)

    def _tell_listeners(self, connected: bool) -> None:
        for listener in tuple(self._listeners):
            with self.log.failuresHandled("a listener failed"):
                listener(connected)


class ISubscriptionOwner(Interface):
    """The client of a subscription."""

    def end(subscription: Subscription) -> None:
        """Stop delivery to `subscription`."""

    def within_deadline(answer: Deferred[None]) -> Deferred[None]:
        """Let a broker's `answer` fail if it does not come in time."""


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
