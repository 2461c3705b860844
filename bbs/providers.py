"""Providers: ways to start and end app servers.

A package names its `Provider` in the entry-point group `bbs.providers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbs.core.lazy import lazy

if TYPE_CHECKING:
    from bbs.core.values import Instance
    from bbs.scaling.interfaces import (
        IEndsUnlisted,
        IHasPools,
        IHasStrategies,
        IKeepsLogs,
        IKeepsWarm,
        IKnowsInstances,
        IMachine,
        IMakesBatches,
        IProvider,
        LaunchFailed,
        LaunchRefused,
        MachineNotice,
        MachineUnavailable,
        ProviderUnavailable,
    )
    from bbs.scaling.providers import LaunchKit, MachineKit, Provider

__all__ = [
    "IEndsUnlisted",
    "IHasPools",
    "IHasStrategies",
    "IKeepsLogs",
    "IKeepsWarm",
    "IKnowsInstances",
    "IMachine",
    "IMakesBatches",
    "IProvider",
    "Instance",
    "LaunchFailed",
    "LaunchKit",
    "LaunchRefused",
    "MachineKit",
    "MachineNotice",
    "MachineUnavailable",
    "Provider",
    "ProviderUnavailable",
]

_HOMES = {
    "bbs.core.values": "Instance",
    "bbs.scaling.interfaces": (
        "IEndsUnlisted IHasPools IHasStrategies IKeepsLogs IKeepsWarm IKnowsInstances IMachine"
        " IMakesBatches IProvider LaunchFailed LaunchRefused MachineNotice MachineUnavailable"
        " ProviderUnavailable"
    ),
    "bbs.scaling.providers": "LaunchKit MachineKit Provider",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
