"""What hints cost the broker: its destinations while people listen, and what is published.

    python -m lab.bench.topics [--servers N] [--listeners N] [--messages N] [--root CHECKOUT]

App servers on SQLite, of this checkout or another one, use a broker of this program, which counts.
The listeners are real connections, equally many to each server; one person more writes to groups
of different sizes and to friends, and posts. Each listener must get each message once, in order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineReceiver

from bbs.board.groups.tables import Group, Membership
from bbs.board.people.tables import Relationship
from bbs.protocols.stomp.broker import BrokerService, Credential, EmbeddedBroker, Topics
from bbs.rules.accounts import new_channel
from bbs.rules.auth import digest
from bbs.storage.database import rows
from bbs.storage.models import Place, Server, Session, User
from lab.bench import filling, processes, report
from lab.bench.processes import Form, Tool
from lab.bench.silent_connections import allow_files
from tests.paths import CHECKOUT

PATIENCE = 60.0  # seconds until all has arrived
AT_ONCE = 50  # listeners who come at the same time
QUIET = 0.3  # seconds between messages, in which servers store who was sent the one before
FRIENDS = 10  # of the author's, on each server
HINTS = (b".user.", b".group.", b".server.", b".broadcast.")  # What the destinations are for.

HEADING: report.Row = ("what is sent", "readers", "servers of theirs", "publishes", "deliveries")


class Counting(Topics):
    """Counts what is published on topics of users, groups and servers, and what is delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.published = self.delivered = 0

    def deliver(self, destination: str, headers: Mapping[str, str], body: bytes) -> None:
        if any(each.decode() in destination for each in HINTS):
            self.published += 1
            self.delivered += len(self.get(destination, ()))
        super().deliver(destination, headers, body)


class Answering(LineReceiver):
    """Answers each line with the broker's counts."""

    delimiter = b"\n"

    def __init__(self, topics: Counting, url: str) -> None:
        self._topics, self._url = topics, url

    def lineReceived(self, line: bytes) -> None:
        topics = self._topics
        counts = {
            "url": self._url,
            "destinations": len(topics),
            "subscriptions": sum(map(len, topics.values())),
            "published": topics.published,
            "delivered": topics.delivered,
        }
        self.sendLine(json.dumps(counts).encode())


def serve() -> None:
    """Be the broker, until the end of the process."""
    from twisted.internet import reactor

    clock: Any = reactor
    factory = EmbeddedBroker(Credential("bbs", secrets.token_hex(16)), clock)
    factory.topics = topics = Counting()
    service = BrokerService(clock, "tcp:0:interface=127.0.0.1", factory)
    service.startService()
    service.when_listening().addCallback(lambda url: StandardIO(Answering(topics, url)))
    clock.run()


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[Tool]:
    """A process that is the broker."""
    command = [sys.executable, "-m", "lab.bench.topics", "--broker"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": CHECKOUT}
    log = folder / "broker.log"
    with processes.process(command, log, **pipes) as child:
        yield Tool(child, log)


@dataclass(frozen=True)
class People:
    """The tokens of the author and of the listeners, who are on `servers` by turns."""

    author: str
    listeners: Sequence[str]
    servers: int

    def group(self, name: str) -> range:
        """The numbers of the listeners in a group: one on each server, ten, or all."""
        size = {"few": self.servers, "some": self.servers * FRIENDS}.get(name, len(self.listeners))
        return range(0, len(self.listeners), max(1, len(self.listeners) // size))


def fill(people: People) -> None:
    """Make the rows of everybody, without places."""
    names = ["author", *(f"listener{number}" for number in range(len(people.listeners)))]
    ids = filling.insert_people(names)
    everybody = [ids[name] for name in names]
    author, *listeners = everybody
    filling.insert(Place, ({"user": user, "server": None} for user in everybody))
    for name in ("few", "some", "all"):
        group = Group.insert(name=name, channel=new_channel()).execute()
        members = [author, *(listeners[number] for number in people.group(name))]
        filling.insert(Membership, ({"group": group, "user": user} for user in members))
    friends = [listeners[number] for number in people.group("some")]
    filling.insert(
        Relationship,
        (
            {"user": one, "other": other, "kind": Relationship.FRIEND}
            for friend in friends
            for one, other in ((author, friend), (friend, author))
        ),
    )
    tokens, now = [people.author, *people.listeners], time.time()
    filling.insert(
        Session,
        (
            {"digest": digest(token), "user": user, "used": now}
            for token, user in zip(tokens, everybody, strict=True)
        ),
    )
    User.update(seen=now).execute()


class Listener:
    """A connection that listens, and the texts of what it was sent."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.texts: list[str] = []

    async def begin(self, port: int) -> asyncio.Task[None]:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        for request in ("events", f"listen {self._token}"):
            await self.ask(request)
        return asyncio.ensure_future(self._hear())

    async def ask(self, request: str) -> None:
        """Ask while nothing else is sent; a busy machine has the database refuse some."""
        deadline, reply = time.monotonic() + PATIENCE, {"code": "unavailable"}
        while reply.get("code") == "unavailable" and time.monotonic() < deadline:
            self._writer.write(f"{request}\n".encode())
            reply = json.loads(await self._reader.readline())
        if reply["status"]:
            raise processes.Failed(f"{request}: {reply}")

    async def _hear(self) -> None:
        while line := await self._reader.readline():
            event = json.loads(line)
            if event["event"] in ("message", "post"):
                # A post's is for people: who posts what.
                self.texts.append((event.get("message") or event["text"]).rpartition(" ")[2])


@dataclass(frozen=True)
class Sent:
    """What was sent, to how many readers at how many servers, and what each cost the broker."""

    what: str
    readers: int
    servers: int
    publishes: float
    deliveries: float

    def row(self) -> report.Row:
        numbers = (f"{self.publishes:.1f}", f"{self.deliveries:.1f}")
        return (self.what, f"{self.readers:,}", str(self.servers), *numbers)


async def measure(people: People, counts: Tool, messages: int) -> list[Sent]:
    """Have everybody listen, and send each kind of message so many times."""
    ports: dict[int, int] = dict(
        rows(Place.select(Place.user, Server.port).join(Server, on=(Place.server == Server.id)))
    )
    own, *others = (ports[user] for user in sorted(ports))
    before = counts.ask({})
    listeners = [Listener(token) for token in people.listeners]
    hearing: list[asyncio.Task[None]] = []
    for begin in range(0, len(listeners), AT_ONCE):
        some = zip(listeners[begin : begin + AT_ONCE], others[begin : begin + AT_ONCE], strict=True)
        hearing += await asyncio.gather(*(each.begin(port) for each, port in some))
    there = counts.ask({})
    print(
        f"{len(listeners):,} listeners on {len({*others})} app servers: "
        f"{there['destinations']:,} destinations at the broker, {there['subscriptions']:,} "
        f"subscriptions ({before['destinations']} and {before['subscriptions']} without them)",
        flush=True,
    )
    author = Listener(people.author)
    author._reader, author._writer = await asyncio.open_connection("127.0.0.1", own)
    found = []
    friend = people.group("some")[-1]
    for what, line, readers in (
        ("send", f"send {{0}} listener{friend} {{1}}", [friend]),
        *(
            (f"send-group {name}", f"send-group {{0}} {name} {{1}}", [*people.group(name)])
            for name in ("few", "some", "all")
        ),
        ("post", "post {0} {1}", [*people.group("some")]),
    ):
        before = counts.ask({})
        for number in range(messages):
            await author.ask(line.format(people.author, f"{number}"))
            # In its own time, so that nothing is for several messages.
            await _arrived([listeners[each] for each in readers], number + 1)
            await asyncio.sleep(QUIET)
        after = counts.ask({})
        texts = [f"{number}" for number in range(messages)]
        for each in readers:
            heard = listeners[each].texts.copy()
            listeners[each].texts.clear()
            if heard != texts:
                raise processes.Failed(f"{what}: {heard} instead of {texts}")
        published, delivered = (
            (after[name] - before[name]) / messages for name in ("published", "delivered")
        )
        servers = len({others[each] for each in readers})
        found.append(Sent(what, len(readers), servers, published, delivered))
    stray = sum(len(each.texts) for each in listeners)
    if stray:
        raise processes.Failed(f"{stray} messages came to others")
    for task in hearing:
        task.cancel()
    return found


async def _arrived(listeners: Sequence[Listener], number: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while min(len(each.texts) for each in listeners) < number:
        if time.monotonic() > deadline:
            raise processes.Failed(f"message {number} did not arrive everywhere")
        await asyncio.sleep(0.005)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bench.topics",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--servers", type=int, default=10, metavar="N")
    parser.add_argument("--listeners", type=int, default=1000, metavar="N")
    parser.add_argument("--messages", type=int, default=10, metavar="N")
    parser.add_argument("--root", type=Path, default=CHECKOUT, metavar="CHECKOUT")
    parser.add_argument("--broker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.broker:
        serve()
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    allow_files(options.listeners + 200)
    capacity = -(-(options.listeners + 1) // options.servers)
    form = Form(servers=options.servers, capacity=capacity, root=options.root)
    tokens = [secrets.token_hex(16) for _ in range(options.listeners)]
    people = People(secrets.token_hex(16), tokens, options.servers)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bbs-bench-")))
        counts = stack.enter_context(broker(folder))
        url = processes.sqlite(folder)
        stack.enter_context(filling.filled(url, lambda: fill(people)))
        stack.enter_context(processes.external(folder, url, counts.ask({})["url"], form))
        filling.await_places()
        found = asyncio.run(measure(people, counts, options.messages))
    print(report.markdown(HEADING, [each.row() for each in found]))
    return 0


if __name__ == "__main__":
    processes.run_program(main)
