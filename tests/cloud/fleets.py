"""CreateFleet of the type `instant`: instances by the first override that has capacity for them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from tests.cloud.answers import Answer, answered, failed, failure_of
from tests.cloud.launches import Launches
from tests.cloud.machines import Machine
from tests.cloud.templates import items
from tests.standins.ec2 import APIError

_CAPACITY = "TargetCapacitySpecification."


class Fleets:
    """Answers CreateFleet. A token that is known gets the answer that it got before, whatever has
    become of the instances."""

    def __init__(self, launches: Launches) -> None:
        self._launches = launches

    async def create(self, parameters: Mapping[str, str], identity: str) -> Answer:
        """The instances that it launches, and the errors of the overrides that it could not."""
        return await self._launches.once(parameters, "", lambda: self._create(parameters, identity))

    async def _create(
        self, parameters: Mapping[str, str], identity: str
    ) -> tuple[Answer, list[Machine]]:
        if parameters.get("Type") != "instant":
            raise APIError("UnsupportedOperation", "this cloud has fleets of the type instant")
        ways = overrides(parameters)
        if not ways:
            raise APIError(
                "MissingParameter", "The request must contain the parameter LaunchTemplateConfigs"
            )
        market = parameters.get(f"{_CAPACITY}DefaultTargetCapacityType", "on-demand")
        launched: list[Machine] = []
        told: list[dict[str, Any]] = []
        errors: dict[int, dict[str, Any]] = {}
        for _ in range(int(parameters.get(f"{_CAPACITY}TotalTargetCapacity", "1"))):
            for number, way in enumerate(ways):
                whole = self._request(parameters, way, market)
                by = {
                    "launchTemplateAndOverrides": described(whole, way),
                    "lifecycle": market,
                }
                try:
                    answer, made = await self._launches.launch(whole, identity)
                except APIError as error:
                    answer, made = failed(error), []
                if not made:
                    code, message = failure_of(answer)
                    errors[number] = {**by, "errorCode": code, "errorMessage": message}
                    continue
                launched += made
                ids = [machine.instance_id for machine in made]
                told.append({**by, "instanceIds": ids, "instanceType": made[0].kind})
                break
        fleet = {"fleetId": f"fleet-{secrets.token_hex(18)}"}
        content = {**fleet, "errorSet": list(errors.values()), "fleetInstanceSet": told}
        return answered("CreateFleet", **content), launched

    def _request(
        self, parameters: Mapping[str, str], way: Mapping[str, str], market: str
    ) -> dict[str, str]:
        """The launch of one instance in one way, in full."""
        template = "LaunchTemplateSpecification."
        asked = {
            "Action": "RunInstances",
            "MinCount": "1",
            "MaxCount": "1",
            **{
                f"LaunchTemplate.{name.removeprefix(template)}": value
                for name, value in way.items()
                if name.startswith(template)
            },
            **{name: value for name, value in parameters.items() if _of_instances(name)},
        }
        own = ("InstanceType", "ImageId", "KeyName", "IamInstanceProfile.", "BlockDeviceMapping.")
        asked |= {name: value for name, value in way.items() if name.startswith(own)}
        if market == "spot":
            asked["InstanceMarketOptions.MarketType"] = "spot"
            if "MaxPrice" in way:
                asked["InstanceMarketOptions.SpotOptions.MaxPrice"] = way["MaxPrice"]
        whole = self._launches.templates.in_full(asked)
        if subnet := way.get("SubnetId"):
            interface = any(name.startswith("NetworkInterface.") for name in whole)
            whole["NetworkInterface.1.SubnetId" if interface else "SubnetId"] = subnet
        return whole


def overrides(parameters: Mapping[str, str]) -> list[dict[str, str]]:
    """The ways to launch, in the order in which they are tried: each with its template."""
    found: list[dict[str, str]] = []
    for _, config in items(parameters, "LaunchTemplateConfigs"):
        template = {
            name: value
            for name, value in config.items()
            if name.startswith("LaunchTemplateSpecification.")
        }
        if not template:
            return []
        found += [{**template, **way} for _, way in items(config, "Overrides")] or [template]
    strategies = ("OnDemandOptions.AllocationStrategy", "SpotOptions.AllocationStrategy")
    if any("prioritized" in parameters.get(name, "") for name in strategies):
        found.sort(key=lambda way: float(way.get("Priority", "inf")))
    return found


def described(whole: Mapping[str, str], way: Mapping[str, str]) -> dict[str, Any]:
    """What CreateFleet says of the way in which something was launched, or was not."""
    names = {"InstanceType": "instanceType", "SubnetId": "subnetId", "MaxPrice": "maxPrice"}
    return {
        "launchTemplateSpecification": {
            "launchTemplateId": whole["LaunchTemplate.LaunchTemplateId"],
            "version": whole["LaunchTemplate.Version"],
        },
        "overrides": {told: way[name] for name, told in names.items() if name in way},
    }


def _of_instances(name: str) -> bool:
    return name.startswith("TagSpecification.")
