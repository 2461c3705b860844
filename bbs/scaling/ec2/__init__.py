"""App servers as instances on EC2."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from bbs.config import EC2, ConfigError
from bbs.core.addresses import has_tls, is_name_of
from bbs.scaling.ec2.errors import NEEDS_TLS
from bbs.scaling.providers import LaunchKit, MachineKit, Provider

if TYPE_CHECKING:
    from bbs.scaling.interfaces import IMachine, IProvider

_ENDPOINTS = ("AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL")  # botocore's environment variables


def of_its_service(kit: LaunchKit) -> LaunchKit:
    """The kit with the service's name for its fleet, unless the configuration names it: two
    services in one account are two fleets."""
    if kit.section.name != EC2().name:
        return kit
    return replace(kit, section=replace(kit.section, name=kit.service_name))


async def _make(kit: LaunchKit) -> IProvider:
    # Not at the top, as every program that reads a configuration imports this module.
    from bbs import __version__
    from bbs.core.threads import Workers
    from bbs.scaling.ec2.client import client_for
    from bbs.scaling.ec2.launch_request import user_data_maker
    from bbs.scaling.ec2.provider import EC2Provider

    _check_tls(kit.section)
    kit = of_its_service(kit)
    files = Workers(kit.reactor, "user-data", 1)
    files.startService()
    try:
        user_data = await files.run(user_data_maker, kit)
    finally:
        await files.stopService()
    client = client_for(kit.reactor, kit.section)
    client.startService()
    kit.on_stop(client.stopService)
    return EC2Provider(
        kit.reactor,
        client,
        kit.section,
        user_data.of_launch,
        __version__,
        fleet_id=kit.fleet_id,
        other_ids=kit.other_ids,
        former=kit.former,
        batch_user_data=user_data.of_batch,
    )


def _check(kit: LaunchKit) -> None:
    from bbs.scaling.ec2.launch_request import user_data_maker

    _check_tls(kit.section)
    user_data_maker(of_its_service(kit))


def _check_tls(config: EC2) -> None:
    """Refuse now what the first call would fail for, unless the environment names an endpoint."""
    by_http = config.endpoint_url.startswith("http:")
    elsewhere = not config.endpoint_url and any(map(os.environ.get, _ENDPOINTS))
    if not (by_http or elsewhere or has_tls()):
        raise ConfigError(NEEDS_TLS)


def _machine(kit: MachineKit) -> IMachine | None:
    from bbs.scaling.ec2.machine import EC2Machine
    from bbs.scaling.ec2.metadata import Metadata

    metadata = Metadata.from_environ(kit.reactor, kit.environment)
    return EC2Machine(metadata, kit.section.address) if metadata else None


def _price(section: EC2, kind: str) -> float | None:
    from bbs.scaling.ec2.instance_states import price

    return price(kind, section.region)


instances = Provider(
    "ec2",
    EC2,
    _make,
    here=False,
    warms=True,
    check=_check,
    machine=_machine,
    # Every server may find secrets in the region.
    everywhere=("region", "package"),
    behind_proxy=lambda section, host: is_name_of(section.address, host),
    price=_price,
)
