"""Events on their way to connections that listen.

Events of the service's feed are durable. Each listener has a cursor, the id of the last of them
that it was sent. A sign of news (a hint, the clock, a connection that reads again) marks it as due;
the pump then asks the database what comes after the cursor. A hint's own event is sent at once only
to a reader whose cursor stands at the event before it, as the hint proves. So an event arrives once
and in order however it came to be known, a lost hint costs time only, and a connection that does
not read costs no memory: the database keeps what it has not taken.

All other events live for the moment: listeners that read get them as they are told, and nobody gets
them later.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import Interface, implementer

from bbs.core import tracing
from bbs.core.errors import NotLoggedIn, Refusal, Unavailable
from bbs.delivery.bus import Bus, NoHint
from bbs.delivery.feed import BATCH, Cursor, Feed, Mailbox, Stored
from bbs.protocols.line import IConnection
from bbs.protocols.line.interfaces import encode
from bbs.protocols.stomp.interfaces import ISubscription
from bbs.rules import placement, presence
from bbs.rules.auth import Caller
from bbs.storage.database import Database

K = TypeVar("K")

HEARD_AT_ONCE = 50
"""Channels that one turn of the reactor subscribes to: each takes a tenth of a millisecond, and
somebody may be in a thousand groups."""

LOOKS_AT_ONCE = 50
"""Readers for whom one transaction looks, so that others who read wait for no thousand of them."""

SAFETY_FACTOR = 5
"""While the broker is there, the database is looked at this much more rarely: for lost hints."""

LISTENING_CONNECTIONS = 16
"""Connections of one server on which a user may listen (`docs/protocol.md`)."""

ABOUT_PLACES = ("moved", "logout")
"""Events by which the servers tell each other to look where users are."""

NOTE_DELAY = 0.1
"""Seconds in which receipts are gathered before they are written down together."""

LOOKED_AT = 64
"""Readers who are looked at each time, beside as many as were noted: so readers who have gone since
are found before others take their place."""

OnNews = Callable[[Collection[int], Mapping[str, Any], Mapping[str, int]], None]
"""Called with the users who hear a channel, and the arguments of `bbs.delivery.bus.OnHint`."""

OnAsked = Callable[[Collection[int], Mapping[str, Any], str | None], None]
"""Called with the users who hear a channel, and the arguments of `bbs.delivery.bus.OnAsked`."""

_log = Logger()


class TooManyListeners(Refusal):
    """The user listens on as many connections as one may."""

    text = "You listen on {} connections already"
    limit = True


class IListeners(Interface):
    """Those who listen at one app server, and those who are about to."""

    def listens(user: int) -> bool:
        """Whether `user` listens, or is about to."""

    def drop(listeners: Iterable[Listener]) -> None:
        """End the listening of some of them."""


@implementer(IListeners)
class Listeners(Service):
    """The listeners of one app server, and the pump that serves them.

    :param feed: the service's durable events, None where it has none.
    :param poll_interval: seconds between looks while the broker is away.
    :param watchers: the connections that said `events`: as `ServerContext.watchers`.
    """

    def __init__(
        self,
        *,
        database: Database,
        bus: Bus,
        feed: Feed | None,
        poll_interval: float,
        reactor: IReactorTime,
        watchers: Container[IConnection] = (),
    ) -> None:
        self._database = database
        self._bus = bus
        self._watchers = watchers
        self._feed = feed
        self._poll_interval = poll_interval
        self._reactor = reactor
        self._audience = Subscribers()
        self._opening = Subscribers()
        """Listeners that are about to begin."""
        self.where = Relocation(database, self._audience, self)
        self._channels = ChannelSubscriptions(bus, self._hinted, self._told_those_who_asked)
        self._due: dict[Listener, tracing.ISpan | None] = {}
        """Listeners for whom there may be events, in the order of the news, and its spans."""
        self._receipts = Receipts(database, feed, reactor, poll_interval, self)
        self._pumping = False
        self._next_poll: Any = None
        self._polls = 0
        self._when_empty: Deferred[None] | None = None
        self.on_leaving: Callable[[int], None] = lambda user: None
        """Called with users who no longer listen on one of their connections."""
        bus.on_change(lambda connected: self._look_for_all())

    # IListeners

    def listens(self, user: int) -> bool:
        return user in self._audience.users or user in self._opening.users

    def drop(self, listeners: Iterable[Listener]) -> None:
        listeners = [*listeners]
        for listener in listeners:
            self._audience.remove(listener)
            self._due.pop(listener, None)
            if not self._audience.on(listener.connection):
                listener.connection.persistent = False
        self._stop_hearing(listeners)
        if self._when_empty and not self._audience and not self._when_empty.called:
            self._when_empty.callback(None)

    # Who is there

    @property
    def connected(self) -> int:
        """How many people listen."""
        return len(self._audience.users)

    @property
    def sessions(self) -> set[str]:
        """The sessions of those who listen, or are about to."""
        return {each.session for each in (*self._audience, *self._opening)}

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._next_poll = self._reactor.callLater(self._poll_interval, self._poll)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._next_poll.cancel()
        return self._receipts.stop()

    # For the handlers

    async def open(
        self, caller: Caller, mailbox: Mailbox, connection: IConnection
    ) -> Callable[[], None]:
        """Get ready to send `caller`'s events on `connection`; returns a function that begins it.

        Comes back when the broker has confirmed what must be heard, or cannot.

        :raises TooManyListeners: the user does so on `LISTENING_CONNECTIONS` others.
        """
        user = caller.id
        self._check_room(user, connection)
        listener = Listener(user, connection, mailbox.cursor, session=caller.session)
        self._opening.add(listener)
        heard = []
        for number, channel in enumerate((caller.channel, *mailbox.channels), 1):
            heard.append(self._channels.hear(channel, user))
            if number % HEARD_AT_ONCE == 0:
                await deferLater(self._reactor, 0, lambda: None)
        await self._bus.settle(heard)

        def start() -> None:
            self._opening.remove(listener)
            replaced = [each for each in self._audience.on(connection) if each.user == user]
            connection.on_writable = self._wake
            if not mailbox.resumes:
                # The database may lack receipts of a moment ago.
                last = max(mailbox.cursor.last, self._receipts.last(user))
                listener.cursor = Cursor(user, last)
            self._audience.add(listener)
            self.drop(replaced)
            connection.persistent = True
            self._look([listener])

        return start

    async def hear(self, user: int, channel: str) -> None:
        """Hear `channel` for `user` from now on, if the user listens here."""
        if self.listens(user):
            await self._bus.settle([self._channels.hear(channel, user)])

    def unhear(self, user: int, channel: str) -> None:
        """Hear `channel` no more for `user`."""
        self._channels.leave_one(user, channel)

    def connection_lost(self, connection: IConnection) -> None:
        """Forget who listened on `connection`, or was about to."""
        opening = self._opening.on(connection)
        for listener in opening:
            self._opening.remove(listener)
        self.drop(self._audience.on(connection))
        self._stop_hearing(opening)

    async def dismiss(self, patience: float) -> None:
        """Tell the listeners where to go, as this server stops, and wait until they have gone,
        `patience` seconds at the most."""
        await self.where.look([*self._audience.users])
        if self._audience:
            self._when_empty = Deferred()
            impatience = self._reactor.callLater(patience, self._when_empty.callback, None)
            await self._when_empty
            if impatience.active():
                impatience.cancel()

    # Hints

    def _hinted(
        self, users: Collection[int], hint: Mapping[str, object], after: Mapping[str, int]
    ) -> None:
        if hint.get("event") in ABOUT_PLACES:
            self._in_background(self.where.look([*users]))
            return
        concerned = self._audience.of(users)
        number = hint.get("id")
        if self._feed and type(number) is int:
            event = Stored(number, hint)
            self._look([each for each in concerned if not self._send_told(each, event, after)])
            return
        _send_now(hint, [listener.connection for listener in concerned])

    def _told_those_who_asked(
        self, users: Collection[int], event: Mapping[str, object], but: str | None
    ) -> None:
        connections = [listener.connection for listener in self._audience.of(users)]
        asked = [each for each in connections if each in self._watchers]
        _send_now(event, [each for each in asked if not but or self._bus.mark(each) != but])

    def _send_told(self, listener: Listener, event: Stored, after: Mapping[str, int]) -> bool:
        """Send a hint's event to a reader whose next event it is; False if it is not."""
        next_one = after.get(str(listener.user)) == listener.cursor.last < event.id
        if not next_one or not listener.connection.writable:
            return False
        self._send_one(listener, event)
        return True

    def _stop_hearing(self, gone: Iterable[Listener]) -> None:
        """Let the users of listeners that are `gone` hear no more, unless they listen elsewhere."""
        for user in {listener.user for listener in gone}:
            if not self.listens(user):
                self._channels.leave(user)
            self.on_leaving(user)

    def _check_room(self, user: int, connection: IConnection) -> None:
        listeners = self._audience.of([user]) + self._opening.of([user])
        others = {each.connection for each in listeners} - {connection}
        if len(others) >= LISTENING_CONNECTIONS:
            raise TooManyListeners(LISTENING_CONNECTIONS)

    # The pump

    def _poll(self) -> None:
        self._next_poll = self._reactor.callLater(self._poll_interval, self._poll)
        self._polls += 1
        if not self._bus.connected or self._polls % SAFETY_FACTOR == 0:
            self._look_for_all()
        self._wake()  # For listeners that the database left waiting, when it was away.

    def _look_for_all(self) -> None:
        if self._audience:
            self._look(self._audience)
            self._in_background(self.where.look([*self._audience.users]))

    def _look(self, listeners: Iterable[Listener]) -> None:
        for listener in listeners:
            self._due[listener] = tracing.here()
        self._wake()

    def _wake(self) -> None:
        if self._feed and self._due and not self._pumping:
            self._pumping = True
            with tracing.within(None):  # The pump is for all.
                self._in_background(self._pump(self._feed))

    async def _pump(self, feed: Feed) -> None:
        try:
            while due := self._next_due():
                spans = [self._due.pop(listener) for listener in due]
                asked = {listener: listener.cursor for listener in due}
                try:
                    # As one look is for all of them, it is shown as the first one's.
                    with tracing.within(next(filter(None, spans), None)):
                        looked = self._database.run(feed.fetch, [*set(asked.values())])
                    found = await looked
                except Unavailable:
                    self._due |= dict.fromkeys(each for each in due if each in self._audience)
                    return
                for (listener, cursor), span in zip(asked.items(), spans, strict=True):
                    if listener in self._audience:
                        with tracing.within(span):
                            self._send(listener, cursor, found.get(cursor, ()))
        finally:
            self._pumping = False

    def _next_due(self) -> list[Listener]:
        """Return some that are due, so that one transaction does not look up many."""
        ready = (each for each in self._due if each.connection.writable)
        return [*islice(ready, LOOKS_AT_ONCE)]

    def _send(self, listener: Listener, asked: Cursor, events: Sequence[Stored]) -> None:
        for event in events:
            if event.id <= listener.cursor.last:
                continue  # A hint has brought it meanwhile.
            if not listener.connection.writable:
                self._due[listener] = None
                return
            self._send_one(listener, event)
        if len(events) >= BATCH and events[-1].id > asked.last:
            self._due[listener] = None

    def _send_one(self, listener: Listener, event: Stored) -> None:
        with tracing.span("deliver"):
            listener.connection.send_line(event.line)
        listener.cursor = Cursor(listener.user, event.id)
        self._receipts.add(listener.cursor)

    def _in_background(self, work: Any) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: _log.failure("listening went wrong", failure=failure)
        )


def _send_now(event: Mapping[str, object], connections: Iterable[IConnection]) -> None:
    """Send an event that lives for the moment to those that read.

    :raises NoHint: it cannot be sent.
    """
    try:
        line = encode(event)
    except (ValueError, RecursionError):
        # Too deep, a number without end, half a character: JSON to read, and not to say.
        raise NoHint("it cannot be told on") from None
    for connection in connections:
        # A connection that does not read misses such an event, as one that is away.
        if connection.writable:
            connection.send_line(line)


@dataclass(eq=False)
class Listener:
    """One user on one connection, who was sent the durable events up to `cursor`. `told` is the
    place that the last `moved` named, and `session` the digest of the token that was shown."""

    user: int
    connection: IConnection
    cursor: Cursor
    told: placement.Seat | None = None
    session: str = ""


class Subscribers:
    """The listeners, by their users and by their connections, in the order in which they came.

    Nothing here takes longer the more there are: when many go at once, each is one of many.
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
        """The users who listen, on one connection or several."""
        return self._by_user.keys()

    def of(self, users: Iterable[int]) -> list[Listener]:
        """The listeners of `users`."""
        return [listener for user in users for listener in self._by_user.get(user, ())]

    def on(self, connection: IConnection) -> list[Listener]:
        """The listeners on `connection`."""
        return [*self._by_connection.get(connection, ())]

    def add(self, listener: Listener) -> None:
        """Add `listener`."""
        self._by_user.setdefault(listener.user, {})[listener] = None
        self._by_connection.setdefault(listener.connection, {})[listener] = None

    def remove(self, listener: Listener) -> None:
        """Remove `listener`, if it is here."""
        _take_out(self._by_user, listener.user, listener)
        _take_out(self._by_connection, listener.connection, listener)


def _take_out(listeners: dict[K, dict[Listener, None]], key: K, listener: Listener) -> None:
    those = listeners.get(key, {})
    those.pop(listener, None)
    if not those:
        listeners.pop(key, None)


class ChannelSubscriptions:
    """Subscribes to each channel once, as long as one user or several hear it."""

    def __init__(self, bus: Bus, on_news: OnNews, on_asked: OnAsked) -> None:
        self._bus = bus
        self._on_news = on_news
        self._on_asked = on_asked
        self._subscriptions: dict[str, ISubscription] = {}
        self._hearers: dict[str, set[int]] = {}
        self._heard_by: dict[int, set[str]] = {}

    def hear(self, channel: str, user: int) -> ISubscription:
        """Have `user` hear `channel` from the broker's confirmation on."""
        # First, as it raises for a malformed channel.
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
        """Have `user` hear nothing any more."""
        for channel in self._heard_by.pop(user, ()):
            self._stop(channel, user)

    def leave_one(self, user: int, channel: str) -> None:
        """Have `user` hear `channel` no more."""
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


class Receipts:
    """The last event that each reader was sent, until it is written down and the reader is gone.

    :param retry_delay: seconds after which a database that was away is tried again.
    """

    def __init__(
        self,
        database: Database,
        feed: Feed | None,
        reactor: IReactorTime,
        retry_delay: float,
        listeners: IListeners,
    ) -> None:
        self._database = database
        self._feed = feed
        self._reactor = reactor
        self._retry_delay = retry_delay
        self._listeners = listeners
        self._sent: OrderedDict[int, int] = OrderedDict()
        self._unnoted: set[int] = set()
        self._next_note: Any = None
        self._one_at_a_time = DeferredLock()
        self._stopped = False

    def last(self, user: int) -> int:
        """The id of the last event that `user` is known to have been sent; 0 for none."""
        return self._sent.get(user, 0)

    def add(self, cursor: Cursor) -> None:
        """Note that a reader was sent an event."""
        if cursor.last > self._sent.get(cursor.user, 0):
            self._sent[cursor.user] = cursor.last
            self._unnoted.add(cursor.user)
            self._note_in(NOTE_DELAY)

    def stop(self) -> Deferred[None]:
        """Write down the last ones; fires when that is done, or cannot be."""
        self._stopped = True
        if self._next_note is not None:
            self._next_note.cancel()
            self._next_note = None
        return Deferred.fromCoroutine(self._note())

    def _note_in(self, seconds: float) -> None:
        if self._next_note is None and not self._stopped:
            self._next_note = self._reactor.callLater(seconds, self._time_to_note)

    def _time_to_note(self) -> None:
        self._next_note = None
        Deferred.fromCoroutine(self._note()).addErrback(
            lambda failure: _log.failure("receipts were not written down", failure=failure)
        )

    async def _note(self) -> None:
        # One after the other: the first of two would forget what the second is to note.
        await self._one_at_a_time.acquire()
        try:
            await self._note_what_is_new()
        finally:
            self._one_at_a_time.release()

    async def _note_what_is_new(self) -> None:
        users, self._unnoted = self._unnoted, set()
        if not users or self._feed is None:
            return
        try:
            await self._database.run(
                self._feed.note, [Cursor(user, self._sent[user]) for user in users]
            )
        except Unavailable:
            self._unnoted |= users
            self._note_in(self._retry_delay)
        else:
            for user in users - self._unnoted:
                if not self._listeners.listens(user):
                    del self._sent[user]
            self._forget_some(len(users) + LOOKED_AT)

    def _forget_some(self, count: int) -> None:
        """Look at `count` readers, in turn, and forget those who listen no more."""
        for user in [*islice(self._sent, count)]:
            if user in self._unnoted or self._listeners.listens(user):
                self._sent.move_to_end(user)
            else:
                del self._sent[user]


class Relocation:
    """Looks where the `audience` of one app server should be, which is that of `listeners`, and
    whether their sessions live."""

    def __init__(self, database: Database, audience: Subscribers, listeners: IListeners) -> None:
        self._database = database
        self._audience = audience
        self._listeners = listeners
        self.server_id: str | None = None
        """This app server's, once it has joined the fleet."""

    async def look(self, users: Collection[int]) -> None:
        """Look where `users` are served, and whether their sessions live; tell those who should
        know. Nothing happens while the database is away: there is always another look."""
        listeners = self._audience.of(users)
        sessions = {listener.session for listener in listeners}
        try:
            found = await self._database.run(presence.standings, sessions)
            await self._bring_back(self._tell(listeners, found))
        except Unavailable:
            return

    def _tell(
        self, listeners: Iterable[Listener], found: dict[str, presence.SessionStanding]
    ) -> Collection[int]:
        """Tell listeners whose session is gone, and those whose user is served elsewhere. Returns
        the users who have no place and wait for none."""
        away: dict[int, None] = {}
        for listener in listeners:
            if listener not in self._audience:
                continue
            standing = found.get(listener.session)
            if standing is None:
                listener.connection.send_event({"event": "logout"})
                self._listeners.drop([listener])
            elif standing.away:
                away[listener.user] = None
            else:
                self._tell_where(listener, standing.seat)
        return away

    async def _bring_back(self, users: Iterable[int]) -> None:
        """Give those who listen and have no place, as if they were away, a place or a wait."""
        for user in users:
            try:
                seat = await self._database.run(
                    placement.come_back, user, self.server_id, stays=True
                )
            except NotLoggedIn:
                continue  # The next look tells of it.
            for listener in self._audience.of([user]):
                self._tell_where(listener, seat)

    def _tell_where(self, listener: Listener, seat: placement.Seat | None) -> None:
        if seat and seat.server != self.server_id and seat != listener.told:
            listener.told = seat
            address = seat.address.seen_from(listener.connection.local_host)
            listener.connection.send_event({"event": "moved", "app_server": address.as_json()})
