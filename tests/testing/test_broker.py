"""The fake broker, held to the contract of the real ones."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from bbs.protocols.stomp import IStomp
from bbs.testing import MemoryBroker
from bbs.testing.broker_contract import BrokerContract


class MemoryBrokerContract(BrokerContract, TestCase):
    def setUp(self) -> None:
        self.broker = MemoryBroker()

    async def client(self) -> IStomp:
        return self.broker.client()

    async def away(self) -> None:
        self.broker.away()

    async def back(self) -> None:
        self.broker.back()
