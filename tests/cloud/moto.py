"""The moto server behind the cloud: its process, and calls to it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers

from tests.cloud.answers import Answer, CloudError
from tests.paths import CHECKOUT

VERSION = "2016-11-15"
"""Of EC2's query interface."""

OPERATOR = "CLOUD"
"""The access key of the calls that the cloud makes itself."""


class Moto(ProcessProtocol):
    """A moto server in a process of its own, from `start` to `stop`."""

    transport: Any

    def __init__(self, reactor: Any, region: str) -> None:
        self.port = 0
        self._reactor = reactor
        self._region = region
        self._output = b""
        self._listening: Deferred[None] = Deferred()
        self._ended: Deferred[None] = Deferred()
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = 16
        self._lock = DeferredLock()
        self._agent = Agent(reactor, pool=self._pool)

    # ProcessProtocol

    def outReceived(self, data: bytes) -> None:
        self._output += data
        if self._output.endswith(b"\n") and not self._listening.called:
            self.port = int(self._output)
            self._listening.callback(None)

    def processEnded(self, reason: Any) -> None:
        if not self._listening.called:
            self._listening.errback(reason)
        self._ended.callback(None)

    # Its process

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self._reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-m", "tests.cloud.moto_child"],
            env=dict(os.environ),
            path=str(CHECKOUT),
            childFDs={0: "w", 1: "r", 2: 2},
        )
        await self._listening

    async def stop(self) -> None:
        """End it. It has nothing to lose."""
        await self._pool.closeCachedConnections()
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(signal.SIGKILL)
        await self._ended

    # Calls

    async def forward(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Its answer to a call as it came."""
        # One at a time: moto's threads trip over each other's dictionaries.
        await self._lock.acquire()
        try:
            return await self._forward(body, headers)
        finally:
            self._lock.release()

    async def _forward(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        response = await self._agent.request(
            b"POST",
            f"http://127.0.0.1:{self.port}/".encode(),
            Headers(
                {
                    name: [value]
                    for name, value in headers.items()
                    if name.lower() not in ("host", "content-length", "connection", "expect")
                }
            ),
            FileBodyProducer(BytesIO(body)),
        )
        content = response.headers.getRawHeaders("content-type", ["text/xml"])[0]
        return Answer(response.code, await readBody(response), content)

    async def ask(self, parameters: Mapping[str, str], identity: str = OPERATOR) -> Answer:
        """Its answer to an EC2 query."""
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={identity}/20260101/{self._region}"
            "/ec2/aws4_request, SignedHeaders=host, Signature=none",
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        }
        return await self.forward(urlencode({"Version": VERSION, **parameters}).encode(), headers)

    async def query(self, action: str, **parameters: str) -> ElementTree.Element:
        """The answer to a query of the cloud's own; underlines in the names stand for dots.

        :raises CloudError: moto refused it.
        """
        given = {name.replace("_", "."): value for name, value in parameters.items()}
        answer = await self.ask({"Action": action, **given})
        root = ElementTree.fromstring(answer.body)
        if answer.status >= 400:
            raise CloudError(answer.code, root.findtext(".//{*}Message") or "")
        return root
