"""Asks for a machine's metadata on EC2, by IMDSv2.

The service answers only the machine itself, at a link-local address, and needs no rights. Every
request carries a token that was asked for before; a forged header or a redirection gets nothing. No
proxy is used, whatever the environment says, and neither token nor answer is logged.

Source:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from bbs.core.addresses import PRIVATE, fill_name
from bbs.core.clock import IReactor
from bbs.core.values import REBALANCE
from bbs.scaling.interfaces import MachineUnavailable

ENDPOINT = "http://169.254.169.254"

# Environment variables of the AWS SDKs.
ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
DISABLED_VARIABLE = "AWS_EC2_METADATA_DISABLED"
CONNECT_TIMEOUT = 1.0  # seconds until the service must accept a connection; it is on the same host
TIMEOUT = 2.0  # seconds for one request
TOKEN_TTL = 21600  # seconds for which a token is valid: six hours, the longest
TOKEN_USED = TOKEN_TTL / 2  # seconds after which a token is replaced, well before it expires
LONGEST = 65536  # bytes of an answer

PATHS = {"public": "public-ipv4", "dns": "public-hostname"}
"""The paths of the addresses that `ec2.address` names, if not the private one."""

_HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.:-]{0,253}[0-9A-Za-z])?")
_EVENT = re.compile(r"[a-z-]{1,40} [0-9A-Za-z :]{1,40}")
_INSTANCE = re.compile(r"[0-9A-Za-z-]{1,64}")
_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404


class MetadataUnavailable(MachineUnavailable):
    """The metadata service does not answer, or not well. The text has nothing of the answer."""


class Metadata:
    """Asks for an instance's metadata. Every request can be cancelled, and then fails at once: with
    `CancelledError`, or with `MetadataUnavailable` if that cuts off a connection. A method raises
    `MetadataUnavailable` if the answer is unknown now. `endpoint`: the service's URL, without a
    path."""

    def __init__(self, reactor: IReactor, endpoint: str = ENDPOINT) -> None:
        self._reactor = reactor
        self._endpoint = endpoint.rstrip("/")
        self._agent: Any = Agent.usingEndpointFactory(reactor, _Endpoints(reactor))
        self._token: tuple[bytes, float] | None = None

    @classmethod
    def from_environ(cls, reactor: IReactor, environ: Mapping[str, str]) -> Metadata | None:
        """The metadata service that the environment names, or the usual one; None if disabled."""
        if environ.get(DISABLED_VARIABLE, "").lower() == "true":
            return None
        return cls(reactor, environ.get(ENDPOINT_VARIABLE) or ENDPOINT)

    async def get(self, path: str) -> str | None:
        """The value at `path` below `meta-data`; None if there is none."""
        status, body = await self._ask(path)
        if status == _UNAUTHORIZED:  # The token has expired early.
            self._token = None
            status, body = await self._ask(path)
        if status == _NOT_FOUND:
            return None
        if status != _OK:
            raise MetadataUnavailable(f"the metadata service answered {status}")
        return body.decode("utf-8", "replace").strip()

    async def address(self, which: str) -> str | None:
        """The instance's address, or its name, as `ec2.address` has it; None if it has none."""
        host = await self.get(PATHS.get(which, "local-ipv4"))
        if host and not _HOST.fullmatch(host):
            raise MetadataUnavailable("the metadata service gave a malformed address")
        return fill_name(which, host) if host and PRIVATE in which else host or None

    async def instance_id(self) -> str | None:
        """EC2's name for the instance; None if the service does not say."""
        id = await self.get("instance-id")
        return id if id and _INSTANCE.fullmatch(id) else None

    async def is_spot(self) -> bool:
        """Whether the instance is Spot capacity, as far as the service says."""
        return await self.get("instance-life-cycle") in (None, "spot")

    async def notice(self, spot: bool) -> str:
        """Why EC2 will take the instance away, in a few words; "" while it will not. An
        interruption of a Spot instance is announced two minutes before, a scheduled event days
        before; a recommendation comes sooner than an interruption, or never."""
        action = await self.get("spot/instance-action") if spot else None
        if action is not None:
            return _interruption(action)
        events = await self.get("events/maintenance/scheduled")
        if events and (event := _scheduled(events)):
            return event
        hint = await self.get("events/recommendations/rebalance") if spot else None
        return "" if hint is None else REBALANCE

    async def _ask(self, path: str) -> tuple[int, bytes]:
        token = {b"X-aws-ec2-metadata-token": await self._valid_token()}
        return await self._request(b"GET", f"/latest/meta-data/{path}", token)

    async def _valid_token(self) -> bytes:
        now = self._reactor.seconds()
        if self._token is None or now - self._token[1] > TOKEN_USED:
            ttl = {b"X-aws-ec2-metadata-token-ttl-seconds": b"%d" % TOKEN_TTL}
            status, body = await self._request(b"PUT", "/latest/api/token", ttl)
            if status != _OK or not body.isascii() or not body.decode().isprintable():
                raise MetadataUnavailable(f"the metadata service gave no token: {status}")
            self._token = body, now
        return self._token[0]

    async def _request(
        self, method: bytes, path: str, headers: Mapping[bytes, bytes]
    ) -> tuple[int, bytes]:
        async def exchange() -> tuple[int, bytes]:
            url = (self._endpoint + path).encode("ascii")
            sent = Headers({name: [value] for name, value in headers.items()})
            response: IResponse = await self._agent.request(method, url, sent)
            body = _Body()
            response.deliverBody(body)
            return response.code, await body.received

        try:
            return await Deferred.fromCoroutine(exchange()).addTimeout(TIMEOUT, self._reactor)
        except CancelledError:
            raise
        except Exception as error:
            # Twisted has a dozen kinds, and their texts may reveal too much.
            kind = type(error).__name__
            raise MetadataUnavailable(f"the metadata service does not answer: {kind}") from None


def _scheduled(events: str) -> str:
    """Words for `[{"Code": "instance-retirement", "NotBefore": "21 Jan 2019 09:00:43 GMT", "State":
    "active", …}]`; "" if none is active, or it is malformed."""
    try:
        active = [event for event in json.loads(events) if event["State"] == "active"]
        code, at = str(active[0]["Code"]), str(active[0]["NotBefore"])
    except (ValueError, TypeError, KeyError, IndexError):
        return ""
    return f"scheduled: {code}, {at}" if _EVENT.fullmatch(f"{code} {at}") else ""


def _interruption(action: str) -> str:
    """Words for `{"action": "terminate", "time": "2017-09-18T08:22:00Z"}`, even if malformed."""
    try:
        at = datetime.strptime(json.loads(action)["time"], "%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, TypeError, KeyError):
        return "spot: interrupted"
    return f"spot: interrupted at {at:%H:%M} UTC"


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Connects to addresses without a resolver, which would take threads of the reactor."""

    def __init__(self, reactor: IReactor) -> None:
        self._reactor = reactor

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii").strip("[]")
        kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
        return _Quiet(kind(self._reactor, host, uri.port, timeout=CONNECT_TIMEOUT))


@implementer(IStreamClientEndpoint)
class _Quiet:
    """Connects without the two log lines that Twisted writes for each connection."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        protocolFactory.noisy = False
        connected: Deferred[Any] = self._endpoint.connect(protocolFactory)
        return connected


class _Body(Protocol):
    def __init__(self) -> None:
        self.received: Deferred[bytes] = Deferred(lambda _: self._end())
        self._parts: list[bytes] = []
        self._length = 0

    def dataReceived(self, data: bytes) -> None:
        self._parts.append(data)
        self._length += len(data)
        if self._length > LONGEST:
            self._end()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if self.received.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss) and self._length <= LONGEST:
            self.received.callback(b"".join(self._parts))
        else:
            self.received.errback(reason)

    def _end(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()
