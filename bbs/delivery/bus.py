"""The bus between servers: hints, through topics at a STOMP broker (`docs/protocol.md`, section 6).

A hint says that the database has news, so that something happens at once that would happen later
anyway. A lost hint costs time and nothing else, and no server waits for one to be confirmed.

Listeners on the server that has the news are told directly, without the broker. Each hint names the
bus that published it, which passes over its own hints when the broker returns them.

Each hint proves that a server of this service sent it, by a keyed hash; the key is in the database
and never at the broker. A hostile broker can hold hints back and make servers look into the
database, and no more: what nothing proves reaches no client.

A hint at a durable event may say which event came before it for each reader, and nobody is sent
such an event twice. Any other hint is bound to its topic and to the time at which it was sent, and
counts once, so that nobody can send it again.

An event for only those connections that asked for events is inside a hint with the id 0, which no
durable event has. An older server looks into the database, as for any other hint, and sends its
clients nothing that they have not asked for.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from json import JSONDecoder, JSONEncoder
from types import MappingProxyType
from typing import Any

from twisted.internet.defer import DeferredList
from twisted.logger import Logger

from bbs.core import tracing
from bbs.protocols.line import IConnection
from bbs.protocols.stomp.interfaces import IStomp, ISubscription, Message


def _reject_constant(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are not in JSON.


MAX_HINT = 1 << 21
"""Bytes of a hint that is read: twice what a reply may have (1 MiB), as JSON writes some characters
in more bytes than one. A line of 64 KiB is 384 KiB at most."""

MAX_ID = 2**63 - 1  # The highest id of an event that the databases can hold.
MAX_AGE = 60.0
"""Seconds by which the clocks of two servers may differ, and a hint may be late. A hint arrives
within milliseconds, or not at all; a clock that nobody sets is wrong by a minute after a month.
Nonces are remembered as long: 0.2 KiB for each hint at a transient event."""

FAILED = "telling those who listen here failed"  # The sender need not know.
UNPROVED = "not proved, too old or a repetition"  # What makes an event no client's.
LOG_INTERVAL = 1.0  # Seconds between lines in the log about malformed hints.

OnHint = Callable[[Mapping[str, Any], Mapping[str, int], bool], None]
"""Called with an event, with the proved id of the event before it for each reader (the id of a
user), and whether clients may be sent the event as it is: a server of the service has just told it,
for the first time. Otherwise it is only a reason to look. May raise `MalformedHint`."""

OnAsked = Callable[[Mapping[str, Any], IConnection | None], None]
"""Called with an event for those who asked, and a connection that is left out."""

UNHEAR = "_unhear"
"""The member of a hint with a channel that the user on whose channel it comes hears no longer."""

_CHANNEL = re.compile(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)?")

_AFTER, _PROOF, _ASKED, _ON, _BUT = "_after", "_proof", "_asked", "_on", "_but"
"""Members of a hint that do not belong to its event. Servers of version 0.3.0 pass none of them on
to clients."""

_NONCE = re.compile(r"[0-9a-f]{16}\.[0-9]+\.([0-9]{1,12})")
"""The name of a bus, a number that it has used once, and the time in seconds since the epoch."""

_TRACE = "traceparent"  # The header with the trace that a hint is part of. Older servers ignore it.

_SEAL = b', "%s": "' % _PROOF.encode()

_to_json = JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_from_json = JSONDecoder(parse_constant=_reject_constant).decode

_NOTHING: Mapping[str, int] = MappingProxyType({})

_log = Logger()


class MalformedHint(Exception):
    """A hint is malformed, or asks for more than it proves, for the reason given."""


@dataclass(eq=False, repr=False)  # It has the hint key.
class Bus:
    """Sends and receives hints of one service through `stomp`. A channel is a user's
    (`User.channel`), or one of the service's own, `KIND.NAME`, both of letters and digits."""

    stomp: IStomp
    service: str
    key: bytes = b""  # Proves hints; without it no hint is proved.
    seconds: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._prefix = f"/topic/{self.service}."
        self._topic = lru_cache(maxsize=4096)(self._make_topic)
        # The name of this bus, which no bus had before.
        self._me = secrets.token_hex(8)
        self._own = f'"{_BUT}": "{self._me}.'.encode()  # Within a text the quotes are escaped.
        self._sent = count(1)
        self._seen: dict[int, set[str]] = {}
        """Nonces of hints that came, by the second in which they were sent."""
        self._here: dict[str, dict[ISubscription, tuple[OnHint, OnAsked | None]]] = {}
        """What `hear` was given on this server, by topic."""
        self._logged_at = float("-inf")
        self._unlogged = 0  # Malformed hints since the last line about them.

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        return self.stomp.connected

    def on_change(self, listener: Callable[[bool], None]) -> None:
        """Call `listener(connected)` whenever the broker is connected or lost."""
        self.stomp.add_listener(listener)

    def tell(
        self,
        channel: str,
        event: Mapping[str, object],
        after: Mapping[int, int] | None = None,
        *,
        here: bool = False,
        asking: IConnection | None = None,
    ) -> None:
        """Tell `event` to those who hear `channel`: directly on this server, and by a hint on the
        others, unless all who are to have it are `here`. `after` has, for each reader of a durable
        event, the id of the reader's event before it. Those on this server are told when the
        connection `asking`, if there is one, has the reply to its request."""
        topic = self._topic(channel)
        body = None if here else self._encode(topic, event, after)
        if topic in self._here:
            before = {str(user): last for user, last in after.items()} if after else _NOTHING
            self._tell_here(topic, lambda on_hint, _: on_hint(event, before, True), asking)
        if body is not None:
            self._publish(topic, body)

    def _encode(
        self, topic: str, event: Mapping[str, object], after: Mapping[int, int] | None
    ) -> bytes:
        """Make the hint at `event`; ValueError if nobody would read it."""
        body = self._seal({**event, _AFTER: after} if after else {**event, _ON: topic})
        if len(body) > MAX_HINT and _is_id(event.get("id")):
            # A short hint wakes the readers too, and the database has the rest.
            body = self._seal({"event": event["event"], "id": event["id"]})
        if len(body) > MAX_HINT:
            raise ValueError(f"an event of {len(body)} bytes: no reader takes more than {MAX_HINT}")
        return body

    def tell_asked(
        self,
        channels: Iterable[tuple[str, bool]],
        event: Mapping[str, object],
        but: IConnection | None = None,
        *,
        asking: IConnection | None = None,
    ) -> None:
        """Tell `event`, as `tell` does, to those connections alone that asked for events, except
        the connection `but` of this server: on several channels, each with whether all who are to
        have it are here. An event longer than `MAX_HINT` is dropped."""
        encoded = b""
        for channel, here in channels:
            topic = self._topic(channel)
            if topic in self._here:
                self._tell_here(topic, lambda _, asked: asked and asked(event, but), asking)
            if not here:
                encoded = encoded or _encode_asked(event)
                body = self._seal(b'%s"%s"' % (encoded, topic.encode()))
                if len(body) <= MAX_HINT:
                    self._publish(topic, body)

    def tell_unhear(self, channel: str, unheard: str, *, asking: IConnection | None = None) -> None:
        """Tell the servers that hear the user's own `channel` that this user does not hear the
        channel `unheard` any more. Servers up to version 0.3.0 look for messages, as for any hint
        with an id."""
        self.tell(channel, {"event": "unhear", "id": 0, UNHEAR: unheard}, asking=asking)

    def _tell_here(
        self,
        topic: str,
        tell: Callable[[OnHint, OnAsked | None], object],
        asking: IConnection | None,
    ) -> None:
        span = tracing.here()

        def tell_all() -> None:
            for listening in [*self._here.get(topic, {}).values()]:
                with tracing.within(span), _log.failuresHandled(FAILED):
                    tell(*listening)

        if asking is None:
            tell_all()
        else:
            asking.after_reply(tell_all)

    def _publish(self, topic: str, body: bytes) -> None:
        with tracing.span("publish") as span:
            headers = {_TRACE: span.traceparent} if span and span.recorded else None
            self.stomp.publish(topic, body, headers)

    def tell_fleet(self, event: str) -> None:
        """Hint to the login servers at news of the fleet: `ready`, `gone`, `free`, …"""
        self.stomp.publish(f"{self._prefix}fleet", _to_json({"event": event}).encode())

    def hear(self, channel: str, on_hint: OnHint, on_asked: OnAsked | None = None) -> ISubscription:
        """Call `on_hint` with hints on `channel`, and `on_asked` with events for those who asked:
        from now on with those of this server, and from the broker's confirmation on with all. Hear
        a channel once at a time: a second subscription gets the same hints, as ones that came
        before."""
        topic = self._topic(channel)
        subscription = self._hear(topic, on_hint, on_asked)
        self._here.setdefault(topic, {})[subscription] = on_hint, on_asked
        return subscription

    def leave(self, subscription: ISubscription) -> None:
        """End a subscription that `hear` returned."""
        subscription.unsubscribe()
        listening = self._here[subscription.destination]
        del listening[subscription]
        if not listening:
            del self._here[subscription.destination]

    def hear_fleet(self, on_hint: Callable[[Mapping[str, Any]], None]) -> ISubscription:
        """Call `on_hint` with news of the fleet."""
        return self._hear(f"{self._prefix}fleet", lambda news, *_: on_hint(news))

    async def settle(self, subscriptions: Iterable[ISubscription]) -> None:
        """Wait until the broker has confirmed `subscriptions`, or cannot."""
        await DeferredList([each.confirmed() for each in subscriptions], consumeErrors=True)

    def _make_topic(self, channel: str) -> str:
        if not _CHANNEL.fullmatch(channel):  # Brokers have wildcards and separators.
            raise ValueError(f"not a channel: {channel!r}")
        return self._prefix + (channel if "." in channel else f"user.{channel}")

    def _seal(self, hint: Mapping[str, object] | bytes) -> bytes:
        """Encode `hint`, or what is encoded of it but for its end, with a nonce, which has the
        time, and its proof."""
        content = hint if isinstance(hint, bytes) else _to_json(hint)[:-1].encode()
        # Appended, as a copy of the hint with one more member would take a microsecond.
        content = b'%s, %s%d.%d"' % (content, self._own, next(self._sent), self.wall())
        return b'%s%s%s"}' % (content, _SEAL, self._proof(content))

    def _proof(self, content: bytes) -> bytes:
        return hmac.digest(self.key, content, "sha256").hex().encode()

    def _hear(self, topic: str, on_hint: OnHint, on_asked: OnAsked | None = None) -> ISubscription:
        def handle(message: Message) -> None:
            try:
                hint = _read(message.body)
                after, proof = hint.pop(_AFTER, None), hint.pop(_PROOF, None)
                asked, on, nonce = (hint.pop(each, None) for each in (_ASKED, _ON, _BUT))
                if after is not None and not _is_after(after):
                    raise MalformedHint(f"malformed {_AFTER}")
                proved = proof is not None and self._is_proved(message.body)
                if proved and after:
                    on_hint(hint, after, False)
                    return
                is_new = proved and on == topic and self._is_new(nonce)
                if asked is None:
                    on_hint(hint, _NOTHING, is_new)
                elif not is_new or not _is_event(asked):
                    raise MalformedHint(f"{_ASKED} is {UNPROVED}")
                elif on_asked is not None:
                    on_asked(asked, None)
            except MalformedHint as error:
                self._log_malformed(topic, str(error))

        def handle_in_trace(message: Message) -> None:
            """Handle a hint as a part of its sender's trace, unless this bus has published it."""
            if self._own in message.body:
                return
            parent = message.headers.get(_TRACE, "")
            if not parent or not tracing.is_traceparent(parent):
                handle(message)
            else:
                with tracing.span("hint", parent):
                    handle(message)

        return self.stomp.keep_subscribed(topic, handle_in_trace)

    def _is_new(self, nonce: object) -> bool:
        """Whether a proved hint with this nonce was sent at most `MAX_AGE` ago, and comes for the
        first time. Those of servers up to version 0.3.0 have no number and no time."""
        found = _NONCE.fullmatch(nonce) if isinstance(nonce, str) else None
        if found is None:
            return False
        nonce, sent, now = found[0], int(found[1]), self.wall()
        if abs(now - sent) > MAX_AGE:
            return False
        if sent not in self._seen:
            oldest = now - MAX_AGE
            self._seen = {at: seen for at, seen in self._seen.items() if at >= oldest}
            self._seen[sent] = set()
        if nonce in self._seen[sent]:
            return False
        self._seen[sent].add(nonce)
        return True

    def _log_malformed(self, topic: str, reason: str) -> None:
        """Log a malformed hint, at most one each `LOG_INTERVAL`."""
        now = self.seconds()
        if now - self._logged_at < LOG_INTERVAL:
            self._unlogged += 1
            return
        self._logged_at, more, self._unlogged = now, self._unlogged, 0
        _log.warn(
            "discarded a hint on {topic}: {reason}; {more} more since the last line",
            topic=topic,
            reason=reason,
            more=more,
        )

    def _is_proved(self, body: bytes) -> bool:
        content, _, proof = body.rpartition(_SEAL)
        return hmac.compare_digest(proof, self._proof(content) + b'"}') if self.key else False


def _encode_asked(event: Mapping[str, object]) -> bytes:
    """The hint at an event for those who asked for events, up to the topic."""
    hint = {"event": event["event"], "id": 0, _ASKED: event, _ON: None}
    return _to_json(hint)[: -len("null}")].encode()


def _read(body: bytes) -> dict[str, Any]:
    """Decode a hint. Raises MalformedHint."""
    if len(body) > MAX_HINT:
        raise MalformedHint(f"longer than {MAX_HINT} bytes")
    try:
        hint = _from_json(body.decode())
    except RecursionError:
        raise MalformedHint("nested too deeply") from None
    except ValueError:
        raise MalformedHint("not JSON in UTF-8") from None
    if not isinstance(hint, dict):
        raise MalformedHint("not a JSON object")
    if not isinstance(hint.get("event"), str):
        raise MalformedHint("missing name of the event")
    number = hint.get("id")
    # An id of another type belongs to the service, and not to a durable event.
    if isinstance(number, int) and not _is_id(number):
        raise MalformedHint("malformed id")
    return hint


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_ID


def _is_event(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("event"), str)


def _is_after(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_id, value.values()))
