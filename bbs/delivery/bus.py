"""The bus between servers: hints, through topics at a STOMP broker (`docs/protocol.md`, section 6).

A hint says that the database has news, so that something happens at once that would happen later
anyway. A lost hint costs time and nothing else, and no server waits for one to be confirmed.

Each app server hears one topic of its own. The sender of an event finds the servers of its readers
by their places, and publishes one hint for each of them, which names the channels that it is for.
If a place changes meanwhile, the hint is lost. A hint whose servers are not known goes to a topic
that all app servers hear. Channels of a kind that a service does not tell by places have topics of
their own. So have all channels while servers of 0.4.0, as it was released, run: those hear no
other (`TopicCheck`).

Listeners on the server that has the news are told directly, without the broker. Each hint names the
bus that published it, which passes over its own hints when the broker returns them.

Each hint proves that a server of this service sent it, by a keyed hash; the key is in the database
and never at the broker. A hostile broker can hold hints back and make servers look into the
database, and no more: what nothing proves reaches no client.

A hint at a durable event may say which event came before it for each reader, and nobody is sent
such an event twice. Any other hint is bound to its topic and to the time at which it was sent, and
counts once, so that nobody can send it again.

An event for only those connections that asked for events is inside a hint with the id 0, which no
durable event has.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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

Servers = Collection[str | None] | None
"""The app servers where those who hear a channel have their places, with None for people without a
place; None: they are not known."""

NAMED_AT_ONCE = 1000  # Channels that one hint names: each takes 36 bytes.

_CHANNEL = re.compile(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)?")

_AFTER, _PROOF, _ASKED, _ON, _BUT = "_after", "_proof", "_asked", "_on", "_but"
"""Members of a hint that do not belong to its event."""

_TO = "_to"  # The member with the channels that a hint on a server's topic is for.

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


@dataclass(eq=False)
class Hearing:
    """Somebody who hears a channel on this server, with what `Bus.hear` was given. `subscription`
    is to the channel's own topic, if it has one."""

    channel: str
    on_hint: OnHint
    on_asked: OnAsked | None = None
    subscription: ISubscription | None = None


@dataclass(eq=False, repr=False)  # It has the hint key.
class Bus:
    """Sends and receives hints of one service through `stomp`. A channel is a user's
    (`User.channel`), or one of the service's own, `KIND.NAME`, both of letters and digits. `placed`
    has the kinds that are told by the places of those who hear them, as users' channels are."""

    stomp: IStomp
    service: str
    key: bytes = b""  # Proves hints; without it no hint is proved.
    seconds: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    placed: Collection[str] = ()
    server: str | None = field(default=None, init=False)  # This app server's id, from `serve` on.
    tells_topics: bool = field(default=True, init=False)
    """Whether all channels are told by topics of their own; `TopicCheck` finds out."""

    hears_topics: bool = field(default=True, init=False)  # Whether all channels are so heard.

    def __post_init__(self) -> None:
        self._prefix = f"/topic/{self.service}."
        self._topic = lru_cache(maxsize=4096)(self._make_topic)
        self._is_placed = lru_cache(maxsize=4096)(self._check_placed)
        # The name of this bus, which no bus had before.
        self._me = secrets.token_hex(8)
        self._own = f'"{_BUT}": "{self._me}.'.encode()  # Within a text the quotes are escaped.
        self._sent = count(1)
        self._seen: dict[int, set[str]] = {}
        """Nonces of hints that came, by the second in which they were sent."""
        self._here: dict[str, dict[Hearing, None]] = {}  # By channel.
        self._everywhere = f"{self._prefix}broadcast.hints"  # The topic that all app servers hear.
        self._own_topics: Sequence[ISubscription] = ()
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
        servers: Servers = None,
        asking: IConnection | None = None,
    ) -> None:
        """Tell `event` to those who hear `channel`: directly on this server, and by a hint on each
        of the `servers` where they have their places. `after` has, for each reader of a durable
        event, the id of the reader's event before it. Those on this server are told when the
        connection `asking`, if there is one, has the reply to its request."""
        topics = self._topics(channel, servers)
        bodies = self._encode(channel, topics, event, after) if topics else ()
        if channel in self._here:
            before = {str(user): last for user, last in after.items()} if after else _NOTHING
            self._tell_here(channel, lambda each: each.on_hint(event, before, True), asking)
        for topic, body in zip(topics, bodies, strict=True):
            self._publish(topic, body)

    def _topics(self, channel: str, servers: Servers) -> Sequence[str]:
        """The topics on which the other servers are told what is for `channel`."""
        own = self._topic(channel)  # First, as it raises for a malformed channel.
        others = {*servers} - {self.server, None} if servers is not None else None
        if others is not None and not others:
            return ()
        if self.tells_topics or not self._is_placed(channel):
            return (own,)
        if others is None:
            return (self._everywhere,)
        return [f"{self._prefix}server.{server}" for server in sorted(filter(None, others))]

    def _check_placed(self, channel: str) -> bool:
        """Whether `channel` is told by places: a user's has no kind."""
        kind, dot, _ = channel.partition(".")
        return not dot or kind in self.placed

    def _encode(
        self,
        channel: str,
        topics: Sequence[str],
        event: Mapping[str, object],
        after: Mapping[int, int] | None,
    ) -> Sequence[bytes]:
        """Make the hint at `event` for each of `topics`; ValueError if nobody would read it."""
        to = {} if topics[0] == self._topic(channel) else {_TO: [channel]}
        if after:
            # It says for itself whom it is for: any topic will do.
            bodies = [self._seal({**event, **to, _AFTER: after})] * len(topics)
        else:
            content = _to_json({**event, **to, _ON: None})[: -len("null}")].encode()
            bodies = [self._seal(b'%s"%s"' % (content, topic.encode())) for topic in topics]
        if len(bodies[0]) > MAX_HINT and _is_id(event.get("id")):
            # A short hint wakes the readers too, and the database has the rest.
            bodies = [self._seal({"event": event["event"], "id": event["id"], **to})] * len(topics)
        if len(bodies[0]) > MAX_HINT:
            size = len(bodies[0])
            raise ValueError(f"an event of {size} bytes: no reader takes more than {MAX_HINT}")
        return bodies

    def tell_asked(
        self,
        channels: Iterable[tuple[str, Servers]],
        event: Mapping[str, object],
        but: IConnection | None = None,
        *,
        asking: IConnection | None = None,
    ) -> None:
        """Tell `event`, as `tell` does, to those connections alone that asked for events, except
        the connection `but` of this server: on several channels, each with the servers of
        those who hear it. An event longer than `MAX_HINT` is dropped."""
        named: dict[str, list[str]] = {}  # The channels to name on each topic.
        for channel, servers in channels:
            topics = self._topics(channel, servers)
            if channel in self._here:
                self._tell_here(
                    channel, lambda each: each.on_asked and each.on_asked(event, but), asking
                )
            for topic in topics:
                named.setdefault(topic, []).append(channel)
        head = _encode_asked(event) if named else b""
        for topic, several in named.items():
            for begin in range(0, len(several), NAMED_AT_ONCE):
                some = several[begin : begin + NAMED_AT_ONCE]
                to = b"" if topic == self._topic(some[0]) else _encode_to(some)
                body = self._seal(b'%s%s, "%s": "%s"' % (head, to, _ON.encode(), topic.encode()))
                if len(body) <= MAX_HINT:
                    self._publish(topic, body)

    def tell_unhear(self, channel: str, unheard: str, *, asking: IConnection | None = None) -> None:
        """Tell the servers that hear the user's own `channel` that this user does not hear the
        channel `unheard` any more."""
        self.tell(channel, {"event": "unhear", "id": 0, UNHEAR: unheard}, asking=asking)

    def _tell_here(
        self, channel: str, tell: Callable[[Hearing], object], asking: IConnection | None
    ) -> None:
        span = tracing.here()

        def tell_all() -> None:
            for hearing in [*self._here.get(channel, ())]:
                with tracing.within(span), _log.failuresHandled(FAILED):
                    tell(hearing)

        if asking is None:
            tell_all()
        else:
            asking.after_reply(tell_all)

    def _publish(self, topic: str, body: bytes) -> None:
        with tracing.span("publish") if tracing.recording else tracing.NOTHING as span:
            headers = {_TRACE: span.traceparent} if span and span.recorded else None
            self.stomp.publish(topic, body, headers)

    def tell_fleet(self, event: str) -> None:
        """Hint to the login servers at news of the fleet: `ready`, `gone`, `free`, …"""
        self.stomp.publish(f"{self._prefix}fleet", _to_json({"event": event}).encode())

    def serve(self, server: str) -> None:
        """Hear from now on what is told to the app server with this id, or to all of them."""
        self.server = server
        topics = (f"{self._prefix}server.{server}", self._everywhere)
        self._own_topics = [self._subscribe(topic, self._find_hearings) for topic in topics]

    def _find_hearings(self, to: object) -> Collection[Hearing]:
        """Those on this server who hear the channels that a hint is for."""
        found: dict[Hearing, None] = {}
        for channel in to if isinstance(to, list) else (None,):
            if not isinstance(channel, str):
                raise MalformedHint(f"malformed {_TO}")
            found |= self._here.get(channel, {})
        return found

    def hear(self, channel: str, on_hint: OnHint, on_asked: OnAsked | None = None) -> Hearing:
        """Call `on_hint` with hints on `channel`, and `on_asked` with events for those who asked:
        from now on with those of this server, and once `settle` says so with all. Hear a channel
        once at a time: a second subscription gets the same hints, as ones that came before."""
        self._topic(channel)  # First, as it raises for a malformed channel.
        hearing = Hearing(channel, on_hint, on_asked)
        self._here.setdefault(channel, {})[hearing] = None
        self.adjust(hearing)
        return hearing

    def leave(self, hearing: Hearing) -> None:
        """End what `hear` has begun."""
        hearings = self._here[hearing.channel]
        del hearings[hearing]
        if not hearings:
            del self._here[hearing.channel]
        self.adjust(hearing)

    @property
    def hearings(self) -> list[Hearing]:
        """All who hear channels on this server."""
        return [hearing for hearings in self._here.values() for hearing in hearings]

    def adjust(self, hearing: Hearing) -> None:
        """Subscribe to the channel's own topic, or no longer, as `hears_topics` has it."""
        wanted = self.hears_topics or not self._is_placed(hearing.channel)
        wanted = wanted and hearing in self._here.get(hearing.channel, ())
        if wanted and hearing.subscription is None:
            topic = self._topic(hearing.channel)
            hearing.subscription = self._subscribe(topic, lambda _: [hearing])
        elif hearing.subscription is not None and not wanted:
            hearing.subscription.unsubscribe()
            hearing.subscription = None

    def hear_fleet(self, on_hint: Callable[[Mapping[str, Any]], None]) -> ISubscription:
        """Call `on_hint` with news of the fleet."""
        hearing = Hearing("fleet", lambda news, *_: on_hint(news))
        return self._subscribe(f"{self._prefix}fleet", lambda _: [hearing])

    async def settle(self, hearings: Iterable[Hearing]) -> None:
        """Wait until the broker has confirmed all subscriptions for `hearings`, or cannot."""
        own = [each.subscription for each in hearings if each.subscription is not None]
        waited = [each.confirmed() for each in (*self._own_topics, *own)]
        await DeferredList(waited, consumeErrors=True)

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

    def _subscribe(
        self, topic: str, find: Callable[[object], Collection[Hearing]]
    ) -> ISubscription:
        """Subscribe to `topic`; `find` says who hears a hint, by its member `_to`."""

        def handle(message: Message) -> None:
            try:
                hint = _read(message.body)
                if hearings := find(hint.pop(_TO, None)):
                    self._hand_on(hint, message.body, topic, hearings)
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

    def _hand_on(
        self, hint: dict[str, Any], body: bytes, topic: str, hearings: Collection[Hearing]
    ) -> None:
        """Call `hearings` with the `hint` that came as `body`. Raises MalformedHint."""
        after, proof = hint.pop(_AFTER, None), hint.pop(_PROOF, None)
        asked, on, nonce = (hint.pop(each, None) for each in (_ASKED, _ON, _BUT))
        if after is not None and not _is_after(after):
            raise MalformedHint(f"malformed {_AFTER}")
        proved = proof is not None and self._is_proved(body)
        follows = proved and bool(after)
        is_new = not follows and proved and on == topic and self._is_new(nonce)
        if asked is not None and not follows and not (is_new and _is_event(asked)):
            raise MalformedHint(f"{_ASKED} is {UNPROVED}")
        for hearing in hearings:
            try:
                if asked is None or follows:
                    hearing.on_hint(hint, after if follows else _NOTHING, is_new)
                elif hearing.on_asked is not None:
                    hearing.on_asked(asked, None)
            except MalformedHint:
                raise  # It is so for all of them.
            except Exception:
                _log.failure("a hint could not be handed on")

    def _is_new(self, nonce: object) -> bool:
        """Whether a proved hint with this nonce was sent at most `MAX_AGE` ago, and comes for the
        first time. Those of 0.4.0, as it was released, have no number and no time."""
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
    """The beginning of the hint at an event for those who asked for events."""
    return _to_json({"event": event["event"], "id": 0, _ASKED: event})[:-1].encode()


def _encode_to(channels: Sequence[str]) -> bytes:
    """The member of a hint that names these channels."""
    return b', "%s": %s' % (_TO.encode(), _to_json(channels).encode())


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
