"""Listen for one user, on a connection that is replaced whenever it ends.

If the connection or its server is lost, the listener finds the user's server again and resumes
after the last message that was shown, so that each message is shown once. A logout ends it.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.client import errors
from bbs.client.catalog import CatalogLoader
from bbs.client.connection import Event, ServerConnection
from bbs.client.replies import (
    ASK_LOGIN_SERVER,
    ChatMessage,
    ServiceEvent,
    ServiceReply,
    read_address,
    read_id,
)
from bbs.client.request import framework_request
from bbs.client.routing import MAX_HOPS, REPLY_DEADLINE, LocalUser, Router, delays
from bbs.core.addresses import Address
from bbs.core.errors import NotLoggedIn, Unavailable
from bbs.protocols.commands import UnknownCommand, WrongUsage
from bbs.protocols.forms import member
from bbs.protocols.presentation import ChatEvent

PING_INTERVAL = 30.0  # s between pings, which check that the server is still there
PING_DEADLINE = 10.0  # s until a server that does not answer a ping counts as gone
TURNED_AWAY_PAUSE = 10.0  # s between attempts at a full server, whose security log has them all
STEADY = 5.0  # s of listening after which a connection that ends is replaced without much delay

# The codes of refusals after which the client gives up, and of those that pass: the service is
# away, or the user has no place yet.
_FINAL = (NotLoggedIn.code, WrongUsage.code, UnknownCommand.code)
_PASSING = (Unavailable.code, ASK_LOGIN_SERVER)


@dataclass(frozen=True)
class Hearer:
    """The callbacks of a `UserListener`.

    `on_message` gets each message, and `on_event` each other event of the service, both with the
    user; `on_sent` gets each message that the user has sent elsewhere. `on_serving` gets each new
    server's address, and None when the server is lost. `on_end` is called after the session's end.
    """

    on_message: Callable[[str, ChatMessage], None]
    on_event: Callable[[str, ServiceEvent], None]
    on_sent: Callable[[str, ChatMessage], None]
    on_serving: Callable[[Address | None], None]
    on_end: Callable[[], None]


class UserListener:
    """Listens for a user, from `start` on.

    `shown` has the id of the last message shown, by user name; a user who logs in again goes on
    from there. `learner` knows which events are messages.
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
        self._end_reason: errors.ClientError = errors.Unreachable("the client stopped listening")
        self._running: Deferred[None] = succeed(None)

    def start(self) -> None:
        self._running = Deferred.fromCoroutine(self._run()).addErrback(self._crashed)

    def want_events(self) -> None:
        """From now on, get the events for connections that said `events`."""
        self._wants_events = True
        if self._connection is not None:
            self._ask_for_events(self._connection)

    def confirmed(self) -> Deferred[None]:
        """Fires when a connection listens: all messages that are sent from then on arrive.

        Fails with `Unreachable` when listening is stopped, with `Refused` after the session's end,
        and with `TurnedAway` if the server has no room; then the listener goes on trying.
        Otherwise this waits as long as necessary, and may be cancelled.
        """
        if self._over:
            return fail(self._end_reason)
        if self._confirmed:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def stop(self) -> None:
        """Stop listening."""
        self._over = True
        if self._connection is not None:
            self._connection.close()  # `_run` ends with it.
        else:
            # Not at once: the caller may itself be called by what is cancelled.
            self._router.clock.callLater(0, self._running.cancel)
        self._fail_waiting(self._end_reason)

    def _fail_waiting(self, problem: errors.ClientError) -> None:
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
                elif self._end_if_final(reply):
                    return
                elif not reply.ok and reply.code not in _PASSING:
                    raise errors.TurnedAway(self._user.address, reply)
                lost = reply.code == ASK_LOGIN_SERVER
            except errors.TurnedAway as problem:
                # The callers need not wait, as this may last long.
                lost, pause = False, TURNED_AWAY_PAUSE
                self._fail_waiting(problem)
            except (errors.Unreachable, errors.Lost, errors.BadReply):
                lost = True
            except errors.NotSecure as problem:
                # The callers need not wait, as this rarely passes by itself. The listener goes on
                # trying, as an expired certificate is replaced some day.
                lost = True
                self._fail_waiting(problem)
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
        except errors.ClientError as error:
            user, problem = self._user.name, str(error)
            self._log.info(
                "no server at which to listen for {user}: {problem}", user=user, problem=problem
            )
        else:
            if refusal is not None:
                self._end_if_final(refusal)

    async def _listen(self) -> ServiceReply:
        """Listen on one connection until it ends; return the reply to `listen`."""
        user = self._user
        self._token = user.token
        connection = await self._router.connections.open(user.address)
        connection.on_event = self._event_received
        self._connection = connection
        try:
            last = [str(self._shown[user.name])] if user.name in self._shown else []
            wire = framework_request("listen", user.name, *last).wire(self._token)
            if self._wants_events:  # Before `listen`, so that none is missed.
                self._ask_for_events(connection)
            reply = await connection.ask(wire, REPLY_DEADLINE)
            if reply.ok:
                self._confirmed = True
                self._hearer.on_serving(connection.address)
                while self._waiting:
                    self._waiting.pop().callback(None)
                await self._wait_for_end(connection)
            return reply
        finally:
            lost, self._confirmed = self._confirmed and not (self._over or self._moved), False
            self._connection = None
            connection.close()
            if lost:
                self._hearer.on_serving(None)

    def _ask_for_events(self, connection: ServerConnection) -> None:
        # The reply does not matter: a server without such events sends none.
        asked = connection.ask(b"events\n", REPLY_DEADLINE)
        asked.addErrback(lambda failure: failure.trap(errors.ClientError))

    async def _wait_for_end(self, connection: ServerConnection) -> None:
        """Wait until the connection ends, and send pings, as a server may vanish silently."""
        while True:
            try:
                return await connection.when_ended().addTimeout(PING_INTERVAL, self._router.clock)
            except TimeoutError:
                await connection.ask(b"ping\n", PING_DEADLINE)

    def _event_received(self, event: Event) -> None:
        user, name = self._user, event["event"]
        if chat := self._learner.vocabulary.presentation.chat(name):
            self._pass_on(event, chat)
        elif name == "moved":
            user.address = read_address(event.get("app_server"))
            self._move()
        elif name == "logout" and self._token == user.token:
            self._finish(errors.Unreachable("the user was logged out"))
        elif name == "logout":
            # An earlier session has ended; the user has logged in again: listen with the new token.
            self._move()
        else:
            self._hearer.on_event(user.name, ServiceEvent(event))

    def _pass_on(self, event: Event, chat: ChatEvent) -> None:
        """Pass a message on. Listening never resumes after a message that the user sent: it went to
        another reader, and may overtake a message to the user."""
        name, id = self._user.name, read_id(member(event, chat.id))
        if id is not None and not chat.own:
            if id <= self._shown.get(name, -1):
                return
            self._shown[name] = id
        try:
            message = ChatMessage.read(event, chat)
        except errors.BadReply:  # An event of this name may have other members.
            self._hearer.on_event(name, ServiceEvent(event))
        else:
            (self._hearer.on_sent if chat.own else self._hearer.on_message)(name, message)

    def _move(self) -> None:
        self._moved = True
        if self._connection is not None:
            self._connection.close()

    def _end_if_final(self, reply: ServiceReply) -> bool:
        """End after a final refusal; whether the listener has ended."""
        if reply.code in _FINAL and self._token == self._user.token:
            self._finish(errors.Refused(reply))
        return self._over

    def _finish(self, reason: errors.ClientError) -> None:
        self._end_reason = reason
        self.stop()
        self._hearer.on_end()

    def _crashed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("listening for {user} ended", failure, user=self._user.name)
            self._end_reason = errors.Unreachable("listening ended by a mistake in this client")
            self.stop()  # Otherwise the callers would wait for ever.
