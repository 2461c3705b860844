"""Who listens at one app server: which users, on which connections."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from bbs.delivery.feed import Cursor
from bbs.protocols.line import IConnection
from bbs.rules import places

K = TypeVar("K")


@dataclass(eq=False)
class Listener:
    """One user on one connection, who was sent the durable events up to `cursor`; `told` is where
    the user was last said to have moved, and `session` the digest of the token that was shown."""

    user: int
    connection: IConnection
    cursor: Cursor
    told: places.Seat | None = None
    session: str = ""


class Audience:
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
