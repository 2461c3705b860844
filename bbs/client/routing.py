"""Find the server for a request, and another one if that server is gone.

A request goes to the login server, or to the app server where its user has a place. The router
follows redirects, and asks the login server to `locate` a user whose app server cannot be reached.
A request is sent again only if it was certainly not carried out (nothing was sent, or the server
said so), or if repeating it does no harm.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from bbs.client.connection import ConnectionPool, Event, ServerConnection
from bbs.client.errors import GivenUp, Lost, NoService, TurnedAway, Unreachable
from bbs.client.replies import ASK_LOGIN_SERVER, ServiceReply, Waiting
from bbs.client.request import ClientRequest, framework_request
from bbs.core.addresses import Address
from bbs.core.errors import Stopping
from bbs.protocols.commands import Role

MAX_HOPS = 5  # redirects that one request follows
PATIENCE = 60.0  # s for which one request searches for a server that takes it
REPLY_DEADLINE = 30.0  # s until a request without a reply is given up
ASIDE_DEADLINE = 5.0  # s for a client's own question (`Router.ask_aside`), as people wait meanwhile
PROBE_DEADLINE = 4.0  # s for a ping to a server that has not answered within ASIDE_DEADLINE
WAITING_DEADLINE = 200.0  # s for `login` and `locate`, which may wait for an app server's launch

# The beginnings of an alert and a handshake of TLS (RFC 8446, section 5.1).
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")


@dataclass
class LocalUser:
    """A user who is logged in here, with the token and the address of the user's server."""

    name: str
    token: str = field(repr=False)
    address: Address


def delays() -> Iterator[float]:
    """Yield the seconds before each attempt: rising to 2, and spread, for many clients at once."""
    delay = 0.05
    while True:
        yield delay * random.uniform(0.5, 1.0)  # nosec B311 # Nothing secret depends on it.
        delay = min(2 * delay, 2.0)


class Router:
    """Carries requests to the servers that answer them."""

    def __init__(
        self, clock: IReactorTime, connections: ConnectionPool, login_server: Address
    ) -> None:
        self.clock = clock
        self.connections = connections
        self.on_waiting: Callable[[Waiting], None] | None = None
        self.on_searching: Callable[[Address | None], None] = lambda login_server: None
        self.devices: MutableMapping[str, str] | None = None  # Device tokens, by users' names.
        self._searching = False
        self._login_server = login_server
        self._closed = False

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def connect(self) -> None:
        """Reach the login server now; raises `Unreachable` at once if this is not possible."""
        await self.connections.to(self._login_server)

    async def probe(self) -> None:
        """Check that the server is a login server; raises `NoService`, or `TurnedAway`."""
        connection = await self.connections.to(self._login_server)
        try:
            await connection.ask(b"ping\n", PROBE_DEADLINE)
        except TurnedAway:  # It is a login server, without room.
            raise
        except (Lost, Unreachable) as problem:
            if connection.heard.startswith(_TLS_RECORDS):
                said = "it speaks TLS, and this client did not"
            elif connection.heard:
                said = f"it says {connection.heard.rstrip().decode('utf-8', 'replace')!r}"
            elif connection.was_silent:
                said = "it says nothing"
            else:
                said = "it closed the connection, and may want TLS"
            raise NoService(f"{self._login_server} is not a login server: {said}") from problem

    async def carry(self, request: ClientRequest, user: LocalUser | None) -> ServiceReply:
        """The reply to a request of `user` (None: the user is not logged in here).

        Raises `Lost` if the request may have been carried out, and `Unreachable` if no server took
        it for `PATIENCE` seconds. If it is cancelled, `GivenUp` says that the request was sent.
        """
        roaming = user if request.role is Role.APP else None
        wire = request.wire(user.token if user else "")
        give_up = self.clock.seconds() + PATIENCE
        waits, hops = delays(), 0
        while True:
            try:
                address = roaming.address if roaming else self._login_server
                reply = await self._ask(address, request, wire)
                if reply.code == Stopping.code:
                    raise Unreachable(reply.message)
            except (Unreachable, Lost) as problem:
                if isinstance(problem, Lost) and not request.harmless:
                    raise
                if roaming is None and not self._closed:
                    self._found(False)
                if self._closed or self.clock.seconds() >= give_up:
                    raise Unreachable(str(problem)) from problem
                await deferLater(self.clock, next(waits))
            else:
                if roaming is None:
                    self._found(True)
                    return reply
                there = reply.redirect
                is_astray = there is not None or reply.code == ASK_LOGIN_SERVER
                if not is_astray or hops == MAX_HOPS:
                    return reply
                hops += 1
                if there is not None:
                    roaming.address = there
                    continue
            if roaming is not None and (refusal := await self.locate(roaming)):
                return refusal

    async def ask_aside(self, request: ClientRequest) -> ServiceReply:
        """Ask the login server a question of the client's own, in one attempt, on a connection of
        its own: if the server ends it, or answers with nonsense, no user's request is lost."""
        connection = await self.connections.open(self._login_server)
        try:
            return await connection.ask(request.wire(""), ASIDE_DEADLINE)
        finally:
            connection.close()

    async def find(self) -> None:
        """Wait until the login server is reached; raises `Unreachable` after `PATIENCE` seconds."""
        give_up, waits = self.clock.seconds() + PATIENCE, delays()
        while True:
            try:
                await self.connections.to(self._login_server)
            except Unreachable:
                if not self._closed:
                    self._found(False)
                if self._closed or self.clock.seconds() >= give_up:
                    raise
                await deferLater(self.clock, next(waits))
            else:
                return self._found(True)

    def _found(self, found: bool) -> None:
        """Tell when the search for the login server begins or ends."""
        if found == self._searching:
            self._searching = not found
            self.on_searching(None if found else self._login_server)

    async def locate(self, user: LocalUser) -> ServiceReply | None:
        """Update the address of a user's server; return the reply if it is a refusal."""
        reply = await self.carry(framework_request("locate", user.name), user)
        if not reply.ok:
            return reply
        user.address = reply.app_server
        return None

    async def _ask(self, address: Address, request: ClientRequest, wire: bytes) -> ServiceReply:
        try:
            if not request.waits:
                connection = await self.connections.to(address)
                return await _ask_once(connection, wire, REPLY_DEADLINE)
            connection = await self.connections.open(address)
            try:
                if self.on_waiting is not None:
                    connection.on_event = self._event_received
                    await connection.ask(b"events\n", REPLY_DEADLINE)
                if device := self._device_for(request):
                    # An older server refuses it, and a wrong one is ignored: the login goes on.
                    shown = connection.ask(b"device %s\n" % device.encode(), REPLY_DEADLINE)
                    shown.addBoth(lambda _: None)
                return await _ask_once(connection, wire, WAITING_DEADLINE)
            finally:
                connection.close()
        except TurnedAway as problem:
            return problem.reply

    def _device_for(self, request: ClientRequest) -> str:
        """The device token to show before a request; "" for none."""
        if self.devices is None or request.name != "login" or len(request.words) < 2:
            return ""
        return self.devices.get(request.words[1], "")

    def _event_received(self, event: Event) -> None:
        if event["event"] == "waiting" and self.on_waiting is not None:
            self.on_waiting(Waiting.read(event))

    def close(self) -> Deferred[None]:
        """End all connections; pending requests fail. Fires when no connection is left."""
        self._closed = True
        self.on_waiting, self.on_searching = None, lambda login_server: None
        return self.connections.close()


async def _ask_once(connection: ServerConnection, wire: bytes, deadline: float) -> ServiceReply:
    try:
        return await connection.ask(wire, deadline)
    except CancelledError:
        raise GivenUp() from None
