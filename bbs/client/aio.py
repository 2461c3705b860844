"""The client library for asyncio.

    async with aio.connect("127.0.0.1", 22222) as client:
        await client.login("bot", "secret")
        async for event in client.events("bot"):
            if isinstance(event, ChatMessage):
                await client.ask("send", "bot", event.sender, "I am a program.")

A `Client` is a `bbs.client.ServiceClient` whose methods are coroutines: the same code speaks to the
servers, on a reactor of Twisted's that runs in the loop of asyncio. A program need not know of it:
no reactor is installed, and none has to run. The exceptions are those of `bbs.client`.

Limits:

- A client belongs to the loop in which it was made, and to its thread.
- The loop must have `add_reader`, as all do but the one of Windows for pipes (Proactor).
- `events` keeps `MOST_WAITING` events that nobody has taken, and then fails with `Overrun`.
- To look up a name of a host, Twisted imports its default reactor, which is then not used.
- A cancelled request may have been carried out, as one that is `Lost`.
- Callbacks of `ServiceClient` (`on_waiting`, `on_serving`) are set at `client.library`, and
  `as_future` makes an awaitable of what its other methods return.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, TypeVar, overload

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from bbs.client.client import ServiceClient
from bbs.client.errors import ClientError
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply
from bbs.client.tls import load_trust, tls_endpoints
from bbs.core.addresses import Address

__all__ = ["MOST_WAITING", "Client", "Overrun", "as_future", "connect"]

T = TypeVar("T")
C = TypeVar("C", bound="Client")

MOST_WAITING = 10_000
"""Events of one user that wait for the program."""


class Overrun(ClientError):
    """More than `MOST_WAITING` events waited for the program, which takes them too slowly. Those
    behind them, up to this exception, are dropped; `events` may then go on. Messages that the
    service stores can be had again, by another client that listens with `after`."""


class _Reactor(AsyncioSelectorReactor):
    """Twisted's interface to a loop that somebody else runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        # Twisted's own looks names up on threads that only a running reactor has.
        self.installNameResolver(_Resolver(loop))

    def installWaker(self) -> None:
        """Nothing: threads wake the loop."""


@implementer(IHostnameResolver)
class _Resolver:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()  # The loop has weak references only.

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        task = self._loop.create_task(self._resolve(resolutionReceiver, hostName, portNumber))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return resolution

    async def _resolve(self, receiver: IResolutionReceiver, host: str, port: int) -> None:
        try:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        for family, _, _, _, address in found:
            kind: type[Any] = IPv6Address if family == socket.AF_INET6 else IPv4Address
            receiver.addressResolved(kind("TCP", *address))
        receiver.resolutionComplete()


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Nothing: what is found then is ignored."""


def as_future(deferred: Deferred[T]) -> asyncio.Future[T]:
    """The future of `deferred`; to cancel it cancels the Deferred. Call this in a coroutine:
    outside of one it is a RuntimeError."""
    future: asyncio.Future[T] = deferred.asFuture(asyncio.get_running_loop())
    return future


class _Events:
    """The events of one user that wait for the program."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[ChatMessage | ServiceEvent | None] = asyncio.Queue()
        self._ended = self._overrun = self._is_awaited = False

    def put(self, event: ChatMessage | ServiceEvent) -> None:
        if self._waiting.qsize() >= MOST_WAITING:
            self._overrun = True
            self.end()
        elif not self._ended:
            self._waiting.put_nowait(event)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._waiting.put_nowait(None)

    async def next(self) -> ChatMessage | ServiceEvent | None:
        """The next one; None at the end. ValueError while somebody else waits for it."""
        if self._is_awaited:
            raise ValueError("another iteration waits for the events of this user")
        self._is_awaited = True
        try:
            event = await self._waiting.get()
        finally:
            self._is_awaited = False
        if event is None and self._overrun:
            self._ended = self._overrun = False
            raise Overrun(f"more than {MOST_WAITING:,} events waited to be taken")
        if event is None:
            self._waiting.put_nowait(None)
        return event


class Client:
    """A service, for any number of users at once: `bbs.client.ServiceClient` with coroutines, whose
    methods take the same arguments and fail with the same errors.

    Make one in a coroutine, and use it in `async with`: that reaches the login server at `host` and
    `port` (or fails as `ServiceClient.connect` does), and in the end closes all connections. `tls`
    talks by TLS to all servers, which the authorities of the system must vouch for, or the
    certificates in the PEM file `ca`. If these cannot be used, or TLS is not installed, this raises
    an exception whose text says so in one line. Other `options` are those of `ServiceClient`.

    `lobby stubs --asyncio` writes a class for the service `lobby` that derives from this one.

    :ivar library: the `ServiceClient`.
    """

    def __init__(
        self, host: str, port: int = 22222, *, tls: bool = False, ca: str = "", **options: Any
    ) -> None:
        self._reactor: Any = _Reactor(asyncio.get_running_loop())
        if tls or ca:
            options["endpoint"] = tls_endpoints(self._reactor, load_trust(ca), host)
        self.library: ServiceClient[ServiceReply] = ServiceClient(
            self._reactor, Address(host, port), **options
        )
        self._events: dict[str, _Events] = {}
        self.library.on_event(self._put)
        self.library.on_logged_out(self._end)

    async def __aenter__(self: C) -> C:
        try:
            await as_future(self.library.connect())
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening and close all connections; users stay logged in. `events` end."""
        for user in [*self._events]:
            self._end(user)
        await as_future(self.library.close())

    @property
    def users(self) -> tuple[str, ...]:
        """The names of the users who are logged in here."""
        return self.library.users

    async def register(self, name: str, password: str) -> None:
        """Make an account with this `name` and `password`."""
        await as_future(self.library.register(name, password))

    async def login(self, name: str, password: str) -> None:
        """Log a user in, by `name` and `password`; may take minutes, while an app server starts."""
        await as_future(self.library.login(name, password))

    async def resume(self, user: str, token: str) -> None:
        """Log a user in by the token of an earlier login (`token`)."""
        await as_future(self.library.resume(user, token))

    def token(self, user: str) -> str:
        """The access token of a user who is logged in here, as secret as a password."""
        return self.library.token(user)

    async def change_password(self, user: str, old: str, new: str) -> None:
        """Change the password from `old` to `new`; all other sessions of the user end."""
        await as_future(self.library.change_password(user, old, new))

    async def logout(self, user: str) -> None:
        """End all sessions of the user."""
        await as_future(self.library.logout(user))
        self._end(user)

    async def delete(self, user: str) -> None:
        """Delete the user's account."""
        await as_future(self.library.delete(user))
        self._end(user)

    async def locate(self, user: str) -> Address:
        """Find the server that serves the user now."""
        return await as_future(self.library.locate(user))

    async def ping(self) -> None:
        """Check that the login server answers."""
        await as_future(self.library.ping())

    async def ask(self, name: str, *arguments: str) -> ServiceReply:
        """The reply to the command `name`, with all parts of its list; for `<user>`, `arguments`
        have the name of a user who is logged in here."""
        return await as_future(self.library.ask(name, *arguments))

    async def request(self, line: str, *, whole: bool = True) -> ServiceReply:
        """The reply to a line as a person types it, also when the server refuses it. With
        `whole=False` the reply has the first part of its list only."""
        return await as_future(self.library.request(line, whole=whole))

    async def listen(self, user: str, *, after: int | None = None) -> None:
        """Have `events` get all that comes from now on; with `after`, all messages behind that id.
        Listening goes on through failures, until the user is logged out."""
        if user in self.library.users:
            self._events.setdefault(user, _Events())
        self.library.on_sent(lambda user, message: None)  # It also asks for the other events.
        await as_future(self.library.listen(user, self._put, after=after))

    async def events(
        self, user: str, *, after: int | None = None
    ) -> AsyncIterator[ChatMessage | ServiceEvent]:
        """Listen, and iterate over the user's messages and the service's other events, each once,
        until the user is logged out or the client is closed. Messages that the user sends on other
        connections are left out. Events between two iterations wait for the second; two iterations
        at once are a ValueError. With `after`, messages begin behind that id, as for `listen`.

        :raises Overrun: more than `MOST_WAITING` events wait.
        """
        await self.listen(user, after=after)
        events = self._events.get(user)
        if events is None:  # The user was logged out meanwhile, or the client closed.
            return
        while (event := await events.next()) is not None:
            yield event

    def _put(self, user: str, event: ChatMessage | ServiceEvent) -> None:
        if user in self._events:
            self._events[user].put(event)

    def _end(self, user: str) -> None:
        if found := self._events.pop(user, None):
            found.end()


@overload
def connect(host: str, port: int = 22222, *, tls: bool = False, ca: str = "") -> Client: ...


@overload
def connect(
    host: str, port: int = 22222, *, client: type[C], tls: bool = False, ca: str = ""
) -> C: ...


def connect(
    host: str,
    port: int = 22222,
    *,
    client: type[Any] = Client,
    tls: bool = False,
    ca: str = "",
) -> Any:
    """A `Client`, or one of the class `client`, for `async with`; `host`, `port`, `tls` and `ca`
    are as it takes them."""
    return client(host, port, tls=tls, ca=ca)
