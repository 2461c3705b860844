"""The contract of a provider of servers: a suite that each implementation runs over itself.

Mix `ProviderContract` into a `twisted.trial.unittest.TestCase` that says how its provider is made
and how it goes wrong:

    class PopenProviderContract(ProviderContract, TestCase):
        def make_provider(self):
            return PopenProvider(…)

        def end_instance(self, provider, launch_id):
            os.kill(…, signal.SIGKILL)

        def break_launches(self, provider):
            self.program = "/no/such/program"

A provider that also stops and starts its instances (`IKeepsWarm`) mixes in `WarmContract` instead,
and one that has more of the interfaces the contracts of these too: `KnowsInstancesContract`,
`EndsUnlistedContract`, `KeepsLogsContract`, and those of `capacity_contract.py`.
Nothing here waits for time: it waits for what a provider tells.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from zope.interface.verify import verifyObject

from bbs.core.values import Instance
from bbs.scaling.interfaces import (
    IEndsUnlisted,
    IKeepsLogs,
    IKeepsWarm,
    IKnowsInstances,
    IProvider,
    LaunchFailed,
)

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Case
else:
    _Case = object

Launches = Mapping[str, Instance]


class ProviderSuite(_Case):
    """The base of a provider's contracts."""

    def make_provider(self) -> Any:
        """A provider that is not started."""
        raise NotImplementedError

    async def finish(self, asked: Awaitable[Any]) -> Any:
        """Wait for what a provider was asked. Override it if your reactor is in memory: the
        contracts of further interfaces wait by it."""
        return await asked

    def started(self) -> Any:
        """A provider that runs until the test is over."""
        provider = self.make_provider()
        provider.startService()
        self.addCleanup(provider.stopService)
        return provider


class ProviderContract(ProviderSuite):
    """The promises of `IProvider`."""

    def end_instance(self, provider: Any, launch_id: str) -> None:
        """Make the running instance of `launch_id` end by itself, behind the provider's back."""
        raise NotImplementedError

    def break_launches(self, provider: Any) -> None:
        """Make launches of `provider` fail from now on."""
        raise NotImplementedError

    async def _launched(self, *launch_ids: str) -> Any:
        """A provider that runs until the test is over, with these launches."""
        provider = self.started()
        await gatherResults([provider.launch(launch_id) for launch_id in launch_ids])
        return provider

    async def until(self, provider: Any, holds: Callable[[Launches], bool]) -> Launches:
        """Wait until `holds` is true of the launches, looking again when the provider reports a
        change."""
        while True:
            changed: Deferred[None] = Deferred()

            def note(changed: Deferred[None] = changed) -> None:
                if not changed.called:
                    changed.callback(None)

            provider.when_changed = note
            listed: Launches = await provider.list()
            if holds(listed):
                provider.when_changed = None
                return listed
            await changed

    async def until_told(self, told: list[int], count: int) -> None:
        """Check that `when_changed` was called `count` times, by the entries of `told`, one a call:
        a provider reports its own acts at once."""
        self.assertEqual(len(told), count)

    def assert_ended(self, listed: Launches, launch_id: str) -> None:
        """Check that `launch_id` is not listed as alive."""
        self.assertFalse(launch_id in listed and listed[launch_id].alive, listed)

    def test_interface(self) -> None:
        provider = self.make_provider()
        verifyObject(IProvider, provider)
        self.assertIsInstance(provider.scope, str)
        self.assertTrue(provider.scope)
        self.assertIsInstance(provider.shared, bool)
        self.assertIs(provider.when_changed, None)

    async def test_nothing_at_first(self) -> None:
        self.assertEqual(await self.started().list(), {})

    async def test_launched(self) -> None:
        """An accepted launch is listed under its id, alive."""
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
        """The returned list does not change later."""
        provider = await self._launched("a")
        before = await provider.list()
        await provider.launch("b")
        await provider.terminate("a")
        self.assertEqual(list(before), ["a"])
        self.assertTrue(before["a"].alive)

    async def test_launch_is_idempotent(self) -> None:
        """An id has one instance, however often it is launched."""
        provider = self.started()
        await gatherResults([provider.launch("a"), provider.launch("a")])
        first = await provider.list()
        await provider.launch("a")
        self.assertEqual(await provider.list(), first)
        self.assertEqual(len(first), 1)

    async def test_launch_is_idempotent_after_the_end(self) -> None:
        """An id whose instance has ended starts no other."""
        provider = await self._launched("a")
        await provider.terminate("a")
        await provider.launch("a")
        self.assert_ended(await provider.list(), "a")

    async def test_terminate(self) -> None:
        """Once `terminate` fires the instance is not alive, and the others are."""
        provider = await self._launched("a", "b", "c")
        self.assertIs(await provider.terminate("b"), None)
        listed = await provider.list()
        self.assert_ended(listed, "b")
        self.assertTrue(listed["a"].alive and listed["c"].alive)

    async def test_terminate_is_idempotent(self) -> None:
        """A second call succeeds, at the same time or later, and so does one for an unknown id."""
        provider = await self._launched("a")
        await gatherResults([provider.terminate("a"), provider.terminate("a")])
        await provider.terminate("a")
        await provider.terminate("unknown")
        self.assertNotIn("unknown", await provider.list())

    async def test_ends_by_itself(self) -> None:
        """An instance that ends by itself is reported, and listed as ended with how it did."""
        provider = await self._launched("a", "b")
        alive = (await provider.list())["a"].detail
        self.end_instance(provider, "a")
        listed = await self.until(provider, lambda listed: not listed["a"].alive)
        self.assertNotEqual(listed["a"].detail, alive)
        self.assertTrue(listed["b"].alive)

    async def test_tells_of_changes(self) -> None:
        """`when_changed` is called for a start and for an end."""
        provider = self.started()
        calls: list[int] = []
        provider.when_changed = lambda: calls.append(len(calls))
        await provider.launch("a")
        await self.until_told(calls, 1)
        await provider.terminate("a")
        await self.until_told(calls, 2)
        await provider.terminate("a")
        self.assertEqual(len(calls), 2)

    async def test_listener_that_raises(self) -> None:
        """An error of `when_changed` is logged, and has no other effect."""
        provider = self.started()

        def listener() -> None:
            raise ZeroDivisionError

        provider.when_changed = listener
        await provider.launch("a")
        await provider.terminate("a")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        provider.when_changed = None

    async def test_launch_fails(self) -> None:
        """A failed launch raises `LaunchFailed` with one line, and is not listed alive."""
        provider = self.started()
        self.break_launches(provider)
        with self.assertRaises(LaunchFailed) as caught:
            await provider.launch("a")
        self.assertTrue(str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
        self.assert_ended(await provider.list(), "a")
        await provider.terminate("a")

    async def test_runs_between_start_and_stop(self) -> None:
        """Launches fail before `startService` and after `stopService`."""
        provider = self.make_provider()
        with self.assertRaises(LaunchFailed):
            await provider.launch("a")
        provider.startService()
        await provider.launch("a")
        await maybeDeferred(provider.stopService)
        with self.assertRaises(LaunchFailed):
            await provider.launch("b")
        self.assertNotIn("b", await provider.list())


class WarmContract(ProviderContract):
    """The promises of `IKeepsWarm`, in addition to those of `IProvider`."""

    async def until_it_runs(self, provider: Any, launch_id: str) -> None:
        """Wait until the launched instance `launch_id` can be stopped. Returns at once; override
        it if your provider needs time for that."""

    async def until_it_stands(self, provider: Any, launch_id: str) -> None:
        """Wait until the stopped instance `launch_id` can be started. Returns at once; override
        it if your provider needs time for that."""

    async def stopped(self, *launch_ids: str) -> Any:
        """A provider with the launches `launch_ids`, the first of them stopped."""
        provider = await self._launched(*launch_ids)
        await self.until_it_runs(provider, launch_ids[0])
        self.assertIs(await provider.stop(launch_ids[0]), None)
        return provider

    def assert_stopped(self, listed: Launches, launch_id: str) -> None:
        """Check that `launch_id` is listed as stopped: neither alive nor ended."""
        self.assertTrue(launch_id in listed and listed[launch_id].stopped, listed)
        self.assertFalse(listed[launch_id].alive)

    def test_interface_warm(self) -> None:
        verifyObject(IKeepsWarm, self.make_provider())

    async def test_stopped(self) -> None:
        """A stopped instance stays listed, the others live, and a second stop succeeds."""
        provider = await self.stopped("a", "b")
        listed = await provider.list()
        self.assert_stopped(listed, "a")
        self.assertTrue(listed["b"].alive)
        self.assertFalse(listed["b"].stopped)
        await provider.stop("a")
        self.assert_stopped(await provider.list(), "a")

    async def test_launched_to_stop(self) -> None:
        provider = self.started()
        self.assertIs(await provider.launch_to_stop("a"), None)
        self.assertTrue((await provider.list())["a"].alive)

    async def test_started_again(self) -> None:
        """A stopped instance runs again under its id; a second start succeeds."""
        provider = await self.stopped("a")
        await self.until_it_stands(provider, "a")
        self.assertIs(await provider.start("a"), None)
        await provider.start("a")
        listed = await provider.list()
        self.assertEqual(list(listed), ["a"])
        self.assertTrue(listed["a"].alive)
        self.assertFalse(listed["a"].stopped)

    async def test_launch_of_a_stopped_one(self) -> None:
        """A launch of a stopped instance starts neither it nor another."""
        provider = await self.stopped("a")
        await provider.launch("a")
        listed = await provider.list()
        self.assertEqual(list(listed), ["a"])
        self.assert_stopped(listed, "a")

    async def test_stopped_one_is_ended(self) -> None:
        """`terminate` ends a stopped instance, which does not start again."""
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
        """An unknown launch can be neither stopped nor started."""
        provider = self.started()
        with self.assertRaises(LaunchFailed):
            await provider.stop("a")
        with self.assertRaises(LaunchFailed):
            await provider.start("a")
        self.assertEqual(await provider.list(), {})

    async def test_tells_of_stops_and_starts(self) -> None:
        provider = await self._launched("a")
        await self.until_it_runs(provider, "a")
        calls: list[int] = []
        provider.when_changed = lambda: calls.append(len(calls))
        await provider.stop("a")
        await self.until_told(calls, 1)
        provider.when_changed = None
        await self.until_it_stands(provider, "a")
        provider.when_changed = lambda: calls.append(len(calls))
        await provider.start("a")
        await self.until_told(calls, 2)


class KnowsInstancesContract(ProviderSuite):
    """The promises of `IKnowsInstances`."""

    def test_interface_knows(self) -> None:
        verifyObject(IKnowsInstances, self.make_provider())

    async def test_known_with_the_answer(self) -> None:
        """The provider's name for it is known once the launch is accepted."""
        provider = self.started()
        await self.finish(provider.launch("a"))
        instance = provider.instance_of("a")
        self.assertEqual((instance.launch_id, instance.alive), ("a", True))
        self.assertTrue(instance.instance_id)

    def test_unknown_instance(self) -> None:
        self.assertIs(self.started().instance_of("a"), None)


class EndsUnlistedContract(ProviderSuite):
    """The promises of `IEndsUnlisted`."""

    def test_interface_unlisted(self) -> None:
        verifyObject(IEndsUnlisted, self.make_provider())

    async def test_ended_by_name(self) -> None:
        """By the provider's own name, twice too; the others live."""
        provider = self.started()
        for launch_id in "ab":
            await self.finish(provider.launch(launch_id))
        listed = await self.finish(provider.list())
        for _ in range(2):
            self.assertIs(await self.finish(provider.end_unlisted(listed["a"].instance_id)), None)
        listed = await self.finish(provider.list())
        self.assertFalse("a" in listed and listed["a"].alive, listed)
        self.assertTrue(listed["b"].alive)

    async def test_missing_machine(self) -> None:
        """Servers that are not listed have ended."""
        provider = self.started()
        await self.finish(provider.launch("a"))
        name = (await self.finish(provider.list()))["a"].instance_id
        missing = "".join("7" if each.isdigit() else each for each in name) + "7"
        self.assertIs(await self.finish(provider.end_unlisted(missing)), None)
        self.assertTrue((await self.finish(provider.list()))["a"].alive)


class KeepsLogsContract(ProviderSuite):
    """The promises of `IKeepsLogs`."""

    async def test_logs_are_opened_again(self) -> None:
        """Before there is an app server, while one runs, and after its end; it lives on."""
        provider = self.started()
        verifyObject(IKeepsLogs, provider)
        provider.reopen_logs()
        await self.finish(provider.launch("a"))
        provider.reopen_logs()
        self.assertTrue((await self.finish(provider.list()))["a"].alive)
        await self.finish(provider.terminate("a"))
        provider.reopen_logs()
