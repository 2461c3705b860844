"""The contracts of a provider that chooses how it launches: from which pool of capacity, and how
many in a call. Mix them in beside `ProviderContract`, whose `make_provider` they use:

    class PopenProviderContract(PoolsContract, BatchesContract, ProviderContract, TestCase):
        …
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from zope.interface.verify import verifyObject

from bbs.scaling.interfaces import IHasPools, IHasStrategies, IMakesBatches, ProviderUnavailable
from bbs.testing.provider_contract import ProviderSuite

LONGEST = 200  # characters of a strategy


class StrategiesContract(ProviderSuite):
    """The promises of `IHasStrategies`."""

    def _written_by(self, provider: Any) -> dict[str, str]:
        """The strategies that `provider` has written down from now on, by launch id, as the fleet
        does it."""
        written: dict[str, str] = {}

        def write(launch_id: str, before: str | None, strategy: str) -> Deferred[None]:
            self.assertEqual(written.get(launch_id), before)
            written[launch_id] = strategy
            return succeed(None)

        provider.write_strategy = write
        return written

    async def _listing(self, provider: Any) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self.finish(provider.list())
        return found

    def _check(self, strategies: Any, count: int) -> None:
        self.assertEqual(len(strategies), count)
        for each in strategies:
            self.assertTrue(each.isprintable() and 0 < len(each) <= LONGEST, each)

    def test_interface_strategies(self) -> None:
        provider = self.make_provider()
        verifyObject(IHasStrategies, provider)
        self.assertIs(provider.write_strategy, None)

    def test_one_for_each(self) -> None:
        provider = self.started()
        for count in (0, 1, 7):
            self._check(provider.choose_strategies(count), count)
            self._check(provider.choose_strategies(count, True), count)

    async def test_written_down_first(self) -> None:
        """A launch without a strategy has one written down before anything is launched."""
        provider = self.started()
        writing: Deferred[None] = Deferred()
        asked = []

        def write(*change: object) -> Deferred[None]:
            asked.append(change)
            return writing

        provider.write_strategy = write
        launch = provider.launch("a")
        while not asked:
            await self._listing(provider)
        self.assertEqual(asked[0][:2], ("a", None))
        self._check([asked[0][2]], 1)
        self.assertNotIn("a", await self._listing(provider))
        writing.callback(None)
        await self.finish(launch)
        self.assertTrue((await self._listing(provider))["a"].alive)

    async def test_not_written_down(self) -> None:
        """If that fails the launch fails with it, and nothing is launched."""
        provider = self.started()
        provider.write_strategy = lambda *change: fail(ProviderUnavailable("no database"))
        with self.assertRaises(ProviderUnavailable):
            await self.finish(provider.launch("a"))
        self.assertNotIn("a", await self._listing(provider))

    async def test_what_is_written_down_is_used(self) -> None:
        """Nothing else is written down for it."""
        provider = self.started()
        written = self._written_by(provider)
        last = provider.choose_strategies(9)[-1]
        provider.know_strategies({"a": last}, ())
        await self.finish(provider.launch("a"))
        self.assertEqual(written, {})
        self.assertTrue((await self._listing(provider))["a"].alive)

    async def test_forgotten(self) -> None:
        """All but what is kept; asked for again, a launch then has a strategy written down."""
        provider = self.started()
        written = self._written_by(provider)
        first, second = provider.choose_strategies(2)
        provider.know_strategies({"a": first, "b": second}, ())
        provider.forget_strategies(["b"])
        for launch_id in "ab":
            await self.finish(provider.launch(launch_id))
        self.assertEqual({*written}, {"a"})


class PoolsContract(StrategiesContract):
    """The promises of `IHasPools`. The provider needs pools in two zones at least."""

    def _zones(self, provider: Any, strategies: Any) -> Counter[str]:
        return Counter(provider.pools[each] for each in strategies)

    def test_interface_pools(self) -> None:
        provider = self.make_provider()
        verifyObject(IHasPools, provider)
        self.assertGreater(len({*provider.pools.values()}), 1)
        self._check([*provider.pools], len(provider.pools))
        self.assertEqual([*provider.lacking_pools], [])

    def test_spread(self) -> None:
        """Many are spread over the zones."""
        provider = self.started()
        counts = self._zones(provider, provider.choose_strategies(20))
        self.assertLessEqual(max(counts.values()) - min(counts.values()), 1, counts)
        self.assertGreater(len(counts), 1)

    def test_balanced(self) -> None:
        """The zone with the fewest comes first."""
        provider = self.started()
        for few in {*provider.pools.values()}:
            staying = {zone: 5 for zone in provider.pools.values() if zone != few}
            provider.prefer({}, staying, False)
            self.assertEqual({*self._zones(provider, provider.choose_strategies(5))}, {few})

    def test_doubtful(self) -> None:
        """A pool without doubts comes first, however full its zone is. If there are doubts of all,
        one is chosen all the same."""
        provider = self.started()
        for good in provider.pools:
            doubts = {pool: 1.0 for pool in provider.pools if pool != good}
            provider.prefer(doubts, {provider.pools[good]: 9}, False)
            self.assertEqual({*provider.choose_strategies(3)}, {good})
        provider.prefer(dict.fromkeys(provider.pools, 1.0), {}, False)
        self._check(provider.choose_strategies(3), 3)

    async def test_listed_in_its_pool(self) -> None:
        provider = self.started()
        for number, pool in enumerate(provider.pools):
            launch_id = f"a-{number}"
            provider.know_strategies({launch_id: pool}, ())
            await self.finish(provider.launch(launch_id))
            listed = (await self._listing(provider))[launch_id]
            self.assertEqual((listed.pool, listed.zone), (pool, provider.pools[pool]))


class BatchesContract(StrategiesContract):
    """The promises of `IMakesBatches`."""

    many = 20
    """How many launches this provider makes together."""

    def _batch(self, provider: Any) -> dict[str, str]:
        """Launches that are to be made together, which the provider knows to be written down."""
        written = dict(provider.batches(provider.choose_strategies(self.many)))
        provider.know_strategies(written, ())
        return written

    def test_interface_batches(self) -> None:
        verifyObject(IMakesBatches, self.make_provider())

    def test_ids(self) -> None:
        """The provider chooses an id for each, which the database can store."""
        provider = self.started()
        for _ in range(2):
            found = provider.batches(provider.choose_strategies(self.many))
            self.assertEqual(len({id for id, _ in found}), self.many)
            self._check([strategy for _, strategy in found], self.many)
            for id, _ in found:
                self.assertTrue(re.fullmatch(r"[A-Za-z0-9_-]{1,32}", id), id)

    def test_none(self) -> None:
        self.assertEqual([*self.started().batches([])], [])

    async def test_launched_together(self) -> None:
        """Each has one instance, also if it is asked for again."""
        provider = self.started()
        written = self._written_by(provider)
        ids = self._batch(provider)
        for _ in range(2):
            await self.finish(gatherResults([provider.launch(id) for id in ids]))
        listed = await self._listing(provider)
        self.assertEqual({*listed}, {*ids})
        self.assertTrue(all(each.alive for each in listed.values()))
        self.assertEqual(written, {})

    async def test_each_ends_alone(self) -> None:
        provider = self.started()
        self._written_by(provider)
        ids = self._batch(provider)
        await self.finish(gatherResults([provider.launch(id) for id in ids]))
        first = next(iter(ids))
        await self.finish(provider.terminate(first))
        listed = await self._listing(provider)
        alive = {id for id, each in listed.items() if each.alive}
        self.assertEqual(alive, {*ids} - {first})
