"""The moto server behind the cloud: its process, and calls to it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15"
ElementTree.register_namespace("", NAMESPACE)

VERSION = "2016-11-15"
"""Of EC2's query interface."""

OPERATOR = "CLOUD"
"""The access key of the calls that the cloud makes itself."""

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


class CloudError(Exception):
    """An answer that is an error: its code, and its words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True)
class Answer:
    """What an API answered."""

    status: int
    body: bytes
    content_type: str = "text/xml"

    @property
    def code(self) -> str:
        """The error's code; an empty text when the call succeeded."""
        if self.status < 400:
            return ""
        with suppress(ElementTree.ParseError):
            return ElementTree.fromstring(self.body).findtext(".//{*}Code") or str(self.status)
        return str(self.status)


def failed(code: str, message: str, status: int = 400) -> Answer:
    """An error in EC2's form."""
    root = ElementTree.Element("Response")
    errors = ElementTree.SubElement(ElementTree.SubElement(root, "Errors"), "Error")
    ElementTree.SubElement(errors, "Code").text = code
    ElementTree.SubElement(errors, "Message").text = message
    ElementTree.SubElement(root, "RequestID").text = "request"
    return Answer(status, ElementTree.tostring(root, "utf-8", xml_declaration=True))


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
            path=ROOT,
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
            Headers({name: [value] for name, value in headers.items()}),
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
