"""Events on their way to connections that listen.

Those of the service's feed are durable. Each listener has a cursor, the id of the last of them that
it was sent. Whatever says that there may be news (a hint, the clock, a connection that reads again)
marks it as due; the pump then asks the database what comes after the cursor. Only a hint that
proves which event was the reader's before it is sent at once, to whoever's cursor stands exactly
there. So an event arrives once and in order however it came to be known, a lost hint costs time
only, and a connection that does not read costs no memory: what it has not taken stays in the
database.

All other events live for the moment: who listens and reads gets them as they are told, and nobody
gets them later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs import tracing
from bbs.delivery.audience import Audience, Listener
from bbs.delivery.bus import Bus, NoHint
from bbs.delivery.channels import Channels
from bbs.delivery.feed import BATCH, Cursor, Feed, Mailbox, Stored
from bbs.delivery.receipts import Receipts
from bbs.delivery.whereabouts import Whereabouts
from bbs.errors import Refusal, Unavailable
from bbs.protocols.line import IConnection
from bbs.protocols.line.interfaces import encode
from bbs.rules.callers import Caller
from bbs.storage.database import Database

HEARD_AT_ONCE = 50
"""Channels that one turn of the reactor subscribes to: each takes a tenth of a millisecond, and
somebody may be in a thousand groups."""

LOOKS_AT_ONCE = 50
"""Readers for whom one transaction looks, so that others who read wait for no thousand of them."""

SAFETY_FACTOR = 5
"""With the broker there, the database is looked at this much more rarely than without: for hints
that were lost."""

LISTENING_CONNECTIONS = 16
"""Connections of one server on which a user may listen (`limits.md`, "Members")."""

ABOUT_PLACES = ("moved", "logout")
"""Events by which the servers tell each other to look where users are."""

_log = Logger()


class TooManyListeners(Refusal):
    """The user listens on as many connections as one may."""

    text = "You listen on {} connections already"
    limit = True


class Listeners(Service):
    """The listeners of one app server, and the pump that serves them.

    :param feed: the service's durable events, None where it has none.
    :param poll_interval: seconds between looks while the broker is away.
    :param watchers: the connections that said `events`: as `Home.watchers`.
    """

    def __init__(
        self,
        *,
        database: Database,
        bus: Bus,
        feed: Feed | None,
        poll_interval: float,
        reactor: Any,
        watchers: Container[IConnection] = (),
    ) -> None:
        self._database = database
        self._bus = bus
        self._watchers = watchers
        self._feed = feed
        self._poll_interval = poll_interval
        self._reactor = reactor
        self._audience = Audience()
        self._opening = Audience()
        """Those who are about to listen."""
        self.where = Whereabouts(database, self._audience, self._drop)
        self._channels = Channels(bus, self._hinted, self._told_those_who_asked)
        self._due: dict[Listener, tracing.Span | None] = {}
        """Who may have events to be sent, in the order in which they became so, and as part of
        what."""
        self._receipts = Receipts(database, feed, reactor, poll_interval, self.listens)
        self._pumping = False
        self._next_poll: Any = None
        self._polls = 0
        self._when_empty: Deferred[None] | None = None
        self.on_leaving: Callable[[int], None] = lambda user: None
        """Told of users who do not listen any more on one of their connections."""
        bus.on_change(lambda connected: self._look_for_all())

    def listens(self, user: int) -> bool:
        """Whether `user` listens, or is about to."""
        return user in self._audience.users or user in self._opening.users

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
        """Get ready to send `caller`'s events on `connection`.

        Comes back when the broker has confirmed what must be heard, or cannot; calling what it
        returns begins the sending.

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
                # What was sent a moment ago may not be written down yet.
                last = max(mailbox.cursor.last, self._receipts.last(user))
                listener.cursor = Cursor(user, last)
            self._audience.add(listener)
            self._drop(replaced)
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
        self._drop(self._audience.on(connection))
        self._stop_hearing(opening)

    async def dismiss(self, patience: float) -> None:
        """This server stops: wait until those who listen have been told where to go and have gone,
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
        """Send what a hint brought to a reader whose next event that is; whether it was."""
        next_one = after.get(str(listener.user)) == listener.cursor.last < event.id
        if not next_one or not listener.connection.writable:
            return False
        self._send_one(listener, event)
        return True

    def _stop_hearing(self, gone: Iterable[Listener]) -> None:
        """The users of those who are `gone` hear nothing more, unless they listen elsewhere."""
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
        self._wake()  # For those whom the database, when it was away, left waiting.

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
            with tracing.within(None):  # It is for others too.
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
        """Some that are due, so that many are not looked up in one transaction."""
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

    def _drop(self, listeners: Iterable[Listener]) -> None:
        listeners = [*listeners]
        for listener in listeners:
            self._audience.remove(listener)
            self._due.pop(listener, None)
            if not self._audience.on(listener.connection):
                listener.connection.persistent = False
        self._stop_hearing(listeners)
        if self._when_empty and not self._audience and not self._when_empty.called:
            self._when_empty.callback(None)

    def _in_background(self, work: Any) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: _log.failure("listening went wrong", failure=failure)
        )


def _send_now(event: Mapping[str, object], connections: Iterable[IConnection]) -> None:
    """Send what lives for the moment to those that read.

    :raises NoHint: it is nothing to send.
    """
    try:
        line = encode(event)
    except (ValueError, RecursionError):
        # Too deep, a number without end, half a character: JSON to read, and not to say.
        raise NoHint("it cannot be told on") from None
    for connection in connections:
        # One that does not read gets what lives for the moment as little as one that is away.
        if connection.writable:
            connection.send_line(line)
