"""The provider keeps the promises of each interface that the fleet asks it for."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from bbs.core.batching import GATHER
from bbs.testing import (
    BatchesContract,
    EndsUnlistedContract,
    KnowsInstancesContract,
    PoolsContract,
)
from tests.scaling.ec2.case import ProviderCase


class InMemory(ProviderCase, TestCase):
    def make_provider(self) -> Any:
        """One that has kept the fleet for a while."""
        self.provider.stopService()
        return self.provider

    async def finish(self, asked: Any) -> Any:
        answer = Deferred.fromCoroutine(asked) if hasattr(asked, "send") else asked
        self.clock.pump([GATHER] * 3 + [0.25] * 20)
        return await answer


class Pools(InMemory, PoolsContract):
    pass


class Batches(InMemory, BatchesContract):
    pass


class Names(InMemory, KnowsInstancesContract, EndsUnlistedContract):
    pass
