"""The public surface: names only, each loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bbs.config.settings import setting
    from bbs.scaling.interfaces import IProvider, LaunchFailed, LaunchRefused, ProviderUnavailable
    from bbs.scaling.providers import LaunchKit, Provider
    from bbs.values import Instance

__all__ = [
    "IProvider",
    "Instance",
    "LaunchFailed",
    "LaunchKit",
    "LaunchRefused",
    "Provider",
    "ProviderUnavailable",
    "setting",
]

_HOMES = {
    "IProvider": "bbs.scaling.interfaces",
    "Instance": "bbs.values",
    "LaunchFailed": "bbs.scaling.interfaces",
    "LaunchKit": "bbs.scaling.providers",
    "LaunchRefused": "bbs.scaling.interfaces",
    "Provider": "bbs.scaling.providers",
    "ProviderUnavailable": "bbs.scaling.interfaces",
    "setting": "bbs.config.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
