"""A balancer of TCP connections before login servers, as a cloud's network load balancer is one.

It sends a new connection to a target that said at `/ready`, when it was last asked, that it is
ready, and leaves alone those that there are. It tries no second target: a connection to one that is
just gone fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.protocols.portforward import ProxyServer
from twisted.web.client import Agent, readBody

PROBE_INTERVAL, PROBE_TIMEOUT = 0.25, 2.0
"""Seconds. A cloud's balancer probes every 5 to 30."""


@dataclass(eq=False)
class Target:
    """A login server: where it listens, and where its page is."""

    port: int
    page_port: int
    ready: bool = False
    connections: int = 0


class Balancer(Factory):
    """Listens at a port of 127.0.0.1 from `start` to `stop`."""

    noisy = False

    def __init__(self) -> None:
        self.targets: list[Target] = []
        self.refused = 0
        """Connections for which no target was ready."""
        self._turn = count()
        self._agent = Agent(reactor, connectTimeout=PROBE_TIMEOUT)
        self._probing = LoopingCall(self._probe)
        self._port: Any = None

    def start(self) -> int:
        """Begin; the port."""
        door: Any = self  # Any factory of connections, where mypy wants one of a kind.
        self._port = reactor.listenTCP(0, door, backlog=1024, interface="127.0.0.1")
        self._probing.start(PROBE_INTERVAL)
        port: int = self._port.getHost().port
        return port

    async def stop(self) -> None:
        """Take no connections any more."""
        if self._probing.running:
            self._probing.stop()
        if self._port is not None:
            await self._port.stopListening()

    def buildProtocol(self, address: IAddress | None) -> ProxyServer | None:  # type: ignore[override]
        ready = [target for target in self.targets if target.ready]
        if not ready:
            self.refused += 1
            return None
        target = ready[next(self._turn) % len(ready)]
        target.connections += 1
        server = ProxyServer()
        server.factory = SimpleNamespace(host="127.0.0.1", port=target.port)  # type: ignore[assignment]
        return server

    def _probe(self) -> None:
        for target in self.targets:
            Deferred.fromCoroutine(self._look(target)).addErrback(lambda _: None)

    async def _look(self, target: Target) -> None:
        url = f"http://127.0.0.1:{target.page_port}/ready".encode()
        try:
            answer = await self._agent.request(b"GET", url)
            await readBody(answer)
            target.ready = answer.code == 200 and target in self.targets
        except Exception:  # Whatever it is, it is not ready.
            target.ready = False
