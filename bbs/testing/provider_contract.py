"""What every provider of servers does. Each implementation runs this suite over itself.

Mix `ProviderContract` into a `twisted.trial.unittest.TestCase` that says how its provider is made
and how it goes wrong:

    class PopenProviderContract(ProviderContract, TestCase):
        def make_provider(self):
            return PopenProvider(…)

        def end_instance(self, provider, launch_id):
            os.kill(…, signal.SIGKILL)

        def break_launches(self, provider):
            self.program = "/no/such/program"

One that also stops and starts its instances (`IKeepsWarm`) runs `bbs.testing.warm_contract`
instead.

Nothing here waits for time: it waits for what a provider tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from zope.interface.verify import verifyObject

from bbs.scaling.interfaces import IProvider, LaunchFailed
from bbs.values import Instance

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase

    Base = TestCase
else:
    Base = object

Launches = Mapping[str, Instance]


class ProviderContract(Base):
    """The promises of `IProvider`."""

    def make_provider(self) -> Any:
        """A provider that is not started."""
        raise NotImplementedError

    def end_instance(self, provider: Any, launch_id: str) -> None:
        """Make a running instance end by itself, behind the provider's back."""
        raise NotImplementedError

    def break_launches(self, provider: Any) -> None:
        """From now on launches fail."""
        raise NotImplementedError

    def started(self) -> Any:
        """A provider that runs until the test is over."""
        provider = self.make_provider()
        provider.startService()
        self.addCleanup(provider.stopService)
        return provider

    async def until(self, provider: Any, holds: Callable[[Launches], bool]) -> Launches:
        """The launches as soon as `holds` is true of them, by what the provider tells."""
        while True:
            told: Deferred[None] = Deferred()

            def tell(told: Deferred[None] = told) -> None:
                if not told.called:
                    told.callback(None)

            provider.when_changed = tell
            listed: Launches = await provider.list()
            if holds(listed):
                provider.when_changed = None
                return listed
            await told

    async def until_told(self, told: list[int], count: int) -> None:
        """`when_changed` was called so often: a provider knows of its own acts at once."""
        self.assertEqual(len(told), count)

    def assert_ended(self, listed: Launches, launch_id: str) -> None:
        """A launch is not listed as alive."""
        self.assertFalse(launch_id in listed and listed[launch_id].alive, listed)

    def test_interface(self) -> None:
        """It is an `IProvider`, with a scope."""
        provider = self.make_provider()
        verifyObject(IProvider, provider)
        self.assertIsInstance(provider.scope, str)
        self.assertTrue(provider.scope)
        self.assertIsInstance(provider.shared, bool)
        self.assertIs(provider.when_changed, None)

    async def test_nothing_at_first(self) -> None:
        self.assertEqual(await self.started().list(), {})

    async def test_launched(self) -> None:
        """A launch that was accepted is listed under its id, alive."""
        provider = self.started()
        self.assertIs(await provider.launch("a-1"), None)
        listed = await provider.list()
        self.assertEqual(list(listed), ["a-1"])
        instance = listed["a-1"]
        self.assertIsInstance(instance, Instance)
        self.assertEqual((instance.launch_id, instance.alive), ("a-1", True))
        self.assertIsInstance(instance.host, str | None)
        self.assertTrue(instance.detail)

    async def test_list_is_the_callers(self) -> None:
        """What was listed does not change with the provider."""
        provider = self.started()
        await provider.launch("a")
        before = await provider.list()
        await provider.launch("b")
        await provider.terminate("a")
        self.assertEqual(list(before), ["a"])
        self.assertTrue(before["a"].alive)

    async def test_launch_is_idempotent(self) -> None:
        """One id is one instance, however often it is asked for."""
        provider = self.started()
        await gatherResults([provider.launch("a"), provider.launch("a")])
        first = await provider.list()
        await provider.launch("a")
        self.assertEqual(await provider.list(), first)
        self.assertEqual(len(first), 1)

    async def test_launch_is_idempotent_after_the_end(self) -> None:
        """An id whose instance has ended does not start another."""
        provider = self.started()
        await provider.launch("a")
        await provider.terminate("a")
        await provider.launch("a")
        self.assert_ended(await provider.list(), "a")

    async def test_terminate(self) -> None:
        """When `terminate` fires the instance is not alive, and the others are."""
        provider = self.started()
        await gatherResults([provider.launch(launch_id) for launch_id in "abc"])
        self.assertIs(await provider.terminate("b"), None)
        listed = await provider.list()
        self.assert_ended(listed, "b")
        self.assertTrue(listed["a"].alive and listed["c"].alive)

    async def test_terminate_is_idempotent(self) -> None:
        """Asked again, at the same time or later, or of an unknown id, it is well."""
        provider = self.started()
        await provider.launch("a")
        await gatherResults([provider.terminate("a"), provider.terminate("a")])
        await provider.terminate("a")
        await provider.terminate("unknown")
        self.assertNotIn("unknown", await provider.list())

    async def test_ends_by_itself(self) -> None:
        """An instance that ends unasked is told of, and listed as ended with how it did."""
        provider = self.started()
        await provider.launch("a")
        await provider.launch("b")
        alive = (await provider.list())["a"].detail
        self.end_instance(provider, "a")
        listed = await self.until(provider, lambda listed: not listed["a"].alive)
        self.assertNotEqual(listed["a"].detail, alive)
        self.assertTrue(listed["b"].alive)

    async def test_tells_of_changes(self) -> None:
        """`when_changed` is called for a start and for an end."""
        provider = self.started()
        told: list[int] = []
        provider.when_changed = lambda: told.append(len(told))
        await provider.launch("a")
        await self.until_told(told, 1)
        await provider.terminate("a")
        await self.until_told(told, 2)
        await provider.terminate("a")
        self.assertEqual(len(told), 2)

    async def test_listener_that_raises(self) -> None:
        """What `when_changed` raises is logged, and spoils nothing."""
        provider = self.started()

        def listener() -> None:
            raise ZeroDivisionError

        provider.when_changed = listener
        await provider.launch("a")
        await provider.terminate("a")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        provider.when_changed = None

    async def test_launch_fails(self) -> None:
        """A launch that fails says so by name in one line, and is not listed alive."""
        provider = self.started()
        self.break_launches(provider)
        with self.assertRaises(LaunchFailed) as caught:
            await provider.launch("a")
        self.assertTrue(str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
        self.assert_ended(await provider.list(), "a")
        await provider.terminate("a")

    async def test_runs_between_start_and_stop(self) -> None:
        """It launches neither before `startService` nor after `stopService`."""
        provider = self.make_provider()
        with self.assertRaises(LaunchFailed):
            await provider.launch("a")
        provider.startService()
        await provider.launch("a")
        await maybeDeferred(provider.stopService)
        with self.assertRaises(LaunchFailed):
            await provider.launch("b")
        self.assertNotIn("b", await provider.list())
