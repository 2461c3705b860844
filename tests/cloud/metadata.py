"""The metadata service (IMDSv2): what an instance asks about itself.

Each instance has one at its own address, which stands in its environment as
AWS_EC2_METADATA_SERVICE_ENDPOINT. A token is asked for by PUT, and comes with every GET:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html

Beside it, at `/credentials`, are the same temporary credentials as a container asks for them, by
AWS_CONTAINER_CREDENTIALS_FULL_URI and without a token.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.protocols.policies import WrappingFactory
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.cloud.credentials import stamp
from tests.cloud.faults import Fault
from tests.cloud.machines import Machine

LONGEST_TOKEN = 21600
"""Seconds that a token can be good for."""

ROLE = "bbs-app"
"""The role of an instance that was launched without a profile."""

Tell = Callable[[Machine], Mapping[str, str]]
"""The temporary credentials of a machine's role."""

CONTAINER = "/credentials"
"""Where they are without a token."""

_TTL, _TOKEN = "x-aws-ec2-metadata-token-ttl-seconds", "x-aws-ec2-metadata-token"


class Metadata:
    """The metadata services of all instances.

    :param choose: the fault that a question meets: a machine's, for a path.
    :param credentials: of a machine's role.
    """

    def __init__(
        self,
        reactor: Any,
        region: str,
        choose: Callable[[Machine, str], Fault | None],
        credentials: Tell,
    ) -> None:
        self._reactor = reactor
        self._region = region
        self._choose = choose
        self._credentials = credentials
        self._services: dict[str, tuple[Any, WrappingFactory]] = {}
        self._closing: set[Deferred[None]] = set()

    def open(self, machine: Machine) -> str:
        """Serve an instance, at its own address; the endpoint."""
        resource = _Service(self._reactor, machine, self._region, self._choose, self._credentials)
        factory = WrappingFactory(Site(resource, timeout=None))
        factory.noisy = False
        port = self._reactor.listenTCP(0, factory, interface=machine.address)
        self._services[machine.instance_id] = port, factory
        return f"http://{machine.address}:{port.getHost().port}"

    def close(self, machine: Machine) -> None:
        """Serve an instance no longer."""
        self._close(*self._services.pop(machine.instance_id))

    def _close(self, port: Any, factory: WrappingFactory) -> None:
        closed = maybeDeferred(port.stopListening)
        self._closing.add(closed)
        closed.addBoth(lambda _: self._closing.discard(closed))
        for connection in list(factory.protocols):
            connection.transport.abortConnection()

    async def stop(self) -> None:
        """Close those that are left, and wait until all are closed."""
        for port, factory in list(self._services.values()):
            self._close(port, factory)
        self._services.clear()
        await DeferredList(list(self._closing))


class _Service(Resource):
    """One instance's."""

    isLeaf = True

    def __init__(
        self,
        reactor: Any,
        machine: Machine,
        region: str,
        choose: Callable[[Machine, str], Fault | None],
        credentials: Tell,
    ) -> None:
        Resource.__init__(self)
        self._reactor = reactor
        self._machine = machine
        self._region = region
        self._choose = choose
        self._credentials = credentials
        self._tokens: dict[str, float] = {}

    # Resource

    def render_PUT(self, request: Request) -> int:
        return self._serve(request, self._token)

    def render_GET(self, request: Request) -> int:
        return self._serve(request, self._told)

    def _serve(self, request: Request, answer: Callable[[Request], tuple[int, str]]) -> int:
        fault = self._choose(self._machine, request.path.decode()) or Fault("")
        if fault.kind == "cut":
            channel: Any = request.channel
            channel.transport.abortConnection()
        elif fault.kind in ("delay", "slow"):
            self._reactor.callLater(fault.seconds, self._answer, request, answer)
        elif fault.kind == "error":
            self._write(request, int(fault.code), "by a rule of the tests")
        elif fault.kind != "hang":
            self._answer(request, answer)
        return NOT_DONE_YET

    def _answer(self, request: Request, answer: Callable[[Request], tuple[int, str]]) -> None:
        self._write(request, *answer(request))

    def _write(self, request: Request, status: int, text: str) -> None:
        if request.channel is not None:
            request.setResponseCode(status)
            request.setHeader("Content-Type", "text/plain")
            request.write(text.encode())
            request.finish()

    # What it says

    def _token(self, request: Request) -> tuple[int, str]:
        if request.path != b"/latest/api/token":
            return 404, "Not Found"
        if request.getHeader("x-forwarded-for"):
            return 403, "Forbidden"
        asked = request.getHeader(_TTL) or ""
        if not asked.isdigit() or not 1 <= int(asked) <= LONGEST_TOKEN:
            return 400, "Bad Request"
        token = secrets.token_urlsafe(30)
        self._tokens[token] = self._reactor.seconds() + int(asked)
        request.setHeader(_TTL, asked)
        return 200, token

    def _told(self, request: Request) -> tuple[int, str]:
        if request.path.decode() == CONTAINER:
            return 200, json.dumps(dict(self._credentials(self._machine)))
        until = self._tokens.get(request.getHeader(_TOKEN) or "", 0.0)
        if self._reactor.seconds() >= until:
            return 401, "Unauthorized"
        path = request.path.decode().removeprefix("/latest/")
        told = tree(self._machine, self._region)
        role = f"meta-data/iam/security-credentials/{self._machine.profile or ROLE}"
        told[role] = json.dumps(dict(self._credentials(self._machine)))
        if path in told:
            return 200, told[path]
        folder = path.rstrip("/") + "/"
        below = {
            rest.partition("/")[0] + ("/" if "/" in rest else "")
            for name in told
            if name.startswith(folder) and (rest := name.removeprefix(folder))
        }
        return (200, "\n".join(sorted(below))) if below else (404, "Not Found")


def tree(machine: Machine, region: str) -> dict[str, str]:
    """Everything that an instance can ask for now, by its path below `latest`."""
    document = {
        "instanceId": machine.instance_id,
        "instanceType": machine.kind,
        "imageId": machine.image_id,
        "privateIp": machine.address,
        "region": region,
        "availabilityZone": machine.zone,
        "accountId": "123456789012",
    }
    told = {
        "instance-id": machine.instance_id,
        "instance-type": machine.kind,
        "ami-id": machine.image_id,
        "ami-launch-index": str(machine.number),
        "instance-life-cycle": "spot" if machine.spot else "on-demand",
        "local-ipv4": machine.address,
        "local-hostname": machine.address,
        "placement/availability-zone": machine.zone,
        "placement/region": region,
        "services/domain": "amazonaws.com",
    }
    if machine.public:
        told |= {"public-ipv4": machine.address, "public-hostname": machine.address}
    if machine.interrupted is not None:
        when = stamp(machine.interrupted)
        told["spot/instance-action"] = json.dumps({"action": "terminate", "time": when})
        told["spot/termination-time"] = when
    if machine.rebalance is not None:
        noticed = json.dumps({"noticeTime": stamp(machine.rebalance)})
        told["events/recommendations/rebalance"] = noticed
    return {
        "dynamic/instance-identity/document": json.dumps(document),
        "user-data": machine.user_data,
        **{f"meta-data/{name}": value for name, value in told.items()},
    }
