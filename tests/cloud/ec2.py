"""EC2 as the clients see it: moto's answers, made true to what EC2 does and moto does not.

That is: an instance for each ClientToken and no more, states that take their time, descriptions
that are behind, user data that is limited, root volumes of the image's size, the shutdown behaviour
of a launch template.
"""

from __future__ import annotations

import gzip
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from tests.cloud.agent import Agent
from tests.cloud.machines import Machine, items, show, show_previous, tags, text
from tests.cloud.moto import Answer, CloudError, Moto, failed

USER_DATA_LIMIT = 16384
"""Bytes of user data, before base64."""

VOLUME_SIZE = "8"
"""GiB of the image's root volume."""

_STATE_FILTER = "instance-state-name"

_log = Logger()


class EC2:
    """What EC2 does about a call.

    :param boot: called with every machine that has been launched.
    """

    def __init__(
        self, reactor: Any, moto: Moto, agent: Agent, boot: Callable[[Machine], None]
    ) -> None:
        self.machines: dict[str, Machine] = {}
        """Every instance that ever was, by its id."""
        self._reactor = reactor
        self._moto = moto
        self._agent = agent
        self._boot = boot
        self._launches: dict[str, tuple[object, bytes]] = {}
        self._launching = DeferredLock()

    async def carry_out(self, parameters: Mapping[str, str], identity: str, lag: float) -> Answer:
        """The answer to a call; descriptions are `lag` seconds old."""
        action = parameters.get("Action", "")
        time = self._reactor.seconds() - lag
        for name, id in parameters.items():
            known = self.machines.get(id)
            if name.startswith("InstanceId.") and known and not known.is_known(time):
                return failed(
                    "InvalidInstanceID.NotFound", f"The instance ID '{id}' does not exist"
                )
        if action == "RunInstances":
            return await self._run(parameters, identity)
        if action == "TerminateInstances":
            return await self._terminate(parameters, identity)
        if action in ("StartInstances", "StopInstances", "RebootInstances"):
            return failed("UnsupportedOperation", f"{action} is not in this cloud")
        return await self._other(parameters, identity, time)

    async def powered_off(self, machine: Machine) -> None:
        """A machine has ended by itself."""
        state = machine.stops_as
        machine.becomes(state, self._reactor.seconds())
        action = "TerminateInstances" if state == "terminated" else "StopInstances"
        await self._moto.query(action, InstanceId_1=machine.instance_id)

    # Calls

    async def _run(self, parameters: Mapping[str, str], identity: str) -> Answer:
        token = parameters.get("ClientToken", "")
        asked = {name: value for name, value in parameters.items() if name != "ClientToken"}
        await self._launching.acquire()
        try:
            if token in self._launches:
                before, body = self._launches[token]
                if before != asked:
                    return failed(
                        "IdempotentParameterMismatch",
                        f"Arguments on this idempotent request are inconsistent with {token}",
                    )
                return self._shown(body, self._reactor.seconds())
            try:
                user_data = unpacked(parameters.get("UserData", ""))
            except ValueError as error:
                return failed("InvalidParameterValue", str(error))
            answer = await self._moto.ask(with_volume_sizes(parameters), identity)
            if answer.status >= 400:
                return answer
            if token:
                self._launches[token] = asked, answer.body
            for _, item in items(ElementTree.fromstring(answer.body)):
                await self._launched(item, parameters, user_data)
            return self._shown(answer.body, self._reactor.seconds())
        finally:
            self._launching.release()

    async def _launched(
        self, item: ElementTree.Element, parameters: Mapping[str, str], user_data: str
    ) -> None:
        id = text(item, "instanceId")
        behaviour = parameters.get("InstanceInitiatedShutdownBehavior")
        if any(name.startswith("LaunchTemplate.") for name in parameters):
            if not user_data:
                told = await self._moto.query(
                    "DescribeInstanceAttribute", InstanceId=id, Attribute="userData"
                )
                user_data = unpacked(told.findtext("{*}userData/{*}value") or "")
            behaviour = behaviour or await self._behaviour(parameters)
        machine = Machine(
            instance_id=id,
            address=text(item, "privateIpAddress"),
            kind=text(item, "instanceType"),
            image_id=text(item, "imageId"),
            subnet_id=text(item, "subnetId"),
            token=parameters.get("ClientToken", ""),
            tags=tags(item),
            stops_as="terminated" if behaviour == "terminate" else "stopped",
            history=[(self._reactor.seconds(), "pending")],
            user_data=user_data,
        )
        self.machines[id] = machine
        self._boot(machine)

    async def _behaviour(self, parameters: Mapping[str, str]) -> str | None:
        """The shutdown behaviour in the launch template that is named."""
        names = {
            "LaunchTemplate.LaunchTemplateId": "LaunchTemplateId",
            "LaunchTemplate.LaunchTemplateName": "LaunchTemplateName",
            "LaunchTemplate.Version": "LaunchTemplateVersion_1",
        }
        asked = {names[name]: value for name, value in parameters.items() if name in names}
        asked.setdefault("LaunchTemplateVersion_1", "$Default")
        try:
            told = await self._moto.query("DescribeLaunchTemplateVersions", **asked)
        except CloudError as error:
            _log.warn("a launch template is not told: {error}", error=str(error))
            return None
        return told.findtext(".//{*}instanceInitiatedShutdownBehavior")

    async def _terminate(self, parameters: Mapping[str, str], identity: str) -> Answer:
        answer = await self._moto.ask(parameters, identity)
        if answer.status >= 400:
            return answer
        root = ElementTree.fromstring(answer.body)
        for _, item in items(root):
            machine = self.machines[text(item, "instanceId")]
            show_previous(item, machine.state)
            self._agent.end(machine)
        show(root, self.machines, self._reactor.seconds())
        return written(root)

    async def _other(self, parameters: Mapping[str, str], identity: str, time: float) -> Answer:
        rest, states = without_state_filter(parameters)
        answer = await self._moto.ask(with_volume_sizes(rest), identity)
        if answer.status >= 400:
            return answer
        return self._shown(answer.body, time, lambda state: states is None or state in states)

    def _shown(
        self, body: bytes, time: float, wanted: Callable[[str], bool] = lambda state: True
    ) -> Answer:
        root = ElementTree.fromstring(body)
        show(root, self.machines, time, wanted)
        return written(root)


def written(root: ElementTree.Element) -> Answer:
    """An answer of EC2's."""
    return Answer(200, ElementTree.tostring(root, "utf-8", xml_declaration=True))


def unpacked(user_data: str) -> str:
    """User data as the instance sees it; ValueError when EC2 would not take it."""
    data = b64decode(user_data, validate=True)
    if len(data) > USER_DATA_LIMIT:
        raise ValueError(f"User data is limited to {USER_DATA_LIMIT} bytes")
    return (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode()


def with_volume_sizes(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters, with the size that a volume of the image has where none is said."""
    sized = dict(parameters)
    for name in parameters:
        match = re.fullmatch(r"(.*BlockDeviceMapping\.\d+\.Ebs)\..+", name)
        if match and f"{match[1]}.SnapshotId" not in parameters:
            sized.setdefault(f"{match[1]}.VolumeSize", VOLUME_SIZE)
    return sized


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
