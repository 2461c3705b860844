"""Support for the tests of services and plugins: fakes that pass the contracts of the real things,
and these contracts. Each name is loaded when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbs.core.lazy import lazy

if TYPE_CHECKING:
    from bbs.testing.broker import MemoryBroker as MemoryBroker
    from bbs.testing.broker_contract import BrokerContract as BrokerContract
    from bbs.testing.broker_contract import SocketContract as SocketContract
    from bbs.testing.capacity_contract import BatchesContract as BatchesContract
    from bbs.testing.capacity_contract import PoolsContract as PoolsContract
    from bbs.testing.capacity_contract import StrategiesContract as StrategiesContract
    from bbs.testing.database_contract import ContendedDatabaseContract as ContendedDatabaseContract
    from bbs.testing.database_contract import DatabaseContract as DatabaseContract
    from bbs.testing.database_suite import DatabaseSuite as DatabaseSuite
    from bbs.testing.limits import undeclared_limits as undeclared_limits
    from bbs.testing.machine_contract import MachineContract as MachineContract
    from bbs.testing.network import Link as Link
    from bbs.testing.network import MemoryNetwork as MemoryNetwork
    from bbs.testing.provider import MemoryProvider as MemoryProvider
    from bbs.testing.provider_contract import EndsUnlistedContract as EndsUnlistedContract
    from bbs.testing.provider_contract import KeepsLogsContract as KeepsLogsContract
    from bbs.testing.provider_contract import KnowsInstancesContract as KnowsInstancesContract
    from bbs.testing.provider_contract import ProviderContract as ProviderContract
    from bbs.testing.provider_contract import WarmContract as WarmContract
    from bbs.testing.rules import RulesCase as RulesCase
    from bbs.testing.service import MemoryAppServer as MemoryAppServer
    from bbs.testing.service import MemoryService as MemoryService
    from bbs.testing.service import Peer as Peer

_HOMES = {
    "bbs.testing.broker": "MemoryBroker",
    "bbs.testing.broker_contract": "BrokerContract SocketContract",
    "bbs.testing.capacity_contract": "BatchesContract PoolsContract StrategiesContract",
    "bbs.testing.database_contract": "ContendedDatabaseContract DatabaseContract",
    "bbs.testing.database_suite": "DatabaseSuite",
    "bbs.testing.limits": "undeclared_limits",
    "bbs.testing.machine_contract": "MachineContract",
    "bbs.testing.network": "Link MemoryNetwork",
    "bbs.testing.provider": "MemoryProvider",
    "bbs.testing.provider_contract": (
        "EndsUnlistedContract KeepsLogsContract KnowsInstancesContract ProviderContract"
        " WarmContract"
    ),
    "bbs.testing.rules": "RulesCase",
    "bbs.testing.service": "MemoryAppServer MemoryService Peer",
}

__all__ = sorted(name for names in _HOMES.values() for name in names.split())

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
