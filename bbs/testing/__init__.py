"""What other people's tests stand on: fakes that pass the contracts of the real things, and these
contracts. Each name is loaded when it is first used."""

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

_MODULES = {
    "BrokerContract": "bbs.testing.broker_contract",
    "ContendedDatabaseContract": "bbs.testing.database_contract",
    "DatabaseContract": "bbs.testing.database_contract",
    "Link": "bbs.testing.network",
    "MemoryBroker": "bbs.testing.broker",
    "MemoryNetwork": "bbs.testing.network",
    "MemoryProvider": "bbs.testing.provider",
    "MemoryService": "bbs.testing.service",
    "Peer": "bbs.testing.service",
    "ProviderContract": "bbs.testing.provider_contract",
    "RulesCase": "bbs.testing.rules",
    "SocketContract": "bbs.testing.broker_contract",
}

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
    return getattr(import_module(module), name)
