"""What a caller of `StompService` holds: subscriptions, and Deferreds that fire in time or fail."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.protocols.stomp.interfaces import (
    ISubscription,
    Message,
    StompDisconnected,
    StompError,
    StompTimeout,
)

__all__ = ["Subscription", "Waiters", "within"]


@implementer(ISubscription)
class Subscription:
    """A wish to hear a topic, and what the broker on the present connection has said to it."""

    def __init__(
        self,
        ident: str,
        destination: str,
        on_message: Callable[[Message], None],
        *,
        end: Callable[[Subscription], None],
        within_deadline: Callable[[Deferred[None]], Deferred[None]],
    ) -> None:
        self.ident = ident
        self.destination = destination
        self.on_message = on_message
        self._end = end
        self._within_deadline = within_deadline
        self._ended = False
        self._confirmed = False
        self._error: StompError | None = StompDisconnected("no connection to a broker")
        self._waiters = Waiters()

    def confirmed(self) -> Deferred[None]:
        if self._confirmed:
            return succeed(None)
        if self._error is not None:
            return fail(self._error)
        return self._within_deadline(self._waiters.wait())

    def unsubscribe(self) -> None:
        self._end(self)
        self.answered(StompDisconnected("unsubscribed"))
        self._ended = True

    # What the service says.

    def asked(self) -> None:
        """The broker was asked, and its answer is awaited."""
        self._confirmed, self._error = False, None

    def answered(self, error: StompError | None) -> None:
        """It is confirmed, or with `error` it is not, or no longer."""
        if not self._ended:
            self._confirmed, self._error = error is None, error
            self._waiters.fire(error)


class Waiters:
    """Those who wait for the same thing, each with a Deferred that may be cancelled."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def wait(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def fire(self, error: Exception | Failure | None) -> None:
        """Tell all of them: it is there, or with `error` it will not be."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            # One of those who are told may cancel another.
            if waiter.called:
                continue
            if error is None:
                waiter.callback(None)
            else:
                waiter.errback(error)

    def _forget(self, waiter: Deferred[None]) -> None:
        # Those who are being told are no longer among those who wait.
        if waiter in self._waiting:
            self._waiting.remove(waiter)


def within(seconds: float, clock: IReactorTime, answer: Deferred[None]) -> Deferred[None]:
    """`answer`, which is given up with StompTimeout when it does not come in time."""

    def give_up(_: object, seconds: float) -> None:
        raise StompTimeout(f"no answer from the broker within {seconds:g} s")

    return answer.addTimeout(seconds, clock, give_up)
