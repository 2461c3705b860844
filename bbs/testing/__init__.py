"""Support for the tests of services and plugins: fakes that pass the contracts of the real things,
and these contracts. Each name is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bbs.testing.broker import MemoryBroker as MemoryBroker
    from bbs.testing.broker_contract import BrokerContract as BrokerContract
    from bbs.testing.broker_contract import SocketContract as SocketContract
    from bbs.testing.database_contract import ContendedDatabaseContract as ContendedDatabaseContract
    from bbs.testing.database_contract import DatabaseContract as DatabaseContract
    from bbs.testing.database_suite import DatabaseSuite as DatabaseSuite
    from bbs.testing.limits import undeclared_limits as undeclared_limits
    from bbs.testing.network import Link as Link
    from bbs.testing.network import MemoryNetwork as MemoryNetwork
    from bbs.testing.provider import MemoryProvider as MemoryProvider
    from bbs.testing.provider_contract import ProviderContract as ProviderContract
    from bbs.testing.rules import RulesCase as RulesCase
    from bbs.testing.service import MemoryAppServer as MemoryAppServer
    from bbs.testing.service import MemoryService as MemoryService
    from bbs.testing.service import Peer as Peer

_WHERE = {
    "broker": "MemoryBroker",
    "broker_contract": "BrokerContract SocketContract",
    "database_contract": "ContendedDatabaseContract DatabaseContract",
    "database_suite": "DatabaseSuite",
    "limits": "undeclared_limits",
    "network": "Link MemoryNetwork",
    "provider": "MemoryProvider",
    "provider_contract": "ProviderContract",
    "rules": "RulesCase",
    "service": "MemoryAppServer MemoryService Peer",
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names.split()}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"bbs.testing has no {name}") from None
    return getattr(import_module(f"bbs.testing.{module}"), name)
