"""EC2's API with Deferreds: methods under EC2's own names.

A call is one exchange over HTTP at a time, on the reactor (`api`). What botocore's standard retry
mode (`botocore.retries.standard`) would decide is decided here, by the table of
`bbs.scaling.ec2.errors`:

- What may have been done or not is tried again, up to `TRIES` times, after a moment that doubles
  and has jitter, with the same parameters and so the same ClientToken. A quota keeps an API that is
  down from being asked three times as often.
- Each action has a gate (`gates`), which lets calls through as fast as EC2 takes them, and which
  throttling closes for this action alone.
- A try that is not answered in `DEADLINE` is given up, and its connection closed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs import tracing
from bbs.config import EC2
from bbs.scaling.ec2.api import Answer, Api
from bbs.scaling.ec2.errors import LATER, EC2Error, Verdict, no_answer
from bbs.scaling.ec2.gates import PACES, Gate, Pace

DEADLINE = 8.0
"""Seconds until a try is given up. A launch takes EC2 one to four."""

TRIES = 3
FIRST_PAUSE = 0.05
QUOTA, QUOTA_OF_A_RETRY = 500, 14
"""As in botocore's standard mode."""

_log = Logger()


def client_for(reactor: Any, config: EC2) -> EC2Client:
    """A client of the API in the region, or at the endpoint, of `config`."""
    return EC2Client(reactor, Api(reactor, config))


class EC2Client(Service):
    """Calls of the EC2 API; they fail with `EC2Error`, and can be cancelled.

    A call that is cancelled may have been carried out. Nothing is asked before `startService` or
    after `stopService`.

    :param api: an `IApi`, and a service, which this starts and stops.
    :param jitter: gives numbers from 0 to 1.
    :param paces: how fast each action may be asked.
    """

    def __init__(
        self,
        reactor: Any,
        api: Any,
        jitter: Callable[[], float] = random.random,
        paces: Mapping[str, Pace] = PACES,
    ) -> None:
        self._reactor = reactor
        self._api = api
        self._jitter = jitter
        self._gates = {action: Gate(reactor, action, paces[action], jitter) for action in paces}
        self._calls: set[Deferred[Answer]] = set()
        self._quota = QUOTA

    # EC2's names

    def describe_images(self, **parameters: Any) -> Deferred[Answer]:
        """DescribeImages."""
        return self._call("DescribeImages", parameters)

    def describe_instances(self, **parameters: Any) -> Deferred[Answer]:
        """DescribeInstances, one page of it."""
        return self._call("DescribeInstances", parameters)

    def describe_launch_template_versions(self, **parameters: Any) -> Deferred[Answer]:
        """DescribeLaunchTemplateVersions."""
        return self._call("DescribeLaunchTemplateVersions", parameters)

    def start_instances(self, **parameters: Any) -> Deferred[Answer]:
        """StartInstances."""
        return self._call("StartInstances", parameters)

    def stop_instances(self, **parameters: Any) -> Deferred[Answer]:
        """StopInstances."""
        return self._call("StopInstances", parameters)

    def run_instances(self, **parameters: Any) -> Deferred[Answer]:
        """RunInstances. With a ClientToken, or else a lost answer launches twice."""
        return self._call("RunInstances", parameters)

    def terminate_instances(self, **parameters: Any) -> Deferred[Answer]:
        """TerminateInstances."""
        return self._call("TerminateInstances", parameters)

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._api.startService()

    def stopService(self) -> Deferred[None]:
        """Give up all calls, and close their connections."""
        Service.stopService(self)
        for call in list(self._calls):
            call.cancel()
        stopped: Deferred[None] = self._api.stopService()
        return stopped

    # A call

    def _call(self, action: str, parameters: Mapping[str, Any]) -> Deferred[Answer]:
        call = Deferred.fromCoroutine(self._answer(action, parameters))
        self._calls.add(call)

        def ended(result: Any) -> Any:
            self._calls.discard(call)
            return result

        return call.addBoth(ended)

    async def _answer(self, action: str, parameters: Mapping[str, Any]) -> Answer:
        with tracing.span(f"ec2 {action}"):
            return await self._answered(action, parameters)

    async def _answered(self, action: str, parameters: Mapping[str, Any]) -> Answer:
        """Try until there is an answer, an error that stays one, or no patience left."""
        gate = self._gates[action]
        ends: float | None = None
        tries, doubtful = 0, False
        while True:
            try:
                self._check_running(action)
                await gate.enter(ends)
                ends = ends or self._reactor.seconds() + gate.pace.patience
                answer = await self._try(action, parameters, ends)
            except EC2Error as error:
                error.doubtful = doubtful = doubtful or error.doubtful
                if error.verdict not in LATER:
                    gate.answered()
                tries += error.verdict is Verdict.AGAIN
                pause = self._pause(gate, error, tries)
                if pause is None or ends is None or self._reactor.seconds() + pause >= ends:
                    raise
                _log.debug("{action} failed: {error}", action=action, error=str(error))
                await deferLater(self._reactor, pause)
            else:
                gate.answered()
                self._quota = min(QUOTA, self._quota + (QUOTA_OF_A_RETRY if tries else 1))
                return answer

    def _check_running(self, action: str) -> None:
        if not self.running:
            raise EC2Error(Verdict.UNASKED, "Stopped", f"{action}: the EC2 client does not run")

    async def _try(self, action: str, parameters: Mapping[str, Any], ends: float) -> Answer:
        self._check_running(action)
        allowed = self._allowed(action, ends)
        try:
            await self._api.ready(action).addTimeout(allowed, self._reactor)
        except TimeoutError:
            text = f"{action}: there are no credentials yet after {allowed:.0f} s"
            raise EC2Error(Verdict.UNASKED, "NotReady", text) from None
        allowed = self._allowed(action, ends)
        try:
            answer: Answer = await self._api.ask(action, parameters).addTimeout(
                allowed, self._reactor
            )
        except TimeoutError:
            raise no_answer(action, f"nothing in {allowed:.0f} s") from None
        return answer

    def _allowed(self, action: str, ends: float) -> float:
        """Seconds that a try may take from now on."""
        left = ends - self._reactor.seconds()
        if left <= 0:
            # It waited at the gate until nobody waited for it any more.
            raise EC2Error(Verdict.UNASKED, "TooLate", f"{action}: its turn came too late")
        return float(min(DEADLINE, left))

    def _pause(self, gate: Gate, error: EC2Error, tries: int) -> float | None:
        """Seconds until the next try; None for no more."""
        if error.verdict is Verdict.THROTTLED:
            gate.throttled()
            return 0.0
        retry = error.verdict is Verdict.AGAIN and tries < TRIES
        if not retry or self._quota < QUOTA_OF_A_RETRY:
            return None
        self._quota -= QUOTA_OF_A_RETRY
        return self._jitter() * FIRST_PAUSE * 2.0 ** (tries - 1)
