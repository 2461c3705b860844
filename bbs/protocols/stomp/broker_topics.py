"""Who hears which topic of the embedded broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

__all__ = ["Subscriber", "Topics"]


@dataclass(frozen=True, eq=False)
class Subscriber:
    """One subscription of one connection.

    `deliver` is called with it, a message's id, the headers that its sender wrote, and the body.
    """

    deliver: Callable[[Subscriber, str, Mapping[str, str], bytes], None]
    ident: str
    destination: str
    acknowledges: bool


class Topics:
    """Who hears which topic; a topic is there as long as somebody does."""

    def __init__(self) -> None:
        self._subscribers: dict[str, dict[Subscriber, None]] = {}
        self._message_ids = count(1)

    def __len__(self) -> int:
        return len(self._subscribers)

    def add(self, subscriber: Subscriber) -> None:
        self._subscribers.setdefault(subscriber.destination, {})[subscriber] = None

    def remove(self, subscriber: Subscriber) -> None:
        subscribers = self._subscribers[subscriber.destination]
        del subscribers[subscriber]
        if not subscribers:
            del self._subscribers[subscriber.destination]

    def deliver(self, destination: str, headers: Mapping[str, str], body: bytes) -> None:
        """Hand a message to everybody who hears `destination` now."""
        message_id = str(next(self._message_ids))
        for subscriber in tuple(self._subscribers.get(destination, ())):
            subscriber.deliver(subscriber, message_id, headers, body)
