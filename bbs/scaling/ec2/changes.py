"""Ending, stopping and starting instances: several in a call, and where one of them spoils it for
all, each in its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from bbs.gathering import Batch
from bbs.scaling.ec2.api import Answer
from bbs.scaling.ec2.client import EC2Client
from bbs.scaling.ec2.errors import LATER, EC2Error, Verdict
from bbs.scaling.ec2.machines import Machines


class Changes:
    """`add` to `end`, `stop` or `start` an instance's id: it fires when EC2 has accepted it."""

    def __init__(self, reactor: Any, client: EC2Client, machines: Machines) -> None:
        self._client = client
        self._machines = machines
        self.end = Batch(reactor, self._end)
        self.stop = Batch(reactor, partial(self._each, client.stop_instances))
        self.start = Batch(reactor, partial(self._each, client.start_instances))

    async def _end(self, ids: Sequence[str]) -> Mapping[str, Exception]:
        failed = await self._each(self._client.terminate_instances, ids)
        still: dict[str, Exception] = {}
        for id, error in failed.items():
            unknown = error.verdict is Verdict.NOT_FOUND
            if unknown and not self._machines.just_launched(id):
                self._machines.answered(id, "terminated")
            else:
                still[id] = error
        return still

    async def _each(
        self, call: Callable[..., Deferred[Answer]], ids: Sequence[str]
    ) -> dict[str, EC2Error]:
        """Why it failed for some."""
        try:
            answer = await call(InstanceIds=ids)
        except EC2Error as error:
            if error.verdict in LATER:
                raise
            if len(ids) == 1:
                return {ids[0]: error}
            failed: dict[str, EC2Error] = {}
            for id in ids:
                failed |= await self._each(call, [id])
            return failed
        for key in ("TerminatingInstances", "StoppingInstances", "StartingInstances"):
            for changed in answer.get(key, ()):
                self._machines.answered(changed["InstanceId"], changed["CurrentState"]["Name"])
        return {}
