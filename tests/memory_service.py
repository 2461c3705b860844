"""The board in memory, with few places and tight limits."""

from __future__ import annotations

from dataclasses import replace

from bbs.board import board
from bbs.commands.service import Service
from bbs.config import App, Configuration, Fleet, Limits, Messages
from bbs.core.values import Policy, Rate
from bbs.daemons.composition import LoginServing, Runtime
from bbs.limits.password_hashing import Hasher
from bbs.rules import membership
from bbs.rules.servers import new_id
from bbs.scaling.controller import FleetController
from bbs.testing import MemoryProvider, MemoryService
from bbs.testing.service import QUICK
from bbs.testing.threads import Inline

POLICY = Policy(
    minimum=1,
    maximum=20,
    spare=0,
    capacity=2,
    idle_grace=120.0,
    launch_timeout=180.0,
    lost_after=10.0,
)


def memory_service(
    service: Service = board,
    policy: Policy = POLICY,
    provider: MemoryProvider | None = None,
    gateway_secret: str = "",
) -> MemoryService:
    """`service` in memory, its fleet kept by `policy`."""
    return MemoryService(service, config=configuration(policy, gateway_secret), provider=provider)


def another_controller(
    service: MemoryService, identity: str, provider: MemoryProvider, policy: Policy = POLICY
) -> FleetController:
    """The controller of another login server on the database of `service`, where nobody waits."""
    ground = Runtime(
        board,
        configuration(policy),
        service.database,
        service.broker.client(),
        service.clock,
        service.wall,
        b"",
    )
    me = membership.Member(new_id(), identity)
    hasher = Hasher(Inline(), QUICK)
    return LoginServing(
        ground, me=me, hasher=hasher, provider=provider, workers=Inline()
    ).controller


def configuration(policy: Policy, gateway_secret: str = "") -> Configuration:
    """What makes a fleet be kept by `policy`, and little be allowed."""
    config = Configuration(
        app=App(capacity=policy.capacity),
        fleet=Fleet(
            minimum=policy.minimum,
            maximum=policy.maximum,
            spare="auto" if policy.foresees else policy.spare,
            warm=policy.warm,
            wait_target=policy.wait_target,
            consolidate_after=policy.consolidate_after,
            idle_grace=policy.idle_grace,
            launch_timeout=policy.launch_timeout,
            lost_after=policy.lost_after,
        ),
        limits=Limits(failed_logins=Rate(3, 60.0), registrations=Rate(1000, 60.0)),
        messages=Messages(message_retention=1000.0),
    )
    return replace(config, telnet=replace(config.telnet, secret=gateway_secret))


class AsInProduction(MemoryService):
    """Compares no answers with what commands declare."""

    compares = False
