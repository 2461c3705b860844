"""An instance's metadata service in memory, which can also be out of order."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.test.iosim import IOPump, connect, makeFakeClient, makeFakeServer
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from bbs.core.clock import IReactor

TOKEN = b"token-of-the-tests-"
DATA = "/latest/meta-data/"


def client_error(code: str, status: int = 400, message: str = "because") -> ClientError:
    """What botocore raises for an error in an answer of a store of secrets."""
    metadata: Any = {"HTTPStatusCode": status}
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
    return ClientError(answer, "GetParameter")  # type: ignore[arg-type]


class FakeMetadata(Resource):
    """The service: IMDSv2 alone, of which `paths` says what is there, below `meta-data`.

    `silent`: it accepts connections and answers nothing. `broken`: a status that it answers to
    everything. `asked` has each question's method and path.
    """

    isLeaf = True

    def __init__(self, reactor: Any) -> None:
        Resource.__init__(self)
        self.paths: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.silent = False
        self.broken = 0
        self.lifetime = float("inf")
        """Seconds after which its tokens end, whatever was asked for."""
        self._reactor = reactor
        self._tokens: dict[bytes, float] = {}

    @property
    def tokens(self) -> int:
        """How many were given."""
        return len(self._tokens)

    def render(self, request: Request) -> Any:
        path = request.path.decode()
        self.asked.append(f"{request.method.decode()} {path}")
        if self.silent:
            return NOT_DONE_YET
        if self.broken:
            return self._only(request, self.broken)
        if request.method == b"PUT":
            ttl = int(request.getHeader(b"x-aws-ec2-metadata-token-ttl-seconds") or 0)
            if path != "/latest/api/token" or not 0 < ttl <= 21600:
                return self._only(request, 400)
            token = TOKEN + b"%d" % len(self._tokens)
            self._tokens[token] = self._reactor.seconds() + min(ttl, self.lifetime)
            return token
        token = request.getHeader(b"x-aws-ec2-metadata-token") or b""
        if self._tokens.get(token, float("-inf")) < self._reactor.seconds():
            return self._only(request, 401)
        found = self.paths.get(path.removeprefix(DATA)) if path.startswith(DATA) else None
        return self._only(request, 404) if found is None else found

    def _only(self, request: Request, status: int) -> bytes:
        request.setResponseCode(status)
        return b"<html>of the service's own, and secret</html>"


@implementer(IReactor)
class MetadataReactor(MemoryReactorClock):  # type: ignore[misc] # what of it is used
    """A clock, and connections to a `FakeMetadata` at the address that instances know.

    `away`: it accepts no connection, as where there is no such service.
    """

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.service = FakeMetadata(self)
        self.connections: list[tuple[str, int, float]] = []
        """Host, port and time-out of each connection that was asked for."""
        self._site = Site(self.service, reactor=self)
        self._pumps: list[IOPump] = []

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Any:
        connector: Any = super().connectTCP(host, port, factory, timeout, bindAddress)
        factory.doStart()
        self.connections.append((host, port, timeout))
        if not self.away:
            self.callLater(0, self._connect, connector, factory)
        return connector

    def _connect(self, connector: Any, factory: Any) -> None:
        if not connector.stoppedConnecting:
            client, server = factory.buildProtocol(None), self._site.buildProtocol(None)
            ends = makeFakeServer(server), makeFakeClient(client)
            self._pumps.append(connect(server, ends[0], client, ends[1], greet=False))

    def settle(self) -> None:
        """Let everything come that takes no time."""
        for _ in range(20):
            self.advance(0)
            for pump in self._pumps:
                pump.flush(advanceClock=False)
        self._pumps = [
            pump
            for pump in self._pumps
            if not (pump.clientIO.disconnected and pump.serverIO.disconnected)
        ]

    def pass_time(self, seconds: float, step: float = 0.5) -> None:
        """Let so much time pass, in steps."""
        until = self.seconds() + seconds
        while self.seconds() < until - 1e-6:
            self.advance(min(step, until - self.seconds()))
            self.settle()


def answer(reactor: MetadataReactor, coroutine: Any) -> Deferred[Any]:
    """What comes of asking."""
    asked = Deferred.fromCoroutine(coroutine)
    reactor.settle()
    return asked
