"""The operators' page with a server that says what a test wants it to say.

    server = PageServer()
    server.listen(reactor)
    server.say("state", a_state(servers=[a_server(state="draining")]))

It serves the page's own files and speaks to it as `bbs-login` does, without a fleet behind: for
what a real fleet is rarely or never seen in, such as every state at once, or a provider's refusal
that is somebody's attempt at markup.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.static import File
from twisted.web.template import XMLString

from bbs.board import board
from bbs.core.values import Counter as Counted
from bbs.protocols.stomp.redundant import BrokerCount
from bbs.rules.service_admin import OperatorList
from bbs.web.context import ServiceInfo
from bbs.web.poller import NOTHING_SEEN
from bbs.web.resources import rendered
from bbs.web.snapshot import Measured, PageView
from tests.memory_service import POLICY
from tests.paths import STATIC

NOW = 1_795_000_000.0
"""The time at this server, seconds since the epoch."""


TOPS = {
    "logins_per_minute": 20,
    "failed_logins_per_minute": 4,
    "errors_per_minute": 3,
    "people": 40,
    "connected": 30,
    "free_places": 40,
    "waiting": 3,
    "longest_wait": 12,
    "servers": 12,
    "launches": 2,
    "launch_seconds": 3,
    "reactor_lag": 0.004,
    "database_time": 0.009,
    "messages_per_second": 40,
}
"""The most that each of the last hour's series comes to."""


def a_server(number: int = 1, **members: Any) -> dict[str, Any]:
    """A server of a snapshot: ready and half full, unless `members` say otherwise."""
    return {
        "id": f"{number * 0x1F3A91B7C5D3E:032x}"[::-1],
        "state": "ready",
        "address": f"203.0.113.{number}:22223",
        "people": 5,
        "connected": 2,
        "capacity": 10,
        "age": 3600.0 + number,
        "ready_after": 2.1,
        "messages_per_second": 3.4,
        "counters": {"messages": {"per_second": 3.4}},
        "lease": 0.8,
        "drain_asked": False,
        "replace_asked": False,
        "version": None,
        "reason": "",
        "provider": "local",
        "instance": None,
        "type": None,
        **members,
    }


def a_state(servers: Iterable[dict[str, Any]] = (), **members: Any) -> dict[str, Any]:
    """A snapshot in which all is well, unless `members` say otherwise."""
    servers = list(servers)
    ready = [server for server in servers if server["state"] == "ready"]
    capacity = sum(server["capacity"] for server in ready)
    people = sum(server["people"] for server in servers)
    return {
        "at": NOW,
        "service": "bbs",
        "version": "0.1.0",
        "login_server": "5e1f" * 8,
        "database": True,
        "broker": True,
        "brokers": {"connected": 1, "wanted": 1},
        "refusal": None,
        "operator": None,
        "may_act": True,
        "capacity": 10,
        "maximum": 20,
        "minimum": 1,
        "spare": 5,
        "servers": servers,
        "login_servers": [{"id": "5e1f" * 8, "version": "0.1.0"}],
        "replacing": {"outdated": 0, "asked": 0, "waits_for": None},
        "states": Counter(server["state"] for server in servers),
        "places": sum(server["capacity"] for server in ready),
        "fleet_at": NOW,
        "free_places": capacity - sum(server["people"] for server in ready),
        "people": people,
        "waiting": {"count": 0, "longest": None},
        "launches": {"under_way": 0, "usual": 2.1, "last_hour": 7},
        "summary": {"level": "alarm" if members.get("alarms") else "well", "text": "As it is."},
        "alarms": [],
        "warnings": [],
        "disk": None,
        "backup": None,
        "connected": people // 2,
        "away": 2,
        "logins_per_minute": 12,
        "failed_logins_per_minute": 3,
        "errors_per_minute": {"internal": 0, "unavailable": 2, "too-many-attempts": 1},
        "messages_per_second": 17.2,
        "counters": {"messages": {"per_second": 17.2}},
        "reactor_lag": 0.0021,
        "database_time": 0.0043,
        **members,
    }


def a_person(name: str = "ann", **members: Any) -> dict[str, Any]:
    """Somebody as operators see them: online, unless `members` say otherwise."""
    return {
        "name": name,
        "created": NOW - 90 * 86400.0,
        "seen": NOW - 30,
        "online": True,
        "away": False,
        "server": a_server()["id"],
        "address": "203.0.113.1:22223",
        "sessions": 1,
        "suspended": None,
        "counts": {"friends": 4, "messages_sent": 1234},
        "state": "online",
        **members,
    }


def an_hour(end: float = NOW, **series: list[float | None]) -> dict[str, Any]:
    """The last hour, in which everything has its ups and downs, unless `series` says otherwise."""
    waves = {
        name: [
            round(top * (0.55 + 0.45 * math.sin(at / (25 + 5 * number))), 4) for at in range(360)
        ]
        for number, (name, top) in enumerate(TOPS.items())
    }
    return {"step": 10, "end": end, "series": {**waves, **series}}


VIEW = PageView(
    at=NOW,
    seen_at=NOW,
    overview=NOTHING_SEEN,
    database=True,
    brokers=BrokerCount(1, 1),
    measured=Measured(
        logins_per_minute=0.0,
        per_second={},
        rates_of_server=lambda _: {},
        leases={},
        launches=0,
        reactor_lag=0.0,
        database_time=None,
    ),
)
"""What the page says before it has heard anything."""


OF_BOARD = tuple(board.counted.values())
"""What the board counts."""


class PageServer:
    """The server, of the board or of another `service`. What it has said it says again to whoever
    comes later.

    :ivar refusal: what it says instead of events, "" for nothing.
    :ivar asked: the paths asked for.
    :ivar told: those of them that have an answer, with the body that came.
    :ivar answers: a status and JSON for each of these; to others there is never an answer.
    """

    def __init__(
        self,
        service: str = "bbs",
        counters: Sequence[Counted] = OF_BOARD,
        lists: Sequence[OperatorList] = (),
    ) -> None:
        self.info = ServiceInfo(
            service=service,
            counters=counters,
            login_server="5e1f" * 8,
            policy=POLICY,
            may_act=True,
            lists=lists,
        )
        self.refusal = ""
        self.asked: list[str] = []
        self.told: list[tuple[str, str]] = []
        self._streams: list[Request] = []
        self._said: list[bytes] = []
        self._states: list[bytes] = []
        root = File(str(STATIC))
        root.contentTypes = {**File.contentTypes, ".js": "text/javascript"}
        root.putChild(b"", _Front(self))
        root.putChild(b"stream", _Stream(self))
        self.answers: dict[str, tuple[int, Any]] = {}
        for path in (b"actions", b"servers", b"people", b"history", b"lists"):
            root.putChild(path, _Asked(self))
        self._connections = WrappingFactory(Site(root))

    @property
    def watched(self) -> int:
        """How many pages are connected."""
        return len(self._streams)

    def listen(self, reactor: IReactorTCP, port: int = 0) -> Any:
        """Serve on a port of 127.0.0.1; what `listenTCP` returns."""
        site: Any = self._connections
        return reactor.listenTCP(port, site, interface="127.0.0.1")

    async def close(self, reactor: IReactorTime) -> None:
        """End all connections, also those that a browser keeps for its next request."""
        for connection in [*self._connections.protocols]:
            connection.abortConnection()
        while self._connections.protocols:
            await deferLater(reactor, 0)

    def say(self, kind: str, data: Any) -> None:
        """Send an event to every page."""
        event = f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
        if kind == "state":
            self._states = [event]
        else:
            self._said.append(event)
        for stream in self._streams:
            stream.write(event)

    def hang_up(self) -> None:
        """End every stream."""
        for stream in [*self._streams]:
            stream.channel.forceAbortClient()

    def begin(self, request: Request) -> None:
        if self.refusal:
            request.setResponseCode(503)
            request.write(self.refusal.encode())
            request.finish()
            return
        request.setHeader(b"Content-Type", b"text/event-stream")
        self._streams.append(request)
        request.notifyFinish().addBoth(lambda _: self._streams.remove(request))
        request.write(b"".join(self._states + self._said))


class _Front(Resource):
    isLeaf = True

    def __init__(self, server: PageServer) -> None:
        super().__init__()
        self._server = server

    def render_GET(self, request: Request) -> int:
        markup = XMLString((STATIC / "page.html").read_bytes())
        page = Deferred.fromCoroutine(rendered(markup, self._server.info, VIEW))
        page.addCallback(request.write).addCallback(lambda _: request.finish())
        request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
        return NOT_DONE_YET


def _body(request: Request) -> str:
    content: Any = request.content
    body: bytes = content.read()
    return body.decode()


class _Asked(Resource):
    isLeaf = True

    def __init__(self, server: PageServer) -> None:
        super().__init__()
        self._server = server

    def render(self, request: Request) -> int:
        path = request.path.decode()
        self._server.asked.append(path)
        if path in self._server.answers:
            self._server.told.append((path, _body(request)))
            request.setResponseCode(self._server.answers[path][0])
            request.setHeader(b"Content-Type", b"application/json")
            request.write(json.dumps(self._server.answers[path][1]).encode())
            request.finish()
        return NOT_DONE_YET


class _Stream(Resource):
    isLeaf = True

    def __init__(self, server: PageServer) -> None:
        super().__init__()
        self._server = server

    def render_GET(self, request: Request) -> int:
        self._server.begin(request)
        return NOT_DONE_YET
