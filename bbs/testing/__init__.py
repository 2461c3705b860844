"""Support for the tests of services and plugins: fakes that pass the contracts of the real things,
and these contracts. Each name is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bbs.testing.broker import MemoryBroker
    from bbs.testing.broker_contract import BrokerContract, SocketContract
    from bbs.testing.database_contract import ContendedDatabaseContract, DatabaseContract
    from bbs.testing.network import Link, MemoryNetwork
    from bbs.testing.provider import MemoryProvider
    from bbs.testing.provider_contract import ProviderContract
    from bbs.testing.rules import RulesCase
    from bbs.testing.service import MemoryService, Peer

_WHERE = {
    "broker": "MemoryBroker",
    "broker_contract": "BrokerContract SocketContract",
    "database_contract": "ContendedDatabaseContract DatabaseContract",
    "network": "Link MemoryNetwork",
    "provider": "MemoryProvider",
    "provider_contract": "ProviderContract",
    "rules": "RulesCase",
    "service": "MemoryService Peer",
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names.split()}

__all__ = [
    "BrokerContract",
    "ContendedDatabaseContract",
    "DatabaseContract",
    "Link",
    "MemoryBroker",
    "MemoryNetwork",
    "MemoryProvider",
    "MemoryService",
    "Peer",
    "ProviderContract",
    "RulesCase",
    "SocketContract",
]


def __getattr__(name: str) -> object:
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"bbs.testing has no {name}") from None
    return getattr(import_module(f"bbs.testing.{module}"), name)
