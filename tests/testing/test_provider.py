"""The provider in memory."""

from twisted.trial.unittest import SynchronousTestCase, TestCase

from bbs.scaling.interfaces import LaunchFailed, LaunchRefused
from bbs.testing.provider import MemoryProvider, WarmMemoryProvider
from bbs.testing.provider_contract import ProviderContract, WarmContract


class MemoryProviderContractTests(ProviderContract, TestCase):
    """It keeps the promises of every provider."""

    def make_provider(self):
        return MemoryProvider()

    def end_instance(self, provider, launch_id):
        provider.end(launch_id)

    def break_launches(self, provider):
        provider.refusal = LaunchRefused("no memory left")


class WarmMemoryProviderContractTests(WarmContract, TestCase):
    """It keeps the promises of those that stop and start instances too."""

    def make_provider(self):
        return WarmMemoryProvider()

    def end_instance(self, provider, launch_id):
        provider.end(launch_id)

    def break_launches(self, provider):
        provider.refusal = LaunchRefused("no memory left")


class MemoryProviderTests(SynchronousTestCase):
    """What it has for tests."""

    def setUp(self):
        self.provider = MemoryProvider("memory:1")
        self.provider.startService()

    def test_scope(self):
        self.assertEqual(self.provider.scope, "memory:1")

    def test_launched_and_alive(self):
        """It remembers what was launched, in order, and knows what lives."""
        for launch_id in ("b", "a", "b"):
            self.successResultOf(self.provider.launch(launch_id))
        self.provider.end("b")
        self.assertEqual(self.provider.launched, ["b", "a"])
        self.assertEqual(self.provider.alive(), {"a"})

    def test_on_launch(self):
        """A test hears of each server once, as it starts, and can end it there."""
        heard = []
        self.provider.on_launch = lambda launch_id: heard.append(
            (launch_id, launch_id in self.provider.alive())
        )
        self.successResultOf(self.provider.launch("a"))
        self.successResultOf(self.provider.launch("a"))
        self.assertEqual(heard, [("a", True)])

    def test_refusal(self):
        """Launches fail with the refusal until it is taken back; then the id can start."""
        self.provider.refusal = LaunchRefused("no")
        self.assertIs(self.failureResultOf(self.provider.launch("a")).value, self.provider.refusal)
        self.provider.refusal = None
        self.successResultOf(self.provider.launch("a"))
        self.assertEqual(self.provider.alive(), {"a"})

    def test_start_refusal(self):
        """Starts fail with it until it is taken back, and a test hears of those that do not."""
        heard: list[str] = []
        warm = WarmMemoryProvider()
        warm.startService()
        self.successResultOf(warm.launch("a"))
        self.successResultOf(warm.stop("a"))
        warm.on_launch = heard.append
        warm.start_refusal = LaunchRefused("no")
        self.assertIs(self.failureResultOf(warm.start("a")).value, warm.start_refusal)
        warm.start_refusal = None
        self.successResultOf(warm.start("a"))
        self.assertEqual(heard, ["a"])
        warm.stopService()
        self.failureResultOf(warm.start("a"), LaunchFailed)

    def test_terminated_detail(self):
        self.successResultOf(self.provider.launch("a"))
        self.successResultOf(self.provider.terminate("a"))
        self.assertEqual(self.successResultOf(self.provider.list())["a"].detail, "terminated")
