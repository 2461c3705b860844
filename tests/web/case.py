"""The operators' page in memory: a whole service on a clock, and browsers on string transports."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from bbs.board import board
from bbs.commands.service import Service
from bbs.core.values import IDoor, Policy, Rate
from bbs.delivery import broadcast
from bbs.limits.connections import Network
from bbs.limits.password_hashing import Hasher
from bbs.protocols.stomp.redundant import count_brokers
from bbs.testing import MemoryService
from bbs.testing.service import QUICK
from bbs.testing.threads import Inline
from bbs.web.auth import OperatorDevices, Operators, device_keys
from bbs.web.context import PageContext
from bbs.web.page import OperatorsPage
from tests.faulty_database import Disk, SlowDatabase
from tests.memory_service import POLICY, configuration, memory_service

FROM_PAGE = {"X-BBS": "1"}

MARKUP = (
    b'<html xmlns:t="http://twistedmatrix.com/ns/twisted.web.template/0.1" t:render="page">'
    b'<title><t:slot name="service"/>: the fleet</title>'
    b'<ul><t:attr name="data-counters"><t:slot name="counters"/></t:attr></ul>'
    b'<p><t:attr name="class"><t:slot name="level"/></t:attr><t:slot name="summary"/></p>'
    b'<th t:render="counted"><t:slot name="counted"/></th><td t:render="counted">'
    b'<t:attr name="data-label"><t:slot name="counted"/></t:attr></td>'
    b'<p><t:slot name="where"/></p><p><t:slot name="fleet"/></p>'
    b'<button t:render="login">Log in</button></html>'
)

FILES = {"page.html": MARKUP, "page.css": b"body {}", "icon.svg": b"<svg/>"}


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    code: int
    headers: Mapping[str, str]
    body: str

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Transport(StringTransport):
    """What a browser was sent.

    :ivar written: what was written since a test emptied it, each piece by itself.
    :ivar on_write: called after each piece.
    """

    def __init__(self, at: IAddress | None, peer: IAddress) -> None:
        super().__init__(hostAddress=at, peerAddress=peer)
        self.written: list[bytes] = []
        self.on_write: Callable[[], object] = lambda: None

    def write(self, data: bytes) -> None:
        super().write(data)
        self.written.append(data)
        self.on_write()


class TLSTransport(Transport):
    """One by TLS, to a peer that has gone, and does not agree to the end of the connection."""

    def __init__(self, at: IAddress | None, peer: IAddress) -> None:
        super().__init__(at, peer)
        alsoProvides(self, ISSLTransport)

    def setTcpNoDelay(self, enabled: bool) -> None: ...
    def loseConnection(self) -> None: ...


class Browser:
    """One connection to the page, from `host` ("": by a UNIX socket), with the cookies that it was
    given: `cookie` is the session's, and `device` the browser's own.

    :param at: the address of the page's machine that it is connected to.
    :param tls: whether it is by TLS; see `TLSTransport`.
    """

    def __init__(
        self,
        page: OperatorsPage,
        host: str = "192.0.2.1",
        at: IAddress | None = None,
        tls: bool = False,
    ) -> None:
        self._page = page
        self._host = host
        self._at = at
        self._tls = tls
        self.cookie = self.device = ""
        self.connect()

    def connect(self) -> None:
        """A new connection."""
        peer: Any = IPv4Address("TCP", self._host, 50000) if self._host else UNIXAddress(None)
        self.channel: Any = self._page.site.buildProtocol(peer)
        self._used = False
        self.transport = (TLSTransport if self._tls else Transport)(self._at, peer)
        self.channel.makeConnection(self.transport)

    def close(self) -> None:
        """The browser goes away."""
        self.channel.connectionLost(Failure(ConnectionDone()))

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        """Write a request; the names of `headers` have `_` for `-`, and "\\udcff" in them is a byte
        that is no text."""
        fields = {"Host": "bbs.example", "Content_Length": str(len(body)), **headers}
        if self.cookie or self.device:
            fields["Cookie"] = "; ".join(filter(None, (self.cookie, self.device)))
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()]
        head = f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n"
        if self._used:
            self.turn()
        self._used = True
        self.channel.dataReceived(head.encode(errors="surrogateescape") + body)

    def turn(self) -> None:
        """Let the reactor come round once: a connection's next request is begun then."""
        reactor: Any = self._page.site.reactor
        reactor.advance(0)

    def heard(self) -> Answer:
        """The response that has come, which is the only one."""
        head, _, body = self.transport.value().decode().partition("\r\n\r\n")
        self.transport.clear()
        status, *lines = head.split("\r\n")
        for line in [each for each in lines if each.startswith("Set-Cookie: bbs_device_")]:
            self.device = line.partition(": ")[2].partition(";")[0]
            lines.remove(line)
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        if "set-cookie" in headers:
            self.cookie = headers["set-cookie"].partition(";")[0]
        return Answer(int(status.split()[1]), headers, body)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Send a request, and give its response, which is there at once."""
        self.send(method, path, body, **headers)
        return self.heard()

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self.ask("GET", path, b"", **headers)

    def post(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        """POST, as the page does."""
        type = {"Content_Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, body, **{"X_BBS": "1", **type, **headers})

    def log_in(self, name: str = "liz", password: str = "secret") -> Answer:
        """Log in as an operator."""
        return self.post("/login", f"name={name}&password={password}".encode())


@dataclass
class Watcher:
    """A browser that reads the events of a stream."""

    browser: Browser
    seen: list[tuple[str, Any]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)

    def open(self, path: str = "/stream", **headers: str) -> Watcher:
        """Begin to read."""
        fields = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
        if self.browser.cookie:
            fields.append(f"Cookie: {self.browser.cookie}\r\n")
        self.browser.turn()
        # In HTTP/1.0 there are no chunks.
        request = f"GET {path} HTTP/1.0\r\n{''.join(fields)}\r\n"
        self.browser.channel.dataReceived(request.encode())
        return self

    def events(self, *kinds: str) -> list[tuple[str, Any]]:
        """What has come since the last look, of these kinds or of all."""
        text = self.browser.transport.value().decode()
        self.browser.transport.clear()
        found = []
        for block in text.rpartition("\r\n\r\n")[2].split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines())
            if "event" in lines:
                found.append((lines["event"], json.loads(lines["data"])))
            if "id" in lines:
                self.ids.append(int(lines["id"]))
        return [each for each in found if not kinds or each[0] in kinds]

    def last_state(self) -> dict[str, Any]:
        """The latest state that came since the last look."""
        state: dict[str, Any] = self.events("state")[-1][1]
        return state

    def texts(self) -> list[str]:
        """The news since the last look."""
        return [data["text"] for _, data in self.events("news")]


class PageCase(SynchronousTestCase):
    """A service with one app server, and its page with the operator `liz`.

    :ivar database: what the page asks.
    """

    offered: Service = board
    policy: Policy = POLICY
    door: IDoor | None = None
    proxies: Sequence[Network] = ()
    operators: Mapping[str, str] | None = {"liz": QUICK.hash("secret")}

    def setUp(self) -> None:
        self.service = self.make_service()
        self.addCleanup(self.service.close)
        self.database = SlowDatabase(self.service.database)
        self.clock = self.service.clock
        self.trouble = ""
        self.asked = 0
        self.page = self.make_page()
        self.service.start()
        self.page.startService()
        self.addCleanup(self.stop_page)

    def make_service(self) -> MemoryService:
        """What the page is of."""
        return memory_service(self.offered, policy=self.policy)

    def make_page(self, reactor: Clock | None = None) -> OperatorsPage:
        """The page of the service's login server, which is on the service's clock unless given."""
        service, hasher = self.service, Hasher(Inline(), QUICK)

        def asked() -> None:
            self.asked += 1
            service.login.news.wanted()

        self.parts = PageContext(
            service=self.offered.name,
            version=self.offered.program_version,
            counters=tuple(self.offered.counted.values()),
            lists=self.offered.lists,
            acts=self.offered.own_acts,
            login_server=service.me.id,
            policy=self.policy,
            database=self.database,
            on_change=asked,
            on_act=partial(broadcast.hint, service.login.home.bus),
            brokers=partial(count_brokers, service.login.home.bus.stomp),
            logins=lambda: service.login.home.tally.logins,
            timing=service.login.timing,
            trouble=lambda: self.trouble,
            reactor=reactor or self.clock,
            wall=service.wall,
            password_minimum=4,
            person=self.offered.person,
            on_delete=self.offered.on_delete,
        )
        operators = None
        queue = service.login.home.login.limits.queue
        if self.operators:
            operators = Operators(self.operators, hasher, Rate(3, 60.0), service.clock, queue)
        keys = device_keys(self.operators or {}, b"secret of the servers")
        devices = OperatorDevices(keys, self.service.wall)
        return OperatorsPage(self.parts, FILES, operators, self.door, devices, self.proxies)

    def stop_page(self) -> None:
        """Stop the page, if it runs."""
        if self.page.running:
            self.successResultOf(self.page.stopService())

    def browser(self, host: str = "192.0.2.1") -> Browser:
        """Somebody's browser."""
        return Browser(self.page, host)

    def operator(self) -> Browser:
        """The browser of an operator, who is logged in."""
        browser = self.browser()
        self.assertEqual(browser.log_in().code, 200)
        return browser

    def watcher(self, browser: Browser | None = None, path: str = "/stream") -> Watcher:
        """Somebody who watches."""
        return Watcher(browser or self.browser()).open(path)

    def beat(self) -> None:
        """The app servers say that they live."""
        self.service.beat()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, second by second, in which the app servers live."""
        for _ in range(round(seconds)):
            self.beat()
            for _ in range(10):
                self.clock.advance(0.1)

    def server_ids(self) -> list[str]:
        """The app servers that were launched, oldest first."""
        return [*self.service.servers]


class AwayCase(PageCase):
    """A service whose database is on a disk that a test can take away."""

    def make_service(self) -> MemoryService:
        self.disk = Disk(self.mktemp())
        self.is_away = False
        return MemoryService(self.offered, config=configuration(self.policy), url=self.disk.url)

    def go(self) -> None:
        """The database answers nobody."""
        self.is_away = True
        self.disk.take_away(self.service.database)

    def come_back(self) -> None:
        """It answers again."""
        self.is_away = False
        self.disk.bring_back()

    def beat(self) -> None:
        """The app servers say that they live, where there is somebody to say it to."""
        if not self.is_away:
            self.service.beat()
