"""The client library for any service: `ServiceClient`.

Callers give names where the wire has access tokens. The library keeps the tokens of logged-in
users, finds the server for each request, and listens through failures. `request` and `ask` carry
out any command; the service says which commands there are.

A server bounds its replies. If a list has more entries, its reply has a cursor in `more`, and
`more <user> <cursor>` gets the next part (`docs/protocol.md`, section 3). The library asks for the
parts one after the other and joins them to one reply. Limits on bytes, parts and time keep a server
from filling a client's memory or from answering for ever; what has come by then is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from bbs.client.catalog import CatalogLoader, CommandCatalog
from bbs.client.connection import ConnectionPool, endpoint_to
from bbs.client.echo_filter import EchoFilter
from bbs.client.errors import ClientError, Incomplete, NotTrusted, Refused
from bbs.client.listener import Hearer, UserListener
from bbs.client.replies import (
    MOST_VALUES,
    ChatMessage,
    Origin,
    ServiceEvent,
    ServiceReply,
    Waiting,
    read_id,
)
from bbs.client.request import FRAMEWORK, ClientRequest, CommandInfo, command_infos, make_request
from bbs.client.routing import LocalUser, Router
from bbs.core import tracing
from bbs.core.addresses import Address
from bbs.protocols.commands import Command, Role
from bbs.protocols.forms import Listing, member
from bbs.protocols.presentation import Presentation

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # typing's own has no defaults before Python 3.13.

    R = TypeVar("R", bound=ServiceReply, default=ServiceReply, covariant=True)
else:
    from typing import TypeVar

    R = TypeVar("R", bound=ServiceReply, covariant=True)

MOST_BYTES = 64 * 1024 * 1024  # bytes on the wire of all parts of one reply, by default
MOST_PARTS = 10_000  # of one reply: as servers make them, these are more than MOST_BYTES
PARTS_PATIENCE = 300.0  # s for all parts of one reply

MOST_PASSED_ON = 1000  # numbers of events that a client remembers, so that each comes once

_NOT_A_PART = "the server answered with something else"


class ReplyParts:
    """The parts of one reply that have come so far."""

    def __init__(self, first: ServiceReply, most: int, backwards: bool = False) -> None:
        self._first = first
        self._backwards = backwards
        self._name = first.list_name
        self._most = most
        self._size = self._values = 0
        self._lists: list[list[object]] = []
        self._asked: set[str] = set()
        self._more: object = None
        self._lacking = ""
        self.cursor: str | None = None  # of the next part, if there is one and it can be had
        self._take(first)

    def add(self, part: ServiceReply) -> None:
        """Take the next part, or the refusal of it."""
        if not part.ok:
            self.end(part.message or "the server refused it")
        elif part.list_name != self._name:
            self.end(_NOT_A_PART)
        elif self._size + part.size > self._most:
            self.end(f"there are over {_mebibytes(self._most)}")
        elif self._values + part.values > MOST_VALUES:
            self.end(f"there are over {MOST_VALUES:,} values")
        else:
            self._take(part)

    def end(self, why: str) -> None:
        """Note why no further part can be had."""
        self._lacking = why
        self.cursor = None

    def _take(self, part: ServiceReply) -> None:
        entries = part.members.get(part.list_name or "")
        self._lists.append(entries if isinstance(entries, list) else [])
        self._size += part.size
        self._values += part.values
        self._more = part.members.get("more")
        self.cursor = part.cursor
        if self.cursor is None or self._name is None:
            # In a first reply alone, `more` may mean something else.
            self.end(_NOT_A_PART if self._asked and self._more else "")
        elif self.cursor in self._asked:
            self.end("the server repeats itself")
        elif self._size >= self._most:
            self.end(f"there are over {_mebibytes(self._most)}")
        elif len(self._lists) >= MOST_PARTS:
            self.end(f"there are over {MOST_PARTS} parts")
        else:
            self._asked.add(self.cursor)

    @property
    def together(self) -> ServiceReply:
        """One reply with the lists of all parts."""
        if self._name is None or len(self._lists) == 1:
            return replace(self._first, size=self._size, lacking=self._lacking)
        ends = ("more", "backwards")
        members = {name: value for name, value in self._first.members.items() if name not in ends}
        lists = reversed(self._lists) if self._backwards else self._lists
        members[self._name] = [each for part in lists for each in part]
        if self._more:
            members["more"] = self._more
        return replace(self._first, members=members, size=self._size, lacking=self._lacking)


def _mebibytes(size: int) -> str:
    return f"{size / 1048576:.3g} MiB"


def _part_request(role: Role, user: str, cursor: str) -> ClientRequest:
    info = CommandInfo(Command("more <user> <cursor>", role), harmless=True)
    return ClientRequest.parse(f"more {user} {cursor}", {"more": info})


_Asking = Coroutine[Deferred[Any], Any, ServiceReply]


def _ignore(*_: object) -> None:
    """A callback that does nothing."""


class ServiceClient(Generic[R]):
    """A service, for any number of users at once.

    Every method that asks the service returns a Deferred, which may fail with these subclasses of
    `ClientError`:

    - `Refused`: the server said no (the text is the server's message); `request` gives the reply
      instead.
    - `Lost`: no reply came, and the request may have been carried out. The library does not send
      such a request again.
    - `Unreachable`: no server took the request for a minute. Only `listen` fails with its subclass
      `TurnedAway`.
    - `BadReply`: the server sent something that is not in the protocol.
    - `NotTrusted`: the server does not trust `origin`.
    - `NotSecure`: `endpoint` uses TLS, and the server cannot show who it is.
    - `Incomplete`: a list has more entries that could not be had; `request` gives those that came.

    A name or password that is not one word is a ValueError.

    `login_server` is the address of the service. `reactor` gives the time, and makes the
    connections unless `endpoint` does. `endpoint` makes client endpoints for it and for app
    servers: plain TCP by default. A gateway says in `origin` for whom it speaks. Several clients of
    one service can share `vocabulary`, the known commands of the service. `most` limits the bytes
    of one reply whose list comes in parts, by default to 64 MiB. `devices` keeps device tokens by
    the names of users who log in: with one, a login is not held up by strangers who guess the
    user's password. By default none are kept, as a gateway has to.

    A library for one service derives from this class and sets `presentation` (for servers that send
    none), `commands` (those that its methods use) and `reply_class`. For type checkers it names the
    latter in brackets: `class BBSClient(ServiceClient[Reply])`.
    """

    presentation: ClassVar[Presentation] = Presentation()
    commands: ClassVar[Sequence[Command]] = ()
    reply_class: ClassVar[type[ServiceReply]] = ServiceReply
    _infos: ClassVar[Mapping[str, CommandInfo]] = FRAMEWORK

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._infos = {**FRAMEWORK, **command_infos(*cls.commands)}

    def __init__(
        self,
        reactor: IReactorTime,
        login_server: Address,
        endpoint: Callable[[Address], IStreamClientEndpoint] | None = None,
        *,
        origin: Origin | None = None,
        vocabulary: CommandCatalog | None = None,
        most: int = MOST_BYTES,
        devices: MutableMapping[str, str] | None = None,
    ) -> None:
        endpoint = endpoint or partial(endpoint_to, reactor)
        greetings = {login_server: origin.greeting} if origin else {}
        known = vocabulary or CommandCatalog(self.presentation)
        connections = ConnectionPool(
            reactor, endpoint, greetings, lambda: known.traced, self.reply_class
        )
        self._router = Router(reactor, connections, login_server)
        self._router.devices = devices
        self._login_server = login_server
        self._learner = CatalogLoader(self._router, known)
        self._most = most
        self._echoes = EchoFilter(reactor, known)
        self._users: dict[str, LocalUser] = {}
        self._listeners: dict[str, UserListener] = {}
        self._shown: dict[str, int] = {}
        self._passed_on: dict[tuple[object, int], None] = {}
        """The numbers of events that are passed on once (`Line.once`), each behind its event."""
        self._router.on_searching = self._search_changed
        self._on_searching: Callable[[Address | None], None] = _ignore
        self._on_event: Callable[[str, ServiceEvent], None] = _ignore
        self._on_sent: Callable[[str, ChatMessage], None] | None = None
        self._on_serving: Callable[[str, Address | None], None] = _ignore
        self._on_logged_out: Callable[[str], None] = _ignore

    @property
    def clock(self) -> IReactorTime:
        """The clock by which it waits."""
        return self._router.clock

    @property
    def users(self) -> tuple[str, ...]:
        """The names of the users who are logged in here."""
        return tuple(self._users)

    @property
    def vocabulary(self) -> CommandCatalog:
        """The known commands of the service."""
        return self._learner.vocabulary

    def connect(self) -> Deferred[None]:
        """Reach the login server now; may fail at once with `Unreachable` or `NotSecure`."""
        return Deferred.fromCoroutine(self._connect())

    async def _connect(self) -> None:
        await self._router.connect()
        self._learner.begin()

    def meet(self) -> Deferred[None]:
        """Connect, and wait for an answer; fails with `NoService`, within 10 s, if that is not a
        login server."""
        return Deferred.fromCoroutine(self._meet())

    async def _meet(self) -> None:
        await self._connect()
        # This answer is needed anyway, and shows that this is a login server.
        await self._learner.learn()
        if not self._learner.answered:
            await self._router.probe()

    def on_waiting(self, tell: Callable[[Waiting], None] | None) -> None:
        """Have `tell` called with the position of a login that waits for an app server."""
        self._router.on_waiting = tell

    def on_searching(self, tell: Callable[[Address | None], None]) -> None:
        """Have `tell` called with the login server's address when it is lost, None when found."""
        self._on_searching = tell

    def _search_changed(self, login_server: Address | None) -> None:
        if login_server is None:
            self.vocabulary.doubt()
            self._learner.begin()
        self._on_searching(login_server)

    def on_event(self, tell: Callable[[str, ServiceEvent], None]) -> None:
        """Have `tell` called with the user and each event of the service's own that comes."""
        self._on_event = tell

    def on_sent(self, tell: Callable[[str, ChatMessage], None]) -> None:
        """Have `tell` called with the user and each message that the user sent elsewhere to one
        reader. Servers send these only to connections that say `events`; this client now says it
        for each user who listens, so `on_event` also gets the other events for such connections.
        """
        self._on_sent = tell
        for listening in self._listeners.values():
            listening.want_events()

    def was_said_here(self, message: ChatMessage) -> bool:
        """Whether a message to a room was just sent from here; True once for each."""
        return self._echoes.was_said_here(message)

    def on_serving(self, tell: Callable[[str, Address | None], None]) -> None:
        """Have `tell` called with a user with `listen` and the server that now serves them, or None
        when that server is lost and the client searches for another."""
        self._on_serving = tell

    def on_logged_out(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with a user whose session has ended without a request from here."""
        self._on_logged_out = tell

    def stop_listening(self) -> None:
        """Stop listening for all users, who stay logged in; what comes for them waits."""
        while self._listeners:
            self._listeners.popitem()[1].stop()

    def close(self) -> Deferred[None]:
        """Stop listening and end all connections; users stay logged in. No callback is called after
        this. Fires when all connections are closed."""
        self.stop_listening()
        # The callbacks have this client: a circle that only the garbage collector would find.
        self._on_event = self._on_serving = self._on_logged_out = self._on_searching = _ignore
        self._on_sent = None
        return self._router.close()

    def learn(self) -> Deferred[None]:
        """Ask for the service's commands, if necessary; fires after the answer or a failure."""
        return self._learner.learn()

    def understand(self, line: str) -> Deferred[ClientRequest]:
        """Read a line as a request to this service, which may have to be asked for its commands;
        fails with ValueError for a line that is not a request."""
        return Deferred.fromCoroutine(self._learner.understand(line))

    def request(self, line: str, *, whole: bool = True) -> Deferred[R]:
        """The reply to a line as a person types it, also when the server refuses it.

        A list that comes in parts is joined, in order, and the reply has no `more`. If it has
        `more` all the same, the other entries could not be had, or are over the limit
        (`ServiceReply.has_more` and `lacking`). With `whole=False`, and for a list of which people
        want only the latest (`Listing.recent`), the reply has the first part only.

        ValueError for a blank line, for more than one line, and for `listen` of a user who is
        logged in here: use the method `listen`.
        """
        request = self.vocabulary.parse(line)
        well_formed = len(request.words) in (2, 3)
        if request.name == "listen" and well_formed and request.user in self._users:
            raise ValueError("use the method listen")
        if not request.waits:  # Such a request has its own connection; nothing is sent before it.
            self._learner.begin()
        return self._asked(self._carry(line, whole))

    def following(self, user: str, cursor: str) -> Deferred[R]:
        """The next part of a list of an app server, by its cursor (`ServiceReply.cursor`)."""
        return self._asked(self._request(_part_request(Role.APP, user, cursor), whole=False))

    # Commands by name

    def ask(self, name: str, *arguments: str) -> Deferred[R]:
        """The reply to the command `name`, with all parts of its list; fails with `Refused` if the
        server says no, and with `Incomplete` if a part cannot be had.

        `arguments` are as the command's usage has them. For `<user>` that is the name of a user who
        is logged in here: the client sends the token.
        """
        return self._asked(self._ask(name, *arguments))

    def _ask(self, name: str, *arguments: str) -> _Asking:
        info = self._infos.get(name)
        if info is None:
            return self._ask_unknown(name, arguments)
        return self._granted(make_request(info, *arguments))

    def _asked(self, asking: _Asking) -> Deferred[R]:
        return cast("Deferred[R]", Deferred.fromCoroutine(asking))

    async def _ask_unknown(self, name: str, arguments: tuple[str, ...]) -> ServiceReply:
        info = (await self._learner.understand(name)).info
        if info is None:  # The server refuses it, so there is nothing to check its arguments by.
            return await self._granted(ClientRequest.parse(" ".join((name, *arguments)), {}))
        return await self._granted(make_request(info, *arguments))

    async def _granted(self, request: ClientRequest) -> ServiceReply:
        reply = await self._request(request)
        if not reply.ok:
            raise Refused(reply)
        if reply.has_more and (reply.lacking or not self._listing(reply).recent):
            raise Incomplete(reply)
        return reply

    def do(self, name: str, *arguments: str) -> Deferred[None]:
        """Carry out the command `name` with `arguments`, as `ask` does, where only its success
        matters."""
        asked = Deferred.fromCoroutine(self._ask(name, *arguments))
        return asked.addCallback(lambda reply: None)

    def register(self, name: str, password: str) -> Deferred[None]:
        """Make an account. This does not log in."""
        return self.do("register", name, password)

    def login(self, name: str, password: str) -> Deferred[None]:
        """Log a user in; may take minutes, while an app server starts."""
        return self.do("login", name, password)

    def change_password(self, user: str, old: str, new: str) -> Deferred[None]:
        """Change the password from `old` to `new`; all other sessions of the user end."""
        return self.do("change-password", user, old, new)

    def token(self, user: str) -> str:
        """The access token of a user who is logged in here, with which `resume` goes on; it is as
        secret as a password. Empty for anybody else."""
        return self._users[user].token if user in self._users else ""

    def resume(self, user: str, token: str) -> Deferred[None]:
        """Log a user in by the token of an earlier login, from wherever it was. Fails with
        `Refused` if that session has ended; may take minutes, as `login`."""
        return Deferred.fromCoroutine(self._resume(LocalUser(user, token, self._login_server)))

    async def _resume(self, user: LocalUser) -> None:
        refusal = await self._router.locate(user)
        if refusal is not None:
            raise Refused(refusal)
        self._users[user.name] = user

    def logout(self, user: str) -> Deferred[None]:
        """End all sessions of the user, also those elsewhere."""
        return self.do("logout", user)

    def delete(self, user: str) -> Deferred[None]:
        """Delete the user's account with what belongs to it. The name is free again."""
        return self.do("delete", user)

    def locate(self, user: str) -> Deferred[Address]:
        """Find the server that serves the user now."""
        asked = Deferred.fromCoroutine(self._ask("locate", user))
        return asked.addCallback(lambda reply: reply.app_server)

    def ping(self) -> Deferred[None]:
        """Check that the login server answers."""
        return self.do("ping")

    # Lines

    async def _carry(self, line: str, whole: bool) -> ServiceReply:
        reply = await self._request(await self._learner.understand(line), whole)
        # Now, while the login server is there: the next request may be for an app server.
        self._learner.begin()
        return reply

    async def _request(self, request: ClientRequest, whole: bool = True) -> ServiceReply:
        # Never a word as it was typed, which may be anything.
        name = request.info.command.name if request.info else "unknown"
        with tracing.span(f"ask {name}", root=True):
            user = self._users.get(request.user)
            reply = await self._send(request, user)
            if whole and reply.has_more and not (listing := self._listing(reply)).recent:
                is_known = listing.backwards and request.name not in listing.forwards
                backwards = reply.older_follow or is_known
                return await self._fetch_parts(request, user, reply, backwards)
            return reply

    async def _send(self, request: ClientRequest, user: LocalUser | None) -> ServiceReply:
        # Before the request, as its echo may come before the reply does.
        self._echoes.expect(request)
        try:
            reply = await self._router.carry(request, user)
        except BaseException:  # The caller may have given up waiting.
            self._echoes.withdraw(request)
            raise
        if not reply.ok:
            self._echoes.withdraw(request)
        elif request.name == "login":
            self._logged_in(request.words[1], reply)
        elif request.name == "locate" and user is not None:
            user.address = reply.app_server
        elif request.name in ("logout", "delete") and user is not None:
            self._logged_out(user)
        return reply

    async def _fetch_parts(
        self, request: ClientRequest, user: LocalUser | None, first: ServiceReply, backwards: bool
    ) -> ServiceReply:
        """The reply that begins with `first`, with the lists of all parts; with `backwards`, each
        further part is older and goes first. If a part cannot be had, or is over the limit, the
        reply has the parts before it, `more`, and the reason (`ServiceReply.lacking`)."""
        if user is None or not request.takes_user:
            return first
        parts, clock = ReplyParts(first, self._most, backwards), self._router.clock
        give_up = clock.seconds() + PARTS_PATIENCE
        while (cursor := parts.cursor) is not None:
            if clock.seconds() >= give_up:
                parts.end(f"it took over {PARTS_PATIENCE:g} s")
                break
            try:
                part = _part_request(request.role, request.user, cursor)
                parts.add(await self._router.carry(part, user))
            except NotTrusted:
                raise
            except ClientError as problem:
                parts.end(str(problem))
        return parts.together

    def _listing(self, reply: ServiceReply) -> Listing:
        return self.vocabulary.presentation.listing(reply.list_name)

    def _logged_in(self, name: str, reply: ServiceReply) -> None:
        if self._router.devices is not None and reply.device:
            self._router.devices[name] = reply.device
        user = self._users.get(name)
        if user is None:
            self._users[name] = LocalUser(name, reply.token, reply.app_server)
        else:
            user.token, user.address = reply.token, reply.app_server

    def _logged_out(self, user: LocalUser) -> None:
        if self._users.get(user.name) is user:
            del self._users[user.name]
            if listening := self._listeners.pop(user.name, None):
                listening.stop()

    def _ended(self, user: LocalUser) -> None:
        self._logged_out(user)
        self._on_logged_out(user.name)

    def listen(
        self, user: str, on_message: Callable[[str, ChatMessage], None], *, after: int | None = None
    ) -> Deferred[None]:
        """Have `on_message` called with the user's name and each message for the user, once.

        The first messages are those that no connection of the user's has been sent. With `after`,
        at the first call for a user, they are all those behind that id, also those sent already.

        Fires when this client gets all messages that are sent from then on. Listening then goes on
        until the user is logged out; only the `on_message` of the first call after a login is used.
        Fails with `Refused` for a user who is not logged in, and with `TurnedAway` when the server
        has no room; otherwise it waits for a server as long as necessary. Listening goes on after
        `TurnedAway`, which is tried again, and after cancellation.
        """
        local = self._users.get(user)
        if local is None:
            return self.do("listen", user)  # which the server refuses
        listening = self._listeners.get(user)
        if listening is None:
            if after is not None:
                self._shown.setdefault(user, after)
            hearer = Hearer(
                on_message,
                on_event=self._event,
                on_sent=self._sent,
                # Looked up each time: the callback may be set later.
                on_serving=lambda address: self._on_serving(user, address),
                on_end=lambda: self._ended(local),
            )
            listening = UserListener(self._router, local, self._shown, hearer, self._learner)
            self._listeners[user] = listening
            if self._on_sent is not None:
                listening.want_events()
            listening.start()
        return listening.confirmed()

    def _event(self, user: str, event: ServiceEvent) -> None:
        if self._is_new(event):
            self._on_event(user, event)

    def _is_new(self, event: ServiceEvent) -> bool:
        """Whether an event has not come before, if clients pass on each of its kind once: several
        users here are told the same, and so is a connection that replaces another."""
        name, form = event.members.get("event"), self.vocabulary.presentation.event(event.members)
        number = read_id(member(event.members, form.once))
        if number is None:
            return True
        if (name, number) in self._passed_on:
            return False
        self._passed_on[name, number] = None
        if len(self._passed_on) > MOST_PASSED_ON:
            del self._passed_on[next(iter(self._passed_on))]
        return True

    def _sent(self, user: str, message: ChatMessage) -> None:
        if self._on_sent is not None and not self._echoes.was_said_here(message):
            self._on_sent(user, message)
