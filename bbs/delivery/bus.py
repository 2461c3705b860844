"""The bus between servers: hints, through topics at a STOMP broker (`docs/protocol.md`, section 6).

A hint makes something happen at once that would happen anyway: it says that the database has news.
A lost hint costs time and nothing else, and no server waits for one to be confirmed.

A hint at a durable event may say which event came before it for each reader. It proves then that a
server of this service says so: by a keyed hash, whose key is in the database and never at the
broker. A hostile broker can hold hints back and wake readers, and no more.

An event for those connections alone that asked for events goes inside of a hint with the id 0,
which no event has, and proves itself too. An older server looks into the database, as for any other
hint, and sends its clients nothing that they have not asked for.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from json import JSONDecoder, JSONEncoder
from types import MappingProxyType
from typing import Any

from twisted.internet.defer import DeferredList
from twisted.logger import Logger

from bbs.core import tracing
from bbs.protocols.stomp.interfaces import IStomp, ISubscription, Message


def _no_json(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which JSON has not.


MAX_HINT = 1 << 21
"""Bytes of a hint that is read: twice what a reply may have (1 MiB), as JSON writes some characters
in more bytes than one. A line of 64 KiB is 384 KiB at the most."""

MAX_ID = 2**63 - 1
"""The highest id of an event that the databases can hold."""

TOLD_EVERY = 1.0
"""Seconds between lines in the log about malformed hints."""

OnHint = Callable[[Mapping[str, Any], Mapping[str, int]], None]
"""Called with an event, and by readers (ids of users) with the id that was theirs before it, as far
as that is proved. May raise `NoHint`."""

OnAsked = Callable[[Mapping[str, Any], str | None], None]
"""Called with an event for those who asked, and the `mark` of a connection that is left out."""

_CHANNEL = re.compile(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)?")

_AFTER, _PROOF, _ASKED, _ON, _BUT = "_after", "_proof", "_asked", "_on", "_but"
"""Members of a hint that are not its event's."""

_TRACE = "traceparent"
"""The header with the trace that a hint is part of. Older servers pass it over."""

_SEAL = b', "%s": "' % _PROOF.encode()

_to_json = JSONEncoder(ensure_ascii=False, allow_nan=False).encode

_from_json = JSONDecoder(parse_constant=_no_json).decode

_NOTHING: Mapping[str, int] = MappingProxyType({})

_log = Logger()


class NoHint(Exception):
    """A hint is malformed, for the reason given."""


class Bus:
    """Sends and hears hints of one service through `stomp`.

    A channel is a user's (`User.channel`), or one of the service's own, `KIND.NAME`, both of
    letters and digits.

    :param key: proves hints; without one they prove nothing and are not believed.
    :param seconds: a clock that nobody sets.
    """

    def __init__(
        self,
        stomp: IStomp,
        service: str,
        key: bytes = b"",
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stomp = stomp
        self._prefix = f"/topic/{service}."
        self._key = key
        self._topic = lru_cache(maxsize=4096)(self._make_topic)
        self._me = secrets.token_hex(8)
        self._seconds = seconds
        self._told_at = float("-inf")
        self._untold = 0
        """Malformed hints since the last line about them."""

    @property
    def connected(self) -> bool:
        """Whether hints travel at present."""
        return self._stomp.connected

    def on_change(self, tell: Callable[[bool], None]) -> None:
        """Call `tell(connected)` whenever hints begin or cease to travel."""
        self._stomp.add_listener(tell)

    def tell(
        self, channel: str, event: Mapping[str, object], after: Mapping[int, int] | None = None
    ) -> None:
        """Hint at `event` to the app servers where somebody listens to `channel`; `after` is, for
        readers of a durable event, the id of the event that was theirs before it."""
        topic = self._topic(channel)
        if not after or not self._key:
            body = _to_json(event).encode()
        else:
            body = self._sealed({**event, _AFTER: after})
        if len(body) > MAX_HINT and _is_id(event.get("id")):
            # It wakes the readers all the same, and the database has the rest.
            body = _to_json({name: event[name] for name in ("event", "id")}).encode()
        if len(body) > MAX_HINT:
            raise ValueError(f"an event of {len(body)} bytes: no reader takes more than {MAX_HINT}")
        self._publish(topic, body)

    def tell_asked(
        self, channel: str, event: Mapping[str, object], but: object | None = None
    ) -> None:
        """Tell `event` to those connections that listen to `channel` and asked for events, except
        the connection `but` of this server.

        An event that is longer than any reader takes is dropped.
        """
        topic = self._topic(channel)
        hint = {"event": event["event"], "id": 0, _ASKED: event, _ON: topic}
        if but is not None:
            hint[_BUT] = self.mark(but)
        body = self._sealed(hint)
        if len(body) <= MAX_HINT:
            self._publish(topic, body)

    def _publish(self, topic: str, body: bytes) -> None:
        with tracing.span("publish") as span:
            told = {_TRACE: span.traceparent} if span and span.recorded else None
            self._stomp.publish(topic, body, told)

    def mark(self, connection: object) -> str:
        """Name `connection` in hints of this server, as long as it is there."""
        return f"{self._me}.{id(connection):x}"

    def tell_fleet(self, event: str) -> None:
        """Hint to the login servers that there is news of the fleet: `ready`, `gone`, `free`, …"""
        self._stomp.publish(f"{self._prefix}fleet", _to_json({"event": event}).encode())

    def hear(self, channel: str, on_hint: OnHint, on_asked: OnAsked | None = None) -> ISubscription:
        """Call `on_hint` with hints on `channel`, and `on_asked` with what is for those who asked,
        from the broker's confirmation on."""
        return self._hear(self._topic(channel), on_hint, on_asked)

    def hear_fleet(self, on_hint: Callable[[Mapping[str, Any]], None]) -> ISubscription:
        """Call `on_hint` with news of the fleet."""
        return self._hear(f"{self._prefix}fleet", lambda news, _: on_hint(news))

    async def settle(self, subscriptions: Iterable[ISubscription]) -> None:
        """Wait until the broker has confirmed `subscriptions`, or cannot: meanwhile the database
        brings what they would have."""
        await DeferredList(
            [subscription.confirmed() for subscription in subscriptions], consumeErrors=True
        )

    def _make_topic(self, channel: str) -> str:
        if not _CHANNEL.fullmatch(channel):  # Brokers have wildcards and separators.
            raise ValueError(f"not a channel: {channel!r}")
        return self._prefix + (channel if "." in channel else f"user.{channel}")

    def _sealed(self, hint: Mapping[str, object]) -> bytes:
        """Encode `hint` with its proof."""
        told = _to_json(hint)[:-1].encode()
        return b'%s%s%s"}' % (told, _SEAL, self._proof(told))

    def _proof(self, told: bytes) -> bytes:
        return hmac.digest(self._key, told, "sha256").hex().encode()

    def _hear(self, topic: str, on_hint: OnHint, on_asked: OnAsked | None = None) -> ISubscription:
        def arrived(message: Message) -> None:
            try:
                hint = _read(message.body)
                after, proof = hint.pop(_AFTER, None), hint.pop(_PROOF, None)
                asked, on, but = (hint.pop(member, None) for member in (_ASKED, _ON, _BUT))
                if after is not None and not _is_after(after):
                    raise NoHint(f"its {_AFTER} is none")
                proved = proof is not None and self._is_proved(message.body)
                if asked is None:
                    on_hint(hint, after if proved and after else _NOTHING)
                elif not proved or on != topic:
                    raise NoHint(f"nothing proves its {_ASKED}")
                elif on_asked is not None:
                    on_asked(asked, but)
            except NoHint as error:
                self._ignored(topic, str(error))

        def traced(message: Message) -> None:
            """Take a hint as a part of its sender's trace."""
            parent = message.headers.get(_TRACE, "")
            if not parent or not tracing.is_traceparent(parent):
                arrived(message)
            else:
                with tracing.span("hint", parent):
                    arrived(message)

        return self._stomp.keep_subscribed(topic, traced)

    def _ignored(self, topic: str, reason: str) -> None:
        """Log a malformed hint, but not each of a million."""
        now = self._seconds()
        if now - self._told_at < TOLD_EVERY:
            self._untold += 1
            return
        self._told_at, more, self._untold = now, self._untold, 0
        _log.warn(
            "a hint that is none, on {topic}: {reason}; {more} more since the last such line",
            topic=topic,
            reason=reason,
            more=more,
        )

    def _is_proved(self, body: bytes) -> bool:
        told, _, proof = body.rpartition(_SEAL)
        return hmac.compare_digest(proof, self._proof(told) + b'"}') if self._key else False


def _read(body: bytes) -> dict[str, Any]:
    """Read the hint in a message. Raises NoHint."""
    if len(body) > MAX_HINT:
        raise NoHint("it is too long")
    try:
        hint = _from_json(body.decode())
    except RecursionError:
        raise NoHint("it is too deep") from None
    except ValueError:
        raise NoHint("it is no JSON in UTF-8") from None
    if not isinstance(hint, dict):
        raise NoHint("it is no object")
    if not isinstance(hint.get("event"), str):
        raise NoHint("its event has no name")
    number = hint.get("id")
    # An id of another type is the service's own affair, and not a durable event's.
    if isinstance(number, int) and not _is_id(number):
        raise NoHint("its id is none")
    return hint


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_ID


def _is_after(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_id, value.values()))
