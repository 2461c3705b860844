"""EC2's instances: their states over time, and what descriptions say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import gmtime, strftime
from typing import Any

CODES: Mapping[str, int] = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
"""The states of instances by EC2's names, with its numbers."""

ENDED = ("shutting-down", "terminated")
SETTLED = {"pending": "running", "shutting-down": "terminated", "stopping": "stopped"}
"""What becomes of an instance in a state that passes."""

TERMINATED_SHOWN = 3600.0
"""Seconds for which EC2 describes an instance that has ended."""

REASONS: Mapping[str, str] = {
    "Client.InstanceInitiatedShutdown": "Instance initiated shutdown",
    "Client.InternalError": "Client error on launch",
    "Client.InvalidSnapshot.NotFound": "The specified snapshot was not found",
    "Client.UserInitiatedShutdown": "User initiated shutdown",
    "Client.VolumeLimitExceeded": "Volume limit exceeded",
    "Server.InsufficientInstanceCapacity": "Insufficient capacity to satisfy instance request",
    "Server.InternalError": "Internal error on launch",
    "Server.SpotInstanceTermination": "Spot instance termination",
}
"""What EC2 says about an end, by StateReason's code. `Client.InternalError` is also what comes of
an encrypted volume whose key the caller may not use."""

BY_USER, BY_ITSELF = "Client.UserInitiatedShutdown", "Client.InstanceInitiatedShutdown"
POWER_LOST, INTERRUPTED = "Server.InternalError", "Server.SpotInstanceTermination"


@dataclass(eq=False, kw_only=True)
class Instance:
    """One instance.

    `token` is the ClientToken of its launch, and `number` which it is of those that one call
    launched. `public`: it has a public address while it runs. `history` has the states that it came
    to, each with the time of its beginning, and `reasons` the codes of StateReason likewise.
    `pace` has the seconds after which it goes on from a state by itself; else somebody has to say
    that it does.
    """

    instance_id: str
    kind: str
    subnet_id: str = ""
    token: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    number: int = 0
    spot: bool = False
    public: bool = True
    history: list[tuple[float, str]] = field(default_factory=list)
    reasons: list[tuple[float, str]] = field(default_factory=list)
    pace: Mapping[str, float] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """The state that it came to last."""
        return self.history[-1][1]

    @property
    def there(self) -> bool:
        """Whether it has not ended: it may be stopped."""
        return self.state not in ENDED

    @property
    def reason(self) -> str:
        """The code of its present StateReason; an empty text while there is none."""
        return self.reasons[-1][1] if self.reasons else ""

    @property
    def created(self) -> float:
        """When it was launched."""
        return self.history[0][0]

    @property
    def started(self) -> float:
        """When it was launched, or last started again."""
        return next(since for since, state in reversed(self.history) if state == "pending")

    @property
    def ended(self) -> float | None:
        """When it began to end."""
        return next((since for since, state in self.history if state in ENDED), None)

    def becomes(self, state: str, now: float, reason: str | None = None) -> None:
        """Go on to another state; one that has ended stays so. `reason` is the code of StateReason,
        an empty text takes it back, and None leaves it."""
        if state != self.state and self.state != "terminated":
            self.history.append((now, state))
            if reason is not None:
                self.reasons.append((now, reason))

    def state_at(self, time: float) -> str | None:
        """The state that it had at `time`; None before its launch."""
        for since, state in reversed(self.history):
            if since <= time:
                passes = state in self.pace and time - since >= self.pace[state]
                return SETTLED[state] if passes else state
        return None

    def reason_at(self, time: float) -> tuple[str, str, str]:
        """StateReason's code and message, and StateTransitionReason, as they were at `time`."""
        told = [(since, code) for since, code in self.reasons if since <= time]
        if not told or not told[-1][1]:
            return "", "", ""
        since, code = told[-1]
        who = {BY_USER: "User initiated", INTERRUPTED: "Service initiated"}.get(code)
        when = strftime("%Y-%m-%d %H:%M:%S GMT", gmtime(since))
        return code, f"{code}: {REASONS.get(code, code)}", f"{who} ({when})" if who else ""

    def is_known(self, time: float) -> bool:
        """Whether a description made at `time` has it."""
        state, since = self.state_at(time), self.history[-1][0]
        return state is not None and not (state == "terminated" and time - since > TERMINATED_SHOWN)

    def described(self, time: float) -> dict[str, Any]:
        """What a description made at `time` says of it, as boto3 has it."""
        state = self.state_at(time) or "pending"
        code, message, transition = self.reason_at(time)
        public = self.address if state == "running" and self.public else ""
        described = {
            "InstanceId": self.instance_id,
            "InstanceType": self.kind,
            "AmiLaunchIndex": self.number,
            "LaunchTime": datetime.fromtimestamp(self.started, UTC),
            "State": {"Code": CODES[state], "Name": state},
            "StateTransitionReason": transition,
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
        }
        more = {
            "InstanceLifecycle": "spot" if self.spot else "",
            "PrivateIpAddress": self.address if state != "terminated" else "",
            "PublicDnsName": public,
            "PublicIpAddress": public,
            "StateReason": {"Code": code, "Message": message} if code else {},
            "SubnetId": self.subnet_id,
        }
        return described | {name: value for name, value in more.items() if value}
