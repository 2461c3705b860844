"""Which channels are heard at the broker, and for which users."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from bbs.delivery.bus import Bus
from bbs.protocols.stomp.interfaces import ISubscription

OnNews = Callable[[Collection[int], Mapping[str, Any], Mapping[str, int]], None]
"""Told of the users for whom a channel is heard, and of what `bbs.delivery.bus.OnHint` is."""

OnAsked = Callable[[Collection[int], Mapping[str, Any], str | None], None]
"""The same of what `bbs.delivery.bus.OnAsked` is."""


class Channels:
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
