"""EC2 as the clients see it: moto's answers, made true to what EC2 does and moto does not.

That is: launches (`launches.py`), states that take their time, descriptions that are behind or not
whole, stopping and starting, and filters that go by these states.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from xml.etree import ElementTree

from tests.cloud.agent import Agent
from tests.cloud.answers import Answer, answered, failed, written
from tests.cloud.fleets import Fleets
from tests.cloud.launches import Launches, with_volume_sizes
from tests.cloud.machines import Machine, show
from tests.cloud.moto import Moto
from tests.standins.ec2 import APIError, check_start, check_stop, no_instance
from tests.standins.instances import BY_ITSELF, BY_USER, CODES

_STATE_FILTER = "instance-state-name"


@dataclass(frozen=True)
class Sight:
    """How well a call sees: descriptions are `lag` seconds old, and each instance lacks in them
    with the probability `share`."""

    lag: float = 0.0
    share: float = 0.0
    chance: Random = field(default_factory=Random)

    def hidden(self, ids: Sequence[str]) -> Container[str]:
        """Those of the instances that lack."""
        return {id for id in ids if self.share and self.chance.random() < self.share}


CLEARLY = Sight()


class EC2:
    """What EC2 does about a call."""

    def __init__(self, reactor: Any, moto: Moto, agent: Agent, launches: Launches) -> None:
        self.machines = launches.machines
        self._reactor = reactor
        self._moto = moto
        self._agent = agent
        self._launches = launches
        self._fleets = Fleets(launches)
        self._own: Mapping[str, Callable[[Mapping[str, str]], Answer]] = {
            "TerminateInstances": self._terminate,
            "StopInstances": self._stop,
            "StartInstances": self._start,
        }

    async def carry_out(
        self, parameters: Mapping[str, str], identity: str, sight: Sight = CLEARLY
    ) -> Answer:
        """The answer to a call."""
        action = parameters.get("Action", "")
        time = self._reactor.seconds() - sight.lag
        try:
            self._refuse_unknown(parameters, time)
            if action == "RunInstances":
                answer = await self._launches.run(parameters, identity)
                return self._shown(answer, self._reactor.seconds())
            if action == "CreateFleet":
                return await self._fleets.create(parameters, identity)
            if action in self._own:
                return self._own[action](parameters)
            if action == "RebootInstances":
                raise APIError("UnsupportedOperation", f"{action} is not in this cloud")
            return await self._other(parameters, identity, time, sight)
        except APIError as error:
            return failed(error)

    def ended(self, machine: Machine) -> None:
        """A machine has ended by itself."""
        machine.becomes(machine.stops_as, self._reactor.seconds(), machine.reason or BY_ITSELF)

    # Calls

    def _refuse_unknown(self, parameters: Mapping[str, str], time: float) -> None:
        for id in named(parameters):
            known = self.machines.get(id)
            if not re.fullmatch("i-[0-9a-f]{8}(?:[0-9a-f]{9})?", id):
                raise APIError("InvalidInstanceID.Malformed", f'Invalid id: "{id}"')
            if known is None or not known.is_known(time):
                raise no_instance(id)

    def _terminate(self, parameters: Mapping[str, str]) -> Answer:
        return self._changed(parameters, lambda machine: self._agent.end(machine, BY_USER))

    def _stop(self, parameters: Mapping[str, str]) -> Answer:
        for machine in self._named(parameters):
            check_stop(machine, self._reactor.seconds())
        return self._changed(parameters, lambda machine: self._agent.stop(machine, BY_USER))

    def _start(self, parameters: Mapping[str, str]) -> Answer:
        for machine in self._named(parameters):
            check_start(machine, self._reactor.seconds())
        return self._changed(parameters, self._agent.start)

    def _named(self, parameters: Mapping[str, str]) -> list[Machine]:
        return [self.machines[id] for id in named(parameters)]

    def _changed(self, parameters: Mapping[str, str], change: Callable[[Machine], None]) -> Answer:
        """Change the machines that are named, and say from which state to which."""
        told = []
        for machine in self._named(parameters):
            before = machine.state
            change(machine)
            states = {"previousState": before, "currentState": machine.state}
            told.append(
                {
                    "instanceId": machine.instance_id,
                    **{
                        name: {"code": CODES[state], "name": state}
                        for name, state in states.items()
                    },
                }
            )
        return answered(parameters["Action"], instancesSet=told)

    async def _other(
        self, parameters: Mapping[str, str], identity: str, time: float, sight: Sight
    ) -> Answer:
        rest, states = without_state_filter(parameters)
        templates = "LaunchTemplate" in parameters.get("Action", "")
        if templates:
            self._refuse_unknown_version(parameters)
        answer = await self._moto.ask(with_volume_sizes(rest), identity)
        if answer.status >= 400:
            return answer
        if templates:
            self._launches.templates.learn(parameters, ElementTree.fromstring(answer.body))
            return answer
        return self._shown(
            answer,
            time,
            lambda state: states is None or state in states,
            sight.hidden(sorted(self.machines)),
        )

    def _refuse_unknown_version(self, parameters: Mapping[str, str]) -> None:
        """moto has other codes than EC2 for what it does not know."""
        id, name = parameters.get("LaunchTemplateId"), parameters.get("LaunchTemplateName")
        if parameters["Action"] == "CreateLaunchTemplate" or not (id or name):
            return
        template = self._launches.templates.find(id, name)
        for parameter, version in parameters.items():
            if parameter.startswith("LaunchTemplateVersion."):
                template.number(version)

    def _shown(
        self,
        answer: Answer,
        time: float,
        wanted: Callable[[str], bool] = lambda state: True,
        hidden: Container[str] = (),
    ) -> Answer:
        if answer.status >= 400:
            return answer
        root = ElementTree.fromstring(answer.body)
        show(root, self.machines, time, wanted, hidden)
        return written(root)


def named(parameters: Mapping[str, str]) -> list[str]:
    """The ids of the instances that a call names."""
    return [id for name, id in parameters.items() if re.fullmatch(r"InstanceId(\.\d+)?", name)]


def without_state_filter(
    parameters: Mapping[str, str],
) -> tuple[dict[str, str], set[str] | None]:
    """The parameters without a filter by state, and the states it asked for: moto knows only its
    own states, in which everything happens at once."""
    rest: dict[str, str] = {}
    states: set[str] | None = None
    filters: dict[str, dict[str, str]] = {}
    for name, value in parameters.items():
        match = re.fullmatch(r"Filter\.(\d+)\.(.+)", name)
        if match:
            filters.setdefault(match[1], {})[match[2]] = value
        else:
            rest[name] = value
    number = 0
    for each in filters.values():
        if each.get("Name") == _STATE_FILTER:
            states = {value for name, value in each.items() if name.startswith("Value.")}
            continue
        number += 1
        rest |= {f"Filter.{number}.{name}": value for name, value in each.items()}
    return rest, states
