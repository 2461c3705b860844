"""Listening for one user: a connection of its own, kept through everything that ends it.

When the connection or its server goes, it finds the user's server again and resumes after the last
message that was shown, so that each is shown once. It stops at a logout.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.client.catalog import CatalogLoader
from bbs.client.connection import Event, ServerConnection
from bbs.client.errors import (
    BadReply,
    ClientError,
    Lost,
    NotSecure,
    Refused,
    TurnedAway,
    Unreachable,
)
from bbs.client.replies import (
    ASK_LOGIN_SERVER,
    MOST_ID,
    ChatMessage,
    ServiceEvent,
    ServiceReply,
    read_address,
)
from bbs.client.request import framework_request
from bbs.client.routing import MAX_HOPS, REPLY_DEADLINE, LocalUser, Router, delays
from bbs.core.addresses import Address
from bbs.core.errors import NotLoggedIn, Unavailable
from bbs.protocols.commands import UnknownCommand, WrongUsage
from bbs.protocols.presentation import ChatEvent, member

PING_INTERVAL = 30.0
"""Seconds of listening after which a ping finds out whether the server is still there."""

PING_DEADLINE = 10.0
"""Seconds until a server that does not answer that ping counts as gone."""

TURNED_AWAY_PAUSE = 10.0
"""Seconds until a server is asked again that takes no more connections: many may be turned away,
and its security log has a line for each time."""

STEADY = 5.0
"""Seconds of listening after which a connection that ends is replaced without much delay."""

_FINAL = (NotLoggedIn.code, WrongUsage.code, UnknownCommand.code)
"""The codes of the refusals after which asking again is of no use."""

_PASSING = (Unavailable.code, ASK_LOGIN_SERVER)
"""The codes of those that are waited out: the service is away, or the user has no place as yet."""


@dataclass(frozen=True)
class Hearer:
    """What a `UserListener` tells, and whom.

    `on_message` gets each message, `on_event` each other event of the service, both with the user
    whom it is for; `on_sent` gets each message that the user has sent elsewhere. `on_serving`
    is told the address of each server that listens from then on, and None when that one is lost.
    `on_end` is called when the listening ends of itself, because the session is over.
    """

    on_message: Callable[[str, ChatMessage], None]
    on_event: Callable[[str, ServiceEvent], None]
    on_sent: Callable[[str, ChatMessage], None]
    on_serving: Callable[[Address | None], None]
    on_end: Callable[[], None]


class UserListener:
    """Listens for a user, from `start` on.

    `shown` holds by user name the id of the last message shown. It outlives the listening, so that
    a user who logs in again goes on from there. `learner` knows which events are messages.
    """

    _log = Logger()

    def __init__(
        self,
        router: Router,
        user: LocalUser,
        shown: MutableMapping[str, int],
        hearer: Hearer,
        learner: CatalogLoader,
    ) -> None:
        self._learner = learner
        self._router = router
        self._user = user
        self._shown = shown
        self._hearer = hearer
        self._token = user.token
        self._connection: ServerConnection | None = None
        self._confirmed = self._moved = self._over = self._wants_events = False
        self._waiting: list[Deferred[None]] = []
        self._end_reason: ClientError = Unreachable("the client stopped listening")
        self._running: Deferred[None] = succeed(None)

    def start(self) -> None:
        self._running = Deferred.fromCoroutine(self._run()).addErrback(self._crashed)

    def want_events(self) -> None:
        """Ask the service for the events that only those get who ask, from now on."""
        self._wants_events = True
        if self._connection is not None:
            self._ask_for_events(self._connection)

    def confirmed(self) -> Deferred[None]:
        """Fires when a connection listens: whatever is sent from then on arrives.

        Fails with `Unreachable` when the listening is stopped, with `Refused` when it has no
        session, and with `TurnedAway` when the server has no room for it: it is tried again then.
        Otherwise it waits as long as it takes. It may be cancelled.
        """
        if self._over:
            return fail(self._end_reason)
        if self._confirmed:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def stop(self) -> None:
        """Listen no more."""
        self._over = True
        if self._connection is not None:
            self._leave()  # When that has ended, so has this.
        else:
            # Not at once: whoever stops may have been called from within what is cancelled.
            self._router.clock.callLater(0, self._running.cancel)
        self._tell_waiting(self._end_reason)

    def _tell_waiting(self, problem: ClientError) -> None:
        while self._waiting:
            self._waiting.pop().errback(problem)

    async def _run(self) -> None:
        waits, hops = delays(), 0
        if self._learner.vocabulary.is_blank:
            await self._learner.learn()
        while not self._over:
            began, pause = self._router.clock.seconds(), None
            try:
                reply = await self._listen()
                if reply.ok and self._router.clock.seconds() - began > STEADY:
                    waits = delays()
                elif reply.redirect is not None:
                    self._user.address = reply.redirect
                elif self._final(reply):
                    return
                elif not reply.ok and reply.code not in _PASSING:
                    raise TurnedAway(self._user.address, reply)
                lost = reply.code == ASK_LOGIN_SERVER
            except TurnedAway as problem:
                # Those who wait are told at once, as it may be long until that changes.
                lost, pause = False, TURNED_AWAY_PAUSE
                self._tell_waiting(problem)
            except (Unreachable, Lost, BadReply):
                lost = True
            except NotSecure as problem:
                # Those who wait are told at once, as that seldom mends itself; it is tried again,
                # as a certificate that has expired is replaced.
                lost = True
                self._tell_waiting(problem)
            if self._over:
                return
            moved, self._moved = self._moved, False
            steady = self._router.clock.seconds() - began > STEADY
            hops = 0 if steady else hops + moved
            if moved and hops <= MAX_HOPS:
                continue
            await deferLater(self._router.clock, pause or next(waits))
            if lost:
                await self._locate()

    async def _locate(self) -> None:
        try:
            refusal = await self._router.locate(self._user)
        except ClientError as problem:
            self._log.info(
                "no server to listen at for {user}: {problem}",
                user=self._user.name,
                problem=str(problem),
            )
        else:
            if refusal is not None:
                self._final(refusal)

    async def _listen(self) -> ServiceReply:
        """Listen on one connection until that is over; the reply to `listen`."""
        user = self._user
        self._token = user.token
        connection = await self._router.connections.open(user.address)
        connection.on_event = self._event
        self._connection = connection
        try:
            last = [str(self._shown[user.name])] if user.name in self._shown else []
            wire = framework_request("listen", user.name, *last).wire(self._token)
            if self._wants_events:  # Before it listens, so that none is missed.
                self._ask_for_events(connection)
            reply = await connection.ask(wire, REPLY_DEADLINE)
            if reply.ok:
                self._confirmed = True
                self._hearer.on_serving(connection.address)
                while self._waiting:
                    self._waiting.pop().callback(None)
                await self._stay(connection)
            return reply
        finally:
            lost, self._confirmed = self._confirmed and not (self._over or self._moved), False
            self._connection = None
            connection.close()
            if lost:
                self._hearer.on_serving(None)

    def _ask_for_events(self, connection: ServerConnection) -> None:
        # Nothing hangs on the answer: a server that knows none of these events tells none.
        asked = connection.ask(b"events\n", REPLY_DEADLINE)
        asked.addErrback(lambda failure: failure.trap(ClientError))

    async def _stay(self, connection: ServerConnection) -> None:
        """Wait until the connection is over. A ping finds out when its server went silently."""
        while True:
            try:
                return await connection.when_ended().addTimeout(PING_INTERVAL, self._router.clock)
            except TimeoutError:
                await connection.ask(b"ping\n", PING_DEADLINE)

    def _event(self, event: Event) -> None:
        user, name = self._user, event["event"]
        if chat := self._learner.vocabulary.presentation.chat(name):
            self._said(event, chat)
        elif name == "moved":
            user.address = read_address(event.get("app_server"))
            self._moved = True
            self._leave()
        elif name == "logout":
            if self._token == user.token:
                self._finish(Unreachable("the user was logged out"))
            else:
                # It was an earlier login's; the user has logged in again: listen as that.
                self._moved = True
                self._leave()
        else:
            self._hearer.on_event(user.name, ServiceEvent(event))

    def _said(self, event: Event, chat: ChatEvent) -> None:
        """Pass a message on. Listening never resumes behind a message that the user sent: it
        went to another reader, and may overtake one to the user."""
        name, id = self._user.name, member(event, chat.id) if chat.id else None
        if type(id) is int and 0 <= id <= MOST_ID and not chat.own:
            if id <= self._shown.get(name, -1):
                return
            self._shown[name] = id
        try:
            message = ChatMessage.read(event, chat)
        except BadReply:  # An event of this name may have other members.
            self._hearer.on_event(name, ServiceEvent(event))
        else:
            (self._hearer.on_sent if chat.own else self._hearer.on_message)(name, message)

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _final(self, reply: ServiceReply) -> bool:
        """Whether a refusal is the end of it, and then end."""
        if reply.code in _FINAL and self._token == self._user.token:
            self._finish(Refused(reply))
        return self._over

    def _finish(self, reason: ClientError) -> None:
        self._end_reason = reason
        self.stop()
        self._hearer.on_end()

    def _crashed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("listening for {user} ended", failure, user=self._user.name)
            self._end_reason = Unreachable("listening ended by a mistake in this client")
            self.stop()  # Whoever waits would wait for ever.
