"""What every provider does that stops and starts its instances. See `provider_contract`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from bbs.scaling.interfaces import IKeepsWarm, LaunchFailed
from bbs.testing.provider_contract import Launches, ProviderContract


class WarmContract(ProviderContract):
    """The promises of `IKeepsWarm`, and those of `IProvider` beside it."""

    async def until_it_runs(self, provider: Any, launch_id: str) -> None:
        """Wait until a launch has booted so far that it can be stopped; here it has at once."""

    async def until_it_stands(self, provider: Any, launch_id: str) -> None:
        """Wait until one that was stopped can be started; here it can at once."""

    async def stopped(self, *launch_ids: str) -> Any:
        """A provider with launches of which the first was stopped."""
        provider = self.started()
        await gatherResults([provider.launch(launch_id) for launch_id in launch_ids])
        await self.until_it_runs(provider, launch_ids[0])
        self.assertIs(await provider.stop(launch_ids[0]), None)
        return provider

    def assert_stopped(self, listed: Launches, launch_id: str) -> None:
        """A launch is listed as stopped: neither alive nor ended."""
        self.assertTrue(launch_id in listed and listed[launch_id].stopped, listed)
        self.assertFalse(listed[launch_id].alive)

    def test_interface_warm(self) -> None:
        """It is an `IKeepsWarm`."""
        verifyObject(IKeepsWarm, self.make_provider())

    async def test_stopped(self) -> None:
        """One that was stopped stays listed, and the others live; to stop it again is well."""
        provider = await self.stopped("a", "b")
        listed = await provider.list()
        self.assert_stopped(listed, "a")
        self.assertTrue(listed["b"].alive)
        self.assertFalse(listed["b"].stopped)
        await provider.stop("a")
        self.assert_stopped(await provider.list(), "a")

    async def test_launched_to_stop(self) -> None:
        """It is launched as any other."""
        provider = self.started()
        self.assertIs(await provider.launch_to_stop("a"), None)
        self.assertTrue((await provider.list())["a"].alive)

    async def test_started_again(self) -> None:
        """It is the same launch that lives; to start it again is well."""
        provider = await self.stopped("a")
        await self.until_it_stands(provider, "a")
        self.assertIs(await provider.start("a"), None)
        await provider.start("a")
        listed = await provider.list()
        self.assertEqual(list(listed), ["a"])
        self.assertTrue(listed["a"].alive)
        self.assertFalse(listed["a"].stopped)

    async def test_launch_of_a_stopped_one(self) -> None:
        """To ask for its launch starts nothing, neither it nor another."""
        provider = await self.stopped("a")
        await provider.launch("a")
        listed = await provider.list()
        self.assertEqual(list(listed), ["a"])
        self.assert_stopped(listed, "a")

    async def test_stopped_one_is_ended(self) -> None:
        """`terminate` ends it, and it does not start again."""
        provider = await self.stopped("a")
        await provider.terminate("a")
        listed = await provider.list()
        self.assert_ended(listed, "a")
        self.assertFalse("a" in listed and listed["a"].stopped, listed)
        with self.assertRaises(LaunchFailed):
            await provider.start("a")
        with self.assertRaises(LaunchFailed):
            await provider.stop("a")

    async def test_unknown(self) -> None:
        """What is not there can be neither stopped nor started."""
        provider = self.started()
        with self.assertRaises(LaunchFailed):
            await provider.stop("a")
        with self.assertRaises(LaunchFailed):
            await provider.start("a")
        self.assertEqual(await provider.list(), {})

    async def test_tells_of_stops_and_starts(self) -> None:
        """`when_changed` is called for both."""
        provider = self.started()
        await provider.launch("a")
        await self.until_it_runs(provider, "a")
        told: list[int] = []
        provider.when_changed = lambda: told.append(len(told))
        await provider.stop("a")
        await self.until_told(told, 1)
        provider.when_changed = None
        await self.until_it_stands(provider, "a")
        provider.when_changed = lambda: told.append(len(told))
        await provider.start("a")
        await self.until_told(told, 2)
