"""Who listens at one app server: which users, on which connections.

Which channels are heard at the broker, and for which users.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from zope.interface import Interface

from bbs.delivery.bus import Bus
from bbs.delivery.feed import Cursor
from bbs.protocols.line import IConnection
from bbs.protocols.stomp.interfaces import ISubscription
from bbs.rules import placement

K = TypeVar("K")


@dataclass(eq=False)
class Listener:
    """One user on one connection, who was sent the durable events up to `cursor`; `told` is where
    the user was last said to have moved, and `session` the digest of the token that was shown."""

    user: int
    connection: IConnection
    cursor: Cursor
    told: placement.Seat | None = None
    session: str = ""


class IListeners(Interface):
    """Those who listen at one app server, and those who are about to."""

    def listens(user: int) -> bool:
        """Whether `user` listens, or is about to."""

    def drop(listeners: Iterable[Listener]) -> None:
        """End the listening of some of them."""


class Subscribers:
    """The listeners, by their users and by their connections, in the order in which they came.

    Nothing here takes longer because others listen, too: when many go at once, each is one of many.
    """

    def __init__(self) -> None:
        self._by_user: dict[int, dict[Listener, None]] = {}
        self._by_connection: dict[IConnection, dict[Listener, None]] = {}

    def __iter__(self) -> Iterator[Listener]:
        return (listener for listeners in self._by_user.values() for listener in listeners)

    def __bool__(self) -> bool:
        return bool(self._by_user)

    def __contains__(self, listener: object) -> bool:
        return isinstance(listener, Listener) and listener in self._by_user.get(listener.user, ())

    @property
    def users(self) -> Collection[int]:
        """Who listens, on one connection or several."""
        return self._by_user.keys()

    def of(self, users: Iterable[int]) -> list[Listener]:
        """The listeners of `users`."""
        return [listener for user in users for listener in self._by_user.get(user, ())]

    def on(self, connection: IConnection) -> list[Listener]:
        """The listeners on `connection`."""
        return [*self._by_connection.get(connection, ())]

    def add(self, listener: Listener) -> None:
        """Somebody listens."""
        self._by_user.setdefault(listener.user, {})[listener] = None
        self._by_connection.setdefault(listener.connection, {})[listener] = None

    def remove(self, listener: Listener) -> None:
        """Somebody does not any more, if they did."""
        _take_out(self._by_user, listener.user, listener)
        _take_out(self._by_connection, listener.connection, listener)


def _take_out(listeners: dict[K, dict[Listener, None]], key: K, listener: Listener) -> None:
    those = listeners.get(key, {})
    those.pop(listener, None)
    if not those:
        listeners.pop(key, None)


OnNews = Callable[[Collection[int], Mapping[str, Any], Mapping[str, int]], None]
"""Told of the users for whom a channel is heard, and of what `bbs.delivery.bus.OnHint` is."""

OnAsked = Callable[[Collection[int], Mapping[str, Any], str | None], None]
"""The same of what `bbs.delivery.bus.OnAsked` is."""


class ChannelSubscriptions:
    """Hears each channel once, as long as one user or several hear it.

    :param on_news: told of what comes.
    :param on_asked: told of what comes for those alone who asked.
    """

    def __init__(self, bus: Bus, on_news: OnNews, on_asked: OnAsked) -> None:
        self._bus = bus
        self._on_news = on_news
        self._on_asked = on_asked
        self._subscriptions: dict[str, ISubscription] = {}
        self._hearers: dict[str, set[int]] = {}
        self._heard_by: dict[int, set[str]] = {}

    def hear(self, channel: str, user: int) -> ISubscription:
        """`user` hears `channel` from the broker's confirmation on."""
        # First: it raises where the channel is none.
        if channel not in self._subscriptions:
            self._subscriptions[channel] = self._bus.hear(
                channel,
                lambda hint, after: self._on_news(self._hearers.get(channel, ()), hint, after),
                lambda event, but: self._on_asked(self._hearers.get(channel, ()), event, but),
            )
        self._hearers.setdefault(channel, set()).add(user)
        self._heard_by.setdefault(user, set()).add(channel)
        return self._subscriptions[channel]

    def leave(self, user: int) -> None:
        """`user` hears nothing any more."""
        for channel in self._heard_by.pop(user, ()):
            self._stop(channel, user)

    def leave_one(self, user: int, channel: str) -> None:
        """`user` hears `channel` no more, if it was heard."""
        heard = self._heard_by.get(user, set())
        if channel in heard:
            heard.remove(channel)
            self._stop(channel, user)

    def _stop(self, channel: str, user: int) -> None:
        hearers = self._hearers[channel]
        hearers.discard(user)
        if not hearers:
            del self._hearers[channel]
            self._subscriptions.pop(channel).unsubscribe()
