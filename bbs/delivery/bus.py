"""What the servers say to each other: hints, through topics at a STOMP broker.

A hint makes something happen at once that would happen anyway: it says that the database has news.
So a hint that is lost costs time and nothing else, and nobody waits for one to be confirmed. The
topics and their contents are in `docs/protocol.md`, section 6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import DeferredList
from twisted.logger import Logger

from bbs.protocols.stomp.interfaces import IStomp, ISubscription, Message

OnHint = Callable[[Mapping[str, Any]], None]

_CHANNEL = re.compile(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)?")

_log = Logger()


def _no_json(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which are none.


class Bus:
    """Tells and hears hints of one service through `stomp`.

    A channel is a user's (`User.channel`), or one of the service's own, `KIND.NAME`, both of
    letters and digits.
    """

    def __init__(self, stomp: IStomp, service: str) -> None:
        self._stomp = stomp
        self._prefix = f"/topic/{service}."

    @property
    def connected(self) -> bool:
        """Whether hints travel at present."""
        return self._stomp.connected

    def on_change(self, tell: Callable[[bool], None]) -> None:
        """Call `tell(connected)` whenever hints begin or cease to travel."""
        self._stomp.add_listener(tell)

    def tell(self, channel: str, event: Mapping[str, object]) -> None:
        """Hint at `event` to the app servers where somebody listens to `channel`."""
        self._tell(self._topic(channel), event)

    def tell_fleet(self, event: str) -> None:
        """Hint to the login servers that there is news of the fleet: `ready`, `gone`, `free`, …"""
        self._tell(f"{self._prefix}fleet", {"event": event})

    def hear(self, channel: str, on_hint: OnHint) -> ISubscription:
        """Call `on_hint` with hints on `channel`, from the broker's confirmation on."""
        return self._hear(self._topic(channel), on_hint)

    def hear_fleet(self, on_hint: OnHint) -> ISubscription:
        """Call `on_hint` with news of the fleet."""
        return self._hear(f"{self._prefix}fleet", on_hint)

    async def settle(self, subscriptions: Iterable[ISubscription]) -> None:
        """Wait until the broker has confirmed `subscriptions`, or cannot: then the database, which
        is looked at meanwhile, brings what they would have."""
        await DeferredList(
            [subscription.confirmed() for subscription in subscriptions], consumeErrors=True
        )

    def _topic(self, channel: str) -> str:
        if not _CHANNEL.fullmatch(channel):
            raise ValueError(
                f"not a channel: {channel!r}"
            )  # Brokers have wildcards and separators.
        return self._prefix + (channel if "." in channel else f"user.{channel}")

    def _tell(self, topic: str, event: Mapping[str, object]) -> None:
        self._stomp.publish(topic, json.dumps(event, ensure_ascii=False, allow_nan=False).encode())

    def _hear(self, topic: str, on_hint: OnHint) -> ISubscription:
        def arrived(message: Message) -> None:
            try:
                hint = json.loads(message.body, parse_constant=_no_json)
            except ValueError:
                hint = None
            if isinstance(hint, dict):
                on_hint(hint)
            else:
                _log.warn("a hint that is none, on {topic}", topic=topic)

        return self._stomp.keep_subscribed(topic, arrived)
