"""What each command costs, in things that can be counted and that no load of the machine changes.

    python -m tests.board.costs

writes `costs.md` beside this module: the costs on SQLite and, where `tests/services/start` has
started one, on MariaDB. The service is a `MemoryService`, for which no time passes. It reaches
MariaDB through a relay that counts what the driver sends.
"""

from __future__ import annotations

import gc
import random
import re
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any
from unittest import SkipTest, mock
from urllib.parse import urlsplit

from zope.interface import implementer

from bbs.board import board
from bbs.board.groups.tables import Group
from bbs.board.messages.tables import MessageRow
from bbs.board.people.tables import Relationship
from bbs.board.posts.tables import PostRow
from bbs.config import App, Configuration, Fleet, Limits
from bbs.core.threads import Done, ILane, ILanes, Work
from bbs.storage.database import rows
from bbs.storage.engines import IN_PYTHON
from bbs.storage.models import User
from bbs.storage.sqlite import Checkpointer
from bbs.testing import Peer, reactor
from bbs.testing.service import ALL_AT_ONCE
from bbs.testing.threads import Inline
from tests.database_case import fresh_mysql_url
from tests.memory_service import AsInProduction

TABLES = Path(__file__).with_name("costs.md")
PROGRAM = "python -m tests.board.costs"

SQLITE, MARIADB = "SQLite", "MariaDB"

STEPS, INSTRUCTIONS = "steps", "Python {}.{}"
INSTRUCTIONS_HERE = INSTRUCTIONS.format(*sys.version_info)

MARGIN = 0.08
"""Part by which a command may need more instructions, or fewer, before the page is written anew:
less than what a reader of a diff would pass over, more than a line that somebody moved."""

COLUMNS = (
    "SQLite: hops",
    "SQLite: statements",
    "SQLite: rows",
    "MariaDB: hops",
    "MariaDB: trips",
    "MariaDB: statements",
    "MariaDB: rows",
    "MariaDB: bytes",
    f"SQLite: {STEPS}",
    f"SQLite: {INSTRUCTIONS.format(3, 11)}",
    f"SQLite: {INSTRUCTIONS.format(3, 13)}",
    "frames",
    "reply",
)

ONE, SIXTEEN = "One caller", "Sixteen callers at the same moment"

CALLERS = [f"caller{number:02}" for number in range(16)]
FRIENDS = [f"friend{number}" for number in range(10)]
GROUPS = ["group0", "group1"]
LEAVING = ["leaver", "deleter", "changer"]
FAR = "far"  # Is served by another app server.

SECRET = "0123456789abcdef0123456789abcdef"  # Of a telnet gateway.

FIRST_ID = 1000
"""Ids begin here in each table, so that they have four digits whoever comes before them."""

Costs = Mapping[str, Mapping[str, Mapping[str, int]]]
"""By section (`ONE` or `SIXTEEN`), row and column."""


@contextmanager
def drawn_alike() -> Iterator[None]:
    """Draw the same random numbers each time, and none of those afterwards: which messages stand
    for others in the quotas of their senders. Servers' ports are random, too."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


# What is counted


class SqliteMeter:
    """Counts what this thread's connection to an SQLite database executes."""

    def __init__(self, database: Any) -> None:
        self._connection = database.connection()
        self._statements = 0
        self._connection.set_trace_callback(self._note)

    def _note(self, statement: str) -> None:
        self._statements += 1

    def count(self, work: Callable[[], object]) -> dict[str, int]:
        """Do `work`; returns its costs by the names of columns."""
        statements, changes = self._statements, self._connection.total_changes
        work()
        return {
            "statements": self._statements - statements,
            "rows": self._connection.total_changes - changes,
        }


GUARD = reactor.__file__


class InstructionMeter(SqliteMeter):
    """Counts the instructions that the interpreters of Python and of SQLite execute: what processor
    time is spent on, without the noise of a clock. Of the time in C, such as that of JSON, only
    SQLite's counts."""

    def __init__(self, database: Any) -> None:
        self._instructions = self._steps = 0
        database.connection().set_progress_handler(self._step, 1)

    def count(self, work: Callable[[], object]) -> dict[str, int]:
        """Do `work`; returns its costs by the names of columns."""
        instructions, steps, before = self._instructions, self._steps, sys.gettrace()
        gc.disable()  # It would run what others have left.
        sys.settrace(self._enter)
        try:
            work()
        finally:
            sys.settrace(before)
            gc.enable()
        return {STEPS: self._steps - steps, INSTRUCTIONS_HERE: self._instructions - instructions}

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        # No server has the guard of tests.
        if frame.f_code is InstructionMeter._step.__code__ or frame.f_code.co_filename == GUARD:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._trace

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode":
            self._instructions += 1
        return self._trace

    def _step(self) -> int:
        self._steps += 1
        return 0  # Go on.


class MariaDBMeter:
    """Counts what `relay` passes on, and what the server says that it did for this thread's
    connection."""

    def __init__(self, database: Any, relay: Relay) -> None:
        self._database = database
        self._relay = relay
        self._own = (0, 0)
        self._own = self._since(self._status())

    def count(self, work: Callable[[], object]) -> dict[str, int]:
        """Do `work`; returns its costs by the names of columns."""
        before = self._status()
        trips, size = self._relay.trips, self._relay.bytes
        work()
        trips, size = self._relay.trips - trips, self._relay.bytes - size
        statements, written = self._since(before)
        return {"trips": trips, "statements": statements, "rows": written, "bytes": size}

    def _since(self, before: tuple[int, int]) -> tuple[int, int]:
        """The statements and written rows since `before`, without those of `_status`."""
        after = self._status()
        return after[0] - before[0] - self._own[0], after[1] - before[1] - self._own[1]

    def _status(self) -> tuple[int, int]:
        found = self._database.execute_sql(
            "SHOW SESSION STATUS WHERE Variable_name IN"
            " ('Questions', 'Handler_write', 'Handler_update', 'Handler_delete')"
        )
        counts = {name: int(value) for name, value in found.fetchall()}
        return counts.pop("Questions"), sum(counts.values())


Meter = SqliteMeter | MariaDBMeter


class Relay:
    """A port of this machine that leads to the MySQL at `server_url`, and counts what is sent to
    it, by whatever driver.

    :ivar url: the database, through this port.
    :ivar trips: the packets of clients. Each has one command of the protocol, and the client waits
        for its answer.
    :ivar bytes: the bytes of these packets.
    """

    def __init__(self, server_url: str) -> None:
        parts = urlsplit(server_url)
        self._server = (parts.hostname or "", parts.port or 3306)
        self._listening = socket.create_server(("127.0.0.1", 0))
        user, _, _ = parts.netloc.rpartition("@")
        own = f"{user}@127.0.0.1:{self._listening.getsockname()[1]}"
        self.url = parts._replace(netloc=own).geturl()
        self.trips = self.bytes = 0
        self._sockets = [self._listening]
        self._run(self._accept)

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        Thread(target=work, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, server]
                self._run(self._requests, client, server)
                self._run(self._answers, server, client)

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client.makefile("rb") as packets:
            while header := packets.read(4):
                packet = header + packets.read(int.from_bytes(header[:3], "little"))
                if header[3] == 0:  # Those of a handshake have higher numbers.
                    self.trips += 1
                    self.bytes += len(packet)
                server.sendall(packet)
            server.shutdown(socket.SHUT_WR)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(2**16):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@implementer(ILanes)
class CountedLanes(Inline):
    """Does each call at once, or those of `together` together. `hops` counts how often a thread of
    the database would take up work."""

    def __init__(self) -> None:
        self.hops = 0
        self.gathers = False
        self._lanes: list[_CountedLane] = []

    def lane(self, name: str, work: Work[Any], done: Done[Any], **options: Any) -> ILane:
        self._lanes.append(_CountedLane(self, work, done))
        return self._lanes[-1]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let the calls of this context wait, and do them at its end."""
        self.gathers = True
        yield
        # A transaction takes no more calls after some milliseconds. Here no time passes.
        with mock.patch("time.monotonic", lambda: 0.0):
            while any(lane.waiting for lane in self._lanes):
                for lane in self._lanes:
                    lane.work_off()
        self.gathers = False


@implementer(ILane)
@dataclass(eq=False)
class _CountedLane:
    lanes: CountedLanes
    work: Work[Any]
    done: Done[Any]
    waiting: deque[Any] = field(default_factory=deque)

    def put(self, job: object) -> None:
        self.waiting.append(job)
        if not self.lanes.gathers:
            self.work_off()

    def work_off(self) -> None:
        while self.waiting:
            self.lanes.hops += 1
            self.done(self.work(self.waiting))


# Who asks for what


class CountedService:
    """A service on the database at `url`, with people whose requests are counted.

    Sixteen callers have the same ten friends, each with ten posts. There are two groups of ten,
    each with one half of the callers and two of the friends. All of them are on one app server,
    and somebody else is on a second one.
    """

    def __init__(self, url: str, meter: Callable[[Any], Meter]) -> None:
        self.found: dict[str, dict[str, Mapping[str, int]]] = {ONE: {}, SIXTEEN: {}}
        people = [*CALLERS, *FRIENDS, *LEAVING]
        self._lanes = CountedLanes()
        self._service = AsInProduction(
            board, config=_configuration(len(people)), url=url, workers=self._lanes
        )
        _use_ids(FIRST_ID - 1)
        self.login_server = self._service.peer()
        self.tokens: dict[str, str] = {}
        for name in people:
            self.login_server.ask(f"register {name} pw")
            self.tokens[name] = self.login_server.ask(f"login {name} pw")["token"]
        self.tokens |= self._service.people(FAR)  # This one waits for another app server.
        # From now on no time passes, and the time that is stored has no long fraction.
        clock = self._service.clock
        clock.advance(int(clock.seconds()) + 1 - clock.seconds())
        self._peers = {name: self.connect(name) for name in self.tokens}
        self._meet()
        self._meter = meter(self._service.database.peewee)
        self._database = SQLITE if isinstance(self._meter, SqliteMeter) else MARIADB

    def close(self) -> None:
        self._service.close()

    def connect(self, name: str) -> Peer:
        """A new connection to the app server of somebody."""
        return self._service.at_home(self.tokens[name])

    def _meet(self) -> None:
        ids = dict(rows(User.select(User.name, User.id)))
        pairs = [(ids[one], ids[other]) for one in CALLERS for other in FRIENDS]
        # By commands this would take as long as all that is counted.
        Relationship.insert_many(
            {"user": user, "other": other, "kind": Relationship.FRIEND}
            for pair in pairs
            for user, other in (pair, reversed(pair))
        ).execute()
        for friend in FRIENDS:
            for number in range(10):
                self.do(f"post <user> number {number}, about the weather", friend)
        for number, group in enumerate(GROUPS):
            first, *others = [*CALLERS[number::2], *FRIENDS[:2]]
            self.do(f"create-group <user> {group}", first)
            for member in others:
                self.do(f"join-group <user> {group}", member)

    def befriend(self, one: str, other: str) -> None:
        self.do(f"invite <user> {other}", one)
        self.do(f"accept-invite <user> {one}", other)

    def do(self, line: str, name: str) -> None:
        """Carry out a request of somebody, and count nothing."""
        reply = self._peers[name].ask(self._of(line, name))
        assert reply["status"] == 0, (line, reply)

    def _of(self, line: str, name: str) -> str:
        return line.replace("<user>", self.tokens[name])

    def count(
        self, line: str, variant: str = "", name: str = CALLERS[0], peer: Peer | None = None
    ) -> Mapping[str, Any]:
        """Count the costs of a request of somebody, over `peer`, by default to their app server.
        Returns the reply."""
        command = line.partition(" ")[0]
        row = f"{command}, {variant}" if variant else command
        [reply] = self._count(ONE, row, [(self._of(line, name), peer or self._peers[name])])
        return reply

    def count_all(self, lines: Sequence[str]) -> None:
        """Count the costs of one request of each caller, all together."""
        asked = [
            (self._of(line, name), self._peers[name])
            for line, name in zip(lines, CALLERS, strict=True)
        ]
        self._count(SIXTEEN, lines[0].partition(" ")[0], asked)

    def _count(
        self, section: str, row: str, asked: Sequence[tuple[str, Peer]]
    ) -> Sequence[Mapping[str, Any]]:
        def work() -> None:
            with self._lanes.together() if section is SIXTEEN else nullcontext():
                for line, peer in asked:
                    peer.say(line)

        for _, peer in asked:
            assert not peer.heard(), "somebody who asks hears events"
        assert row not in self.found[section], row
        hops, frames = self._lanes.hops, self._service.broker.published
        written = self._written(asked)
        with drawn_alike():
            of_database = self._meter.count(work)
        of_database["hops"] = self._lanes.hops - hops
        costs = {f"{self._database}: {name}": count for name, count in of_database.items()}
        costs["frames"] = self._service.broker.published - frames
        costs["reply"] = self._written(asked) - written
        replies = [reply for _, peer in asked for reply in peer.heard()]
        assert [reply["status"] for reply in replies] == [0] * len(asked), (row, replies)
        self.found[section][row] = costs
        return replies

    def _written(self, asked: Sequence[tuple[str, Peer]]) -> int:
        return sum(len(peer.transport.value()) for _, peer in asked)


def _configuration(capacity: int) -> Configuration:
    config = Configuration(
        app=App(capacity=capacity),
        fleet=Fleet(spare=0),
        limits=Limits(
            logins=ALL_AT_ONCE,
            commands=ALL_AT_ONCE,
            deliveries=ALL_AT_ONCE,
            registrations=ALL_AT_ONCE,
        ),
    )
    return replace(config, telnet=replace(config.telnet, secret=SECRET))


def _use_ids(last: int) -> None:
    """Let the next rows of the board's tables have ids behind `last`."""
    User.insert(id=last, name="last", password_hash="", channel="", created=0.0).execute()
    PostRow.insert(id=last, author=last, text="").execute()
    Group.insert(id=last, name="last", channel="").execute()
    MessageRow.insert(
        id=last, sender="", target="", to_group=False, text="", stored=0.0, sent_by=last
    ).execute()


def ask_everything(service: CountedService) -> None:
    """Count the costs of each command, and of some in several variants."""
    caller, other, friend = CALLERS[0], CALLERS[1], FRIENDS[0]
    count, do = service.count, service.do

    at_login = service.login_server
    count("register newcomer pw", peer=at_login)
    newcomer = count("login newcomer pw", "for a place", peer=at_login)["token"]
    count(f"login {caller} pw", "with a place", peer=at_login)
    count("locate <user>", peer=at_login)
    count("change-password <user> pw new", name="changer", peer=at_login)
    count("logout <user>", name="leaver", peer=at_login)
    count("delete <user>", name="deleter", peer=at_login)
    count(f"forwarded-for 192.0.2.1 {SECRET}", peer=at_login)
    count("device x", peer=at_login)

    for command in ("help", "commands", "ping", "events", "quit"):
        count(command, peer=service.connect(caller))

    count(f"invite <user> {other}")
    count("list-invite <user>", name=other)
    count(f"accept-invite <user> {caller}", name=other)
    count(f"unfriend <user> {other}")
    do(f"invite <user> {other}", caller)
    count(f"decline-invite <user> {caller}", name=other)
    do(f"invite <user> {other}", caller)
    count("decline-all <user>", name=other)
    count(f"block <user> {other}")
    count("list-block <user>")
    count(f"unblock <user> {other}")
    count("list-friend <user>", "10 friends")
    count("who <user>", "10 friends")

    count("post <user> what a nice day")
    count("receive-post <user>", "100 posts of 10 friends")

    count("new <user>", "10 friends without news, 1 group")
    number = count("posts <user>", "100 posts of 10 friends")["post"][-1]["post"]
    count("posts <user>", "none")
    count(f"reply <user> {number} how nice")
    count(f"thread <user> {number}", "1 reply")
    own = count("my-posts <user>", "2 posts")["post"][0]["post"]
    count(f"delete-post <user> {own}", "a reply")
    count(f"post-group <user> {GROUPS[0]} what a nice day")
    count(f"group-posts <user> {GROUPS[0]}", "1 post", name=CALLERS[2])

    count("create-group <user> chess")
    count("join-group <user> chess", name=other)
    count("list-group <user>")
    count("list-joined <user>")
    count("list-member <user> chess")
    count("groups <user>")
    count("set-topic <user> chess Openings and ends")
    count("close-group <user> chess")
    count(f"invite-group <user> chess {FRIENDS[1]}")
    do("join-group <user> chess", FRIENDS[1])
    count("open-group <user> chess")
    count(f"kick <user> chess {FRIENDS[1]}")
    count("leave-group <user> chess")
    count(f"give-group <user> {GROUPS[0]} {FRIENDS[0]}")
    do(f"give-group <user> {GROUPS[0]} {caller}", FRIENDS[0])
    count("delete-group <user> chess", name=other)

    reader, away = service.connect(friend), service.connect(FAR)
    count("listen <user>", name=friend, peer=reader)
    count("listen <user> 0", "from a message on", name=FAR, peer=away)
    for name in (caller, other):
        service.befriend(name, FAR)
    count(f"send <user> {friend} how are you?", "to a friend on the same app server")
    count(f"send <user> {FAR} how are you?", "to a friend on another app server")
    count(f"send-group <user> {GROUPS[0]} how are you?", "to a group of 10")
    events = [[event["event"] for event in peer.heard()] for peer in (reader, away)]
    assert events == [["message", "message"], ["message"]], "what is counted ends with the events"

    for _ in range(50):
        do(f"send <user> {friend} how are you?", caller)
    reply = count(f"history <user> {friend}", "50 messages")
    count(f"more <user> {reply['more']}")
    count(f"history-group <user> {GROUPS[0]}", "1 message")

    service.count_all(["list-friend <user>"] * 16)
    service.count_all(["receive-post <user>"] * 16)
    service.count_all(["posts <user>"] * 16)
    service.count_all([f"group-posts <user> {GROUPS[number % 2]}" for number in range(16)])
    service.count_all(["post <user> what a nice day"] * 16)
    service.count_all([f"send <user> {FRIENDS[number % 10]} how are you?" for number in range(16)])
    service.count_all(
        [f"send-group <user> {GROUPS[number % 2]} how are you?" for number in range(16)]
    )

    own = service.connect(caller)
    own.ask("events")
    own.ask(f"listen {service.tokens[caller]}")
    count(f"send <user> {friend} how are you?", "while another client asks for the sender's events")
    assert own.heard()[-1]["event"] == "sent"

    service.login_server.ask(f"logout {service.tokens[FAR]}")
    count(f"mail <user> {FAR} how are you?", "to a friend who is offline", name=other)
    count("set-status <user> at the beach", "10 friends online", name=other)

    for peer in (reader, own):
        peer.transport.abortConnection()
    at_login.ask(f"logout {newcomer}")
    count("post <user> what a nice day", "nobody listens, and all are here")


def costs_on_sqlite(folder: Path) -> Costs:
    """Count the costs on a new SQLite file in `folder`."""
    return _costs(f"sqlite:///{folder.absolute()}/bbs.sqlite3", SqliteMeter)


def instructions(folder: Path) -> Costs:
    """Count the instructions on a new SQLite file in `folder`."""
    for name in ("first", "second"):
        # The first fills what a process remembers for good, such as the SQL of queries.
        found = _costs(f"sqlite:///{folder.absolute()}/{name}.sqlite3", InstructionMeter)
    return found


def costs_on_mysql(url: str) -> Costs:
    """Count the costs on the empty MySQL or MariaDB at `url`."""
    relay = Relay(url)
    try:
        return _costs(relay.url, lambda database: MariaDBMeter(database, relay))
    finally:
        relay.close()


def _costs(url: str, meter: Callable[[Any], Meter]) -> Costs:
    drawn = random.Random(0)
    with (
        # Random numbers have as many digits every time, and random names are in the same order.
        mock.patch("secrets.randbits", lambda bits: 2**bits - 1),
        mock.patch("secrets.token_hex", lambda size: drawn.randbytes(size).hex()),
        # It begins a thread once so much is written, at another command in each run.
        mock.patch.object(Checkpointer, "note_commit", lambda self: None),
    ):
        service = CountedService(url, meter)
        try:
            ask_everything(service)
        finally:
            service.close()
    return service.found


# The page

HEAD = f"""\
# Costs

These tables have what each command of the board costs, in things that can be counted.
`{PROGRAM}` writes them anew. `tests/board/scenarios/test_costs.py` fails when
something costs more or less than this page says. A change of this page is a line in the commit's
message.

- hops: how often a thread of the database takes up work
- trips: packets to MariaDB, each of which waits for an answer
- statements: what the database executes, with `BEGIN` and `COMMIT`
- rows: inserted, updated and deleted. MariaDB counts those of `message` and `delivery`, which have
  partitions, twice, and does not count those that it deletes together with a
  row that they refer to.
- bytes: of the packets, as PyMySQL writes them
- steps: instructions of SQLite's own machine
- Python: instructions of this version's interpreter, on SQLite, when the process has seen such a
  command before. These and the steps may be {MARGIN:.0%} more or fewer.
- frames: messages that are published through the broker
- reply: bytes of the replies on the wire

Counted is all that happens until the reply is written, and a message has reached its readers.
What servers store later, such as receipts, is not.
"""


def report(found: Costs) -> str:
    """The page with these costs."""
    lines = [HEAD]
    for section, listed in found.items():
        lines += [f"## {section}\n", _line("command", COLUMNS)]
        lines.append(_line("---", ["---:"] * len(COLUMNS)))
        for row, costs in listed.items():
            lines.append(_line(row, [str(costs.get(column, "")) for column in COLUMNS]))
        lines.append("")
    return "\n".join(lines)


def _line(first: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


def read(page: str) -> Costs:
    """The costs on a page that `report` wrote."""
    found: dict[str, dict[str, Mapping[str, int]]] = {}
    for section, text in re.findall(r"^## (.*)\n\n((?:\|.*\n)*)", page, re.MULTILINE):
        head, _, *lines = text.splitlines()
        _, *columns = _cells(head)
        found[section] = {}
        for line in lines:
            row, *cells = _cells(line)
            costs = zip(columns, cells, strict=True)
            found[section][row] = {column: int(cell) for column, cell in costs if cell}
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def differences(written: Costs, found: Costs) -> list[str]:
    """Say where what was found is not what is written. Only columns that were counted matter; some
    may differ by `MARGIN`."""
    changes = []
    for section, listed in found.items():
        before = written.get(section, {})
        for row in dict.fromkeys((*listed, *before)):
            old, new = before.get(row), listed.get(row)
            if old is None or new is None:
                where = "not in" if old is None else "only in"
                changes.append(f"{section}: {row}: {where} costs.md")
                continue
            changes += [
                f"{section}: {row}: {column}: {old.get(column)} in costs.md, now {count}"
                for column, count in new.items()
                if not _agree(column, old.get(column), count)
            ]
    return changes


def _agree(column: str, old: int | None, new: int) -> bool:
    if old is None or not column.endswith((STEPS, INSTRUCTIONS_HERE)):
        return old == new
    return old / (1 + MARGIN) <= new <= old * (1 + MARGIN)


def settled(written: Costs, found: Costs) -> Costs:
    """What was found, but for counts that agree with what is written: what creeps up by a little
    each time would otherwise never be noticed."""
    return {
        section: {
            row: {
                column: old if old is not None and _agree(column, old, count) else count
                for column, count in costs.items()
                for old in [_row(written, section, row).get(column)]
            }
            for row, costs in listed.items()
        }
        for section, listed in found.items()
    }


def merged(*of_databases: Costs) -> Costs:
    """The rows of the last one, with the columns of all."""
    return {
        section: {
            row: {
                name: count
                for each in of_databases
                for name, count in _row(each, section, row).items()
            }
            for row in rows
        }
        for section, rows in of_databases[-1].items()
    }


def _row(costs: Costs, section: str, row: str) -> Mapping[str, int]:
    return costs.get(section, {}).get(row, {})


def main(path: Path = TABLES) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = [costs_on_sqlite(Path(folder)), instructions(Path(folder))]
    try:
        found.append(costs_on_mysql(fresh_mysql_url(IN_PYTHON)))
    except SkipTest as reason:
        print(f"MariaDB's columns stay as they are: {reason}", file=sys.stderr)
    written = read(path.read_text()) if path.exists() else {}
    for change in differences(written, merged(*found)):
        print(change)
    path.write_text(report(merged(written, settled(written, merged(*found)))))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
