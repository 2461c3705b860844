"""Providers: ways to start and end app servers.

A package names its `Provider` in the entry-point group `bbs.providers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbs.core.lazy import lazy

if TYPE_CHECKING:
    from bbs.core.values import Instance
    from bbs.scaling.interfaces import (
        IKeepsWarm,
        IProvider,
        LaunchFailed,
        LaunchRefused,
        ProviderUnavailable,
    )
    from bbs.scaling.providers import LaunchKit, Provider

__all__ = [
    "IKeepsWarm",
    "IProvider",
    "Instance",
    "LaunchFailed",
    "LaunchKit",
    "LaunchRefused",
    "Provider",
    "ProviderUnavailable",
]

_HOMES = {
    "bbs.core.values": "Instance",
    "bbs.scaling.interfaces": "IKeepsWarm IProvider LaunchFailed LaunchRefused ProviderUnavailable",
    "bbs.scaling.providers": "LaunchKit Provider",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
