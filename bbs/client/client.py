"""The client library for any service: `ServiceClient`.

A caller gives names where the wire has access tokens. The library keeps the tokens of logged-in
users, finds the server for each request, and keeps listening through failures. `request` and
`ask` carry out any command; the service says which there are.

A server bounds its replies. If a list has others, its reply has a cursor in `more`, and
`more <user> <cursor>` answers the next part (`docs/protocol.md`, section 3). Here the parts are
asked for, one after the other, and made one reply. How much of it there may be is bounded, so that
no server fills a client's memory or keeps a request going for ever; what is there by then is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from bbs.client.catalog import CatalogLoader, CommandCatalog
from bbs.client.connection import ConnectionPool, endpoint_to
from bbs.client.echo_filter import EchoFilter
from bbs.client.errors import ClientError, Incomplete, NotTrusted, Refused
from bbs.client.listener import Hearer, UserListener
from bbs.client.replies import ChatMessage, Origin, ServiceEvent, ServiceReply, Waiting
from bbs.client.request import FRAMEWORK, ClientRequest, CommandInfo, command_infos, make_request
from bbs.client.routing import LocalUser, Router
from bbs.core import tracing
from bbs.core.addresses import Address
from bbs.protocols.commands import Command, Role
from bbs.protocols.presentation import Listing, Presentation

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # typing's own has no defaults before Python 3.13.

    R = TypeVar("R", bound=ServiceReply, default=ServiceReply, covariant=True)
else:
    from typing import TypeVar

    R = TypeVar("R", bound=ServiceReply, covariant=True)

MOST_BYTES = 64 * 1024 * 1024
"""Bytes on the wire of all parts of one reply, unless a client is given another figure."""

MOST_PARTS = 10_000
"""Parts of one reply: more than so many bytes are in, as servers make them."""

PARTS_PATIENCE = 300.0
"""Seconds that the parts of one reply may take together."""

_WRONG = "the server answered with what is no part of it"


async def fetch_parts(
    router: Router,
    request: ClientRequest,
    user: LocalUser | None,
    first: ServiceReply,
    most: int,
    backwards: bool,
) -> ServiceReply:
    """The reply to a request of `user` that begins with `first`, with the lists of all parts; where
    its list is `backwards`, each further part is older, and goes before those that are there.

    Where a part cannot be had, or there would be over `most` bytes, it is what there is until then,
    and has `more` and why (`ServiceReply.lacking`). Fails with `NotTrusted` as any request does.
    """
    parts = ReplyParts(first, most, backwards)
    if user is None or not request.takes_user:
        return first
    give_up = router.clock.seconds() + PARTS_PATIENCE
    while (cursor := parts.cursor) is not None:
        if router.clock.seconds() >= give_up:
            parts.end(f"it took over {PARTS_PATIENCE:g} s")
            break
        try:
            part = await router.carry(part_request(request.role, request.user, cursor), user)
        except NotTrusted:
            raise
        except ClientError as problem:
            parts.end(str(problem))
        else:
            parts.add(part)
    return parts.together


class ReplyParts:
    """The parts of one reply that have come so far."""

    def __init__(self, first: ServiceReply, most: int, backwards: bool = False) -> None:
        self._first = first
        self._backwards = backwards
        self._name = first.list_name
        self._most = most
        self._size = 0
        self._lists: list[list[object]] = []
        self._asked: set[str] = set()
        self._more: object = None
        self._lacking = ""
        self.cursor: str | None = None
        """The cursor of the next part; None when there is none, or none can be had."""
        self._take(first)

    def add(self, part: ServiceReply) -> None:
        """The next part has come, or why it cannot be had."""
        size = self._size + part.size
        if not part.ok:
            self.end(part.message or "the server refused it")
        elif part.list_name != self._name:
            self.end(_WRONG)
        elif size > self._most:
            self.end(f"there are over {_mebibytes(self._most)}")
        else:
            self._take(part)

    def end(self, why: str) -> None:
        """No further part can be had."""
        self._lacking = why
        self.cursor = None

    def _take(self, part: ServiceReply) -> None:
        self._lists.append(_list(part))
        self._size += part.size
        self._more = part.members.get("more")
        self.cursor = part.cursor
        if self.cursor is None or self._name is None:
            # A first part alone does not show that its `more` is meant so.
            self.end(_WRONG if self._asked and self._more else "")
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
        """One reply with the lists of all, as if it had come so."""
        if self._name is None or len(self._lists) == 1:
            return replace(self._first, size=self._size, lacking=self._lacking)
        members = {name: value for name, value in self._first.members.items() if name != "more"}
        lists = reversed(self._lists) if self._backwards else self._lists
        members[self._name] = [each for part in lists for each in part]
        if self._more:
            members["more"] = self._more
        return replace(self._first, members=members, size=self._size, lacking=self._lacking)


def _list(reply: ServiceReply) -> list[object]:
    found = reply.members.get(reply.list_name or "")
    return found if isinstance(found, list) else []


def _mebibytes(size: int) -> str:
    return f"{size / 1048576:.3g} MiB"


@lru_cache
def _more_command(role: Role) -> dict[str, CommandInfo]:
    return {"more": CommandInfo(Command("more <user> <cursor>", role), harmless=True)}


def part_request(role: Role, user: str, cursor: str) -> ClientRequest:
    """The request for the part of a user's list that a cursor is for."""
    return ClientRequest.parse(f"more {user} {cursor}", _more_command(role))


_Asking = Coroutine[Deferred[Any], Any, ServiceReply]


def _ignore(*_: object) -> None:
    """What nobody wants to be told."""


class ServiceClient(Generic[R]):
    """A service, for any number of users at once.

    Every method that asks the service returns a Deferred that fails with

    - `Refused` when the server said no (its text is the server's message); `request` gives the
      reply instead,
    - `Lost` when no reply came and the request may have been carried out: it is never sent again
      by itself,
    - `Unreachable` when no server took it for a minute (`TurnedAway`, which is one, comes of
      `listen` alone),
    - `BadReply` when the server said what is not in the protocol,
    - `NotTrusted` when it does not believe `origin`,
    - `NotSecure` when `endpoint` is by TLS and the server cannot show who it is,
    - `Incomplete` when a list has others that could not be had; `request` gives what there is;

    all of them `ClientError`. A name or password that is not one word is a ValueError.

    `login_server` is where the service was said to be. `endpoint` makes client endpoints for that
    and for app servers: plain TCP unless given, or what somebody wants instead. `origin` is for
    whom a gateway speaks, and `vocabulary` what is known of the service's commands, where several
    clients share that. `most` is how many bytes of one reply are kept whose list comes in parts.

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
    ) -> None:
        def plain(address: Address) -> IStreamClientEndpoint:
            return endpoint_to(reactor, address)

        greetings = {login_server: origin.greeting} if origin else {}
        known = vocabulary or CommandCatalog(self.presentation)
        connections = ConnectionPool(
            reactor, endpoint or plain, greetings, lambda: known.traced, self.reply_class
        )
        self._router = Router(reactor, connections, login_server)
        self._learner = CatalogLoader(self._router, known)
        self._most = most
        self._echoes = EchoFilter(reactor, known)
        self._users: dict[str, LocalUser] = {}
        self._listeners: dict[str, UserListener] = {}
        self._shown: dict[str, int] = {}
        self._router.on_searching = self._searches
        self._on_searching: Callable[[Address | None], None] = _ignore
        self._on_event: Callable[[str, ServiceEvent], None] = _ignore
        self._on_sent: Callable[[str, ChatMessage], None] | None = None
        self._on_serving: Callable[[str, Address | None], None] = _ignore
        self._on_logged_out: Callable[[str], None] = _ignore

    @property
    def users(self) -> tuple[str, ...]:
        """The names of those who are logged in here."""
        return tuple(self._users)

    @property
    def vocabulary(self) -> CommandCatalog:
        """What is known of the service's commands."""
        return self._learner.vocabulary

    def connect(self) -> Deferred[None]:
        """Reach the login server now; fails with `Unreachable` or `NotSecure` at once when it
        cannot be."""
        return Deferred.fromCoroutine(self._connect())

    async def _connect(self) -> None:
        await self._router.connect()
        self._learner.begin()

    def meet(self) -> Deferred[None]:
        """As `connect`, and wait until whoever listens there has answered; fails with `NoService`
        within 10 s when that is no login server."""
        return Deferred.fromCoroutine(self._meet())

    async def _meet(self) -> None:
        await self._connect()
        # The answer is of use anyway, and shows that this is a login server.
        await self._learner.learn()
        if not self._learner.answered:
            await self._router.probe()

    def on_waiting(self, tell: Callable[[Waiting], None] | None) -> None:
        """Have `tell` called with where a login stands that waits for an app server."""
        self._router.on_waiting = tell

    def on_searching(self, tell: Callable[[Address | None], None]) -> None:
        """Have `tell` called with the login server's address when it is away and being looked for,
        and with None when it is there again."""
        self._on_searching = tell

    def _searches(self, login_server: Address | None) -> None:
        if login_server is None:
            self.vocabulary.doubt()
            self._learner.begin()
        self._on_searching(login_server)

    def on_event(self, tell: Callable[[str, ServiceEvent], None]) -> None:
        """Have `tell` called with a user who is listened for, and each event for them that is one
        of the service's own."""
        self._on_event = tell

    def on_sent(self, tell: Callable[[str, ChatMessage], None]) -> None:
        """Have `tell` called with a user who is listened for, and each message that the user has
        sent elsewhere, to one reader. From then on `on_event` is told of events too that
        servers tell only those who ask.

        The service tells that to who asks it; this asks it for whoever is listened for, now and
        later.
        """
        self._on_sent = tell
        for listening in self._listeners.values():
            listening.want_events()

    def was_said_here(self, message: ChatMessage) -> bool:
        """Whether a message to a room, which its sender gets too, was just sent by this client;
        True once for each."""
        return self._echoes.was_said_here(message)

    def on_serving(self, tell: Callable[[str, Address | None], None]) -> None:
        """Have `tell` called with a user who is listened for, and the server that serves them from
        then on, or None when that one is lost and another is being looked for."""
        self._on_serving = tell

    def on_logged_out(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with a user whose session has ended without being asked to here."""
        self._on_logged_out = tell

    def close(self) -> Deferred[None]:
        """Stop listening and end all connections; users stay logged in. From then on nobody is told
        anything. Fires when that is done."""
        while self._listeners:
            self._listeners.popitem()[1].stop()
        # The callbacks have this client: a circle that only the garbage collector would find.
        self._on_event = self._on_serving = self._on_logged_out = self._on_searching = _ignore
        self._on_sent = None
        return self._router.close()

    def learn(self) -> Deferred[None]:
        """Have `vocabulary` know what the service has, if that can be had now."""
        return self._learner.learn()

    def understand(self, line: str) -> Deferred[ClientRequest]:
        """A line as a request to this service, which may have to be asked for that; fails with
        ValueError for a line that is not a request."""
        try:
            understood = self._learner.understood(line)
        except ValueError:
            return fail()
        if understood is not None:
            return succeed(understood)
        return Deferred.fromCoroutine(self._learner.understand(line))

    def request(self, line: str, *, whole: bool = True) -> Deferred[R]:
        """The reply to a line as a person types it, whether it says yes or no.

        A list that the server sends in parts is there as a whole, in order, and there is no `more`.
        If it has `more` all the same, others could not be had, or are over what is kept
        (`ServiceReply.has_more` and `lacking`). Unless it is to be `whole`, the first part is
        enough. So it is for a list of which people want the latest only (`Listing.recent`).

        ValueError for a blank line, for more than one line, and for `listen` of a user who is
        logged in here: that is the method.
        """
        request = self.vocabulary.parse(line)
        well_formed = len(request.words) in (2, 3)
        if request.name == "listen" and well_formed and request.user in self._users:
            raise ValueError("listen by the method listen")
        if not request.waits:  # That has a connection of its own, on which nothing goes ahead.
            self._learner.begin()
        return self._asked(self._carry(line, whole))

    def following(self, user: str, cursor: str) -> Deferred[R]:
        """The part of a list of an app server's that a cursor is for (`ServiceReply.cursor`)."""
        request = part_request(Role.APP, user, cursor)
        return self._asked(self._request(request, whole=False))

    # Commands by name

    def ask(self, name: str, *arguments: str) -> Deferred[R]:
        """The reply to a command, with all parts of its list; fails with `Refused` where the server
        says no, and with `Incomplete` where a part cannot be had."""
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
        return await self._granted(
            make_request(info or CommandInfo(Command(name, Role.LOGIN)), *arguments)
        )

    async def _granted(self, request: ClientRequest) -> ServiceReply:
        reply = await self._request(request)
        if not reply.ok:
            raise Refused(reply)
        if reply.has_more and (reply.lacking or not self._is_recent(reply)):
            raise Incomplete(reply)
        return reply

    def do(self, name: str, *arguments: str) -> Deferred[None]:
        """Carry out a command, as `ask` does, where only its success matters."""
        asked = Deferred.fromCoroutine(self._ask(name, *arguments))
        return asked.addCallback(lambda reply: None)

    def register(self, name: str, password: str) -> Deferred[None]:
        return self.do("register", name, password)

    def login(self, name: str, password: str) -> Deferred[None]:
        """Log a user in; may take minutes, while an app server is started for that."""
        return self.do("login", name, password)

    def change_password(self, user: str, old: str, new: str) -> Deferred[None]:
        """All other sessions of the user end; this one stays."""
        return self.do("change-password", user, old, new)

    def logout(self, user: str) -> Deferred[None]:
        return self.do("logout", user)

    def delete(self, user: str) -> Deferred[None]:
        return self.do("delete", user)

    def locate(self, user: str) -> Deferred[Address]:
        """Where the user is served now."""
        asked = Deferred.fromCoroutine(self._ask("locate", user))
        return asked.addCallback(lambda reply: reply.app_server)

    def ping(self) -> Deferred[None]:
        """Ask the login server for a sign of life."""
        return self.do("ping")

    # Lines

    async def _carry(self, line: str, whole: bool) -> ServiceReply:
        reply = await self._request(await self._learner.understand(line), whole)
        # While the login server is there: what is asked next may be for an app server.
        self._learner.begin()
        return reply

    async def _request(self, request: ClientRequest, whole: bool = True) -> ServiceReply:
        # Never a word as it was typed, which may be anything.
        name = request.info.command.name if request.info else "unknown"
        with tracing.span(f"ask {name}", root=True):
            return await self._requested(request, whole)

    async def _requested(self, request: ClientRequest, whole: bool = True) -> ServiceReply:
        user = self._users.get(request.user)
        # Before the request, as it may come back before the reply does.
        self._echoes.expect(request)
        try:
            reply = await self._router.carry(request, user)
        except BaseException:  # Whoever asked may have given up waiting.
            self._echoes.withdraw(request)
            raise
        if not reply.ok:
            self._echoes.withdraw(request)
        else:
            if request.name == "login":
                self._logged_in(request.words[1], reply)
            elif request.name == "locate" and user is not None:
                user.address = reply.app_server
            elif request.name in ("logout", "delete") and user is not None:
                self._logged_out(user)
        if whole and reply.has_more and not self._is_recent(reply):
            backwards = self._listing(reply).backwards
            return await fetch_parts(self._router, request, user, reply, self._most, backwards)
        return reply

    def _listing(self, reply: ServiceReply) -> Listing:
        return self.vocabulary.presentation.listing(reply.list_name)

    def _is_recent(self, reply: ServiceReply) -> bool:
        """Whether people want the latest part of a reply's list only."""
        return self._listing(reply).recent

    def _logged_in(self, name: str, reply: ServiceReply) -> None:
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

        It begins with those that no connection of the user's has been sent; with `after`, at the
        first call for a user, with those behind that id, whoever has been sent them.

        Fires when whatever is sent from then on arrives. From there it goes on by itself until
        the user is logged out; `on_message` is of use to the first call for a login only. Fails
        with `Refused` for a user who is not logged in, and with `TurnedAway` when the server has
        no room for it: it is tried again until there is. Otherwise it waits for a server as long
        as it takes. Where it fails with that, or is cancelled, listening goes on.
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
                # Looked up when there is one: a face may say later what it wants.
                on_event=lambda user, event: self._on_event(user, event),
                on_sent=self._sent,
                on_serving=lambda address: self._on_serving(user, address),
                on_end=lambda: self._ended(local),
            )
            listening = UserListener(self._router, local, self._shown, hearer, self._learner)
            self._listeners[user] = listening
            if self._on_sent is not None:
                listening.want_events()
            listening.start()
        return listening.confirmed()

    def _sent(self, user: str, message: ChatMessage) -> None:
        if self._on_sent is not None and not self._echoes.was_said_here(message):
            self._on_sent(user, message)
