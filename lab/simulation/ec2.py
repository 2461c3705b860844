"""`EC2Client` of a login server in the simulated cloud: what the real provider calls.

What a client would try again by itself has been tried. A call fails with `EC2Error`, by the code
that EC2 has for it, so the table of verdicts is the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from bbs.scaling.ec2 import errors
from lab.simulation.cloud import Cloud
from tests.standins.ec2 import APIError

KINDS = {
    "CreateFleet": "run",
    "CreateLaunchTemplate": "run",
    "CreateTags": "terminate",
    "RunInstances": "run",
    "StartInstances": "run",
    "DeleteLaunchTemplate": "terminate",
    "TerminateInstances": "terminate",
    "StopInstances": "terminate",
}
"""Which faults an action has; those of `describe`, if it is none of these."""

DAY = 86400.0

THROTTLED = 0.7
"""The share of calls that are too many, while calls are throttled and have been tried again."""


class Client:
    """`EC2Client` of one login server.

    :param owner: the fleet whose login server it is.
    :param mortal: decides whether the login server lives to ask, and to hear.
    """

    def __init__(self, cloud: Cloud, owner: Any, mortal: Any) -> None:
        self.clock_is_off = False
        """Whether the machine's clock is off by a day, and so all signatures are refused."""
        self.running = True
        self._cloud = cloud
        self._owner = owner
        self._mortal = mortal

    def __getattr__(self, name: str) -> Callable[..., Deferred[Any]]:
        """A method under boto3's name for an action."""
        if name.startswith("_") or not hasattr(self._cloud, name):
            raise AttributeError(name)
        action = "".join(word.capitalize() for word in name.split("_"))
        return lambda **parameters: self._ask(action, parameters)

    def _ask(self, action: str, parameters: dict[str, Any]) -> Deferred[Any]:
        def unanswered(why: str) -> Exception:
            return errors.judge(action, "RequestTimeout", why, 503)

        def carry_out() -> Any:
            try:
                return self._carry_out(action, parameters)
            except APIError as error:
                behind = DAY if self.clock_is_off else 0.0
                raise errors.judge(
                    action, error.code, error.message, error.status, behind
                ) from None

        kind = KINDS.get(action, "describe")
        answer: Deferred[Any] = self._mortal.ask(
            lambda: self._cloud.call(kind, carry_out, unanswered)
        )
        return answer

    def _carry_out(self, action: str, parameters: dict[str, Any]) -> Any:
        cloud = self._cloud
        if self.clock_is_off:
            raise APIError(cloud.clock_code, status=403)
        if cloud.throttles and cloud.chance.random() < THROTTLED:
            raise APIError("RequestLimitExceeded")
        cloud.caller = self._owner
        return cloud.ask(action, parameters)
