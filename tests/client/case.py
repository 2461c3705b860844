"""Clients of the board in memory, and what else happens there and to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock, LoopingCall
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from bbs.board import BBSClient, board
from bbs.board.groups import groups
from bbs.board.groups.tables import Group
from bbs.board.messages import messages
from bbs.board.messages.tables import MessageRow
from bbs.board.people import friendships
from bbs.board.posts.tables import PostRow
from bbs.client import Address, ClientError
from bbs.commands.service import Service
from bbs.config import App, Configuration, Fleet, Limits
from bbs.core.values import Rate
from bbs.delivery.bus import Bus
from bbs.protocols.commands import CommandTable
from bbs.rules import accounts, auth, fleet_admin
from bbs.storage.database import rows
from bbs.storage.models import Place, Session, User
from bbs.testing import Link, MemoryNetwork, MemoryService
from bbs.testing.service import QUICK

P = ParamSpec("P")
T = TypeVar("T")

LOGIN = MemoryNetwork.login_server
APP_1 = Address("127.0.0.1", 20001)
APP_2 = Address("127.0.0.1", 20002)
APP_3 = Address("127.0.0.1", 20003)
"""Where the first app servers are, in the order of their launches."""

MUCH = Rate(1000, 60.0)
CONFIG = Configuration(
    app=App(capacity=10),
    # The controller looks when something has happened, and seldom else: no test waits for it.
    fleet=Fleet(minimum=1, maximum=5, spare=0, heartbeat_interval=20.0, lost_after=60.0),
    # What a test holds back on its way is nothing that a server could have heard.
    limits=Limits(failed_logins=MUCH, registrations=MUCH, logins=MUCH, first_request=1e6),
)

SECRET = "0123456789abcdef"
TRUSTING = replace(CONFIG, telnet=replace(CONFIG.telnet, secret=SECRET))
"""A login server that believes gateways."""

FAILURES = {
    "ask-login-server": "Ask the login server",
    "unavailable": "Service unavailable, try again",
    "unknown-command": "Unknown command",
    "not-logged-in": "Not login yet",
    "moved": "Moved",
}


def on_sockets(test: TestCase) -> tuple[MemoryService, Address]:
    """The board in memory, reached by sockets, and where its login server is."""
    from twisted.internet import reactor

    def listen(factory: Any) -> int:
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        test.addCleanup(port.stopListening)
        return port.getHost().port

    service = MemoryService(board, config=CONFIG)
    test.addCleanup(service.close)
    service.listen = listen
    service.start()
    time = LoopingCall(service.clock.advance, 0.01)
    time.start(0.01)
    test.addCleanup(time.stop)
    return service, Address("127.0.0.1", listen(service.login.factory))


def failure(code: str, **more: object) -> dict[str, object]:
    """What a server says that does not carry out a request."""
    return {"status": 1, "message": FAILURES[code], "code": code, **more}


@implementer(IReactorTime)
class OwnClock(Clock):
    """The clock of all, which knows what of it is a client's own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._own: list[IDelayedCall] = []

    def seconds(self) -> float:
        return self._clock.seconds()

    def callLater(self, *arguments: Any, **keywords: Any) -> IDelayedCall:
        self._own.append(self._clock.callLater(*arguments, **keywords))
        return self._own[-1]

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        self._own = [call for call in self._own if call.active()]
        return self._own

    def advance(self, amount: float) -> None:
        self._clock.advance(amount)


def without_words(service: Service) -> Service:
    """A service of the same commands that says nothing of how people see them, as those up to 0.3.0
    did."""
    nothing: Mapping[str, Any] = {
        **dict.fromkeys(("help", "group", "done"), ""),
        **dict.fromkeys(("aliases", "shown"), ()),
        **dict.fromkeys(("done_without", "failures", "complete"), MappingProxyType({})),
    }
    tables = [
        CommandTable(*(replace(command, **nothing) for command in table))
        for table in service.commands
    ]
    return replace(service, client="", commands=tables, events=())


class ClientTestCase(SynchronousTestCase):
    """A client of the board in memory, with helpers that move bytes until an answer is there.

    Tokens are `token1`, `token2`, … in the order of the logins. Nobody listens to this client's
    users but it.
    """

    clock_class = OwnClock

    def setUp(self) -> None:
        tokens = count(1)
        self.patch(accounts, "new_token", lambda: f"token{next(tokens)}")
        self.service = MemoryService(self.make_service(), config=self.make_config())
        self.addCleanup(self.service.close)
        self.network = MemoryNetwork(self.service)
        self.clock = self.clock_class(self.service.clock)
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)

    def make_service(self) -> Service:
        return board

    def make_config(self) -> Configuration:
        return CONFIG

    def result(self, deferred: Deferred[T]) -> T:
        """What a Deferred gives without time passing."""
        self.network.flush()
        return self.successResultOf(deferred)

    def problem(self, deferred: Deferred[Any], kind: type[ClientError]) -> str:
        """What a Deferred fails with, without time passing."""
        self.network.flush()
        return str(self.failureResultOf(deferred, kind).value)

    def say(self, line: str) -> str | None:
        """The message of the reply to a line."""
        return self.result(self.client.request(line)).message

    def log_in(self, *names: str) -> None:
        """Register those who are not, and log them in."""
        for name in names:
            self.say(f"register {name} 1")
            self.assertEqual(self.say(f"login {name} 1"), "Success!")

    # What others do, whatever becomes of the network

    def run_rule(self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """What a rule returns, in its transaction."""
        return self.successResultOf(self.service.database.run(rule, *arguments, **keywords))

    def register(self, *names: str, password: str = "1") -> None:
        for name in names:
            self.run_rule(
                accounts.register,
                name,
                QUICK.hash(password),
                self.clock.seconds(),
                self.service.login.home.service.on_register,
            )

    def change_password(self, name: str, password: str) -> None:
        changing = User.update(password_hash=QUICK.hash(password)).where(User.name == name)
        self.run_rule(changing.execute)

    def caller(self, name: str) -> auth.Caller:
        """Somebody, of whom a rule may be asked."""
        user = User.get(User.name == name)
        return auth.Caller(user.id, name, user.channel, self.service.wall())

    def befriend(self, *names: str) -> None:
        """Make them all friends of each other."""
        for number, name in enumerate(names):
            for other in names[:number]:
                self.invite(other, name)
                self.run_rule(friendships.accept, self.caller(name), other)

    def invite(self, name: str, other: str) -> None:
        self.run_rule(friendships.invite, self.caller(name), other)

    def make_group(self, name: str, *members: str) -> None:
        first, *others = members
        self.run_rule(groups.create, self.caller(first), name)
        for other in others:
            self.run_rule(groups.join, self.caller(other), name)

    def make_groups(self, many: int) -> None:
        """So many groups, `group0` and so on, with nobody in them."""
        rows = [{"name": f"group{number}", "channel": f"c{number}"} for number in range(many)]
        self.run_rule(lambda: Group.insert_many(rows).execute())

    def send(self, sender: str, reader: str, *texts: str) -> None:
        """Messages, which come to whoever listens as far as the network lets them."""
        for text in texts:
            self._hint(self.run_rule(messages.send, self.caller(sender), reader, text))
        self.network.flush()

    def send_group(self, sender: str, group: str, text: str) -> None:
        """A message to a group."""
        self._hint(self.run_rule(messages.send_group, self.caller(sender), group, text))
        self.network.flush()

    def _hint(self, sent: messages.Sent) -> None:
        self.bus.tell(sent.channel, sent.event.members)

    def log_out(self, name: str) -> None:
        """Somebody is logged out, from elsewhere."""
        caller = self.run_rule(accounts.log_out, self.caller(name))
        self.bus.tell(caller.channel, {"event": "logout"})
        self.network.flush()

    def end_session(self, name: str) -> None:
        """The same, of which nobody is told."""
        self.run_rule(accounts.log_out, self.caller(name))

    def drain(self, address: Address) -> None:
        """An operator has everybody moved off an app server."""
        (server,) = (each for each in self.service.servers.values() if each.port == address.port)
        self.run_rule(fleet_admin.ask_drain, server.id)
        self.service.login.news.wanted()
        self.network.advance(1)

    def launch(self) -> None:
        """An operator has one more app server."""
        self.run_rule(fleet_admin.ask_launch, 10, 5, self.clock.seconds())
        self.service.login.news.wanted()
        self.network.advance(1)

    def boot(self) -> None:
        """The app server that was launched last begins to serve."""
        self.service.boot(self.service.provider.launched[-1])

    @property
    def bus(self) -> Bus:
        return self.service.login.home.bus

    # What there is

    def posts(self) -> list[tuple[str, str]]:
        """Everybody's posts, with their authors."""
        return rows(PostRow.select(User.name, PostRow.text).join(User).order_by(PostRow.id))

    def messages(self) -> list[tuple[str, str, str]]:
        """Everybody's messages: from whom, to whom, and what."""
        query = MessageRow.select(MessageRow.sender, MessageRow.target, MessageRow.text)
        return rows(query.order_by(MessageRow.id))

    def groups(self) -> list[str]:
        return [name for (name,) in rows(Group.select(Group.name).order_by(Group.id))]

    def users(self) -> set[str]:
        """Everybody who is registered."""
        return {name for (name,) in rows(User.select(User.name))}

    def online(self) -> set[str]:
        """Everybody who is online."""
        return {name for (name,) in rows(Place.select(User.name).join(User))}

    def is_password(self, name: str, password: str) -> bool:
        """Whether that is somebody's password."""
        reply = self.service.peer().ask(f"login {name} {password}")
        return reply["status"] == 0

    # What goes over the network

    def asked(self, command: str) -> list[Address]:
        """The servers that requests of a command came to, in order."""
        return [to for to, line in self.network.requests if line.split(" ")[0] == command]

    def listening(self, user: str) -> list[Link]:
        """The client's connections that listen for a user, by whichever login."""
        query = Session.select(Session.digest).join(User).where(User.name == user)
        digests = {digest for (digest,) in rows(query)}

        def listens(line: str) -> bool:
            command, *words = line.split() or [""]
            return command == "listen" and auth.digest("".join(words[:1])) in digests

        return [link for link in self.network.links if any(map(listens, link.requests))]

    def announce(self, user: str, *events: Mapping[str, object]) -> None:
        """The service tells those who listen for a user what lives for the moment."""
        for event in events:
            self.bus.tell(self.caller(user).channel, event)
        self.network.flush()

    def tell(self, user: str, event: Mapping[str, object]) -> None:
        """Have the client hear an event for a user of which the service knows nothing."""
        for link in self.listening(user):
            link.tell(event)
        self.network.flush()

    def hold(self, *beginnings: str) -> Callable[[], None]:
        """Have nothing that begins so come to its server, until what is returned is called."""
        held: list[tuple[Link, str]] = []
        before = self.network.to_servers

        def to_servers(link: Link, line: str) -> str | None:
            if not line.startswith(beginnings):
                return before(link, line)
            held.append((link, line))
            return None

        def let_go() -> None:
            self.network.to_servers = before
            for link, line in held:
                link.ask(line)
            self.network.flush()

        self.network.to_servers = to_servers
        return let_go

    def answer(self, beginning: str, *answers: Mapping[str, object]) -> None:
        """Have the next requests that begin so be answered by these instead of their server."""
        left = [*answers]
        before = self.network.to_servers

        def to_servers(link: Link, line: str) -> str | None:
            if not left or not line.startswith(beginning):
                return before(link, line)
            link.tell(left.pop(0))
            return None

        self.network.to_servers = to_servers

    def answer_always(self, beginning: str, answer: Mapping[str, object]) -> None:
        """Have every request that begins so be answered by this instead of its server."""
        before = self.network.to_servers

        def to_servers(link: Link, line: str) -> str | None:
            if not line.startswith(beginning):
                return before(link, line)
            link.tell(answer)
            return None

        self.network.to_servers = to_servers

    def lose_answer(self, beginning: str, *, carry_out: bool = True) -> None:
        """Have the next request that begins so be carried out, or not, and its connection end
        without an answer."""
        before = self.network.to_servers

        def to_servers(link: Link, line: str) -> str | None:
            if not line.startswith(beginning):
                return before(link, line)
            self.network.to_servers = before
            if carry_out:
                link.ask(line)
            link.cut()
            return None

        self.network.to_servers = to_servers

    def pass_on(self) -> None:
        """Let everything through as it is again."""
        self.network.to_servers = self.network.to_clients = lambda link, line: line

    def hold_messages(self) -> None:
        """Have no message come to the client until `release`."""
        self.held: list[tuple[Link, str]] = []

        def to_clients(link: Link, line: str) -> str | None:
            if '"event": "message"' not in line:
                return line
            self.held.append((link, line))
            return None

        self.network.to_clients = to_clients

    def release(self, user: str) -> None:
        """The messages to a user that are held come."""
        listening = self.listening(user)
        for link, line in [each for each in self.held if each[0] in listening]:
            self.held.remove((link, line))
            link.tell(line)
        self.network.flush()

    def be_old(self) -> None:
        """Have the servers be of version 0.1.0, without `commands` and `code`."""

        def to_clients(link: Link, line: str) -> str:
            members = json.loads(line)
            members.pop("code", None)
            return json.dumps(members)

        unknown = {"status": 1, "message": "Unknown command commands"}
        self.answer_always("commands", unknown)
        self.network.to_clients = to_clients
