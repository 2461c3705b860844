"""The board in memory, with few places and tight limits."""

from __future__ import annotations

from dataclasses import replace

from bbs.board import board
from bbs.commands.service import Service
from bbs.config import App, Configuration, Fleet, Limits, Messages
from bbs.scaling.plan import Policy
from bbs.testing import MemoryProvider, MemoryService
from bbs.values import Rate

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
    config = Configuration(
        app=App(capacity=policy.capacity),
        fleet=Fleet(
            minimum=policy.minimum,
            maximum=policy.maximum,
            spare=policy.spare,
            idle_grace=policy.idle_grace,
            launch_timeout=policy.launch_timeout,
            lost_after=policy.lost_after,
        ),
        limits=Limits(failed_logins=Rate(3, 60.0), registrations=Rate(1000, 60.0)),
        messages=Messages(message_retention=1000.0),
    )
    config = replace(config, telnet=replace(config.telnet, secret=gateway_secret))
    return MemoryService(service, config=config, provider=provider)
