"""What stands in front of the cloud, and what every client talks to: it records each call, and does
to it what the rules of the moment say."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.web.http import Request, datetimeToString
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.cloud.answers import Answer, failed, failed_in_json
from tests.cloud.faults import Fault
from tests.standins.ec2 import APIError

_CREDENTIAL = re.compile(r"Credential=([^/]*)/[^/]*/([^/]*)/([^/]*)/")

_log = Logger()


@dataclass
class Call:
    """One call of a client.

    `identity` is who calls: the access key, or whose temporary one it is. `service` is ec2, ssm,
    secretsmanager and so on, `parameters` what was asked: of EC2 the query, of the others their
    JSON. `answer` is the code of the error that was answered, "" for success, None while the call
    is under way, hangs or has lost its answer.
    """

    time: float
    service: str
    action: str
    parameters: Mapping[str, Any]
    identity: str
    fault: Fault | None = None
    answer: str | None = None


class Held:
    """A call that waits for the test, until `release` or `cut`."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.released: Deferred[None] = Deferred()

    def release(self) -> None:
        """Let it go on."""
        self.released.callback(None)

    def cut(self) -> None:
        """Cut its connection, and let it go on no further."""
        self.released.cancel()


class Proxy(Resource):
    """Answers the clients.

    :param choose: the fault that a call meets.
    :param carry_out: the answer to a call, with the body and the headers as they came.
    :param now: the cloud's time, in seconds since the epoch, by which answers are dated.
    """

    isLeaf = True

    def __init__(
        self,
        reactor: Any,
        choose: Callable[[Call], Fault | None],
        carry_out: Callable[[Call, bytes, Mapping[str, str]], Awaitable[Answer]],
        now: Callable[[], float],
    ) -> None:
        Resource.__init__(self)
        self.calls: list[Call] = []
        self.holding: list[Held] = []
        self._reactor = reactor
        self._choose = choose
        self._carry_out = carry_out
        self._now = now
        self._under_way: set[Deferred[None]] = set()
        self._factory = WrappingFactory(Site(self, timeout=None))

    def listen(self) -> Any:
        """Listen on a free loopback port; the port."""
        return self._reactor.listenTCP(0, self._factory, interface="127.0.0.1")

    async def stop(self) -> None:
        """Cut off everybody, whether they wait for an answer or not."""
        for served in list(self._under_way):
            served.cancel()
        for connection in list(self._factory.protocols):
            connection.transport.abortConnection()
        await deferLater(self._reactor, 0)

    # Resource

    def render_POST(self, request: Request) -> int:
        assert request.content is not None
        body = request.content.read()
        headers = {
            name.decode(): values[0].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        call = read(self._reactor.seconds(), body, headers)
        call.fault = self._choose(call)
        self.calls.append(call)
        served = Deferred.fromCoroutine(self._serve(request, call, body, headers))
        self._under_way.add(served)
        served.addErrback(self._went_wrong, request)
        served.addCallback(lambda _: self._under_way.discard(served))
        return NOT_DONE_YET

    async def _serve(
        self, request: Request, call: Call, body: bytes, headers: Mapping[str, str]
    ) -> None:
        fault = call.fault or Fault("")
        match fault.kind:
            case "delay":
                await deferLater(self._reactor, fault.seconds)
            case "hold":
                await self._hold(call)
            case "hang":
                await Deferred()
            case "cut":
                abort(request)
                return
        if fault.kind == "error":
            answer = refused(call, fault.code, f"{fault.code}, by a rule of the tests")
        else:
            answer = await self._carry_out(call, body, headers)
        match fault.kind:
            case "slow":
                await deferLater(self._reactor, fault.seconds)
            case "hold-answer":
                await self._hold(call)
            case "lost":
                abort(request)
                return
        call.answer = answer.code
        if request.channel is not None:
            request.setResponseCode(answer.status)
            request.setHeader("Content-Type", answer.content_type)
            request.setHeader("Date", datetimeToString(self._now()))
            request.write(answer.body)
            request.finish()

    async def _hold(self, call: Call) -> None:
        held = Held(call)
        self.holding.append(held)
        try:
            await held.released
        finally:
            self.holding.remove(held)

    def _went_wrong(self, failure: Any, request: Request) -> None:
        # Who hangs up has what it asked for cancelled, which ends in many ways.
        if request.channel is not None and not failure.check(CancelledError):
            _log.failure("a call went wrong in the cloud", failure=failure)
        abort(request)


def refused(call: Call, code: str, message: str) -> Answer:
    """An error, as the service that was called has it."""
    if call.service == "ec2":
        return failed(APIError(code, message))
    return failed_in_json(code, message)


def abort(request: Request) -> None:
    """Cut the connection that a call came by."""
    if request.channel is not None:
        transport: Any = request.channel.transport
        transport.abortConnection()


def read(time: float, body: bytes, headers: Mapping[str, str]) -> Call:
    """The call that a request makes."""
    given = {name.lower(): value for name, value in headers.items()}
    credential = _CREDENTIAL.search(given.get("authorization", ""))
    identity, service = (credential[1], credential[3]) if credential else ("", "ec2")
    target = given.get("x-amz-target")
    parameters: dict[str, Any] = {}
    if target is None:
        with suppress(UnicodeDecodeError):
            parameters = dict(parse_qsl(body.decode(), keep_blank_values=True))
        return Call(time, service, parameters.get("Action", ""), parameters, identity)
    with suppress(ValueError):
        parameters = json.loads(body)
    return Call(time, service, target.rpartition(".")[2], parameters, identity)
