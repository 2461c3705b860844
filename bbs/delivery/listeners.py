"""Delivery of events to connections that listen.

Events of the service's feed are durable. Each listener has a cursor, the id of the last event that
it was sent. A sign of news (a hint, the clock, a connection that reads again) marks the listener as
due; the pump then asks the database for the events after the cursor. The event inside a hint is
sent at once only to a reader whose cursor is at the event before it, as the hint proves. Therefore
each event arrives once and in order, however it became known. A lost hint costs time only. A
connection that does not read costs no memory: the database keeps what it has not been sent.

Listeners begin behind what there is, perhaps far behind. Until they have all of it, their user is
charged for it, and waits for the rest when that is not paid.

All other events are transient: they are sent at once to the listeners that read, and never later.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs.core import tracing
from bbs.core.errors import NotLoggedIn, Refusal, Unavailable
from bbs.core.values import RESERVED_EVENTS
from bbs.delivery.bus import MAX_HINT, UNHEAR, UNPROVED, Bus, MalformedHint
from bbs.delivery.channels import HEARD_AT_ONCE, ChannelCheck, ChannelSubscriptions
from bbs.delivery.feed import BATCH, Cursor, Feed, FirstEvents, Mailbox, Stored
from bbs.protocols.line import IConnection
from bbs.protocols.line.interfaces import encode
from bbs.rules import placement, presence
from bbs.rules.auth import Caller
from bbs.rules.pagination import price_of
from bbs.rules.restores import Listening
from bbs.storage.database import Database

K = TypeVar("K")

FETCHED_AT_ONCE = 50  # Readers for whom one transaction fetches, which must be short.
SAFETY_FACTOR = 5  # Polls per look while the broker is connected: only for lost hints.
LISTENING_CONNECTIONS = 16  # Of one user, on one server (`docs/protocol.md`).
ABOUT_PLACES = ("moved", "logout")
"""Hints that make servers check where users are served. The events of these names are made of what
the check finds, and of nothing that a hint says."""

NOTE_DELAY = 0.1  # Seconds to gather receipts that are stored together.

CHECKED_AT_ONCE = 64
"""Readers who are checked each time, in addition to as many as were stored. Readers who have gone
are then found before others take their place in memory."""

_log = Logger()


class TooManyListeners(Refusal):
    text = "You listen on {} connections already"
    limit = True


@dataclass(eq=False, repr=False, kw_only=True)
class Listeners(Service):
    """The listeners of one app server, and the pump that serves them."""

    database: Database
    bus: Bus
    feed: Feed | None
    poll_interval: float  # Seconds between looks at the database while the broker is away.
    reactor: IReactorTime
    watchers: Container[IConnection] = ()  # They sent `events`: as `ServerContext.watchers`.

    def __post_init__(self) -> None:
        self._audience = Subscribers()
        self._opening = Subscribers()  # Listeners that are about to begin.
        self.relocation = Relocation(self.database, self._audience, self)
        self._channels = ChannelSubscriptions(self.bus, self._handle_hint, self._handle_asked)
        channels_of = self.feed.channels if self.feed else None
        self._channel_check = ChannelCheck(self.database, self._channels, channels_of)
        self._due: dict[Listener, tracing.ISpan | None] = {}
        """Listeners for whom there may be events, in the order of the news, with its spans."""
        self._unpaid: dict[int, IDelayedCall] = {}
        """Users who have yet to pay for what their listeners were sent."""
        self._receipts = Receipts(self.database, self.feed, self.reactor, self.poll_interval, self)
        self._pumping = False
        self._unsure: dict[int, None] = {}  # Users whom hints about places were for.
        self._checking = False
        self._next_poll: Any = None
        self._polls = 0
        self._when_empty: Deferred[None] | None = None
        self.look: Callable[[], Awaitable[None]] | None = None
        """Looks whether the database has gone back to an earlier state. If so, the sessions of
        those who listen here are stored again when it returns; raises Unavailable if they cannot be
        yet."""
        self.on_leaving: Callable[[int], None] = lambda user: None
        """Called with users who no longer listen on one of their connections."""
        self.on_change: Callable[[int], None] = lambda user: None
        """Called with users who begin to listen on a connection, or do so no more."""
        self.charge: Callable[[int, float], float] = lambda user, commands: 0.0
        """Charges a user so many commands; returns the seconds until they are paid."""
        self.bus.on_change(self._handle_change)

    def listens(self, user: int) -> bool:
        """Whether `user` listens, or is about to."""
        return user in self._audience.users or user in self._opening.users

    def drop(self, listeners: Sequence[Listener]) -> None:
        """End the listening of `listeners`."""
        for listener in listeners:
            self._audience.remove(listener)
            self._due.pop(listener, None)
            if not self._audience.on(listener.connection):
                listener.connection.persistent = False
        self._stop_hearing(listeners)
        if self._when_empty and not self._audience and not self._when_empty.called:
            self._when_empty.callback(None)

    @property
    def connected(self) -> int:
        """How many users listen."""
        return len(self._audience.users)

    @property
    def somebody(self) -> bool:
        """Whether anybody listens, or is about to."""
        return bool(self._audience) or bool(self._opening)

    @property
    def connections(self) -> Collection[IConnection]:
        """The connections that listen."""
        return self._audience.connections

    @property
    def sessions(self) -> set[str]:
        """The sessions of users who listen, or are about to."""
        return {each.session for each in (*self._audience, *self._opening)}

    def listening(self) -> Sequence[Listening]:
        """The sessions of users who listen, or are about to; each once."""
        listeners = (*self._audience, *self._opening)
        return [*{Listening(each.session, each.user, each.channel) for each in listeners}]

    def startService(self) -> None:
        Service.startService(self)
        self._next_poll = self.reactor.callLater(self.poll_interval, self._poll)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._next_poll.cancel()
        return self._receipts.stop()

    async def open(
        self, caller: Caller, mailbox: Mailbox, connection: IConnection
    ) -> Callable[[], None]:
        """Prepare to send `caller`'s events on `connection`; returns a function that begins it.

        Waits until the broker has confirmed the subscriptions, or cannot.

        :raises TooManyListeners: the user listens on `LISTENING_CONNECTIONS` other connections.
        """
        user = caller.id
        self._check_room(user, connection)
        listener = Listener(
            user, connection, mailbox.cursor, session=caller.session, channel=caller.channel
        )
        # The command itself is paid.
        self.charge(user, price_of(0, len(mailbox.channels)) - 1.0)
        self._opening.add(listener)
        heard = []
        for number, channel in enumerate((caller.channel, *mailbox.channels), 1):
            heard.append(self._channels.hear(channel, user))
            if number % HEARD_AT_ONCE == 0:
                await deferLater(self.reactor, 0, lambda: None)
        await self.bus.settle(heard)

        def start() -> None:
            self._opening.remove(listener)
            replaced = [each for each in self._audience.on(connection) if each.user == user]
            connection.on_writable = self._start_pump
            if not mailbox.resumes:
                # The database may lack receipts of a moment ago.
                last = max(mailbox.cursor.last, self._receipts.last(user))
                listener.cursor = Cursor(user, last)
            self._audience.add(listener)
            self.drop(replaced)
            self.on_change(user)
            connection.persistent = True
            self._mark_due([listener])

        return start

    async def hear(self, user: int, channel: str) -> None:
        """Subscribe `user` to `channel`, if the user listens here."""
        if self.listens(user):
            await self.bus.settle([self._channels.hear(channel, user)])

    def unhear(self, user: int, channel: str) -> None:
        """End the subscription of `user` to `channel`."""
        self._channels.leave_one(user, channel)

    def connection_lost(self, connection: IConnection) -> None:
        """Remove the listeners on `connection`, and those that were about to begin."""
        opening = self._opening.on(connection)
        for listener in opening:
            self._opening.remove(listener)
        self.drop(self._audience.on(connection))
        self._stop_hearing(opening)

    async def dismiss(self, patience: float) -> None:
        """Tell the listeners where to go, and wait until they have gone, at most `patience`
        seconds."""
        await self.relocation.check([*self._audience.users])
        if self._audience:
            self._when_empty = Deferred()
            impatience = self.reactor.callLater(patience, self._when_empty.callback, None)
            await self._when_empty
            if impatience.active():
                impatience.cancel()

    def _handle_hint(
        self,
        users: Collection[int],
        hint: Mapping[str, object],
        after: Mapping[str, int],
        is_new: bool,
    ) -> None:
        if hint.get("event") in ABOUT_PLACES:
            self._check_soon(users)
            return
        if UNHEAR in hint:
            self._end_hearing(users, hint[UNHEAR], is_new)
            return
        _check_name(hint)
        listeners = self._audience.of(users)
        number = hint.get("id")
        if self.feed and type(number) is int:
            event = Stored(number, hint)
            self._mark_due([each for each in listeners if not self._send_next(each, event, after)])
            return
        if not is_new:
            raise MalformedHint(f"the event is {UNPROVED}")
        if listeners and len(line := _encode_now(hint)) <= MAX_HINT:
            _send_now(line, [listener.connection for listener in listeners])

    def _handle_asked(
        self, users: Collection[int], event: Mapping[str, object], but: IConnection | None
    ) -> None:
        _check_name(event)
        connections = [listener.connection for listener in self._audience.of(users)]
        readers = [each for each in connections if each in self.watchers and each is not but]
        if readers and len(line := _encode_now(event)) <= MAX_HINT:
            _send_now(line, readers)

    def _send_next(self, listener: Listener, event: Stored, after: Mapping[str, int]) -> bool:
        """Send the event of a hint, if the reader reads and it is the next one; False if not."""
        is_next = after.get(str(listener.user)) == listener.cursor.last < event.id
        if not is_next or not listener.connection.writable:
            return False
        self._send_one(listener, event)
        return True

    def _end_hearing(self, users: Collection[int], channel: object, is_new: bool) -> None:
        """End subscriptions as a hint says; one that proves nothing is a reason to look."""
        if not is_new or not isinstance(channel, str):
            self._channel_check.begin(users)
            return
        for user in [*users]:
            self.unhear(user, channel)

    def _stop_hearing(self, gone: Iterable[Listener]) -> None:
        """End the subscriptions of users whose listeners are `gone`, unless others remain."""
        for user in {listener.user for listener in gone}:
            if not self.listens(user):
                self._channels.leave(user)
                if user in self._unpaid:
                    self._unpaid.pop(user).cancel()
            self.on_leaving(user)
            self.on_change(user)

    def _check_room(self, user: int, connection: IConnection) -> None:
        listeners = self._audience.of([user]) + self._opening.of([user])
        others = {each.connection for each in listeners} - {connection}
        if len(others) >= LISTENING_CONNECTIONS:
            raise TooManyListeners(LISTENING_CONNECTIONS)

    def _poll(self) -> None:
        self._next_poll = self.reactor.callLater(self.poll_interval, self._poll)
        self._polls += 1
        if not self.bus.connected or self._polls % SAFETY_FACTOR == 0:
            self._check_all()
        self._start_pump()  # For listeners that still wait because the database was away.

    def _handle_change(self, connected: bool) -> None:
        """Find out what was missed while the broker was away."""
        self._check_all()
        self._channel_check.begin(self._audience.users)

    def _check_all(self) -> None:
        if self._audience:
            self._mark_due(self._audience)
            self._in_background(self.relocation.check([*self._audience.users]))
            self._channel_check.go_on(self._audience.users)

    def _check_soon(self, users: Iterable[int]) -> None:
        """Check where `users` are served. One check is under way at a time, however many hints ask
        for it: anybody with the broker's credential can send these."""
        self._unsure |= dict.fromkeys(users)
        if self._unsure and not self._checking:
            self._checking = True
            self._in_background(self._check_unsure())

    async def _check_unsure(self) -> None:
        try:
            while users := [*self._unsure]:
                self._unsure.clear()
                await self.relocation.check(users)
        finally:
            self._checking = False

    def _mark_due(self, listeners: Iterable[Listener]) -> None:
        for listener in listeners:
            self._due[listener] = tracing.here()
        self._start_pump()

    def _start_pump(self) -> None:
        if self.feed and self._due and not self._pumping:
            self._pumping = True
            with tracing.within(None):  # The pump works for all.
                self._in_background(self._pump(self.feed))

    async def _pump(self, feed: Feed) -> None:
        try:
            while due := self._select_due():
                spans = [self._due.pop(listener) for listener in due]
                asked = {listener: listener.cursor for listener in due}
                try:
                    # One fetch serves all of them; the first one's trace shows it.
                    with tracing.within(next(filter(None, spans), None)):
                        fetching = self.database.run(feed.fetch, [*set(asked.values())])
                    found = await fetching
                except Unavailable:
                    self._due |= dict.fromkeys(each for each in due if each in self._audience)
                    return
                for (listener, cursor), span in zip(asked.items(), spans, strict=True):
                    if listener in self._audience:
                        with tracing.within(span):
                            self._send(listener, cursor, found.get(cursor, ()))
        finally:
            self._pumping = False

    def _select_due(self) -> list[Listener]:
        """Return as many listeners that are due as one transaction serves. At most one of each
        user may be catching up, and only if the user has paid for what was sent before."""
        return [*islice(self._ready(), FETCHED_AT_ONCE)]

    def _ready(self) -> Iterator[Listener]:
        has_turn = {*self._unpaid}
        for each in self._due:
            if not each.connection.writable or (each.catches_up and each.user in has_turn):
                continue
            if each.catches_up:
                has_turn.add(each.user)
            yield each

    def _send(self, listener: Listener, asked: Cursor, events: Sequence[Stored]) -> None:
        size = count = 0
        is_behind = is_more(events) and events[-1].id > asked.last
        for event in events:
            if event.id <= listener.cursor.last:
                continue  # A hint has brought it meanwhile.
            if not listener.connection.writable:
                is_behind = True
                break
            self._send_one(listener, event)
            size, count = size + len(event.line), count + 1
        if count and listener.catches_up:
            self._charge(listener.user, price_of(size, count))
        if is_behind:
            self._due[listener] = None
        else:
            listener.catches_up = False

    def _charge(self, user: int, commands: float) -> None:
        """Charge a user; until that is paid, listeners who catch up wait."""
        unpaid = self.charge(user, commands)
        if unpaid > 0.0 and user not in self._unpaid:
            self._unpaid[user] = self.reactor.callLater(unpaid, self._end_wait, user)

    def _end_wait(self, user: int) -> None:
        del self._unpaid[user]
        self._start_pump()

    def _send_one(self, listener: Listener, event: Stored) -> None:
        with tracing.span("deliver") if tracing.recording else tracing.NOTHING:
            listener.connection.send_line(event.line)
        listener.cursor = Cursor(listener.user, event.id)
        self._receipts.add(listener.cursor)

    def _in_background(self, work: Any) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: _log.failure("delivery of events failed", failure=failure)
        )


def is_more(events: Sequence[Stored]) -> bool:
    """Whether there may be more events behind those that a fetch brought a reader."""
    return len(events) >= BATCH or (isinstance(events, FirstEvents) and bool(events))


def _check_name(event: Mapping[str, object]) -> None:
    """Raise MalformedHint for an event that only the client's own server makes, which asks the
    database first."""
    if event.get("event") in RESERVED_EVENTS:
        raise MalformedHint(f"no server tells others of {event['event']}")


def _encode_now(event: Mapping[str, object]) -> bytes:
    """Make the line of a transient event, or raise MalformedHint."""
    try:
        return encode(event)
    except (ValueError, RecursionError):
        # Nested too deeply, an infinite number, a lone surrogate: the decoder takes these.
        raise MalformedHint("the event cannot be sent as JSON") from None


def _send_now(line: bytes, connections: Iterable[IConnection]) -> None:
    """Send a transient event to the connections that read."""
    for connection in connections:
        if connection.writable:
            connection.send_line(line)


@dataclass(eq=False)
class Listener:
    """One user on one connection."""

    user: int
    connection: IConnection
    cursor: Cursor  # The durable events that were sent.
    announced: placement.Seat | None = None  # The place in the last `moved` event.
    session: str = ""  # The digest of the user's token.
    catches_up: bool = True  # Not all has been sent that there was when listening began.
    channel: str = ""  # The user's own.


class Subscribers:
    """The listeners, by user and by connection, in the order in which they came. Each operation
    takes the same time however many there are: many may go at once."""

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
        """The users who listen, on one connection or several."""
        return self._by_user.keys()

    @property
    def connections(self) -> Collection[IConnection]:
        """The connections that listen, for one user or several."""
        return self._by_connection.keys()

    def of(self, users: Iterable[int]) -> list[Listener]:
        """The listeners of `users`."""
        return [listener for user in users for listener in self._by_user.get(user, ())]

    def on(self, connection: IConnection) -> list[Listener]:
        """The listeners on `connection`."""
        return [*self._by_connection.get(connection, ())]

    def add(self, listener: Listener) -> None:
        self._by_user.setdefault(listener.user, {})[listener] = None
        self._by_connection.setdefault(listener.connection, {})[listener] = None

    def remove(self, listener: Listener) -> None:
        """Remove `listener`, if it is here."""
        _discard(self._by_user, listener.user, listener)
        _discard(self._by_connection, listener.connection, listener)


def _discard(listeners: dict[K, dict[Listener, None]], key: K, listener: Listener) -> None:
    remaining = listeners.get(key, {})
    remaining.pop(listener, None)
    if not remaining:
        listeners.pop(key, None)


@dataclass(eq=False)
class Receipts:
    """The last event that each reader was sent, until it is stored and the reader has gone."""

    database: Database
    feed: Feed | None
    reactor: IReactorTime
    retry_delay: float  # Seconds until the next attempt if the database was away.
    listeners: Listeners

    def __post_init__(self) -> None:
        self._sent: OrderedDict[int, int] = OrderedDict()
        self._unstored: set[int] = set()
        self._timer: Any = None
        self._lock = DeferredLock()
        self._stopped = False

    def last(self, user: int) -> int:
        """The id of the last event that `user` is known to have been sent; 0 for none."""
        return self._sent.get(user, 0)

    def add(self, cursor: Cursor) -> None:
        """Note that a reader was sent an event."""
        if cursor.last > self._sent.get(cursor.user, 0):
            self._sent[cursor.user] = cursor.last
            self._unstored.add(cursor.user)
            self._schedule(NOTE_DELAY)

    def stop(self) -> Deferred[None]:
        """Store the last ones; fires when that is done, or the database is away."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._store_in_turn()

    def _schedule(self, seconds: float) -> None:
        if self._timer is None and not self._stopped:
            self._timer = self.reactor.callLater(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._store_in_turn().addErrback(
            lambda failure: _log.failure("receipts were not stored", failure=failure)
        )

    def _store_in_turn(self) -> Deferred[None]:
        # One after the other: the first of two would forget what the second is to store.
        return self._lock.run(lambda: Deferred.fromCoroutine(self._store()))

    async def _store(self) -> None:
        users, self._unstored = self._unstored, set()
        if not users or self.feed is None:
            return
        cursors = [Cursor(user, self._sent[user]) for user in users]
        try:
            await self.database.run(self.feed.note, cursors)
        except Unavailable:
            self._unstored |= users
            self._schedule(self.retry_delay)
        else:
            for user in users - self._unstored:
                if not self.listeners.listens(user):
                    del self._sent[user]
            self._forget_some(len(users) + CHECKED_AT_ONCE)

    def _forget_some(self, count: int) -> None:
        """Check the next `count` readers, and forget those who no longer listen."""
        for user in [*islice(self._sent, count)]:
            if user in self._unstored or self.listeners.listens(user):
                self._sent.move_to_end(user)
            else:
                del self._sent[user]


@dataclass(eq=False)
class Relocation:
    """Tells the `audience` of one app server, that of `listeners`, if their sessions have ended or
    another app server serves them."""

    database: Database
    audience: Subscribers
    listeners: Listeners
    server_id: str | None = None  # This app server's, once it has joined the fleet.

    async def check(self, users: Collection[int]) -> None:
        """Check which server serves `users`, and whether their sessions live; tell those who should
        know. Nothing happens while the database is away: another check follows."""
        listeners = self.audience.of(users)
        sessions = {listener.session for listener in listeners}
        try:
            found = await self.database.run(presence.standings, sessions)
            if self.listeners.look and sessions - found.keys():
                await self.listeners.look()
                # A heartbeat may have stored them again meanwhile.
                found = await self.database.run(presence.standings, sessions)
            await self._place_again(self._announce(listeners, found))
        except Unavailable:
            return

    def _announce(
        self, listeners: Iterable[Listener], found: dict[str, presence.SessionStanding]
    ) -> Collection[int]:
        """Tell listeners whose session has ended, or whose user is served elsewhere. Returns the
        users who are away: they have no place and wait for none."""
        away: dict[int, None] = {}
        for listener in listeners:
            if listener not in self.audience:
                continue
            standing = found.get(listener.session)
            if standing is None:
                listener.connection.send_event({"event": "logout"})
                self.listeners.drop([listener])
            elif standing.away:
                away[listener.user] = None
            else:
                self._announce_place(listener, standing.seat)
        return away

    async def _place_again(self, users: Iterable[int]) -> None:
        """Find places for users who listen and are marked as away; without one they wait."""
        for user in users:
            try:
                seat = await self.database.run(
                    placement.come_back, user, self.server_id, stays=True
                )
            except NotLoggedIn:
                continue  # The next check tells the listeners.
            for listener in self.audience.of([user]):
                self._announce_place(listener, seat)

    def _announce_place(self, listener: Listener, seat: placement.Seat | None) -> None:
        if seat and seat.server != self.server_id and seat != listener.announced:
            listener.announced = seat
            address = seat.address.seen_from(listener.connection.local_host)
            listener.connection.send_event({"event": "moved", "app_server": address.as_json()})
