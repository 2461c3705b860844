"""RunInstances: an instance for each ClientToken and no more, from a template or not."""

from __future__ import annotations

import gzip
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree

from twisted.internet.defer import DeferredLock

from tests.cloud.answers import Answer
from tests.cloud.faults import Fault
from tests.cloud.machines import Machine, items, tags, text
from tests.cloud.moto import Moto
from tests.cloud.templates import Templates
from tests.cloud.templates import items as listed
from tests.cloud.templates import tags as tags_asked
from tests.standins.ec2 import APIError, Call, ClientTokens

USER_DATA_LIMIT = 16384
"""Bytes of user data, before base64."""

VOLUME_SIZE = "8"
"""GiB of the image's root volume."""


class Launches:
    """Launches instances.

    :param boot: called with every machine that has been launched.
    :param lacking: the fault for one that is about to be: of a type, in a subnet, of a market.
    """

    def __init__(
        self,
        reactor: Any,
        moto: Moto,
        boot: Callable[[Machine], None],
        lacking: Callable[[Mapping[str, str]], Fault | None],
    ) -> None:
        self.machines: dict[str, Machine] = {}
        """Every instance that ever was, by its id."""
        self.templates = Templates()
        self.zones: dict[str, str] = {}
        """The zone of each subnet."""
        self.private_subnets: set[str] = set()
        """Those that give no public address unless a launch asks for one."""
        self.tokens = ClientTokens()
        self.spot_price = 0.0
        """US dollars an hour: a Spot launch that would pay less is refused."""
        self.spot_limit: int | None = None
        """How many Spot instances may be alive."""
        self._reactor = reactor
        self._moto = moto
        self._boot = boot
        self._lacking = lacking
        self._launching = DeferredLock()

    async def run(self, parameters: Mapping[str, str], identity: str) -> Answer:
        """What RunInstances answers, as moto has it: every state in it is moto's."""
        # The same token in another zone is another launch.
        zone = self.zones.get(_subnet(parameters), "")
        return await self.once(parameters, zone, lambda: self._run(parameters, identity))

    async def once(
        self, parameters: Mapping[str, str], zone: str, launch: Callable[[], Any]
    ) -> Answer:
        """The answer to a call that launches: under a ClientToken that is known the one that it
        got before.

        :param launch: launches; gives the answer and the machines.
        """
        action = parameters["Action"]
        await self._launching.acquire()
        try:
            call = self.tokens.recall(action, parameters, self._reactor.seconds(), zone)
            if call is None:
                answer, launched = await launch()
                call = Call(parameters, answer, launched, self._reactor.seconds())
                if answer.status < 400:
                    self.tokens.note(action, call, zone)
            return call.answer  # type: ignore[no-any-return]
        finally:
            self._launching.release()

    async def _run(
        self, parameters: Mapping[str, str], identity: str
    ) -> tuple[Answer, list[Machine]]:
        return await self.launch(self.templates.in_full(parameters), identity)

    async def launch(self, whole: Mapping[str, str], identity: str) -> tuple[Answer, list[Machine]]:
        """Launch what a request in full asks for; the lock is held.

        :raises APIError: capacity lacks, or the user data is none.
        """
        market = whole.get("InstanceMarketOptions.MarketType", "on-demand")
        if market == "spot":
            self._refuse_spot(whole)
        lack = self._lacking(
            {
                "InstanceType": whole.get("InstanceType", ""),
                "SubnetId": _subnet(whole),
                "Market": market,
            }
        )
        if lack and lack.kind == "error":
            raise APIError(lack.code, f"{lack.code}, by a rule of the tests")
        try:
            user_data = unpacked(whole.get("UserData", ""))
        except ValueError as error:
            raise APIError("InvalidParameterValue", str(error)) from error
        answer = await self._moto.ask(with_volume_sizes(whole), identity)
        launched: list[Machine] = []
        if answer.status < 400:
            for number, (_, item) in enumerate(items(ElementTree.fromstring(answer.body))):
                launched.append(self._launched(item, whole, user_data, number))
        return answer, launched

    def _refuse_spot(self, whole: Mapping[str, str]) -> None:
        price = whole.get("InstanceMarketOptions.SpotOptions.MaxPrice")
        if price is not None and float(price) < self.spot_price:
            raise APIError(
                "SpotMaxPriceTooLow",
                f"Your Spot request price of {price} is lower than the minimum required Spot"
                f" request fulfillment price of {self.spot_price}.",
            )
        alive = sum(machine.spot and machine.alive for machine in self.machines.values())
        if self.spot_limit is not None and alive >= self.spot_limit:
            raise APIError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")

    def _launched(
        self, item: ElementTree.Element, whole: Mapping[str, str], user_data: str, number: int
    ) -> Machine:
        subnet = text(item, "subnetId")
        public = whole.get("NetworkInterface.1.AssociatePublicIpAddress")
        given = public == "true" if public else subnet not in self.private_subnets
        behaviour = whole.get("InstanceInitiatedShutdownBehavior")
        machine = Machine(
            instance_id=text(item, "instanceId"),
            address=text(item, "privateIpAddress"),
            kind=text(item, "instanceType"),
            image_id=text(item, "imageId"),
            subnet_id=subnet,
            token=whole.get("ClientToken", ""),
            tags=tags(item),
            stops_as="terminated" if behaviour == "terminate" else "stopped",
            history=[(self._reactor.seconds(), "pending")],
            user_data=user_data,
            zone=self.zones.get(subnet, ""),
            public=given,
            spot=whole.get("InstanceMarketOptions.MarketType") == "spot",
            profile=whole.get("IamInstanceProfile.Name", ""),
            number=number,
            volumes=volumes(whole),
            volume_tags=tags_asked(whole, "volume"),
        )
        self.machines[machine.instance_id] = machine
        self._boot(machine)
        return machine


def _subnet(parameters: Mapping[str, str]) -> str:
    return parameters.get("SubnetId", parameters.get("NetworkInterface.1.SubnetId", ""))


def volumes(parameters: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The volumes that a launch asks for, by their device's name."""
    return {
        mapping.get("DeviceName", ""): {
            name.removeprefix("Ebs."): value
            for name, value in mapping.items()
            if name.startswith("Ebs.")
        }
        for _, mapping in listed(parameters, "BlockDeviceMapping")
    }


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
