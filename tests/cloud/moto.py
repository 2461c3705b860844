"""The moto server behind the clouds: its process, and calls to it."""

from __future__ import annotations

import atexit
import itertools
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

from twisted.internet.defer import DeferredLock
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers

from tests.cloud.answers import Answer
from tests.paths import CHECKOUT
from tests.standins.ec2 import APIError

VERSION = "2016-11-15"
"""Of EC2's query interface."""

OPERATOR = "CLOUD"
"""The access key of the calls that the cloud makes itself."""

_ACCOUNTS = itertools.count(1)


@cache
def server() -> int:
    """The port of this process's moto server, a process that ends when this one does.

    It takes more than a second of a processor until it has answered for the first time, so all
    clouds share it.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cloud.moto_child"],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(_end, process)
    assert process.stdout is not None
    return int(process.stdout.readline())


def _end(process: subprocess.Popen[bytes]) -> None:
    """It has nothing to lose."""
    process.kill()
    process.wait()


class Moto:
    """An account of its own at the moto server, from `start` to `stop`."""

    def __init__(self, reactor: Any, region: str) -> None:
        self._account = f"{next(_ACCOUNTS):012}"
        self._port = 0
        self._region = region
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = 16
        self._lock = DeferredLock()
        self._agent = Agent(reactor, pool=self._pool)

    def start(self) -> None:
        """Have a server. The first of a process is waited for."""
        self._port = server()

    async def stop(self) -> None:
        """Leave it. Nobody else sees what is left in the account."""
        await self._pool.closeCachedConnections()

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
            f"http://127.0.0.1:{self._port}/".encode(),
            Headers(
                {
                    **{
                        name: [value]
                        for name, value in headers.items()
                        if name.lower() not in ("host", "content-length", "connection", "expect")
                    },
                    "X-Moto-Account-Id": [self._account],
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

        :raises APIError: moto refused it.
        """
        given = {name.replace("_", "."): value for name, value in parameters.items()}
        answer = await self.ask({"Action": action, **given})
        root = ElementTree.fromstring(answer.body)
        if answer.status >= 400:
            raise APIError(answer.code, root.findtext(".//{*}Message") or "")
        return root
