"""Streams of requests: numbered writes, of which it is known whether they were acknowledged, and
reads. Each goes on, through whatever fails, until it is told to stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from bbs.board import BBSClient
from bbs.client import BadReply, ChatMessage, Incomplete, Lost, Refused, Unreachable
from bbs.core.errors import DiskFull, Unavailable
from lab.faults.figures import Figures
from lab.faults.parts import pause
from tests.integration.service import run

PAUSES = {"send": 0.03, "send-group": 0.1, "post": 0.25}
"""Seconds between what one person writes: several messages share a transaction, and posts are all
read again and again."""

TELNET_DEADLINE = 30.0
"""Seconds until somebody at the gateway hangs up and tries again."""


class Stream(ABC):
    """One request after the other, each with the next number."""

    kind: str
    writes = True

    def __init__(self, figures: Figures, name: str, pause: float = 0.1) -> None:
        self.figures = figures
        self.name = name
        self._pause = pause
        self._stopping = False
        self.safe: dict[int, None] = {}
        """Acknowledged, in their order."""
        self.unsure: set[int] = set()
        """Those of which nobody said whether they were carried out."""
        self.unavailable: set[int] = set()
        """Refused with the words of a service that cannot just now."""
        self.unreached: set[int] = set()
        """Those that no server took."""
        self.ended: Deferred[None] | None = None

    @abstractmethod
    async def request(self, number: int) -> None:
        """Make one; raises what the client library raises."""

    def begin(self) -> None:
        self.figures.watch.streams[self.name] = self.kind
        self.ended = run(self._go())

    async def stop(self) -> None:
        """Ask no more."""
        self._stopping = True
        if self.ended is not None:
            await self.ended

    async def _go(self) -> None:
        number, watch = 0, self.figures.watch
        while not self._stopping:
            number += 1
            begun = watch.now()
            try:
                await self.request(number)
            except Lost:
                self.unsure.add(number)
            except Refused as refusal:
                self._refused(number, refusal)
            except Unreachable:
                self.unreached.add(number)
            except Incomplete:
                self.unavailable.add(number)  # In the middle of a list in parts.
            except BadReply as problem:
                self.figures.complain(f"{self.name}: {problem}")
            except Exception as problem:
                # Else the run would wait for this stream without a word.
                self.figures.complain(f"{self.name} {number}: {type(problem).__name__}: {problem}")
                raise
            else:
                self.safe[number] = None
                watch.served(self.name, begun)
            await pause(self._pause)

    def _refused(self, number: int, refusal: Refused) -> None:
        if refusal.reply.code in (Unavailable.code, DiskFull.code):
            self.unavailable.add(number)
        else:
            self.figures.complain(f"{self.name} {number}: {refusal.reply.code}: {refusal}")

    def check(self, found: Iterable[int], where: str) -> None:
        """Count, and complain, by what is there in the end, in the order in which it is there."""
        there = list(found)
        seen = Counter(there)
        known = self.safe.keys() | self.unsure | self.unavailable
        lost = [number for number in self.safe if number not in seen]
        doubled = [number for number, times in seen.items() if times > 1]
        invented = [number for number in seen if number not in known]
        crossed = [after for before, after in pairwise(there) if after < before]
        for what, numbers in (
            ("lost", lost),
            ("doubled", doubled),
            ("out of order", crossed),
            ("there though refused", invented),
        ):
            if numbers:
                self.figures.complain(f"{self.name}, {where}: {what}: {numbers[:10]}")
            self._count(what, len(numbers))
        self.figures.counts[self.name] |= {
            "acknowledged": len(self.safe),
            "unsure": len(self.unsure),
            "unavailable": len(self.unavailable),
            "unavailable, and there": len(self.unavailable & seen.keys()),
            "unreached": len(self.unreached),
        }

    def _count(self, what: str, number: int) -> None:
        counts = self.figures.counts.setdefault(self.name, {})
        counts[what] = counts.get(what, 0) + number


class Writing(Stream):
    """A person who says something numbered by one of the commands that take a text."""

    def __init__(
        self,
        figures: Figures,
        client: BBSClient,
        kind: str,
        user: str,
        target: str = "",
    ) -> None:
        super().__init__(figures, f"{kind} by {user}", PAUSES[kind])
        self.kind = kind
        self.user = user
        self.target = target
        self.client = client
        self._begun: dict[int, float] = {}

    async def request(self, number: int) -> None:
        text = f"{self.user} says {number}"
        self._begun[number] = self.figures.watch.now()
        if self.kind == "post":
            await self.client.post(self.user, text)
        elif self.kind == "send":
            await self.client.send(self.user, self.target, text)
        else:
            await self.client.send_group(self.user, self.target, text)

    def begun(self, number: int) -> float:
        """When it was sent."""
        return self._begun[number]


class Ear:
    """A person who listens, and what came."""

    def __init__(self, figures: Figures, user: str, streams: list[Writing]) -> None:
        self.user = user
        self.name = f"heard by {user}"
        self.heard: dict[str, list[int]] = {stream.name: [] for stream in streams}
        self.ids: list[int] = []
        self._figures = figures
        self._streams = {(stream.user, stream.kind): stream for stream in streams}
        figures.watch.streams |= {self._of(stream): "heard" for stream in streams}

    def _of(self, stream: Writing) -> str:
        return f"{stream.name}, {self.name}"

    def hear(self, user: str, message: ChatMessage) -> None:
        self.ids.append(message.id)
        stream = self._streams.get((message.sender, "send-group" if message.group else "send"))
        if stream is None:
            self._figures.complain(f"{self.user} heard what is not theirs: {message}")
            return
        number = int(message.text.rpartition(" ")[2])
        self.heard[stream.name].append(number)
        self._figures.watch.served(self._of(stream), stream.begun(number))

    def has_all(self) -> bool:
        return all(
            stream.safe.keys() <= set(self.heard[stream.name]) for stream in self._streams.values()
        )

    def check(self) -> None:
        for stream in self._streams.values():
            stream.check(self.heard[stream.name], self.name)
        if self.ids != sorted(set(self.ids)):
            self._figures.complain(f"{self.name}: ids that do not rise")


class Reading(Stream):
    """Somebody who reads what a friend posted, and finds all that was acknowledged before."""

    kind = "read"
    writes = False

    def __init__(self, figures: Figures, client: BBSClient, user: str, posts: Writing) -> None:
        super().__init__(figures, f"reading by {user}", pause=0.2)
        self._client = client
        self._user = user
        self._posts = posts

    async def request(self, number: int) -> None:
        if number % 40:
            await self._client.list_friend(self._user)
            return
        before = set(self._posts.safe)
        found = [
            int(post.text.rpartition(" ")[2])
            for post in await self._client.receive_post(self._user)
            if post.author == self._posts.user
        ]
        # A long list begins with what is latest.
        missing = {each for each in before if found and each >= found[0]} - set(found)
        if missing or found != sorted(set(found)) or (before and not found):
            self.figures.complain(f"{self.name}: {sorted(missing)[:10]} are not among the posts")


class Logins(Stream):
    """Somebody who logs in and out."""

    kind = "login"
    writes = False

    def __init__(self, figures: Figures, client: BBSClient, user: str) -> None:
        super().__init__(figures, f"logins of {user}", pause=0.2)
        self._client = client
        self._user = user
        self._in = False

    async def request(self, number: int) -> None:
        if number % 2:
            await self._client.login(self._user, self._user)
        elif self._user in self._client.users:
            await self._client.logout(self._user)


class AtGateway(Stream):
    """Somebody who comes by telnet, logs in, and leaves again."""

    kind = "telnet"
    writes = False

    def __init__(self, figures: Figures, port: int, user: str) -> None:
        super().__init__(figures, f"telnet by {user}", pause=0.3)
        self._port = port
        self._user = user

    async def request(self, number: int) -> None:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self._port, timeout=5)
        lines = ("", f"login {self._user}", self._user, "logout", "exit", "")
        try:
            visit = cast("_Visit", await endpoint.connect(Factory.forProtocol(_Visit)))
            visit.transport.write("\n".join(lines).encode())
            said = await visit.over.addTimeout(TELNET_DEADLINE, reactor)
        except (ConnectError, TimeoutError) as problem:
            raise Unreachable(str(problem)) from problem
        if b"Success!" not in said:
            raise Unreachable(repr(said[-200:]))


class _Visit(Protocol):
    transport: Any

    def __init__(self) -> None:
        self._said = b""
        self.over: Deferred[bytes] = Deferred(lambda _: self._hang_up())

    def _hang_up(self) -> None:
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._said += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.over.called:
            self.over.callback(self._said)
