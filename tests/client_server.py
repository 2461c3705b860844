"""A service for the client's tests: the protocol of `docs/protocol.md`, in one small memory.

`World` is the service: one login server and as many app servers as a test wants. `Network` connects
clients to it in memory, and breaks what a test wants broken. The same `World` serves real sockets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.basic import LineOnlyReceiver
from twisted.test import iosim
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.client import Address, BBSClient, ClientError
from bbs.protocols.commands import Command, CommandTable, Role, UnknownCommand

LOGIN = Address("127.0.0.1", 22222)
APP_1 = Address("127.0.0.1", 22301)
APP_2 = Address("127.0.0.1", 22302)

Body = dict[str, object]
T = TypeVar("T")

SUCCESS: Body = {"status": 0, "message": "Success!"}


CODES = {
    "Unknown command": "unknown-command",
    "Not login yet": "not-logged-in",
    "Usage:": "wrong-usage",
    "Ask the login server": "ask-login-server",
    "Moved to": "moved",
    "No such user or password error": "wrong-credentials",
    "Service unavailable": "unavailable",
}
"""The codes of the failures that begin so, of those that matter to a client."""

HARMLESS = ("list-invite", "list-friend", "receive-post", "list-group", "list-joined")


def failure(message: str) -> Body:
    codes = (code for words, code in CODES.items() if message.startswith(words))
    return {"status": 1, "message": message, "code": next(codes, "other")}


def as_json(address: Address) -> dict[str, object]:
    return {"host": address.host, "port": address.port}


class ServerConnection(LineOnlyReceiver):
    """One connection to a server of the world."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 24

    def __init__(self, world: World, address: Address) -> None:
        self.world = world
        self.address = address
        self.listens_for: str | None = None
        self.says_events = False

    def connectionMade(self) -> None:
        self.world.connections.append(self)

    def connectionLost(self, reason: object = None) -> None:
        self.world.connections.remove(self)

    def lineReceived(self, line: bytes) -> None:
        if line.strip(b" \r"):
            self.world.received(self, line)

    def tell(self, body: Body) -> None:
        if self.world.old:
            body = {name: value for name, value in body.items() if name != "code"}
        self.sendLine(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))


class World:
    """The service. A test reads and changes its attributes."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.log: list[tuple[Address, str]] = []
        """Every request, with the server that it came to."""
        self.app_servers = [APP_1]
        """The first is the one where users are placed."""
        self.old = False
        """Whether its servers are of version 0.1.0, without `commands` and `code`."""
        self.harmless = {*HARMLESS}
        """The commands that it says may be sent twice."""
        self.public: dict[Address, Address] = {}
        """Where clients find a server, when that is elsewhere."""
        self.meddle: Callable[[ServerConnection, str], bool] = lambda connection, line: False
        """Called before a request is carried out; True when nothing more is to be done."""
        self.passwords: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.places: dict[str, Address] = {}
        self.invitations: list[tuple[str, str]] = []
        self.friends: list[tuple[str, str]] = []
        self.posts: list[tuple[str, str]] = []
        self.groups: list[str] = []
        self.members: list[tuple[str, str]] = []
        self.messages: dict[str, list[Body]] = {}
        self.unsent: dict[str, list[Body]] = {}
        self.holding = False
        """Whether messages are on their way until `release`."""
        self._numbers = count(1)
        self._table = self._commands()

    # What servers do

    def received(self, connection: ServerConnection, line: bytes) -> None:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self.log.append((connection.address, repr(line)))
            return connection.tell(failure("Invalid UTF-8"))
        self.log.append((connection.address, text))
        if not self.meddle(connection, text):
            self.answer(connection, text)
        return None

    def answer(self, connection: ServerConnection, line: str) -> None:
        connection.tell(self._reply(connection, line))
        if line.startswith("listen") and connection.listens_for:
            self._catch_up(connection, line.split()[2:])
        if line == "quit":
            connection.transport.loseConnection()

    def declare(
        self, usage: str, role: Role, answer: Callable[..., Body | None], *, rest: bool = False
    ) -> None:
        """Have a command that the client was not written for; `answer` gets what follows its name,
        with the user's in the place of the token."""
        self._table.declare(Command(usage, role, lambda world, *words: answer(*words), rest=rest))

    def _reply(self, connection: ServerConnection, line: str) -> Body:
        if line == "commands" and not self.old:
            return {"status": 0, "service": "bbs", "version": "0.2.0", "protocol": 2} | {
                "commands": [
                    {"usage": command.usage, "server": command.role.value}
                    | {"rest": command.rest, "harmless": command.name in self.harmless}
                    for command in self._table
                ]
            }
        try:
            request = self._table.parse(line)
        except UnknownCommand as unknown:
            return failure(f"Unknown command {unknown.name}")
        command, arguments = request.command, list(request.arguments)
        user = self.tokens.get(request.token or "")
        if command.takes_user and user is None:
            return failure("Not login yet")
        if request.usage_error:
            return failure(f"Usage: {command.usage}")
        if command.role is Role.LOGIN and connection.address != LOGIN:
            return failure("Ask the login server")
        if command.role is Role.APP and connection.address != self.places.get(user or ""):
            there = self.places[user or ""]
            return failure(f"Moved to {there}") | {"app_server": as_json(there)}
        if command.takes_user:
            arguments.insert(0, user or "")
        if command.name in ("listen", "events"):
            return command.handler(self, connection, *arguments)
        return command.handler(self, *arguments) or SUCCESS

    def _catch_up(self, connection: ServerConnection, after: list[str]) -> None:
        user = connection.listens_for or ""
        unsent = self.unsent.pop(user, [])
        for event in self.messages.get(user, []):
            if event["id"] > int(after[0]) if after else event in unsent:
                connection.tell(event)

    # What a test makes happen

    def message(self, user: str, event: Body) -> None:
        """A message to a user: stored, and told to those who listen."""
        self.messages.setdefault(user, []).append(event)
        self.unsent.setdefault(user, []).append(event)
        if not self.holding:
            self.release(user)

    def release(self, *users: str) -> None:
        """Messages on their way arrive."""
        for user in users or tuple(self.unsent):
            listening = [one for one in self.connections if one.listens_for == user]
            if listening:
                for event in self.unsent.pop(user, []):
                    for one in listening:
                        one.tell(event)

    def tell(self, user: str, event: Body) -> None:
        for one in self.connections:
            if one.listens_for == user:
                one.tell(event)

    def place(self, user: str, address: Address) -> None:
        """A user is served somewhere else from now on, and told so."""
        self.places[user] = address
        self.tell(user, {"event": "moved", "app_server": as_json(address)})

    def make_group(self, group: str, *members: str) -> None:
        self.groups.append(group)
        self.members.extend((member, group) for member in members)

    def requests(self, command: str) -> list[Address]:
        """The servers that requests of a command came to, in order."""
        return [address for address, line in self.log if line.split(" ")[0] == command]

    # What the commands do

    def _commands(self) -> CommandTable:
        table = CommandTable()
        for usage, role in (
            ("register <id> <password>", Role.LOGIN),
            ("login <id> <password>", Role.LOGIN),
            ("logout <user>", Role.LOGIN),
            ("delete <user>", Role.LOGIN),
            ("locate <user>", Role.LOGIN),
            ("invite <user> <id>", Role.APP),
            ("list-invite <user>", Role.APP),
            ("accept-invite <user> <id>", Role.APP),
            ("list-friend <user>", Role.APP),
            ("post <user> <message>", Role.APP),
            ("receive-post <user>", Role.APP),
            ("send <user> <friend> <message>", Role.APP),
            ("create-group <user> <group>", Role.APP),
            ("list-group <user>", Role.APP),
            ("list-joined <user>", Role.APP),
            ("join-group <user> <group>", Role.APP),
            ("send-group <user> <group> <message>", Role.APP),
            ("listen <user> [<id>]", Role.APP),
            ("help", Role.EITHER),
            ("ping", Role.EITHER),
            ("quit", Role.EITHER),
            ("events", Role.EITHER),
        ):
            method = "_do_" + usage.split()[0].replace("-", "_")
            table.command(usage, role, rest=usage.endswith("<message>"))(getattr(World, method))
        return table

    def _do_register(self, name: str, password: str) -> Body | None:
        if name in self.passwords:
            return failure(f"{name} is already used")
        self.passwords[name] = password
        return None

    def _do_login(self, name: str, password: str) -> Body:
        if self.passwords.get(name) != password:
            return failure("No such user or password error")
        token = f"token{next(self._numbers)}"
        self.tokens[token] = name
        place = self.places.setdefault(name, self.app_servers[0])
        return SUCCESS | {"token": token, "app_server": as_json(self.public.get(place, place))}

    def _do_logout(self, user: str) -> Body:
        self.tokens = {token: name for token, name in self.tokens.items() if name != user}
        del self.places[user]
        self.tell(user, {"event": "logout"})
        for one in self.connections:
            if one.listens_for == user:
                one.listens_for = None
        return {"status": 0, "message": "Bye!"}

    def _do_delete(self, user: str) -> None:
        self._do_logout(user)
        del self.passwords[user]
        for pairs in (self.invitations, self.friends, self.posts, self.members):
            pairs[:] = [pair for pair in pairs if pair[0] != user]
        for pairs in (self.invitations, self.friends):
            pairs[:] = [pair for pair in pairs if pair[1] != user]
        self.messages.pop(user, None)
        self.unsent.pop(user, None)

    def _do_locate(self, user: str) -> Body:
        if self.places[user] not in self.app_servers:
            self.places[user] = self.app_servers[0]
        return {"status": 0, "app_server": as_json(self.places[user])}

    def _friends(self, user: str) -> list[str]:
        return [b if a == user else a for a, b in self.friends if user in (a, b)]

    def _do_invite(self, user: str, friend: str) -> Body | None:
        if friend not in self.passwords:
            return failure(f"{friend} does not exist")
        if friend == user:
            return failure("You cannot invite yourself")
        if friend in self._friends(user):
            return failure(f"{friend} is already your friend")
        if (user, friend) in self.invitations:
            return failure("Already invited")
        if (friend, user) in self.invitations:
            return failure(f"{friend} has invited you")
        self.invitations.append((user, friend))
        return None

    def _do_list_invite(self, user: str) -> Body:
        return {"status": 0, "invite": [a for a, b in self.invitations if b == user]}

    def _do_accept_invite(self, user: str, friend: str) -> Body | None:
        if (friend, user) not in self.invitations:
            return failure(f"{friend} did not invite you")
        self.invitations.remove((friend, user))
        self.friends.append((friend, user))
        return None

    def _do_list_friend(self, user: str) -> Body:
        return {"status": 0, "friend": self._friends(user)}

    def _do_post(self, user: str, text: str) -> None:
        self.posts.append((user, text))

    def _do_receive_post(self, user: str) -> Body:
        friends = self._friends(user)
        posts = [{"id": name, "message": text} for name, text in self.posts if name in friends]
        return {"status": 0, "post": posts}

    def _do_send(self, user: str, friend: str, text: str) -> Body | None:
        if friend not in self.passwords:
            return failure("No such user exist")
        if friend not in self._friends(user):
            return failure(f"{friend} is not your friend")
        if friend not in self.places:
            return failure(f"{friend} is not online")
        event: Body = {"event": "message", "id": next(self._numbers)}
        self.message(friend, event | {"from": user, "to": friend, "message": text})
        return None

    def _do_create_group(self, user: str, group: str) -> Body | None:
        if group in self.groups:
            return failure(f"{group} already exist")
        self.make_group(group, user)
        return None

    def _do_list_group(self, user: str) -> Body:
        return {"status": 0, "group": self.groups}

    def _do_list_joined(self, user: str) -> Body:
        return {"status": 0, "group": [group for member, group in self.members if member == user]}

    def _do_join_group(self, user: str, group: str) -> Body | None:
        if group not in self.groups:
            return failure(f"{group} does not exist")
        if (user, group) in self.members:
            return failure(f"Already a member of {group}")
        self.members.append((user, group))
        return None

    def _do_send_group(self, user: str, group: str, text: str) -> Body | None:
        if group not in self.groups:
            return failure("No such group exist")
        if (user, group) not in self.members:
            return failure(f"You are not the member of {group}")
        event: Body = {"event": "message", "id": next(self._numbers)}
        for member, joined in self.members:
            if joined == group and member in self.places:
                self.message(member, event | {"from": user, "group": group, "message": text})
        return None

    def _do_listen(self, connection: ServerConnection, user: str, after: str = "") -> Body:
        connection.listens_for = user
        return SUCCESS

    def _do_help(self) -> Body:
        return {"status": 0, "message": self._table.help(Role.LOGIN)}

    def _do_ping(self) -> Body:
        return {"status": 0, "message": "Pong!"}

    def _do_quit(self) -> Body:
        return {"status": 0, "message": "Bye!"}

    def _do_events(self, connection: ServerConnection) -> Body:
        connection.says_events = True
        return SUCCESS


class WorldFactory(Factory):
    """Serves one server of a world, over whatever transport."""

    noisy = False

    def __init__(self, world: World, address: Address) -> None:
        self._world = world
        self._address = address

    def buildProtocol(self, addr: object) -> ServerConnection:
        return ServerConnection(self._world, self._address)


class Network:
    """Connects clients to a world in memory; bytes move when it is flushed."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.world = world
        self.clock = clock
        self.down: set[Address] = set()
        """Servers that refuse connections."""
        self.away: set[Address] = set()
        """Servers that do not answer to attempts to connect."""
        self.connected: list[Address] = []
        """The servers that connections were made to, in order."""
        self._pumps: list[iosim.IOPump] = []

    def endpoint(self, address: Address) -> IStreamClientEndpoint:
        return _Endpoint(self, address)

    def connect(self, factory: Factory, address: Address) -> Deferred[object]:
        if address in self.away:
            return Deferred()
        if address in self.down:
            return fail(ConnectionRefusedError())
        self.connected.append(address)
        client = factory.buildProtocol(None)
        server = ServerConnection(self.world, address)
        pump = iosim.connect(
            server,
            iosim.makeFakeServer(server),
            client,
            iosim.makeFakeClient(client),
            greet=False,
            clock=self.clock,
        )
        self._pumps.append(pump)
        connected: Deferred[object] = Deferred()
        # As with sockets, never before connect returns.
        self.clock.callLater(0, connected.callback, client)
        return connected

    def flush(self) -> None:
        """Move bytes until nothing moves any more. Time does not pass."""
        moved = True
        while moved:
            self.clock.advance(0)
            moved = any(pump.pump(advanceClock=False) for pump in list(self._pumps))
            self._pumps = [
                pump
                for pump in self._pumps
                if not (pump.clientIO.disconnected and pump.serverIO.disconnected)
            ]

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps, with bytes moving meanwhile."""
        for step in _steps(seconds):
            self.flush()
            self.clock.advance(step)
        self.flush()

    def cut(self, address: Address) -> None:
        """End every connection to a server, at its side."""
        for one in self.world.connections:
            if one.address == address:
                one.transport.loseConnection()
        self.flush()

    def kill(self, address: Address) -> None:
        """A server dies."""
        self.down.add(address)
        self.cut(address)


def _steps(seconds: float) -> Iterator[float]:
    while seconds > 0:
        yield min(0.05, seconds)
        seconds -= 0.05


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, network: Network, address: Address) -> None:
        self._network = network
        self._address = address

    def connect(self, protocolFactory: Factory) -> Deferred[object]:
        return self._network.connect(protocolFactory, self._address)


class ClientTestCase(SynchronousTestCase):
    """A client of a world in memory, with helpers that move bytes until an answer is there."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.world = self.make_world()
        self.network = Network(self.world, self.clock)
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)

    def make_world(self) -> World:
        return World()

    def result(self, deferred: Deferred[T]) -> T:
        """What a Deferred gives without time passing."""
        self.network.flush()
        return self.successResultOf(deferred)

    def problem(self, deferred: Deferred[object], kind: type[ClientError]) -> str:
        """What a Deferred fails with, without time passing."""
        self.network.flush()
        return str(self.failureResultOf(deferred, kind).value)

    def say(self, line: str) -> str | None:
        """The message of the reply to a line."""
        return self.result(self.client.request(line)).message

    def log_in(self, *names: str) -> None:
        for name in names:
            self.say(f"register {name} 1")
            self.assertEqual(self.say(f"login {name} 1"), "Success!")

    def befriend(self, a: str, b: str) -> None:
        self.world.friends.append((a, b))
