"""Who hears which topic of the embedded broker."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from bbs.protocols.stomp.broker_subscriber import Subscriber

__all__ = ["Topics"]


class Topics:
    """Who hears which topic; a topic is there as long as somebody does."""

    def __init__(self) -> None:
        self._subscribers: dict[str, dict[Subscriber, None]] = {}
        self._message_ids = count(1)

    def __len__(self) -> int:
        return len(self._subscribers)

    def __contains__(self, destination: str) -> bool:
        return destination in self._subscribers

    def add(self, subscriber: Subscriber) -> None:
        self._subscribers.setdefault(subscriber.destination, {})[subscriber] = None

    def remove(self, subscriber: Subscriber) -> None:
        subscribers = self._subscribers[subscriber.destination]
        del subscribers[subscriber]
        if not subscribers:
            del self._subscribers[subscriber.destination]

    def deliver(self, destination: str, headers: Mapping[str, str], body: bytes) -> None:
        """Hand a message to everybody who hears `destination` now."""
        message_id = next(self._message_ids)
        for subscriber in tuple(self._subscribers.get(destination, ())):
            subscriber.deliver(subscriber, message_id, headers, body)
